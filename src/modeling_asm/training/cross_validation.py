"""Scores of a fitted classifier where clips are few: each clip's, from a classifier that was fitted to the others."""

import collections
from collections.abc import Callable

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch import nn

from .data.copies import find_copies
from .data.splits import FEW_CLIPS, choose_test, classes_of, group_names
from .linear_heads import grouped_folds
from .settings import Arguments


FOLDS = 5


def is_cross_validated(args: Arguments, dataset: DatasetDict, further: Dataset | None, tuning: str) -> bool:
    """Whether a classifier is fitted to few clips of which none were set aside, nor are to be, for its report."""
    train, test, _ = choose_test(dataset, args.split)
    chosen = args.split.test_fraction is not None or further is not None or test is not None or train is None
    return tuning == "head" and not chosen and len(train) <= FEW_CLIPS


def divide_clips(clips: Dataset, column: str | None, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide clips into folds, in each of which some are tested and the others learned from.

    Every class is among the clips to learn from: the only clip, or the only group, of a class is never tested.

    Args:
        clips: The clips.
        column: Column with the group of each clip, such as its speaker, that no fold divides.
        seed: Seed of the random choice.

    Returns:
        For each fold, the rows to learn from and those to test.

    Raises:
        ValueError: If no clip can be tested.
    """
    groups, classes = group_names(clips, column), classes_of(clips)
    if column is None:
        copies = find_copies({"all": clips})
        groups = [copies.get(("all", row), group) for row, group in enumerate(groups)]
    stratified = all(len(names) == 1 for names in classes)
    labels = [names[0] for names in classes] if stratified else [0] * len(clips)
    number = min(FOLDS, len(set(groups)), max(collections.Counter(labels).values()))
    folds = []
    if number > 1:
        for learned, tested in grouped_folds(labels, groups, number, stratified, seed):
            known = {name for row in learned for name in classes[row]}
            there = np.array([set(classes[row]) <= known for row in tested])
            folds.append((np.sort(np.concatenate([learned, tested[~there]])), tested[there]))
    folds = [(learned, tested) for learned, tested in folds if len(tested)]
    if not folds:
        what = "clips" if column is None else f"values of {column!r}"
        raise ValueError(
            f"No class has two {what}, so that none could be tested. Add clips, or report others: a folder `test` "
            "beside `train`."
        )
    return folds


def tested_rows(folds: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the rows that are tested in any fold, in order."""
    return np.sort(np.concatenate([tested for _, tested in folds]))


def score_folds(
    embeddings: np.ndarray,
    folds: list[tuple[np.ndarray, np.ndarray]],
    num_labels: int,
    fit: Callable[[nn.Linear, np.ndarray], object],
) -> np.ndarray:
    """Return the logits of each clip by a classifier that was fitted without its fold.

    Args:
        embeddings: Floats of shape `(num_clips, size)`.
        folds: What [`divide_clips`] returns.
        num_labels: Number of outputs of the classifier.
        fit: Fits a classifier to the clips of such rows.

    Returns:
        Float32 of shape `(num_clips, num_labels)`; not a number for clips that are in no fold.
    """
    logits = np.full((len(embeddings), num_labels), np.nan, np.float32)
    for learned, tested in folds:
        classifier = nn.Linear(embeddings.shape[1], num_labels, dtype=torch.float64)
        fit(classifier, learned)
        with torch.no_grad():
            logits[tested] = classifier(torch.from_numpy(embeddings[tested])).numpy()
    return logits
