"""Plots of results. Each function writes a PNG."""

from pathlib import Path

import numpy as np
import torch

from ...fbank import fbank, frame_sizes
from ...figures import figure, legible, save
from ..tasks import METRICS


def plot_confusion_matrix(counts: np.ndarray, labels: list[str], path: str | Path):
    """Draw a confusion matrix: rows are true classes, columns predicted ones, colours fractions of a row.

    Args:
        counts: Integers of shape `(num_labels, num_labels)`.
        labels: Names of the classes.
        path: File to write.
    """
    size = 2.5 + 0.42 * len(labels)
    picture = figure(figsize=(size, size))
    axes = picture.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [legible(label) for label in labels]
    axes.set_xticks(range(len(labels)), names, rotation=90)
    axes.set_yticks(range(len(labels)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    save(picture, path, dpi=100)


def plot_bars(scores: dict[str, np.ndarray], labels: list[str], path: str | Path):
    """Draw scores between 0 and 1 of each class as bars, one colour per kind of score."""
    picture = figure(figsize=(6, 1 + 0.3 * len(labels)))
    axes = picture.add_subplot()
    height, rows = 0.8 / len(scores), np.arange(len(labels))
    for number, (name, values) in enumerate(scores.items()):
        axes.barh(rows + (number - (len(scores) - 1) / 2) * height, np.nan_to_num(values), height, label=name)
    axes.set_yticks(rows, [legible(label) for label in labels])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.legend(loc="lower left")
    save(picture, path, dpi=100)


def plot_learning_curves(log: list[dict], path: str | Path):
    """Draw losses and scores over the epochs.

    Args:
        log: Entries with `epoch` and some of `loss`, `eval_loss` and the metrics `eval_*`.
        path: File to write.
    """
    picture = figure(figsize=(9, 3.5))
    losses, scores = picture.subplots(1, 2)
    names = dict.fromkeys(name for entry in log for name in entry if name == "loss" or name.startswith("eval_"))
    for name in names:
        points = [(entry["epoch"], entry[name]) for entry in log if name in entry]
        if not name.endswith(("runtime", "per_second")):
            metric = METRICS.get(name.removeprefix("eval_"))
            axes = scores if metric is not None and metric.greater_is_better else losses
            axes.plot(*zip(*points), label=name.removeprefix("eval_").replace("_", " ") if axes is scores else name)
    for axes in (losses, scores):
        axes.set_xlabel("epoch")
        if axes.lines:
            axes.legend()
    losses.set_title("loss")
    scores.set_title("scores on the dev split")
    save(picture, path, dpi=100)


def plot_clips(waveforms: list[np.ndarray], sampling_rate: int, titles: list[str], path: str | Path):
    """Draw the log-mel spectrograms of clips, four per row.

    Args:
        waveforms: Float clips in [-1, 1], each of shape `(num_samples,)`.
        sampling_rate: Their samples per second.
        titles: Title of each clip.
        path: File to write.
    """
    rows = max((len(waveforms) + 3) // 4, 1)
    picture = figure(figsize=(12, 2.4 * rows))
    window = frame_sizes(sampling_rate, 25.0, 10.0)[0]
    for number, (waveform, title) in enumerate(zip(waveforms, titles)):
        clip = torch.from_numpy(np.pad(waveform, (0, max(0, window - len(waveform)))))
        axes = picture.add_subplot(rows, 4, number + 1)
        axes.imshow(
            fbank(clip[None], sampling_rate, 64)[0].T.numpy(),
            origin="lower",
            aspect="auto",
            extent=(0, len(clip) / sampling_rate, 0, 64),
        )
        axes.set_title(legible(title), fontsize=9)
        axes.set_xlabel("s", fontsize=8)
        axes.set_yticks([])
    save(picture, path, dpi=80)
