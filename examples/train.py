"""Train an Audio Spectrogram Mixer on a folder of labelled recordings.

    python examples/train.py --data_dir recordings --output_dir my-model

`recordings` is an `audiofolder`: `recordings/<class>/*.wav`, `recordings/<split>/<class>/*.wav`, or
`recordings/<split>/metadata.csv` with the columns `file_name` and `label`. The README has the scores that it reaches
on three sets, and the commands. `--help` lists all arguments, those of transformers' `TrainingArguments` included.
"""

import math
import os
import shlex
import shutil
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from datasets import DatasetDict
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    HfArgumentParser,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from modeling_asm import ASM_SIZES, ASMConfig, ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.fbank import EPSILON, frame_sizes, num_frames
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.cards import describe_environment, write_json, write_model_card
from modeling_asm.training.data import (
    check_audio,
    hold_out,
    load_audio_folder,
    make_transform,
    measure_features,
    split_groups,
)
from modeling_asm.training.metrics import ClassificationMetric, confusion_matrix
from modeling_asm.training.plots import plot_confusion_matrix


CARD_TEMPLATE = Path(__file__).resolve().parent.parent / "model_cards" / "card_template.md"

FEW_STEPS = 200  # fewer than that hardly move random weights


@dataclass
class ScriptArguments:
    data_dir: str = field(metadata={"help": "Folder of labelled recordings (an audiofolder)."})
    label_column: str = field(default="label", metadata={"help": "Column of metadata.csv that holds the class."})
    test_split: str | None = field(
        default=None, metadata={"help": "Split to report; by default test, else validation, else a part of train."}
    )
    hold_out: str | None = field(
        default=None, metadata={"help": "COLUMN=VALUE,VALUE: report on these rows of all splits, train on the others."}
    )
    group_column: str | None = field(
        default=None, metadata={"help": "Column (speaker, session) whose values are kept together when train is cut."}
    )
    test_fraction: float = field(default=0.2, metadata={"help": "Share of train to report on, if it is alone."})
    dev_fraction: float = field(
        default=0.1,
        metadata={"help": "Share of train that chooses the best epoch; 0 trains on all and keeps the last."},
    )
    on_bad_audio: str = field(
        default="error", metadata={"help": "What an unreadable file does.", "choices": ["error", "skip"]}
    )
    size: str = field(default="tiny", metadata={"help": "Named size of the model.", "choices": list(ASM_SIZES)})
    hidden_act: str = field(default="gelu", metadata={"help": "Activation: gelu, mish, silu, swish or acon_c."})
    drop_path_rate: float = field(default=0.1, metadata={"help": "Stochastic depth of the last layer."})
    seconds: float | None = field(
        default=None,
        metadata={"help": "Window of the model; by default what 95 in 100 training clips need."},
    )
    padding: str = field(
        default="zero",
        metadata={
            "help": "What follows a short clip: see ASMFeatureExtractor.",
            "choices": ["zero", "mean", "silence"],
        },
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to fine-tune, window and padding included, instead of `size`."}
    )
    augment: bool = field(default=True, metadata={"help": "Whether to augment the training clips."})
    label_smoothing: float = field(default=0.1, metadata={"help": "Share of a target that is spread over all classes."})
    results_file: str | None = field(default=None, metadata={"help": "Copy results.json there, too."})
    licence: str | None = field(default=None, metadata={"help": "Licence of the model, for its card: cc-by-4.0."})
    credit: str | None = field(default=None, metadata={"help": "Source and makers of the recordings, for the card."})


@dataclass
class ASMTrainingArguments(TrainingArguments):
    """transformers' arguments, with defaults for a small Mixer that starts at random."""

    num_train_epochs: float = 40
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: float = 0.1
    lr_scheduler_type: str = "cosine"
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 128
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    logging_strategy: str = "epoch"
    save_total_limit: int = 1
    load_best_model_at_end: bool = True
    metric_for_best_model: str = "accuracy"
    remove_unused_columns: bool = False
    report_to: str = "none"
    dataloader_pin_memory: bool = torch.cuda.is_available()


