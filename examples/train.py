"""Train or fine-tune an audio classifier on any labelled audio, report it, and publish it.

    python examples/train.py --data_dir recordings --output_dir my-model
    python examples/train.py recipes/esc50.yaml --output_dir esc50 --learning_rate 1e-4

`recordings` is an `audiofolder`: `recordings/<class>/*.wav`, `recordings/<split>/<class>/*.wav`, or
`recordings/<split>/metadata.csv` with the columns `file_name` and `label`. Manifests, saved data sets and those on the
Hub load as well. An interrupted run goes on where it was when the same command is given again. The README has the
scores that it reaches, and the commands; `--help` lists all arguments, those of transformers' `TrainingArguments`
included. `accelerate launch` runs it on several processors.
"""

import sys
from copy import copy
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import residual_cnn  # noqa: F401, registers the baseline for --model_type and --teachers
import torch
from datasets import Dataset, DatasetDict, IterableDatasetDict
from transformers import AutoConfig, EarlyStoppingCallback, set_seed
from transformers.trainer_utils import IntervalStrategy, get_last_checkpoint

from modeling_asm.training.arguments import describe_command, parse_arguments
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.balance import class_weights
from modeling_asm.training.cards import describe_environment, write_model_card
from modeling_asm.training.clips import ClipDataset, ClipStream, ClipTransform
from modeling_asm.training.cost import measure_cost
from modeling_asm.training.data import DataArguments, is_streamed, load_audio_dataset, load_further_clips
from modeling_asm.training.decoding import decode_audio, decode_splits, fingerprint
from modeling_asm.training.labels import REGRESSION, align_labels, problem_type_of
from modeling_asm.training.metrics import compute_scores
from modeling_asm.training.models import (
    ModelArguments,
    checkpoint_name,
    choose_seconds,
    gather_model,
    make_model,
    sampling_rate_of,
    window_samples,
)
from modeling_asm.training.publishing import PublishingError, code_license, create_repository, push_to_hub
from modeling_asm.training.report import write_json, write_report, write_worst_clips
from modeling_asm.training.results import (
    count_confusions,
    describe_data,
    describe_model,
    format_summary,
    repeats,
    score,
    summarise,
)
from modeling_asm.training.runs import (
    UNFINISHED,
    CheckpointError,
    check_processes,
    finished_results,
    move_into,
    open_run,
    saving,
)
from modeling_asm.training.splits import (
    SplitArguments,
    choose_splits,
    choose_test,
    describe_further,
    describe_groups,
    fold_names,
)
from modeling_asm.training.teachers import digest_teachers, find_teachers, load_teachers
from modeling_asm.training.trainer import AudioTrainer, AudioTrainingArguments


CARD_TEMPLATE = Path(__file__).resolve().parent.parent / "model_cards" / "card_template.md"

STREAMED_CLIPS = 1000  # of a stream are looked at to set window, mean and deviation

# The arguments of transformers that cards tell.
TOLD = ("num_train_epochs", "max_steps", "learning_rate", "weight_decay", "warmup_steps", "lr_scheduler_type")
TOLD += ("per_device_train_batch_size", "gradient_accumulation_steps", "optim", "seed", "data_seed", "bf16", "fp16")
TOLD += ("label_smoothing_factor", "metric_for_best_model", "class_balance", "layer_decay", "step_factor")
TOLD += ("step_start", "average_last", "early_stopping_patience", "max_grad_norm")

# How the names of those begin that a result does not depend on.
INDIFFERENT = ("output_dir", "save_total", "save_on", "enable_jit", "use_cpu", "local_rank", "log", "disable_tqdm")
INDIFFERENT += ("report_to", "run_name", "project", "trackio", "push", "hub", "per_device_eval", "eval_accumulation")
INDIFFERENT += ("dataloader_num", "dataloader_pin", "dataloader_in", "dataloader_pre", "dataloader_multi", "debug")
INDIFFERENT += ("ddp", "fsdp", "deepspeed", "parallelism", "accelerator_config", "skip_memory", "do_")


