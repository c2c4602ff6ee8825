"""Fit the classifier of a frozen encoder to a few clips: scikit-learn's regularised linear models, in seconds.

Embeddings are standardised first. The standardisation is folded into the weights, so that the result is an ordinary
`nn.Linear`. The strength of the regularisation is chosen by cross-validation where there are enough clips.
"""

import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, cross_val_score
from torch import nn

from ..targets import MULTI_LABEL, REGRESSION


STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)  # C of the logistic regressions; 1 / alpha of a ridge
DEFAULT_STRENGTH = 0.01  # where there are too few clips to choose
FOLDS = 3
STEPS = 300  # of L-BFGS


def fit_linear_head(
    classifier: nn.Linear,
    embeddings: np.ndarray,
    targets: np.ndarray,
    problem_type: str,
    balanced: bool = False,
    strengths: tuple[float, ...] = STRENGTHS,
    names: Sequence[str] | None = None,
    groups: Sequence | None = None,
) -> float:
    """Fit a classifier, in place.

    Args:
        classifier: The last layer of a model, of shape `(num_labels, size)`.
        embeddings: What it gets for each clip: floats of shape `(num_clips, size)`.
        targets: A class index or a number for each clip, or, with several labels, rows of 0 and 1.
        problem_type: That of the model's configuration.
        balanced: Whether classes count alike, however many clips they have.
        strengths: Strengths of the regularisation to choose from, by cross-validation if there are several.
        names: Names of the classes, for errors (default: their numbers).
        groups: The group of each clip, such as its speaker: cross-validation does not divide groups.

    Returns:
        The strength of the regularisation: C, or 1 / alpha for a regression.

    Raises:
        ValueError: If there is nothing to tell apart: one clip, one class, or clips that are all equal.
    """
    check_fit(embeddings, targets, problem_type, names or range(classifier.out_features))
    mean, scale = embeddings.mean(0), embeddings.std(0)
    scale = np.where(scale > 1e-6 * max(scale.max(), 1e-12), scale, np.inf)  # constant: no weight
    standardised = (embeddings - mean) / scale
    fit = {MULTI_LABEL: fit_labels, REGRESSION: fit_numbers}.get(problem_type, fit_classes)
    weight, bias, strength = fit(standardised, targets, classifier.out_features, balanced, strengths, groups)
    weight = weight / scale
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy(weight))
        classifier.bias.copy_(torch.from_numpy(bias - weight @ mean))
    return strength


def check_fit(embeddings: np.ndarray, targets: np.ndarray, problem_type: str, names: Sequence):
    """Raise `ValueError` if a classifier cannot be fitted to these clips; the message says what to do."""
    if len(embeddings) < 2:
        raise ValueError("At least two training clips are needed, better two of each class. Add some.")
    if problem_type not in (MULTI_LABEL, REGRESSION):
        missing = sorted(set(range(len(names))) - set(targets.tolist()))
        if len(names) < 2:
            raise ValueError("All training clips are of one class. Add clips of another one.")
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(names)} classes have no training clip, such as {names[missing[0]]!r}. Add "
                "clips, name the other classes with --labels, or train by gradient steps: --tune last."
            )
    if np.ptp(embeddings, axis=0).max() < 1e-6 * max(np.abs(embeddings).max(), 1e-12):
        raise ValueError("All training clips sound the same to the encoder: are they copies, or silent?")


