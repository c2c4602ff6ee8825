"""Metrics of a classifier, offline: `evaluate.load` would fetch code from the Hub."""

import math

import datasets
import evaluate
import numpy as np


class ClassificationMetric(evaluate.Metric):
    """Accuracy with its 95 % Wilson interval, and macro F1, as one `evaluate.Metric`.

    `compute(predictions=..., references=...)` takes class indices. Macro F1 is the mean over the classes that occur in
    either of them.
    """

    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(
            description="Accuracy, its 95 % Wilson score interval, and macro-averaged F1.",
            citation="",
            inputs_description="Class indices.",
            features=features,
        )

    def _compute(self, predictions, references) -> dict[str, float]:
        counts = confusion_matrix(predictions, references)
        correct, total = int(np.trace(counts)), int(counts.sum())
        low, high = wilson_interval(correct, total)
        sizes = counts.sum(0) + counts.sum(1)
        f1 = 2 * np.diag(counts)[sizes > 0] / sizes[sizes > 0]
        return {
            "accuracy": correct / total,
            "accuracy_low": low,
            "accuracy_high": high,
            "macro_f1": float(f1.mean()),
        }


def confusion_matrix(predictions, references, num_labels: int | None = None) -> np.ndarray:
    """Count clips by their true class (row) and predicted class (column): integers of shape `(labels, labels)`."""
    predictions, references = np.asarray(predictions), np.asarray(references)
    size = num_labels or int(max(predictions.max(), references.max())) + 1
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (references, predictions), 1)
    return counts


def wilson_interval(correct: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Compute the Wilson score interval of a proportion; `z` of 1.96 makes it one of 95 %.

    It takes clips as independent; where a few speakers have many clips each, the truth is wider.
    """
    share, scale = correct / total, 1 + z**2 / total
    center = (share + z**2 / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return max(0.0, center - half), min(1.0, center + half)
