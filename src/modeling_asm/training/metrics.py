"""Metrics of a classifier with bootstrap intervals, offline: `evaluate.load` would fetch code from the Hub."""

from collections.abc import Iterator

import datasets
import evaluate
import numpy as np
from sklearn import metrics as sklearn_metrics

from .labels import MULTI, REGRESSION


CLASSES = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
SEVERAL = datasets.Features(
    {"predictions": datasets.List(datasets.Value("float32")), "references": datasets.List(datasets.Value("float32"))}
)
NUMBERS = datasets.Features({"predictions": datasets.Value("float32"), "references": datasets.Value("float32")})


class BootstrapMetric(evaluate.Metric):
    """A score, and the percentiles of its bootstrap distribution as a 95 % interval.

    `compute(predictions=..., references=...)` returns `{score_name: value, f"{score_name}_low": ..., ..._high: ...}`.

    Further arguments of `compute`:
        n_resamples: How often the clips are drawn anew, with repetition; 0 leaves the interval out.
        groups: For each clip its speaker, kit or session. Whole groups are drawn then, as clips of one speaker are not
            independent; the interval says what to expect of other speakers.
        seed: Seed of the draws.
    """

    score_name: str
    description: str
    features = CLASSES

    def _info(self):
        return evaluate.MetricInfo(
            description=self.description, citation="", inputs_description=self.__doc__, features=self.features
        )

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Compute the score of arrays whose first axis is the clips."""
        raise NotImplementedError

    def draw_scores(self, predictions: np.ndarray, references: np.ndarray, draws: Iterator[np.ndarray]) -> list[float]:
        """Compute the score of each draw of rows."""
        return [self.score(predictions[rows], references[rows]) for rows in draws]

    def _compute(self, predictions, references, n_resamples: int = 1000, groups=None, seed: int = 0):
        predictions, references = np.asarray(predictions), np.asarray(references)
        result = {self.score_name: float(self.score(predictions, references))}
        if n_resamples > 0:
            scores = self.draw_scores(predictions, references, resamples(len(references), n_resamples, groups, seed))
            low, high = np.nanpercentile(scores, [2.5, 97.5])
            result |= {f"{self.score_name}_low": float(low), f"{self.score_name}_high": float(high)}
        return result


def resamples(size: int, number: int, groups=None, seed: int = 0):
    """Yield `number` draws of `size` rows with repetition; of whole groups, where there are any."""
    rng = np.random.default_rng(seed)
    if groups is None:
        yield from (rng.integers(0, size, size) for _ in range(number))
        return
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(inverse == group) for group in range(inverse.max() + 1)]
    for _ in range(number):
        yield np.concatenate([members[group] for group in rng.integers(0, len(members), len(members))])


class Accuracy(BootstrapMetric):
    """Share of the clips whose class was found; takes class indices."""

    score_name = "accuracy"
    description = "Share of correct predictions."

    def score(self, predictions, references):
        return np.mean(predictions == references)


class MacroF1(BootstrapMetric):
    """Mean over the classes, of those that occur as a prediction or a reference, of F1; takes class indices."""

    score_name = "macro_f1"
    description = "Unweighted mean of the classes' F1."

    def score(self, predictions, references):
        return sklearn_metrics.f1_score(references, predictions, average="macro", zero_division=0.0)


class UnweightedAverageRecall(BootstrapMetric):
    """Mean of the recalls of the classes that occur as a reference; takes class indices.

    Also called balanced accuracy; the measure of speech emotion recognition, where classes are of unequal size.
    """

    score_name = "unweighted_average_recall"
    description = "Unweighted mean of the classes' recall."

    def score(self, predictions, references):
        classes = np.unique(references)
        return np.mean([np.mean(predictions[references == name] == name) for name in classes])


class MeanAveragePrecision(BootstrapMetric):
    """Mean over the classes with a positive clip of average precision, AudioSet's measure.

    Takes scores and 0 or 1 for each clip and class: `(num_clips, num_labels)`.
    """

    score_name = "mean_average_precision"
    description = "Unweighted mean of the classes' average precision."
    features = SEVERAL

    def score(self, predictions, references):
        return np.mean(average_precisions(predictions, references)) if references.any() else np.nan

    def draw_scores(self, predictions, references, draws):
        """Sort the clips once for each class, and not for each draw, which AudioSet's size asks for."""
        order = np.argsort(-predictions, axis=0, kind="stable").T
        positive = np.take_along_axis(references.T > 0.5, order, axis=1)
        ranked = np.take_along_axis(predictions.T, order, axis=1)
        ends = [np.flatnonzero(np.append(np.diff(row), -1)) for row in ranked]  # equal scores share a threshold
        scores = []
        for rows in draws:
            count = np.bincount(rows, minlength=len(references))
            precisions = [drawn_precision(count[o], p, e) for o, p, e in zip(order, positive, ends)]
            scores.append(np.nanmean(precisions) if not np.isnan(precisions).all() else np.nan)
        return scores


