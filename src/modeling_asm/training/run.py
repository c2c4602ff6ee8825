"""One run: train a model, or only load it, evaluate it, and write everything about it into its folder."""

from dataclasses import replace
from pathlib import Path

import torch
from datasets import Dataset, DatasetDict, IterableDatasetDict
from transformers import AutoConfig, EarlyStoppingCallback, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ..measuring.cost import measure_cost
from ..measuring.environment import describe_environment
from ..modeling_asm import ASMForAudioClassification
from ..targets import REGRESSION
from .cross_validation import divide_clips, is_cross_validated, tested_rows
from .data.clips import HARDLY_LONGER, ClipDataset, ClipStream, ClipTransform
from .data.decoding import decode_audio, size_of
from .data.labels import align_labels, count_classes
from .data.loading import is_streamed
from .data.splits import (
    CROSS_VALIDATION,
    choose_splits,
    choose_test,
    describe_further,
    describe_groups,
    describe_use,
    group_names,
)
from .frontend import Frontend
from .models import gather_model, make_frontend, make_model, sampling_rate_of
from .report.checkpoint import write_checkpoint
from .report.results import count_confusions, describe_data, describe_model, describe_training, score
from .run_folder import finished_results, open_run
from .settings import Arguments
from .tasks import task_of
from .teachers.soft_labels import load_teachers
from .trainer import AudioTrainer
from .tuning import (
    check_start,
    choose_tuning,
    describe_tuning,
    fit_head,
    freeze_first_layers,
    predict_clips,
    start_head,
    windows_of,
)


# The first clips of a stream determine window, mean and deviation: so many, or those of so many bytes.
STREAMED_CLIPS, STREAMED_BYTES = 1000, 2**28


def run_once(args: Arguments, dataset: DatasetDict, further: Dataset | None, problems: list[str], command: str) -> dict:
    """Train one model (or none, with `--evaluate_only`), evaluate it, and write everything into its folder."""
    training_args, folder = args.training, Path(args.training.output_dir)
    with training_args.main_process_first(desc="opening the run"):
        open_run(folder, args.settings())
    if (results := finished_results(folder)) is not None:
        if training_args.process_index == 0:
            print(f"The run in {str(folder)!r} is finished: nothing is trained again.")
        return results
    set_seed(training_args.seed)
    args, line = plan_tuning(args, dataset, further)
    if line and training_args.process_index == 0:
        print(line)
    if is_streamed(dataset):
        splits, clips, test_name = prepare_stream(args, dataset)
    else:
        splits, test_name = divide(args, dataset, further)
        clips = splits["train"]
    trainer, inputs = make_trainer(args, splits, clips)
    check_start(args, trainer.model)
    whole = hears_whole_clips(args, trainer.model, splits["test"])
    if isinstance(splits["test"], Dataset) and trainer.is_world_process_zero():
        describe_clips(args, dataset, splits, test_name, None if whole else inputs["test"].transform.frontend)
    training = checkpoint = averaged = output = None
    if not args.experiment.evaluate_only:
        checkpoint = get_last_checkpoint(folder)
        if checkpoint and trainer.is_world_process_zero():
            print(f"Continuing from {Path(checkpoint).name}.")
        if args.model.tune == "head":
            windows = windows_of(trainer.model, clips, inputs["test"].transform)
            column = args.split.group_column or args.split.hold_out_column
            groups = group_names(clips, column) if column else None
            folds = divide_clips(clips, column, training_args.seed) if test_name == CROSS_VALIDATION else None
            training, output = fit_head(trainer, windows, groups=groups, folds=folds)
        else:
            if args.model.is_general and not start_head(trainer, clips, inputs["test"].transform):
                training_args.start_share = 0.0
            start = trainer.copy_weights() if training_args.start_share > 0 else {}
            training = trainer.train(resume_from_checkpoint=checkpoint)
            if training_args.average_last > 0:
                averaged = trainer.average_checkpoints()
            if start:
                trainer.mix_with_start(start, training_args.start_share)
    if output is None and whole:
        output = predict_clips(trainer, windows_of(trainer.model, splits["test"], inputs["test"].transform))
    elif output is None:
        output = trainer.predict(inputs["test"])
    model, frontend = gather_model(trainer.model), inputs["test"].transform.frontend
    if not trainer.is_world_process_zero():
        return {}

    features, references, logits = clips.features, output.label_ids, output.predictions
    sizes = {name: len(split) for name, split in splits.items() if isinstance(split, Dataset)}
    sizes["test"] = len(references)
    if isinstance(inputs["test"], ClipStream) and (number := inputs["test"].skipped.value):
        problems = [*problems, f"{number} clips of {test_name}, which cannot be read"]
    data = describe_data(args.data, features, test_name, sizes, problems)
    if isinstance(splits["test"], Dataset) and not args.experiment.evaluate_only:
        data |= describe_groups(splits["test"], args.split) | describe_further(further, args.split)
    resamples, column = args.experiment.resamples, args.split.group_column
    results = {
        "command": command,
        "data": data,
        "model": describe_model(args.model, model, frontend),
        "training": describe_training(args, training, checkpoint, averaged),
        "metrics": score(features, logits, references, resamples, splits["test"], column),
        **count_confusions(features, logits, references),
    }
    if args.experiment.measure_cost:
        results["cost"] = measure_cost(model, frontend.feature_extractor, frontend.window_samples)
    results["environment"] = describe_environment()
    outputs = (references, logits, trainer.state.log_history)
    reported = splits["test"] if isinstance(splits["test"], Dataset) else None
    write_checkpoint(folder, results, model, frontend, *outputs, reported, args.data.root, channel=args.data.channel)
    return results


