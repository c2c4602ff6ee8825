"""The results of a run: data, model, training and scores, from which `results.json` and cards are written."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from datasets import Dataset, Features
from huggingface_hub import ModelCard
from transformers import PreTrainedModel

from ...modeling_asm import ASMForAudioClassification
from ..data.loading import DataArguments
from ..data.splits import group_names
from ..frontend import Frontend
from ..models import ModelArguments
from ..settings import Arguments
from ..tasks import label_names, task_of
from ..teachers.soft_labels import find_teachers
from ..training_arguments import AudioTrainingArguments
from .tables import format_scores, format_table, is_score


FEW_GROUPS = 5  # fewer speakers say nothing about others
FEW_STEPS = 200  # fewer steps hardly change random weights
DESCRIBED = ("command", "data", "model", "training", "cost", "environment")  # entries of a run other than its scores

# Training arguments that results and cards state.
STATED = ("num_train_epochs", "max_steps", "learning_rate", "weight_decay", "warmup_steps", "lr_scheduler_type")
STATED += ("per_device_train_batch_size", "gradient_accumulation_steps", "optim", "seed", "data_seed", "bf16", "fp16")
STATED += ("label_smoothing_factor", "metric_for_best_model", "class_balance", "layer_decay", "step_factor")
STATED += ("step_start", "start_share", "average_last", "early_stopping_patience", "max_grad_norm")
STATED_OF_FITS = ("seed", "data_seed", "bf16", "fp16", "class_balance")  # of a classifier without gradient steps


def describe_data(
    args: DataArguments,
    features: Features,
    test_split: str,
    clips: dict[str, int],
    problems: list[str] | None = None,
) -> dict:
    """Describe the data of a run.

    Args:
        args: The source.
        features: The data set's features, for the names of the classes.
        test_split: Name of the reported clips.
        clips: Number of clips in each split.
        problems: Messages about the clips that were skipped.
    """
    channel = {} if args.channel is None else {"channel": args.channel}
    return {
        "name": args.name,
        "dataset_name": args.hub_name,
        "dataset_config": args.dataset_config,
        "dataset_revision": args.dataset_revision,
        "test_split": test_split,
        "clips": clips,
        "skipped_files": [without_folder(problem, args.root) for problem in problems or []],
        "labels": label_names(features),
        **channel,
    }


def without_folder(text: str, folder: Path | None) -> str:
    """Return a message with file names relative to a folder, however its path was written."""
    for path in dict.fromkeys((folder.resolve(), folder.absolute(), folder)) if folder else []:
        for quote in "'\"":
            text = text.replace(f"{quote}{path}/", quote)
    return text


def describe_model(args: ModelArguments, model: PreTrainedModel, frontend: Frontend) -> dict:
    """Describe the model and its initial weights, without paths of this machine."""
    path = args.checkpoint
    mixer = isinstance(model, ASMForAudioClassification)
    return {
        "base_model": None if path is None or Path(path).exists() else path,
        "fine_tuned_from": args.start,
        "start_licence": licence_of(args),
        "architecture": type(model).__name__,
        "tags": ["audio-spectrogram-mixer", "mlp-mixer"] if mixer else [],
        "parameters": model.num_parameters(),
        "window_seconds": frontend.window_samples / frontend.sampling_rate,
        "config": {name: value for name, value in model.config.to_diff_dict().items() if "label" not in name},
        "feature_extractor": frontend.feature_extractor.to_dict(),
    }


def licence_of(args: ModelArguments) -> str | None:
    """Return the licence in the card of a local checkpoint."""
    card = Path(args.checkpoint or "") / "README.md"
    return ModelCard.load(card).data.license if args.checkpoint and card.is_file() else None


def describe_training(args: Arguments, training, resumed: str | None, averaged: int | None) -> dict | None:
    """Describe the training of a run; `None` if nothing was trained."""
    if training is None:
        return None
    steps = args.model.tune != "head"
    described = {name: getattr(args.training, name) for name in (STATED if steps else STATED_OF_FITS)}
    if args.training.teachers:
        described["teachers"] = list(find_teachers(args.training.teachers))
        described["teacher_share"] = args.training.teacher_share
    described = {name: value for name, value in described.items() if value is not None}
    return {
        **{name: getattr(value, "value", value) for name, value in described.items()},
        "steps": training.global_step,
        "batch_size": args.training.train_batch_size
        * args.training.gradient_accumulation_steps
        * args.training.world_size,
        "processes": args.training.world_size,
        "kept": kept_weights(args.training, averaged) if steps else "the fitted classifier",
        "augmentation": asdict(args.augmentation) if args.experiment.augment and steps else None,
        "freeze_encoder": args.model.freeze_encoder,
        "tune": args.model.tune,
        "seconds": None if resumed else round(training.metrics["train_runtime"]),
    }


def kept_weights(args: AudioTrainingArguments, averaged: int | None) -> str:
    """Return which weights of a run became the model."""
    unit = "epoch" if args.save_strategy == "epoch" else "checkpoint"
    kept = f"the last {unit}"
    if averaged is not None:
        kept = f"the mean of the last {averaged} checkpoints" if averaged > 1 else "the last checkpoint"
    elif args.load_best_model_at_end:
        kept = f"the best {unit} by {args.metric_for_best_model}"
    if args.start_share > 0:
        return f"{1 - args.start_share:.0%} of {kept}, {args.start_share:.0%} of the start"
    return kept


def score(
    features: Features, logits: np.ndarray, references: np.ndarray, resamples: int, clips=None, group_column=None
) -> dict:
    """Compute the metrics with intervals over the clips and, if there are enough, over groups of clips.

    Args:
        features: The data set's features, for the task.
        logits: The model's outputs, of shape `(num_clips, num_labels)`.
        references: Class indices, rows of 0 and 1, or numbers.
        resamples: Number of bootstrap resamples.
        clips: The clips, in the order of the outputs.
        group_column: Their column of speakers, kits or sessions.

    Raises:
        FloatingPointError: If an output is not finite, which no score would show.
    """
    if (wrong := np.flatnonzero(~np.isfinite(logits).all(1))).size > 0:
        raise FloatingPointError(
            f"The model's outputs for {wrong.size} of {len(logits)} clips are not finite: for clip {wrong[0]}, "
            f"{logits[wrong[0]].tolist()[:5]}. Train it again with a lower "
            "--learning_rate, or evaluate another checkpoint."
        )
    task = task_of(features)
    scores = finite(task.compute_scores(logits, references, resamples))
    if resamples > 0 and isinstance(clips, Dataset) and group_column in clips.column_names:
        groups = group_names(clips, group_column)
        if len(set(groups)) >= FEW_GROUPS:
            grouped = task.compute_scores(logits, references, resamples, groups)
            scores["by_group"] = {"column": group_column, "groups": len(set(groups)), **finite(grouped)}
    chance = task.chance(references)
    return scores if chance is None else {**scores, "chance": chance}


def finite(scores: dict[str, float]) -> dict[str, float]:
    """Drop undefined scores, such as R2 of equal numbers, which JSON cannot hold."""
    return {name: value for name, value in scores.items() if np.isfinite(value)}


def count_confusions(features: Features, logits: np.ndarray, references: np.ndarray) -> dict:
    """Return the confusion matrix under its key, if each clip has one label."""
    counts = task_of(features).confusions(logits, references, len(label_names(features)))
    return {} if counts is None else {"confusion_matrix": counts.tolist()}


def summarise(results: list[dict]) -> dict:
    """Combine the results of several seeds and folds: the scores of each, their mean and standard deviation."""
    common = set.intersection(*(set(result["metrics"]) for result in results))
    names = [name for name, value in results[0]["metrics"].items() if is_score(name, value) and name in common]
    values = {name: [result["metrics"][name] for result in results] for name in names}
    return {
        **{key: results[0][key] for key in DESCRIBED if key in results[0]},
        "runs": [
            {
                "seed": (result["training"] or {}).get("seed"),
                "test_split": result["data"]["test_split"],
                "clips": result["data"]["clips"],
                "seconds": (result["training"] or {}).get("seconds"),
                "metrics": result["metrics"],
            }
            for result in results
        ],
        "mean": {name: float(np.mean(scores)) for name, scores in values.items()},
        "std": {name: float(np.std(scores, ddof=1)) for name, scores in values.items()},
    }


def repeats(summary: dict) -> dict:
    """Return what the card of one run says about all runs."""
    seeds = list(dict.fromkeys(run["seed"] for run in summary["runs"]))
    return {"runs": len(summary["runs"]), "seeds": seeds, "mean": summary["mean"], "std": summary["std"]}


def format_summary(results: dict) -> str:
    """Format the results of one run or several as a table for the terminal."""
    if "runs" in results:
        rows = [("run", "clips", *results["mean"])]
        for run in results["runs"]:
            scores = [f"{run['metrics'][name]:.3f}" for name in results["mean"]]
            rows.append((f"seed {run['seed']}, {run['test_split']}", run["clips"]["test"], *scores))
        spread = [f"{results['mean'][name]:.3f} +- {results['std'][name]:.3f}" for name in results["mean"]]
        rows.append((f"mean and deviation of {len(results['runs'])}", "", *spread))
    else:
        metrics, data = results["metrics"], results["data"]
        rows = [("tested on", f"{data['clips']['test']} clips of {data['name']}, {data['test_split']}")]
        rows += format_scores(metrics)
        if "chance" in metrics:
            rows.append(("always the most frequent class", f"{metrics['chance']:.3f}"))
        rows.append(("parameters", f"{results['model']['parameters']:,}"))
    text, training = format_table(rows), results["training"]
    if training and training["steps"] < FEW_STEPS and not results["model"]["fine_tuned_from"]:
        text += f"\n\nTraining took only {training['steps']} steps, from random weights. Raise --num_train_epochs."
    return text