class MeanSquaredError(BootstrapMetric):
    """Mean squared error of a regression; takes numbers."""

    score_name = "mean_squared_error"
    description = "Mean of the squared differences."
    features = NUMBERS

    def score(self, predictions, references):
        return np.mean((predictions - references) ** 2)


class R2(BootstrapMetric):
    """Share of the variance that a regression explains; takes numbers."""

    score_name = "r2"
    description = "Coefficient of determination."
    features = NUMBERS

    def score(self, predictions, references):
        spread = np.sum((references - references.mean()) ** 2)
        return 1 - np.sum((predictions - references) ** 2) / spread if spread > 0 else np.nan


def drawn_precision(count: np.ndarray, positive: np.ndarray, ends: np.ndarray) -> float:
    """Compute a class's average precision where clips are drawn several times or not at all.

    Args:
        count: How often each clip is drawn, the best one first.
        positive: Which clips have the class.
        ends: The last clip of each threshold.
    """
    found, told = np.cumsum(count * positive)[ends], np.cumsum(count)[ends]
    if found[-1] == 0:
        return np.nan
    return np.sum(np.diff(found, prepend=0) * found / np.maximum(told, 1)) / found[-1]


def average_precisions(scores: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Compute the average precision of each class that has a positive clip."""
    occurring = references.any(0)
    return np.atleast_1d(
        sklearn_metrics.average_precision_score(references[:, occurring] > 0.5, scores[:, occurring], average=None)
    )


def metrics_for(problem_type: str) -> list[BootstrapMetric]:
    """Return the metrics of a problem type, the one that chooses the best epoch first."""
    if problem_type == MULTI:
        return [MeanAveragePrecision()]
    if problem_type == REGRESSION:
        return [MeanSquaredError(), R2()]
    return [Accuracy(), MacroF1(), UnweightedAverageRecall()]


def compute_scores(problem_type: str, logits, references, n_resamples: int = 0, groups=None) -> dict[str, float]:
    """Compute all metrics of a problem type from a model's outputs.

    Args:
        problem_type: As in the model's config.
        logits: Of shape `(num_clips, num_labels)`.
        references: Class indices, rows of 0 and 1, or numbers.
        n_resamples: See [`BootstrapMetric`].
        groups: See [`BootstrapMetric`].

    Returns:
        Each score and, with resamples, its interval.
    """
    predictions = predictions_of(problem_type, np.asarray(logits))
    scores = {}
    for metric in metrics_for(problem_type):
        scores |= metric.compute(
            predictions=predictions, references=np.asarray(references), n_resamples=n_resamples, groups=groups
        )
    return scores


def predictions_of(problem_type: str, logits: np.ndarray) -> np.ndarray:
    """Turn logits into class indices; several labels keep their logits, whose order counts, and numbers theirs."""
    if problem_type == MULTI:
        return logits
    return logits[:, 0] if problem_type == REGRESSION else logits.argmax(1)


def confusion_matrix(predictions, references, num_labels: int) -> np.ndarray:
    """Count clips by their true class (row) and predicted class (column): integers of shape `(labels, labels)`."""
    return sklearn_metrics.confusion_matrix(references, predictions, labels=range(num_labels))