@dataclass
class ScriptArguments:
    cross_validate: bool = field(
        default=False,
        metadata={"help": "Report on each value of --fold_column in turn, with their mean and deviation."},
    )
    seeds: list[int] = field(
        default_factory=list, metadata={"help": "Repeat everything with these seeds, and report mean and deviation."}
    )
    evaluate_only: bool = field(
        default=False, metadata={"help": "Train nothing: report --model_name_or_path on the test split."}
    )
    augment: bool = field(default=True, metadata={"help": "Whether to augment the training clips."})
    on_bad_audio: str = field(
        default="error", metadata={"help": "What an unreadable file does.", "choices": ["error", "skip"]}
    )
    keep_audio: bool = field(
        default=True, metadata={"help": "Keep decoded samples in datasets' cache; otherwise decode in each epoch."}
    )
    resamples: int = field(default=1000, metadata={"help": "Draws of the bootstrap; 0 leaves the intervals out."})
    measure_cost: bool = field(default=True, metadata={"help": "Time the model beside AST, for the card."})
    shuffle_buffer: int = field(
        default=1000, metadata={"help": "Clips among which the next one of a streamed train split is drawn."}
    )
    results_file: str | None = field(default=None, metadata={"help": "Copy results.json there, too."})
    licence: str | None = field(default=None, metadata={"help": "Licence of the model, for its card: cc-by-4.0."})
    credit: str | None = field(default=None, metadata={"help": "Source and makers of the recordings, for the card."})


@dataclass
class Arguments:
    """All arguments of one run."""

    script: ScriptArguments
    data: DataArguments
    split: SplitArguments
    model: ModelArguments
    training: AudioTrainingArguments
    augmentation: Augmentation
    clips: str | None = None  # what tells the data from other data of that name

    def settings(self) -> dict:
        """What the result depends on, without paths of this machine."""
        names = [item.name for item in fields(self.training) if not item.name.startswith(INDIFFERENT)]
        training = {name: getattr(self.training, name) for name in names}
        parts = {
            **asdict(self.data),
            **asdict(self.split),
            **asdict(self.model),
            **asdict(self.augmentation),
            **training,
        }
        script = {name: getattr(self.script, name) for name in ("evaluate_only", "augment", "on_bad_audio")}
        names = {"dataset_name": self.data.hub_name, "manifest": Path(self.data.manifest or "").name}
        names |= {"data_dir": self.data.name, "clips": self.clips, "model_name_or_path": self.model.start}
        names |= {"teachers": [checkpoint_name(teacher) for teacher in self.training.teachers]}
        names |= {"teacher_weights": digest_teachers(self.training.teachers)}
        names |= {"train_also": self.split.train_also_names}
        return {**parts, **script, **names}


def main():
    classes = (ScriptArguments, DataArguments, SplitArguments, ModelArguments, AudioTrainingArguments, Augmentation)
    args = Arguments(*parse_arguments(*classes))
    try:
        check_processes(args.training.world_size)
        if args.script.evaluate_only and not args.model.model_name_or_path:
            raise ValueError("--evaluate_only needs the checkpoint to report: --model_name_or_path.")
        if args.script.evaluate_only and args.split.train_also:
            raise ValueError("--train_also: leave it out. --evaluate_only trains nothing.")
        if args.training.teachers and (args.script.evaluate_only or args.script.cross_validate):
            raise ValueError(
                "--teachers: leave it out. --evaluate_only trains nothing, and with --cross_validate a teacher would "
                "have heard clips that are reported."
            )
        if args.training.resume_from_checkpoint:
            raise ValueError(
                "--resume_from_checkpoint: leave it out; the same command goes on from the last checkpoint by itself."
            )
        repository = open_repository(args.training)
        dataset, further, problems = load_audio_dataset(args.data), None, []
        if is_streamed(dataset):
            check_streamable(args)
            count_by_steps(args.training)
        else:
            further = load_further_clips(args.split.train_also, dataset, args.data.label_separator)
            args = replace(args, clips=fingerprint(dataset, further))
        runs = plan_runs(args, dataset)
        if not is_streamed(dataset):
            for run in runs:
                divide(run, dataset, further)  # what is wrong with a split is said before hours of decoding
            with args.training.main_process_first(desc="decoding"):
                dataset, further, problems = decode_splits(
                    dataset,
                    further,
                    sampling_rate_of(args.model),
                    args.script.on_bad_audio,
                    keep=args.script.keep_audio,
                    num_proc=torch.get_num_threads(),
                )
        results = [train(run, dataset, further, problems) for run in runs]
        if args.training.process_index > 0:
            return
        told = {"licence": args.script.licence, "credit": args.script.credit}
        for result in results:  # a finished run may be told these later, before it is published
            result["data"] |= {name: value for name, value in told.items() if value is not None}
        reported = results[0] if len(results) == 1 else summarise(results)
        write_json(reported, Path(args.training.output_dir) / "results.json")
        for run, result in zip(runs, results):
            write_card(Path(run.training.output_dir), result, reported, repository or args.training.hub_model_id)
        if args.script.results_file:
            Path(args.script.results_file).parent.mkdir(parents=True, exist_ok=True)
            write_json(reported, args.script.results_file)
        if repository:
            first = runs[0].training
            push_to_hub(first.output_dir, repository, token=first.hub_token, revision=first.hub_revision)
            print(f"Published: {repository}")
    except (OSError, ValueError, CheckpointError, FloatingPointError, PublishingError) as error:
        sys.exit(str(error))  # what is wrong, in one line
    print(f"\n{format_summary(reported)}\n\nEverything about it: {args.training.output_dir}")


