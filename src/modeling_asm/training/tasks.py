"""What a label is: losses, scores, metrics and texts of single-label, multi-label and regression problems.

Everything that differs between them is a method of a [`Task`]. A new metric is a class in metrics.py and one entry in
the `metrics` of a task.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from datasets import ClassLabel, Features, List
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor, nn

from ..scoring import FUNCTION_OF, SCORE_FUNCTIONS
from ..targets import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from .metrics import (
    R2,
    Accuracy,
    BootstrapMetric,
    MacroF1,
    MeanAveragePrecision,
    MeanSquaredError,
    UnweightedAverageRecall,
    average_precisions,
    confusion_matrix,
)


class ClassTable(NamedTuple):
    """How each class fared: rows for a table, and scores between 0 and 1 for a plot."""

    header: list[str]
    rows: list[list]
    bars: dict[str, np.ndarray]


class Task(ABC):
    """A kind of problem, named as in a model's `config.problem_type`."""

    problem_type: ClassVar[str]
    metrics: ClassVar[tuple[type[BootstrapMetric], ...]]  # the most important first
    smooths_labels: ClassVar[bool] = True

    @abstractmethod
    def losses(self, logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """Compute the loss of each clip, float32 of shape `(batch_size,)`.

        Args:
            logits: Of shape `(batch_size, num_labels)`.
            labels: What [`targets`] returns.
            class_weights: Of shape `(num_labels,)`.
        """

    def scores(self, logits: Tensor) -> Tensor:
        """Return the scores of logits: probabilities, or the values of a regression, of the same shape."""
        return SCORE_FUNCTIONS[FUNCTION_OF[self.problem_type]](logits)

    @abstractmethod
    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """Return what the metrics take for predictions, from logits of shape `(num_clips, num_labels)`."""

    @abstractmethod
    def targets(self, labels: list, num_labels: int, soft: bool, smoothing: float) -> Tensor:
        """Return the labels of a batch as the loss takes them.

        Args:
            labels: A class index, a list of them, or a number for each clip.
            num_labels: Number of classes.
            soft: Whether labels will be mixed, and must be probabilities.
            smoothing: Fraction of a target that is spread over all classes.
        """

    def soft_targets(self, logits: list[Tensor]) -> Tensor:
        """Return the mean scores of several models, as [`losses`] takes them for labels."""
        return self.scores(torch.stack(logits).float()).mean(0)

    @abstractmethod
    def texts(self, references: np.ndarray, names: list[str]) -> list[str]:
        """Return the label of each clip as text."""

    @abstractmethod
    def predicted_texts(self, logits: np.ndarray, names: list[str]) -> list[str]:
        """Return the prediction for each clip as text."""

    def names(self, feature) -> list[str]:
        """Return the names of the classes of a column `label`."""
        return list(feature.names)

    def count_classes(self, labels: list, num_labels: int) -> np.ndarray:
        """Count the clips of each class: integers of shape `(num_labels,)`."""
        counts = np.zeros(num_labels, dtype=np.int64)
        for label in labels:
            counts[label] += 1
        return counts

    @abstractmethod
    def class_weights(self, counts: np.ndarray, num_clips: int) -> Tensor:
        """Return weights of the classes in the loss that balance them: shape `(num_labels,)`."""

    def class_table(self, logits: np.ndarray, references: np.ndarray, names: list[str]) -> ClassTable | None:
        """Return how each class fared, if there are classes."""
        return None

    def confusions(self, logits: np.ndarray, references: np.ndarray, num_labels: int) -> np.ndarray | None:
        """Return the confusion matrix, rows for true classes, if each clip has one label."""
        return None

    def chance(self, references: np.ndarray) -> float | None:
        """Return the accuracy of always predicting the most frequent class, if each clip has one label."""
        return None

    def compute_scores(self, logits, references, n_resamples: int = 0, groups=None) -> dict[str, float]:
        """Compute all metrics from a model's outputs.

        Args:
            logits: Of shape `(num_clips, num_labels)`.
            references: Class indices, rows of 0 and 1, or numbers.
            n_resamples: See [`BootstrapMetric`].
            groups: See [`BootstrapMetric`].

        Returns:
            Each score and, with resamples, its interval.
        """
        predictions, references = self.predictions(np.asarray(logits)), np.asarray(references)
        options = {"predictions": predictions, "references": references, "n_resamples": n_resamples, "groups": groups}
        scores = {}
        for metric in self.metrics:
            scores |= metric().compute(**options)
        return scores


class SingleLabel(Task):
    """One class per clip."""

    problem_type = SINGLE_LABEL
    metrics = (Accuracy, MacroF1, UnweightedAverageRecall)

    def losses(self, logits, labels, class_weights=None):
        weights = None if class_weights is None else class_weights.to(logits.device)
        return nn.functional.cross_entropy(logits.float(), labels, weight=weights, reduction="none")

    def predictions(self, logits):
        return logits.argmax(1)

    def targets(self, labels, num_labels, soft, smoothing):
        if not soft and smoothing == 0:
            return torch.tensor(labels)
        targets = nn.functional.one_hot(torch.tensor(labels), num_labels).float()
        return targets * (1 - smoothing) + smoothing / num_labels

    def texts(self, references, names):
        return [names[index] for index in references]

    def predicted_texts(self, logits, names):
        return self.texts(logits.argmax(1), names)

    def class_weights(self, counts, num_clips):
        counts = torch.from_numpy(counts).clamp(min=1)
        return num_clips / (len(counts) * counts)

    def class_table(self, logits, references, names):
        precision, recall, f1, counts = precision_recall_fscore_support(
            references, logits.argmax(1), labels=range(len(names)), zero_division=0.0
        )
        rows = [
            [name, int(count), *(round(float(score), 4) for score in scores)]
            for name, count, *scores in zip(names, counts, precision, recall, f1)
        ]
        header = ["class", "clips", "precision", "recall", "f1"]
        return ClassTable(header, rows, {"precision": precision, "recall": recall})

    def confusions(self, logits, references, num_labels):
        return confusion_matrix(logits.argmax(1), references, num_labels)

    def chance(self, references):
        return np.unique(references, return_counts=True)[1].max().item() / len(references)


class MultiLabel(Task):
    """Any number of classes per clip."""

    problem_type = MULTI_LABEL
    metrics = (MeanAveragePrecision,)

    def losses(self, logits, labels, class_weights=None):
        weights = None if class_weights is None else class_weights.to(logits.device)
        options = {"pos_weight": weights, "reduction": "none"}
        return nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float(), **options).mean(1)

    def predictions(self, logits):
        return logits  # their order counts

    def targets(self, labels, num_labels, soft, smoothing):
        targets = torch.zeros(len(labels), num_labels)
        for row, label in zip(targets, labels):
            row[torch.tensor(label, dtype=torch.long)] = 1.0
        return targets * (1 - smoothing) + smoothing / 2

    def texts(self, references, names):
        return [", ".join(np.array(names)[row]) or "none" for row in references > 0]

    def predicted_texts(self, logits, names):
        return self.texts(logits, names)

    def names(self, feature):
        return list(feature.feature.names)

    def class_weights(self, counts, num_clips):
        """Return for each class the number of clips without it per clip that has it, a weight of those that have it."""
        counts = torch.from_numpy(counts).clamp(min=1)
        return (num_clips - counts) / counts

    def class_table(self, logits, references, names):
        scores = np.full(len(names), np.nan)
        scores[references.any(0)] = average_precisions(logits, references)
        counts = references.sum(0).astype(int)
        rows = [[name, count, round(float(score), 4)] for name, count, score in zip(names, counts, scores)]
        return ClassTable(["class", "clips", "average_precision"], rows, {"average precision": scores})