def main():
    parser = HfArgumentParser((ScriptArguments, ASMTrainingArguments, Augmentation))
    args, training_args, augmentation = parser.parse_args_into_dataclasses()
    checkpoint = find_checkpoint(training_args)
    check_start(args)
    if args.dev_fraction == 0:
        training_args.eval_strategy, training_args.load_best_model_at_end = "no", False
    set_seed(training_args.seed)

    try:
        splits, test_name = choose_splits(args, training_args.seed)
        splits, problems = check_splits(splits, args.on_bad_audio)
    except (FileNotFoundError, ValueError) as error:  # what is wrong with the data, in one line
        sys.exit(str(error))
    labels = splits["train"].features["label"].names
    feature_extractor, model = (
        load_checkpoint(args, labels) if args.model_name_or_path else create(args, splits, labels)
    )

    train_transform = make_transform(
        feature_extractor, len(labels), augmentation if args.augment else None, args.label_smoothing
    )
    eval_transform = make_transform(feature_extractor, len(labels))
    metric = ClassificationMetric()
    trainer = Trainer(
        model=model,
        args=training_args,
        train_dataset=splits["train"].with_transform(train_transform),
        eval_dataset=splits["dev"].with_transform(eval_transform) if "dev" in splits else None,
        processing_class=feature_extractor,
        compute_metrics=lambda output: metric.compute(
            predictions=output.predictions.argmax(1), references=output.label_ids
        ),
    )
    training = trainer.train(resume_from_checkpoint=checkpoint)
    output = trainer.predict(splits["test"].with_transform(eval_transform))
    if not trainer.is_world_process_zero():
        return

    predictions = output.predictions.argmax(1)
    metrics = metric.compute(predictions=predictions, references=output.label_ids)
    metrics["chance"] = max(Counter(splits["test"]["label"]).values()) / len(splits["test"])
    results = {
        "command": describe_command(sys.argv[1:]),
        "data": describe_data(args, splits, test_name, problems),
        "model": describe_model(args, model, feature_extractor),
        "training": describe_training(args, training_args, augmentation, training, checkpoint),
        "metrics": metrics,
        "confusion_matrix": confusion_matrix(predictions, output.label_ids, len(labels)).tolist(),
        "environment": describe_environment(),
    }
    save(Path(training_args.output_dir), model, feature_extractor, results, args.results_file)
    print(
        f"\nAccuracy {metrics['accuracy']:.3f} (95 % interval {metrics['accuracy_low']:.3f} to "
        f"{metrics['accuracy_high']:.3f}) on {len(splits['test'])} clips of {test_name}; always guessing the most "
        f"frequent class: {metrics['chance']:.3f}.\nModel, card and confusion matrix: {training_args.output_dir}"
    )
    if training.global_step < FEW_STEPS and not args.model_name_or_path:
        print(f"It took {training.global_step} steps only, from random weights. Raise --num_train_epochs.")


def find_checkpoint(training_args: TrainingArguments) -> str | None:
    """Return the checkpoint to go on from, if one was asked for; refuse to write over anything otherwise."""
    folder, resume = Path(training_args.output_dir), str(training_args.resume_from_checkpoint or "false")
    last = get_last_checkpoint(folder) if folder.is_dir() else None
    if resume.lower() == "true":
        if last is None:
            sys.exit(f"There is no checkpoint in {str(folder)!r} to resume from; leave --resume_from_checkpoint out.")
        return last
    checkpoint = None if resume.lower() == "false" else resume
    inside = checkpoint is not None and Path(checkpoint).resolve().is_relative_to(folder.resolve())
    if folder.is_dir() and any(folder.iterdir()) and not inside:
        sys.exit(
            f"{str(folder)!r} holds {'a checkpoint' if last else 'files'} already, and nothing is overwritten. "
            f"{'Go on with it by --resume_from_checkpoint true, or choose' if last else 'Choose'} another --output_dir."
        )
    return checkpoint