def open_repository(training_args: AudioTrainingArguments) -> str | None:
    """Make sure that the Hub will take the checkpoint; `Trainer` itself need not push."""
    if not training_args.push_to_hub:
        return None
    training_args.push_to_hub = False
    name = training_args.hub_model_id or Path(training_args.output_dir).resolve().name
    if training_args.process_index > 0:
        return name
    return create_repository(name, training_args.hub_private_repo, training_args.hub_token)


def plan_runs(args: Arguments, dataset: DatasetDict) -> list[Arguments]:
    """List the runs: one for each seed and fold, each in a folder of its own, or a single one."""
    if args.script.cross_validate and args.split.fold_column is None:
        raise ValueError("--cross_validate needs the column with the folds, speakers or kits: --fold_column.")
    column, folder = args.split.fold_column, Path(args.training.output_dir)
    folds = fold_names(dataset, column) if args.script.cross_validate else [None]
    seeds = args.script.seeds or [args.training.seed]
    runs = []
    for seed in seeds:
        for fold in folds:
            names = [f"seed-{seed}"] * (len(seeds) > 1) + [f"{column}-{fold}"] * (len(folds) > 1)
            split = args.split if fold is None else replace(args.split, hold_out=f"{column}={fold}")
            training = copy(args.training)
            training.seed, training.output_dir = seed, str(folder.joinpath(*names))
            runs.append(replace(args, split=split, training=training))
    if len(runs) > 1:
        with args.training.main_process_first(desc="opening the runs"):
            open_run(folder, {**args.settings(), "seeds": seeds, "folds": folds}, "*/*")
    return runs


def check_streamable(args: Arguments):
    """Raise `ValueError` where something is asked for that needs the whole data set at hand."""
    whole = {
        "--hold_out": args.split.hold_out is not None,
        "--cross_validate": args.script.cross_validate,
        "--evaluate_only": args.script.evaluate_only,
        f"--class_balance {args.training.class_balance}": args.training.class_balance != "none",
        "--train_also": bool(args.split.train_also),
    }
    asked = [name for name, wanted in whole.items() if wanted]
    if asked:
        raise ValueError(f"{asked[0]} needs the whole data set, but a stream comes clip by clip. Leave one out.")
    if args.training.max_steps <= 0:
        raise ValueError("A streamed data set has no length: give --max_steps, instead of a number of epochs.")


def count_by_steps(training_args: AudioTrainingArguments):
    """Log, evaluate and save every so many steps: a stream has no epochs."""
    interval = min(training_args.save_steps, training_args.max_steps)
    for what in ("logging", "eval", "save"):
        if getattr(training_args, f"{what}_strategy") == "epoch":
            setattr(training_args, f"{what}_strategy", IntervalStrategy.STEPS)
            setattr(training_args, f"{what}_steps", interval)


