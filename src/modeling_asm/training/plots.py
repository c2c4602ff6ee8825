"""Pictures of results."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def plot_confusion_matrix(counts: np.ndarray, labels: list[str], path: str | Path):
    """Draw a confusion matrix as PNG: rows are true classes, columns predicted ones, colours shares of a row.

    Args:
        counts: Integers of shape `(num_labels, num_labels)`.
        labels: Names of the classes.
        path: Where to write the picture.
    """
    size = 2.5 + 0.42 * len(labels)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    figure.savefig(path, dpi=120)