class Regression(Task):
    """One number per clip."""

    problem_type = REGRESSION
    metrics = (MeanSquaredError, R2)
    smooths_labels = False

    def losses(self, logits, labels, class_weights=None):
        return (logits.float()[:, 0] - labels.float()).square()

    def predictions(self, logits):
        return logits[:, 0]

    def targets(self, labels, num_labels, soft, smoothing):
        return torch.tensor(labels, dtype=torch.float32)

    def soft_targets(self, logits):
        return super().soft_targets(logits)[:, 0]

    def texts(self, references, names):
        return [f"{value:.3g}" for value in references]

    def predicted_texts(self, logits, names):
        return self.texts(logits[:, 0], names)

    def names(self, feature):
        return ["value"]

    def count_classes(self, labels, num_labels):
        raise ValueError("--class_balance needs classes, and a regression has none. Leave it out.")

    def class_weights(self, counts, num_clips):
        raise ValueError("A regression has no classes to weight.")


TASKS: dict[str, Task] = {task.problem_type: task for task in (SingleLabel(), MultiLabel(), Regression())}
METRICS: dict[str, type[BootstrapMetric]] = {
    metric.score_name: metric for task in TASKS.values() for metric in task.metrics
}


def task_of(features: Features) -> Task:
    """Return the task that the type of the column `label` implies."""
    label = features["label"]
    if isinstance(label, ClassLabel):
        return TASKS[SINGLE_LABEL]
    return TASKS[MULTI_LABEL if isinstance(label, List) else REGRESSION]


def label_names(features: Features) -> list[str]:
    """Return the names of the classes; a regression has the single output `value`."""
    return task_of(features).names(features["label"])