def train(args: Arguments, dataset: DatasetDict, further: Dataset | None, problems: list[str]) -> dict:
    """Train one model, report it, and write everything about it into its folder."""
    training_args, folder = args.training, Path(args.training.output_dir)
    with training_args.main_process_first(desc="opening the run"):
        open_run(folder, args.settings())
    if (results := finished_results(folder)) is not None:
        if training_args.process_index == 0:
            print(f"The run in {str(folder)!r} is finished: nothing is trained again.")
        return results
    set_seed(training_args.seed)
    if is_streamed(dataset):
        splits, clips, test_name = prepare_stream(args, dataset)
    else:
        splits, test_name = divide(args, dataset, further)
        clips = splits["train"]
    features, problem_type = clips.features, problem_type_of(clips.features)
    model, feature_extractor = make_model(args.model, clips)
    window = window_samples(feature_extractor, choose_seconds(args.model, clips))
    if "dev" not in splits:
        if training_args.early_stopping_patience:
            raise ValueError("--early_stopping_patience needs clips that choose the best epoch: --dev_fraction 0.1.")
        training_args.eval_strategy, training_args.load_best_model_at_end = "no", False
    smoothing = 0.0 if problem_type == REGRESSION else training_args.label_smoothing_factor
    augmentation = args.augmentation if args.script.augment else None
    train_transform = ClipTransform(feature_extractor, features, window, augmentation, smoothing)
    eval_transform = ClipTransform(feature_extractor, features, window)
    inputs = {
        name: as_inputs(split, train_transform if name == "train" else eval_transform, args, name == "train")
        for name, split in splits.items()
    }
    patience = training_args.early_stopping_patience
    trainer = AudioTrainer(
        model=model,
        args=training_args,
        train_dataset=inputs["train"],
        eval_dataset=inputs.get("dev"),
        processing_class=feature_extractor,
        compute_metrics=lambda output: compute_scores(problem_type, output.predictions, output.label_ids),
        callbacks=[EarlyStoppingCallback(patience)] if patience else None,
        class_weights=class_weights(clips) if training_args.class_balance == "weights" else None,
        teachers=load_teachers(training_args.teachers, model, feature_extractor),
    )
    training = checkpoint = averaged = None
    if not args.script.evaluate_only:
        checkpoint = get_last_checkpoint(folder)
        if checkpoint and trainer.is_world_process_zero():
            print(f"Going on from {Path(checkpoint).name}.")
        training = trainer.train(resume_from_checkpoint=checkpoint)
        if training_args.average_last > 0:
            averaged = trainer.average_checkpoints()
    output = trainer.predict(inputs["test"])
    model = gather_model(trainer.model)
    if not trainer.is_world_process_zero():
        return {}

    references, logits = output.label_ids, output.predictions
    sizes = {name: len(split) for name, split in splits.items() if isinstance(split, Dataset)} | {
        "test": len(references)
    }
    script, column = args.script, args.split.group_column
    data = describe_data(args.data, features, test_name, sizes, problems)
    if isinstance(splits["test"], Dataset) and not script.evaluate_only:
        data |= describe_groups(splits["test"], args.split) | describe_further(further, args.split)
    results = {
        "command": describe_command("train.py", sys.argv[1:]),
        "data": data,
        "model": describe_model(args.model, model, feature_extractor, window),
        "training": describe_training(args, training, checkpoint, averaged),
        "metrics": score(features, logits, references, script.resamples, splits["test"], column),
        **count_confusions(features, logits, references),
        **({"cost": measure_cost(model, feature_extractor, window)} if script.measure_cost else {}),
        "environment": describe_environment(),
    }
    staging = folder / f"{UNFINISHED}model"
    with saving("the model"):
        model.save_pretrained(staging)
        feature_extractor.save_pretrained(staging)
        write_report(staging, features, references, logits, trainer.state.log_history)
        if isinstance(splits["test"], Dataset):
            rate = feature_extractor.sampling_rate
            write_worst_clips(staging, splits["test"], references, logits, rate, args.data.root)
        (staging / "LICENSE").write_text(code_license(), encoding="utf-8")
        write_json(results, staging / "results.json")
        move_into(staging, folder)
    return results


