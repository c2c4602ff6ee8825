"""A run's results as files that people open: tables as CSV, pictures as PNG, and a summary for the terminal."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features
from sklearn.metrics import precision_recall_fscore_support

from .decoding import clip_name, read_waveform
from .labels import MULTI, REGRESSION, SINGLE, label_names, problem_type_of
from .losses import clip_losses
from .metrics import average_precisions, confusion_matrix, predictions_of
from .plots import plot_bars, plot_clips, plot_confusion_matrix, plot_learning_curves
from .runs import write_whole


WORST_CLIPS = 24  # rows of the list; half of them are drawn


def write_json(results: dict, path: str | Path):
    """Write results so that people read them too: indented, one line at the end of the file, never half of it."""
    write_whole(Path(path), json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path, header: list[str], rows: list[list]):
    """Write a table."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_report(folder: Path, features: Features, references: np.ndarray, logits: np.ndarray, log: list[dict]):
    """Write what happened to each class, and how the run went.

    Each of these is a `.csv` and a `.png` in the folder: `confusion_matrix` (one label a clip only), `per_class` and
    `learning_curves`.

    Args:
        folder: Where to write.
        features: The data set's features, for the names of the classes.
        references: Class indices, rows of 0 and 1, or numbers.
        logits: The model's outputs, of shape `(num_clips, num_labels)`.
        log: Trainer's `state.log_history`.
    """
    problem_type, names = problem_type_of(features), label_names(features)
    predictions = predictions_of(problem_type, logits)
    if problem_type == SINGLE:
        counts = confusion_matrix(predictions, references, len(names))
        rows = [[name, *row] for name, row in zip(names, counts)]
        write_csv(folder / "confusion_matrix.csv", ["true \\ predicted", *names], rows)
        plot_confusion_matrix(counts, names, folder / "confusion_matrix.png")
    if problem_type != REGRESSION:
        write_classes(folder, problem_type, predictions, references, names)
    write_learning_curves(folder, log)


def write_classes(folder: Path, problem_type: str, predictions, references, names: list[str]):
    """Write `per_class`: precision, recall and F1 of each class; or, with several labels a clip, average precision."""
    if problem_type == MULTI:
        number = references.sum(0).astype(int)
        scores = np.full(len(names), np.nan)
        scores[references.any(0)] = average_precisions(predictions, references)
        rows = [[name, count, round(float(score), 4)] for name, count, score in zip(names, number, scores)]
        write_csv(folder / "per_class.csv", ["class", "clips", "average_precision"], rows)
        plot_bars({"average precision": scores}, names, folder / "per_class.png")
        return
    precision, recall, f1, number = precision_recall_fscore_support(
        references, predictions, labels=range(len(names)), zero_division=0.0
    )
    rows = [
        [name, int(count), *(round(float(score), 4) for score in scores)]
        for name, count, *scores in zip(names, number, precision, recall, f1)
    ]
    write_csv(folder / "per_class.csv", ["class", "clips", "precision", "recall", "f1"], rows)
    plot_bars({"precision": precision, "recall": recall}, names, folder / "per_class.png")


def write_learning_curves(folder: Path, log: list[dict]):
    """Write `learning_curves`: what Trainer logged, a row an epoch or step."""
    steps: dict[int, dict] = {}
    for entry in log:
        steps.setdefault(entry["step"], {}).update(entry)
    wanted = [
        name
        for name in dict.fromkeys(name for entry in steps.values() for name in entry)
        if not name.endswith(("runtime", "per_second")) and name not in ("total_flos", "train_loss")
    ]
    rows = [[entry.get(name, "") for name in wanted] for _, entry in sorted(steps.items())]
    write_csv(folder / "learning_curves.csv", wanted, rows)
    plot_learning_curves(list(steps.values()), folder / "learning_curves.png")


def write_worst_clips(
    folder: Path, clips: Dataset, references: np.ndarray, logits: np.ndarray, sampling_rate: int, root: Path | None
):
    """Write `worst_clips`, as `.csv` and `.png`: those with the largest loss, the worst first.

    Args:
        folder: Where to write.
        clips: The clips, in the order of the outputs.
        references: Class indices, rows of 0 and 1, or numbers.
        logits: The model's outputs, of shape `(num_clips, num_labels)`.
        sampling_rate: Rate of the clips' samples, in hertz.
        root: Folder of the data, which the names of the clips leave out.
    """
    losses = clip_losses(
        torch.from_numpy(logits), torch.from_numpy(references), problem_type_of(clips.features)
    ).numpy()
    told, predicted = name_labels(clips.features, references, logits)
    order = np.argsort(-losses, kind="stable")[:WORST_CLIPS].tolist()
    rows = [clips[row] for row in order]
    files = [clip_name(row["audio"], index) for row, index in zip(rows, order)]
    files = [name_below(root, file) for file in files]
    table = [[file, told[row], predicted[row], round(float(losses[row]), 4)] for file, row in zip(files, order)]
    write_csv(folder / "worst_clips.csv", ["file", "label", "prediction", "loss"], table)
    drawn = table[: WORST_CLIPS // 2]
    waveforms = [read_waveform(row, sampling_rate) for row in rows[: len(drawn)]]
    titles = [label if label == found else f"{label}, taken for {found}" for _, label, found, _ in drawn]
    plot_clips(waveforms, sampling_rate, titles, folder / "worst_clips.png")


def name_below(root: Path | None, file: str) -> str:
    """Return a file's name within a folder; of one elsewhere, no folder of this machine."""
    if root is not None and Path(file).is_relative_to(root):
        return str(Path(file).relative_to(root))
    return Path(file).name if os.path.isabs(file) else file


def name_labels(features: Features, references: np.ndarray, logits: np.ndarray) -> tuple[list[str], list[str]]:
    """Return each clip's label and its prediction as text."""
    problem_type, names = problem_type_of(features), label_names(features)
    if problem_type == REGRESSION:
        return [f"{value:.3g}" for value in references], [f"{value:.3g}" for value in logits[:, 0]]
    if problem_type == MULTI:
        told, predicted = (
            [", ".join(np.array(names)[row]) or "nothing" for row in rows > 0] for rows in (references, logits)
        )
        return told, predicted
    return [names[index] for index in references], [names[index] for index in logits.argmax(1)]


def format_table(rows: list[tuple]) -> str:
    """Lay out rows of text in columns for the terminal, the first row as a header."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in texts]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def is_score(name: str, value) -> bool:
    """Tell a metric from the ends of its interval, and from what it is compared with."""
    return isinstance(value, float) and not name.endswith(("_low", "_high")) and name != "chance"


def format_scores(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Return a row for each score, with its interval where it has one."""
    rows = []
    for name, value in scores.items():
        if is_score(name, value):
            low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
            interval = f" (95 % interval {low:.3f} to {high:.3f})" if low is not None else ""
            rows.append((name.replace("_", " "), f"{value:.3f}{interval}"))
    return rows