def fit_classes(
    rows: np.ndarray, targets: np.ndarray, num_labels: int, balanced: bool, strengths: tuple[float, ...], groups
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit a multinomial logistic regression; return weights, biases and strength."""
    fewest = np.bincount(targets, minlength=num_labels).min()
    folds = make_folds(targets, groups, min(FOLDS, fewest), stratified=True)
    make = partial(logistic, balanced=balanced)
    strength = choose_strength(make, rows, targets, folds, negative_log_loss, strengths)
    weight, bias = coefficients(make(strength), rows, targets)
    return weight, bias, strength


def fit_labels(
    rows: np.ndarray, targets: np.ndarray, num_labels: int, balanced: bool, strengths: tuple[float, ...], groups
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit a logistic regression for each label. One that all or no clips have keeps its share, without weights."""
    make = partial(logistic, balanced=balanced)
    counts = targets.sum(0)
    varied = np.flatnonzero((counts >= FOLDS) & (len(targets) - counts >= FOLDS))
    strength = DEFAULT_STRENGTH
    if varied.size:
        common = varied[np.abs(counts[varied] - len(targets) / 2).argmin()]
        folds = make_folds(targets[:, common], groups, FOLDS, stratified=True)
        strength = choose_strength(make, rows, targets[:, common], folds, negative_log_loss, strengths)
    share = np.clip(counts / len(targets), 0.5 / len(targets), 1 - 0.5 / len(targets))
    weight, bias = np.zeros((num_labels, rows.shape[1])), np.log(share / (1 - share))
    for label in np.flatnonzero((counts > 0) & (counts < len(targets))):
        pair, offsets = coefficients(make(strength), rows, targets[:, label].astype(int))
        weight[label], bias[label] = pair[1] - pair[0], offsets[1] - offsets[0]
    return weight, bias, strength


def fit_numbers(
    rows: np.ndarray, targets: np.ndarray, num_labels: int, balanced: bool, strengths: tuple[float, ...], groups
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit a ridge regression; numbers have no classes to balance."""
    folds = make_folds(targets, groups, FOLDS if len(rows) >= 2 * FOLDS else 0, stratified=False)
    strength = choose_strength(ridge, rows, targets, folds, "neg_mean_squared_error", strengths)
    fitted = ridge(strength).fit(rows, targets.reshape(len(rows), -1))
    return fitted.coef_.reshape(num_labels, -1), np.broadcast_to(fitted.intercept_, (num_labels,)), strength


def make_folds(targets: np.ndarray, groups: Sequence | None, number: int, stratified: bool) -> list | None:
    """Return so many divisions of clips, which keep groups together; `None` if they cannot be divided.

    Args:
        targets: What is told apart.
        groups: The group of each clip, if there are groups.
        number: Number of divisions; of fewer groups, one for each.
        stratified: Whether the targets are classes, each of which must be among the clips to learn from.
    """
    number = number if groups is None else min(number, len(set(groups)))
    if number < 2:
        return None
    if groups is not None:
        folds = grouped_folds(targets, groups, number, stratified, seed=0)
    else:
        kind = StratifiedKFold if stratified else KFold
        folds = list(kind(number, shuffle=True, random_state=0).split(targets, targets))
    if stratified:
        folds = [(train, test) for train, test in folds if len(set(targets[train])) == len(set(targets))]
    return folds or None


def grouped_folds(
    targets: Sequence, groups: Sequence, number: int, stratified: bool, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return so many divisions of clips into those to learn from and those to test, which keep groups together.

    They are scikit-learn's. Before version 1.8, it mixes up the groups of stratified folds when it shuffles, so that
    they are shuffled here.
    """
    if not stratified:
        return list(GroupKFold(number, shuffle=True, random_state=seed).split(targets, targets, groups))
    _, names = np.unique(groups, return_inverse=True)
    order = np.random.RandomState(seed).permutation(names.max() + 1)
    return quietly(list, StratifiedGroupKFold(number).split(targets, targets, order.argsort()[names]))


def negative_log_loss(model: LogisticRegression, rows: np.ndarray, targets: np.ndarray) -> float:
    """Return scikit-learn's score of that name, also of clips among which a class is missing."""
    return -log_loss(targets, model.predict_proba(rows), labels=model.classes_)


def choose_strength(make, rows: np.ndarray, targets: np.ndarray, folds, scoring, strengths) -> float:
    """Return the strength that does best on held-out training clips; the default without folds."""
    if folds is None or len(strengths) == 1:
        return DEFAULT_STRENGTH if folds is None else strengths[0]
    scores = [quietly(cross_val_score, make(strength), rows, targets, cv=folds, scoring=scoring).mean()
              for strength in strengths]  # fmt: skip
    return strengths[int(np.nanargmax(scores))]


def logistic(strength: float, balanced: bool) -> LogisticRegression:
    """Return a logistic regression that L-BFGS fits."""
    return LogisticRegression(C=strength, max_iter=STEPS, class_weight="balanced" if balanced else None)


def ridge(strength: float) -> Ridge:
    """Return a ridge regression, which has a closed form."""
    return Ridge(alpha=1 / strength)


def coefficients(model: LogisticRegression, rows: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and biases of each class; scikit-learn has only the difference of two."""
    quietly(model.fit, rows, targets)
    if len(model.classes_) > 2:
        return model.coef_, model.intercept_
    return np.concatenate([-model.coef_, model.coef_]) / 2, np.concatenate([-model.intercept_, model.intercept_]) / 2


def quietly(function, *args, **kwargs):
    """Call a function of scikit-learn, without warnings of what is meant to be.

    A fit that stopped early is regularised, and hardly moves; and a class may have fewer clips than there are folds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return function(*args, **kwargs)
