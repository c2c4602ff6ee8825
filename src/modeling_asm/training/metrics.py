"""Metrics with bootstrap intervals that work offline, unlike `evaluate.load`, which downloads code from the Hub."""

from collections.abc import Iterator

import datasets
import evaluate
import numpy as np
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics


CLASSES = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
SEVERAL = datasets.Features(
    {"predictions": datasets.List(datasets.Value("float32")), "references": datasets.List(datasets.Value("float32"))}
)
NUMBERS = datasets.Features({"predictions": datasets.Value("float32"), "references": datasets.Value("float32")})


class BootstrapMetric(evaluate.Metric):
    """A score, and the percentiles of its bootstrap distribution as a 95 % interval.

    Resamples of clips that are all right, or all wrong, say nothing: the interval of a fraction is then Wilson's.

    `compute(predictions=..., references=...)` returns `{score_name: value, f"{score_name}_low": ..., ..._high: ...}`.

    Args:
        n_resamples: Argument of `compute`: number of resamples of the clips, with replacement; 0 omits the interval.
        groups: Argument of `compute`: speaker, kit or session of each clip. Whole groups are then resampled, because
            the clips of one speaker are not independent; the interval is that of other speakers.
        seed: Argument of `compute`: seed of the resamples.
    """

    score_name: str
    hub_name: str  # what the Hub calls the metric
    description: str
    greater_is_better = True
    is_fraction = False  # of clips or of the clips of each class
    features = CLASSES

    def _info(self):
        return evaluate.MetricInfo(
            description=self.description, citation="", inputs_description=self.__doc__, features=self.features
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Store predictions and references: see `evaluate.Metric`, which would truncate fractions to class indices."""
        for name, values in (("predictions", predictions), ("references", references)):
            if self.features is CLASSES and np.asarray(values).dtype.kind not in "iub":
                raise TypeError(
                    f"`{name}` are {np.asarray(values).dtype}, but {self.score_name} takes class indices. Pass "
                    "integers, such as `logits.argmax(-1)`."
                )
        super().add_batch(predictions=predictions, references=references, **kwargs)

    def score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """Compute the score of arrays whose first axis is the clips."""
        raise NotImplementedError

    def draw_scores(self, predictions: np.ndarray, references: np.ndarray, draws: Iterator[np.ndarray]) -> list[float]:
        """Compute the score of each resample of rows."""
        return [self.score(predictions[rows], references[rows]) for rows in draws]

    def _compute(self, predictions, references, n_resamples: int = 1000, groups=None, seed: int = 0):
        predictions, references = np.asarray(predictions), np.asarray(references)
        result = {self.score_name: float(self.score(predictions, references))}
        if n_resamples > 0:
            scores = self.draw_scores(predictions, references, resamples(len(references), n_resamples, groups, seed))
            low, high = np.nanpercentile(scores, [2.5, 97.5])
            if self.is_fraction and low == high and low in (0, 1):
                number = len(references) if groups is None else len(set(groups))
                low, high = binomtest(round(low * number), number).proportion_ci(method="wilson")
            result |= {f"{self.score_name}_low": float(low), f"{self.score_name}_high": float(high)}
        return result


def resamples(size: int, number: int, groups=None, seed: int = 0):
    """Yield `number` resamples of `size` rows, with replacement; of whole groups, if there are any."""
    rng = np.random.default_rng(seed)
    if groups is None:
        yield from (rng.integers(0, size, size) for _ in range(number))
        return
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(inverse == group) for group in range(inverse.max() + 1)]
    for _ in range(number):
        yield np.concatenate([members[group] for group in rng.integers(0, len(members), len(members))])


class Accuracy(BootstrapMetric):
    """Fraction of clips whose class is predicted correctly; takes class indices."""

    is_fraction = True
    score_name = "accuracy"
    hub_name = "accuracy"
    description = "Fraction of correct predictions."

    def score(self, predictions, references):
        return np.mean(predictions == references)


class MacroF1(BootstrapMetric):
    """Mean F1 of the classes that occur as a prediction or a reference; takes class indices."""

    is_fraction = True
    score_name = "macro_f1"
    hub_name = "f1"
    description = "Unweighted mean of the F1 of the classes."

    def score(self, predictions, references):
        return sklearn_metrics.f1_score(references, predictions, average="macro", zero_division=0.0)


class UnweightedAverageRecall(BootstrapMetric):
    """Mean recall of the classes that occur as a reference; takes class indices.

    Also called balanced accuracy; the usual measure of speech emotion recognition, where classes differ in size.
    """

    is_fraction = True
    score_name = "unweighted_average_recall"
    hub_name = "recall"
    description = "Unweighted mean of the recall of the classes."

    def score(self, predictions, references):
        classes = np.unique(references)
        return np.mean([np.mean(predictions[references == name] == name) for name in classes])


class MeanAveragePrecision(BootstrapMetric):
    """Mean average precision of the classes with a positive clip, the measure of AudioSet.

    Takes scores and 0 or 1 for each clip and class: `(num_clips, num_labels)`.
    """

    score_name = "mean_average_precision"
    hub_name = "mean_average_precision"
    description = "Unweighted mean of the average precision of the classes."
    features = SEVERAL

    def score(self, predictions, references):
        return np.mean(average_precisions(predictions, references)) if references.any() else np.nan

    def draw_scores(self, predictions, references, draws):
        """Sort the clips once per class instead of once per resample, which the size of AudioSet requires."""
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
    hub_name = "mse"
    greater_is_better = False
    description = "Mean of the squared differences."
    features = NUMBERS

    def score(self, predictions, references):
        return np.mean((predictions - references) ** 2)


class R2(BootstrapMetric):
    """Fraction of the variance that a regression explains; takes numbers."""

    score_name = "r2"
    hub_name = "r_squared"
    description = "Coefficient of determination."
    features = NUMBERS

    def score(self, predictions, references):
        spread = np.sum((references - references.mean()) ** 2)
        return 1 - np.sum((predictions - references) ** 2) / spread if spread > 0 else np.nan


def drawn_precision(count: np.ndarray, positive: np.ndarray, ends: np.ndarray) -> float:
    """Compute the average precision of a class in a resample, where clips occur several times or not at all.

    Args:
        count: How often each clip occurs, in order of falling score.
        positive: Which clips have the class.
        ends: Index of the last clip at each threshold.
    """
    found, retrieved = np.cumsum(count * positive)[ends], np.cumsum(count)[ends]
    if found[-1] == 0:
        return np.nan
    return np.sum(np.diff(found, prepend=0) * found / np.maximum(retrieved, 1)) / found[-1]


def average_precisions(scores: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Compute the average precision of each class that has a positive clip."""
    occurring = references.any(0)
    return np.atleast_1d(
        sklearn_metrics.average_precision_score(references[:, occurring] > 0.5, scores[:, occurring], average=None)
    )


def confusion_matrix(predictions, references, num_labels: int) -> np.ndarray:
    """Count clips by true class (row) and predicted class (column): integers of shape `(num_labels, num_labels)`."""
    return sklearn_metrics.confusion_matrix(references, predictions, labels=range(num_labels))
