"""What a run reports: its data, model and scores as one dictionary, which `results.json`, README and cards quote."""

from collections import Counter
from pathlib import Path

import numpy as np
from datasets import Dataset, Features
from huggingface_hub import ModelCard
from transformers import PreTrainedModel

from ..modeling_asm import ASMForAudioClassification
from .data import DataArguments
from .labels import SINGLE, label_names, problem_type_of
from .metrics import compute_scores, confusion_matrix
from .models import ModelArguments
from .report import format_scores, format_table, is_score
from .splits import group_names


FEW_GROUPS = 5  # fewer speakers than that say nothing about others
FEW_STEPS = 200  # fewer than that hardly move random weights
DESCRIBED = ("command", "data", "model", "training", "cost", "environment")  # of a run, beside its scores


def describe_data(
    args: DataArguments,
    features: Features,
    test_split: str,
    clips: dict[str, int],
    problems: list[str] | None = None,
) -> dict:
    """Say what was trained on and reported.

    Args:
        args: The source.
        features: The data set's features, for the names of the classes.
        test_split: What to call the clips that are reported.
        clips: How many clips each split has.
        problems: What was wrong with the clips that were left out.
    """
    return {
        "name": args.name,
        "dataset_name": args.hub_name,
        "dataset_config": args.dataset_config,
        "dataset_revision": args.dataset_revision,
        "test_split": test_split,
        "clips": clips,
        "skipped_files": [without_folder(problem, args.root) for problem in problems or []],
        "labels": label_names(features),
    }


def without_folder(text: str, folder: Path | None) -> str:
    """Return a message in which files are named within a folder, however it was given."""
    for path in dict.fromkeys((folder.resolve(), folder.absolute(), folder)) if folder else []:
        for quote in "'\"":
            text = text.replace(f"{quote}{path}/", quote)
    return text


def describe_model(args: ModelArguments, model: PreTrainedModel, feature_extractor, window_samples: int) -> dict:
    """Say what the model is, and where its weights started; a path of this machine is no name of a base model."""
    path = args.model_name_or_path
    mixer = isinstance(model, ASMForAudioClassification)
    return {
        "base_model": None if path is None or Path(path).exists() else path,
        "fine_tuned_from": args.start,
        "start_licence": licence_of(args),
        "architecture": type(model).__name__,
        "tags": ["audio-spectrogram-mixer", "mlp-mixer"] if mixer else [],
        "parameters": model.num_parameters(),
        "window_seconds": window_samples / feature_extractor.sampling_rate,
        "config": {name: value for name, value in model.config.to_diff_dict().items() if "label" not in name},
        "feature_extractor": feature_extractor.to_dict(),
    }


def licence_of(args: ModelArguments) -> str | None:
    """Return the licence that the card of the checkpoint in a folder names."""
    card = Path(args.model_name_or_path or "") / "README.md"
    return ModelCard.load(card).data.license if args.model_name_or_path and card.is_file() else None


def score(
    features: Features, logits: np.ndarray, references: np.ndarray, resamples: int, clips=None, group_column=None
) -> dict:
    """Compute the metrics with intervals: of the clips and, where they have enough groups, of groups.

    Args:
        features: The data set's features, for the problem type.
        logits: The model's outputs, of shape `(num_clips, num_labels)`.
        references: Class indices, rows of 0 and 1, or numbers.
        resamples: Draws of the bootstrap.
        clips: The clips, in the order of the outputs.
        group_column: Their column of speakers, kits or sessions.
    """
    problem_type = problem_type_of(features)
    scores = finite(compute_scores(problem_type, logits, references, resamples))
    if resamples > 0 and isinstance(clips, Dataset) and group_column in clips.column_names:
        groups = group_names(clips, group_column)
        if len(set(groups)) >= FEW_GROUPS:
            grouped = compute_scores(problem_type, logits, references, resamples, groups)
            scores["by_group"] = {"column": group_column, "groups": len(set(groups)), **finite(grouped)}
    if problem_type == SINGLE:
        scores["chance"] = max(Counter(references.tolist()).values()) / len(references)
    return scores


def finite(scores: dict[str, float]) -> dict[str, float]:
    """Leave out what these clips do not define, as R2 of equal numbers: JSON has no word for it."""
    return {name: value for name, value in scores.items() if np.isfinite(value)}


def count_confusions(features: Features, logits: np.ndarray, references: np.ndarray) -> dict:
    """Return the confusion matrix under its key, where a clip has one label."""
    if problem_type_of(features) != SINGLE:
        return {}
    return {"confusion_matrix": confusion_matrix(logits.argmax(1), references, len(label_names(features))).tolist()}


def summarise(results: list[dict]) -> dict:
    """Put the results of several seeds and folds together: each one's scores, their mean and standard deviation."""
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
    """Return what the card of one run says of all runs."""
    seeds = list(dict.fromkeys(run["seed"] for run in summary["runs"]))
    return {"runs": len(summary["runs"]), "seeds": seeds, "mean": summary["mean"], "std": summary["std"]}


def format_summary(results: dict) -> str:
    """Lay out a run's results, or those of several, as a table for the terminal."""
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
        text += f"\n\nIt took {training['steps']} steps only, from random weights. Raise --num_train_epochs."
    return text