def check_start(args: ScriptArguments):
    """Refuse arguments of a new model beside a checkpoint, which has its own."""
    new = ("size", "hidden_act", "drop_path_rate", "seconds", "padding")
    given = [f"--{name}" for name in new if getattr(args, name) != ScriptArguments.__dataclass_fields__[name].default]
    if args.model_name_or_path and given:
        sys.exit(f"{', '.join(given)} would have no effect: --model_name_or_path fixes the model and its window.")


def choose_splits(args: ScriptArguments, seed: int) -> tuple[DatasetDict, str]:
    """Return the splits `train`, `test` and, to choose the best epoch, `dev`; and what to call the test split."""
    if not (0 < args.test_fraction < 1 and 0 <= args.dev_fraction < 1):
        sys.exit(
            f"--test_fraction is {args.test_fraction} and --dev_fraction {args.dev_fraction}; the first must be above "
            "0, the second at least 0, and both below 1."
        )
    dataset = load_audio_folder(args.data_dir, args.label_column)
    if args.hold_out is not None:
        column, separator, values = args.hold_out.partition("=")
        values = [value.strip() for value in values.split(",")]
        if not separator:
            sys.exit(f"--hold_out is {args.hold_out!r}, expected COLUMN=VALUE or COLUMN=VALUE,VALUE.")
        dataset = hold_out(dataset, column, values)
        test_name = f"rows with {column} {' or '.join(values)}"
        test = dataset["test"]
    elif args.test_split == "train":
        sys.exit("--test_split train would report on the clips that the model trains on.")
    else:
        candidates = [args.test_split] if args.test_split else ["test", "validation"]
        test_name = next((name for name in candidates if name in dataset), None)
        if test_name is None and args.test_split:
            sys.exit(f"There is no split {args.test_split!r} in {args.data_dir!r}, which has: {', '.join(dataset)}.")
        test = dataset[test_name] if test_name else None
    if "train" not in dataset:
        sys.exit(f"There is no split 'train' in {args.data_dir!r}, which has: {', '.join(dataset)}.")
    train = dataset["train"]
    if test is None:
        train, test = split_groups(train, args.test_fraction, args.group_column, seed)
        test_name = f"{args.test_fraction:.0%} of train"
    splits = DatasetDict(test=test)
    if args.dev_fraction > 0 and test_name == "test" and "validation" in dataset:
        splits["dev"] = dataset["validation"]
    elif args.dev_fraction > 0:
        train, splits["dev"] = split_groups(train, args.dev_fraction, args.group_column, seed)
    splits["train"] = train
    return splits, test_name


def check_splits(splits: DatasetDict, on_bad_audio: str) -> tuple[DatasetDict, list[str]]:
    """Decode every clip once, and list the files that were skipped."""
    checked, problems = DatasetDict(), []
    for name, split in splits.items():
        checked[name], skipped = check_audio(split, on_bad_audio)
        problems += skipped
    if problems:
        print(f"Skipped {len(problems)} unreadable files:", *problems, sep="\n  ")
    return checked, problems


def create(args: ScriptArguments, splits: DatasetDict, labels: list[str]):
    """Make a feature extractor that knows the training clips' mean and deviation, and a model with random weights."""
    seconds = args.seconds or min(float(np.quantile(splits["train"]["seconds"], 0.95)), 10.24)
    size = ASM_SIZES[args.size].config
    frames = {"num_mel_bins": size.get("num_mel_bins", 128)}
    probe = ASMFeatureExtractor(**frames)
    rate = probe.sampling_rate
    window, shift = frame_sizes(rate, probe.frame_length, probe.frame_shift)
    patch_frames = ASMConfig(**size).patch_shape[1]
    frames["max_length"] = max(num_frames(round(seconds * rate), window, shift), patch_frames)
    mean, std = measure_features(splits["train"], probe)
    padding_value = {"zero": None, "mean": 0.0, "silence": (math.log(EPSILON) - mean) / (2 * std)}[args.padding]
    feature_extractor = ASMFeatureExtractor(**frames, mean=mean, std=std, padding_value=padding_value)
    config = ASMConfig(
        **{**size, **frames},
        hidden_act=args.hidden_act,
        drop_path_rate=args.drop_path_rate,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type="single_label_classification",
    )
    return feature_extractor, ASMForAudioClassification(config)