def make_trainer(args: Arguments, splits: DatasetDict, clips: Dataset) -> tuple[AudioTrainer, dict]:
    """Return the trainer of a run, with its model, and the inputs of each split.

    Args:
        args: The arguments of the run.
        splits: `train`, `test` and perhaps `dev`.
        clips: Training clips that determine the model: all, or the first of a stream.
    """
    training_args, task = args.training, task_of(clips.features)
    unchanged = args.experiment.evaluate_only
    model, feature_extractor = make_model(args.model, clips, args.data.channel, unchanged)
    if args.model.tune == "last":
        freeze_first_layers(model)
    if args.model.tune == "head" and isinstance(model, ASMForAudioClassification):
        model.config.window_aggregation = "logits"  # those of the mean embedding, to which the classifier is fitted
    frontend = make_frontend(args.model, model, feature_extractor, clips)
    if "dev" not in splits:
        if training_args.early_stopping_patience:
            raise ValueError("--early_stopping_patience needs a dev split: use --dev_fraction 0.1.")
        training_args.eval_strategy, training_args.load_best_model_at_end = "no", False
    if not task.smooths_labels:
        training_args.label_smoothing_factor = 0.0
    smoothing = training_args.label_smoothing_factor
    augmentation = args.augmentation if args.experiment.augment else None
    channel = args.data.channel
    transforms = dict.fromkeys(splits, ClipTransform(frontend, clips.features, channel=channel))
    transforms["train"] = ClipTransform(frontend, clips.features, augmentation, smoothing, channel)
    inputs = {name: as_inputs(split, transforms[name], args, train=name == "train") for name, split in splits.items()}
    weights = None
    if training_args.class_balance == "weights":
        weights = task.class_weights(count_classes(clips), len(clips))
    patience = training_args.early_stopping_patience
    trainer = AudioTrainer(
        model=model,
        args=training_args,
        train_dataset=inputs["train"],
        eval_dataset=inputs.get("dev"),
        processing_class=feature_extractor,
        compute_metrics=lambda output: task.compute_scores(output.predictions, output.label_ids),
        callbacks=[EarlyStoppingCallback(patience)] if patience else None,
        class_weights=weights,
        teachers=load_teachers(training_args.teachers, model, feature_extractor),
    )
    return trainer, inputs


def plan_tuning(
    args: Arguments, dataset: DatasetDict | IterableDatasetDict, further: Dataset | None
) -> tuple[Arguments, str | None]:
    """Return the arguments with what is to be trained, and a line about it if there was something to choose.

    A classifier that is fitted has no epoch to choose: no `dev` is split off then.
    """
    if args.experiment.evaluate_only:
        return args, None
    whole = replace(args, split=replace(args.split, dev_fraction=0.0))
    if is_streamed(dataset):
        clips = dataset
    elif is_cross_validated(args, dataset, further, "head"):
        clips, *_ = choose_test(dataset, args.split)
    else:
        clips = divide(whole, dataset, further)[0]["train"]
    tuning = choose_tuning(args, clips)
    planned = whole if tuning == "head" else args
    return replace(planned, model=replace(args.model, tune=tuning)), describe_tuning(args, tuning, clips)


def divide(args: Arguments, dataset: DatasetDict, further: Dataset | None) -> tuple[DatasetDict, str]:
    """Return the splits `train`, `test` and perhaps `dev`, and the name of the reported clips."""
    if args.experiment.evaluate_only:
        return choose_reported(args, dataset)
    if is_cross_validated(args, dataset, further, args.model.tune):
        clips, *_ = choose_test(dataset, args.split)
        tested = tested_rows(divide_clips(clips, args.split.group_column, args.training.seed))
        return DatasetDict(train=clips, test=clips.select(tested)), CROSS_VALIDATION
    return choose_splits(dataset, args.split, args.training.seed, further)


