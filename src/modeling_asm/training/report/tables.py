"""A run's results as files for people: tables as CSV, plots as PNG, and a summary for the terminal."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from ..data.decoding import LONGEST_KEPT, clip_name, read_stretch
from ..run_folder import write_whole
from ..tasks import Task, label_names, task_of
from .plots import plot_bars, plot_clips, plot_confusion_matrix, plot_learning_curves


WORST_CLIPS = 24  # rows of the list; the first half is also plotted


def write_json(results: dict, path: str | Path):
    """Write results as indented JSON, atomically."""
    write_whole(Path(path), json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path, header: list[str], rows: list[list]):
    """Write a table."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_report(
    folder: Path, task: Task, names: list[str], references: np.ndarray, logits: np.ndarray, log: list[dict]
):
    """Write how each class fared, and how training went.

    Each of these is a `.csv` and a `.png` in the folder: `confusion_matrix` (single-label only), `per_class` (not for a
    regression) and `learning_curves`.

    Args:
        folder: Where to write.
        task: The kind of problem.
        names: Names of the classes.
        references: Class indices, rows of 0 and 1, or numbers.
        logits: The model's outputs, of shape `(num_clips, num_labels)`.
        log: Trainer's `state.log_history`.
    """
    counts = task.confusions(logits, references, len(names))
    if counts is not None:
        rows = [[name, *row] for name, row in zip(names, counts)]
        write_csv(folder / "confusion_matrix.csv", ["true \\ predicted", *names], rows)
        plot_confusion_matrix(counts, names, folder / "confusion_matrix.png")
    classes = task.class_table(logits, references, names)
    if classes is not None:
        write_csv(folder / "per_class.csv", classes.header, classes.rows)
        plot_bars(classes.bars, names, folder / "per_class.png")
    write_learning_curves(folder, log)


def write_learning_curves(folder: Path, log: list[dict]):
    """Write `learning_curves`: what Trainer logged, one row per epoch or step; nothing if there was no step."""
    if not log:
        return
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
    folder: Path,
    clips: Dataset,
    references: np.ndarray,
    logits: np.ndarray,
    sampling_rate: int,
    root: Path | None,
    channel: int | None = None,
):
    """Write `worst_clips` as `.csv` and `.png`: the clips with the largest losses, the worst first.

    Args:
        folder: Where to write.
        clips: The clips, in the order of the outputs.
        references: Class indices, rows of 0 and 1, or numbers.
        logits: The model's outputs, of shape `(num_clips, num_labels)`.
        sampling_rate: Sampling rate of the clips, in hertz.
        root: Folder of the data, which is left out of the names of the clips.
        channel: Number of a channel of each clip, from 0, to draw instead of the mean of all.
    """
    task, names = task_of(clips.features), label_names(clips.features)
    losses = task.losses(torch.from_numpy(logits), torch.from_numpy(references)).numpy()
    labels, predicted = task.texts(references, names), task.predicted_texts(logits, names)
    order = np.argsort(-losses, kind="stable")[:WORST_CLIPS].tolist()
    rows = [clips[row] for row in order]
    files = [clip_name(row["audio"], index) for row, index in zip(rows, order)]
    files = [name_below(root, file) for file in files]
    table = [[file, labels[row], predicted[row], round(float(losses[row]), 4)] for file, row in zip(files, order)]
    write_csv(folder / "worst_clips.csv", ["file", "label", "prediction", "loss"], table)
    drawn = table[: WORST_CLIPS // 2]
    shown = LONGEST_KEPT * sampling_rate
    waveforms = [read_stretch(row, 0, shown, sampling_rate, channel) for row in rows[: len(drawn)]]
    titles = [label if label == found else f"{label}, predicted {found}" for _, label, found, _ in drawn]
    plot_clips(waveforms, sampling_rate, titles, folder / "worst_clips.png")


def name_below(root: Path | None, file: str) -> str:
    """Return the name of a file relative to a folder; outside of it, without the path."""
    if root is not None and Path(file).is_relative_to(root):
        return str(Path(file).relative_to(root))
    return Path(file).name if os.path.isabs(file) else file


def format_table(rows: list[tuple]) -> str:
    """Format rows as a table for the terminal, with the first row as the header."""
    texts = [[" ".join(str(cell).split()) for cell in row] for row in rows]  # a label may contain a line break
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in texts]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def is_score(name: str, value) -> bool:
    """Return whether an entry is a metric, and not the end of an interval or the chance level."""
    return isinstance(value, float) and not name.endswith(("_low", "_high")) and name != "chance"


def format_scores(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Return one row per score, with its interval if there is one."""
    rows = []
    for name, value in scores.items():
        if is_score(name, value):
            low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
            interval = f" (95% interval {low:.3f} to {high:.3f})" if low is not None else ""
            rows.append((name.replace("_", " "), f"{value:.3f}{interval}"))
    return rows