def load_checkpoint(args: ScriptArguments, labels: list[str]):
    """Load a checkpoint with its feature extractor as it is, and with a new classifier if its labels are others."""
    id2label = dict(enumerate(labels))
    same = AutoConfig.from_pretrained(args.model_name_or_path).id2label == id2label
    model, info = AutoModelForAudioClassification.from_pretrained(
        args.model_name_or_path,
        id2label=id2label,
        label2id={label: index for index, label in enumerate(labels)},
        problem_type="single_label_classification",
        ignore_mismatched_sizes=not same,
        output_loading_info=True,
    )
    wrong = [name for name, *_ in info["mismatched_keys"] if not name.startswith("classifier.")]
    if wrong:
        sys.exit(f"The weights of {args.model_name_or_path!r} do not fit its config.json: {', '.join(wrong)}.")
    if not same:
        model.classifier.reset_parameters()
    return AutoFeatureExtractor.from_pretrained(args.model_name_or_path), model


def save(folder: Path, model, feature_extractor, results: dict, results_file: str | None):
    """Write the checkpoint, its results, the picture of the confusion matrix and the card."""
    model.save_pretrained(folder)
    feature_extractor.save_pretrained(folder)
    write_json(results, folder / "results.json")
    plot_confusion_matrix(
        np.array(results["confusion_matrix"]), results["data"]["labels"], folder / "confusion_matrix.png"
    )
    write_model_card(folder, CARD_TEMPLATE, results)
    if results_file is not None:
        Path(results_file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "results.json", results_file)


def describe_data(args: ScriptArguments, splits: DatasetDict, test_name: str, problems: list[str]) -> dict:
    return {
        "name": Path(args.data_dir).resolve().name,
        "test_split": test_name,
        "clips": {name: len(split) for name, split in splits.items()},
        "skipped_files": [problem.replace(f"{Path(args.data_dir)}{os.sep}", "") for problem in problems],
        "labels": splits["train"].features["label"].names,
        "licence": args.licence,
        "credit": args.credit,
    }


def describe_model(args: ScriptArguments, model, feature_extractor) -> dict:
    base_model = args.model_name_or_path
    return {
        "base_model": None if base_model is None or Path(base_model).exists() else base_model,
        "fine_tuned_from": Path(base_model).name if base_model else None,
        "parameters": model.num_parameters(),
        "window_seconds": feature_extractor.nb_max_samples / feature_extractor.sampling_rate,
        "config": {name: value for name, value in model.config.to_diff_dict().items() if "label" not in name},
        "feature_extractor": feature_extractor.to_dict(),
    }


def describe_training(args, training_args: TrainingArguments, augmentation: Augmentation, training, resumed) -> dict:
    batch_size = training_args.train_batch_size * training_args.gradient_accumulation_steps * training_args.world_size
    return {
        "epochs": training_args.num_train_epochs,
        "steps": training.global_step,
        "batch_size": batch_size,
        "optimizer": str(training_args.optim.value),
        "learning_rate": training_args.learning_rate,
        "schedule": str(training_args.lr_scheduler_type.value),
        "weight_decay": training_args.weight_decay,
        "label_smoothing": args.label_smoothing,
        "augmentation": asdict(augmentation) if args.augment else None,
        "bf16": training_args.bf16,
        "seed": training_args.seed,
        "seconds": None if resumed else round(training.metrics["train_runtime"]),
    }


def describe_command(arguments: list[str]) -> str:
    """Return the command without the paths of this machine: of files and folders it keeps the names."""
    paths = ("--data_dir", "--output_dir", "--results_file", "--model_name_or_path", "--resume_from_checkpoint")
    described, previous = ["python", "examples/train.py"], ""
    for argument in arguments:
        flag, separator, value = argument.partition("=")
        if flag in paths and separator:
            argument = f"{flag}={Path(value).name}"
        elif previous in paths:
            argument = Path(argument).name
        described.append(argument)
        previous = argument
    return shlex.join(described)


if __name__ == "__main__":
    main()