def divide(args: Arguments, dataset: DatasetDict, further: Dataset | None) -> tuple[DatasetDict, str]:
    """Return the splits `train`, `test` and perhaps `dev`, and what is reported."""
    if args.script.evaluate_only:
        return choose_reported(args, dataset)
    return choose_splits(dataset, args.split, args.training.seed, further)


def choose_reported(args: Arguments, dataset: DatasetDict) -> tuple[DatasetDict, str]:
    """Return the clips to report a checkpoint on, with its own classes; they stand in for those to train on, too."""
    _, test, name = choose_test(dataset, args.split)
    if test is None and len(dataset) > 1:
        raise ValueError(f"The data has the splits {', '.join(dataset)}; choose one by --test_split.")
    name, test = (name, test) if test is not None else next(iter(dataset.items()))
    options = {"revision": args.model.model_revision, "trust_remote_code": args.model.trust_remote_code}
    config = AutoConfig.from_pretrained(args.model.model_name_or_path, **options)
    test = align_labels(test, config.id2label, args.model.start)
    return DatasetDict(train=test, test=test), name


def prepare_stream(args: Arguments, dataset: IterableDatasetDict):
    """Choose among the splits of a stream, and read its first clips, which set window, mean and deviation."""
    train, test, test_name = choose_test(dataset, args.split)
    if train is None or test is None:
        missing = args.split.train_split if train is None else "test"
        raise ValueError(f"There is no split {missing!r}; the data has: {', '.join(dataset)}.")
    if not list(train.take(1)):
        raise ValueError(f"The split {args.split.train_split!r} of {args.data.name!r} has no clips.")
    train = train.shuffle(seed=args.training.seed, buffer_size=args.script.shuffle_buffer)
    splits = {"train": train, "test": test}
    if args.split.dev_fraction > 0 and test_name == "test" and "validation" in dataset:
        splits["dev"] = dataset["validation"]
    first = Dataset.from_list(list(splits["train"].take(STREAMED_CLIPS)), features=splits["train"].features)
    clips, _ = decode_audio(first, sampling_rate_of(args.model), args.script.on_bad_audio, keep=False)
    return splits, clips, test_name


def as_inputs(split, transform: ClipTransform, args: Arguments, train: bool) -> torch.utils.data.Dataset:
    """Wrap a split such that it gives the model's inputs."""
    training = args.training
    if isinstance(split, Dataset):
        balanced = train and training.class_balance == "sampling"
        return ClipDataset(split, transform, training.seed, balanced)
    return ClipStream(split, transform, training.train_batch_size, training.seed, args.script.on_bad_audio, train)


def describe_training(args: Arguments, training, resumed: str | None, averaged: int | None) -> dict | None:
    if training is None:
        return None
    told = {name: getattr(args.training, name) for name in TOLD}
    if args.training.teachers:
        told["teachers"] = list(find_teachers(args.training.teachers))
        told["teacher_share"] = args.training.teacher_share
    described = {name: value for name, value in told.items() if value is not None}
    return {
        **{name: getattr(value, "value", value) for name, value in described.items()},
        "steps": training.global_step,
        "batch_size": args.training.train_batch_size
        * args.training.gradient_accumulation_steps
        * args.training.world_size,
        "processes": args.training.world_size,
        "kept": kept_weights(args.training, averaged),
        "augmentation": asdict(args.augmentation) if args.script.augment else None,
        "freeze_encoder": args.model.freeze_encoder,
        "seconds": None if resumed else round(training.metrics["train_runtime"]),
    }


def kept_weights(args: AudioTrainingArguments, averaged: int | None) -> str:
    """Say which weights of a run are the model."""
    if averaged is not None:
        return f"the mean of the last {averaged} checkpoints" if averaged > 1 else "the last checkpoint"
    unit = "epoch" if args.save_strategy == "epoch" else "checkpoint"
    return f"the best {unit} by {args.metric_for_best_model}" if args.load_best_model_at_end else f"the last {unit}"


def write_card(folder: Path, results: dict, reported: dict, repository: str | None):
    """Write the card of one run; where it has sisters, with what all of them gave."""
    if "runs" in reported:
        results["repeats"] = repeats(reported)
    write_json(results, folder / "results.json")
    write_model_card(folder, CARD_TEMPLATE, results, repository)


if __name__ == "__main__":
    main()