def describe_clips(
    args: Arguments, dataset: DatasetDict, splits: DatasetDict, test_name: str, frontend: Frontend | None
):
    """Say which clips are used for what and, if the front end of one window is given, which are heard in part."""
    if args.experiment.evaluate_only:
        lines = [f"{len(splits['test'])} clips are reported ({test_name})."]
    else:
        lines = [describe_use(dataset, splits, test_name, args.split)]
    for name in ("dev", "test") if frontend else ():
        window = frontend.window_samples / frontend.sampling_rate
        long = sum(seconds > HARDLY_LONGER * window for seconds in splits[name]["seconds"]) if name in splits else 0
        if long:
            lines.append(
                f"{long} clips of {name} are longer than the model's window of {window:.2f} s, and their start is "
                "scored: --seconds sets another window, and asm-predict classifies all of a clip."
            )
    print(*lines, sep="\n")


def choose_reported(args: Arguments, dataset: DatasetDict) -> tuple[DatasetDict, str]:
    """Return the clips to report a checkpoint on, with its own classes; they also stand in for the training clips."""
    _, test, name = choose_test(dataset, args.split)
    if test is None and len(dataset) > 1:
        raise ValueError(f"The data has the splits {', '.join(dataset)}. Choose one with --test_split.")
    name, test = (name, test) if test is not None else next(iter(dataset.items()))
    options = {"revision": args.model.model_revision, "trust_remote_code": args.model.trust_remote_code}
    config = AutoConfig.from_pretrained(args.model.checkpoint, **options)
    problem_type = task_of(test.features).problem_type
    if config.problem_type not in (None, problem_type):
        raise ValueError(
            f"The checkpoint {args.model.start!r} was trained for {config.problem_type!r}, but the labels of "
            f"{args.data.name!r} are {problem_type!r}. Set --problem_type {config.problem_type}, or evaluate it on "
            "other data."
        )
    if problem_type == REGRESSION and config.num_labels != 1:
        raise ValueError(
            f"The checkpoint {args.model.start!r} has {config.num_labels} outputs, expected the one of a regression. "
            "Evaluate a checkpoint that was trained on numbers."
        )
    test = align_labels(test, config.id2label, args.model.start)
    return DatasetDict(train=test, test=test), name


def prepare_stream(args: Arguments, dataset: IterableDatasetDict):
    """Choose the splits of a stream, and read its first clips, which determine window, mean and deviation."""
    train, test, test_name = choose_test(dataset, args.split)
    if train is None or test is None:
        missing = args.split.train_split if train is None else "test"
        raise ValueError(f"There is no split {missing!r}. The data has: {', '.join(dataset)}.")
    if not list(train.take(1)):
        raise ValueError(f"The split {args.split.train_split!r} of {args.data.name!r} has no clips.")
    train = train.shuffle(seed=args.training.seed, buffer_size=args.experiment.shuffle_buffer)
    splits = {"train": train, "test": test}
    if args.split.dev_fraction > 0 and test_name == "test" and "validation" in dataset:
        splits["dev"] = dataset["validation"]
    first, size = [], 0
    for row in train.take(STREAMED_CLIPS):
        first.append(row)
        size += size_of(row["audio"])
        if size > STREAMED_BYTES:
            break
    first = Dataset.from_list(first, features=train.features)
    clips, problems = decode_audio(
        first, sampling_rate_of(args.model), args.experiment.on_bad_audio, keep=False, channel=args.data.channel
    )
    if problems:
        print(f"{len(problems)} of the first {len(first)} clips cannot be read, such as: {problems[0]}")
    return splits, clips, test_name


def as_inputs(split, transform: ClipTransform, args: Arguments, train: bool) -> torch.utils.data.Dataset:
    """Wrap a split so that it yields the model's inputs."""
    training = args.training
    if isinstance(split, Dataset):
        balanced = train and training.class_balance == "sampling"
        return ClipDataset(split, transform, training.seed, balanced)
    return ClipStream(split, transform, training.train_batch_size, training.seed, args.experiment.on_bad_audio, train)


def hears_whole_clips(args: Arguments, model: torch.nn.Module, clips) -> bool:
    """Whether clips are scored as their mean embedding is: if the classifier was fitted to that, now or before."""
    if not isinstance(clips, Dataset):  # a stream, whose clips are read once
        return False
    if args.experiment.evaluate_only:
        return getattr(model.config, "window_aggregation", None) == "logits"
    return args.model.tune == "head"
