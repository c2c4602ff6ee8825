"""Classes of unequal size: how many clips each has, and what evens them out."""

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from .labels import MULTI, REGRESSION, label_names, problem_type_of


def count_classes(dataset: Dataset) -> np.ndarray:
    """Count the clips of each class: integers of shape `(num_labels,)`.

    Raises:
        ValueError: If the labels are numbers.
    """
    if problem_type_of(dataset.features) == REGRESSION:
        raise ValueError("--class_balance needs classes, and a regression has none: leave it out.")
    counts = np.zeros(len(label_names(dataset.features)), dtype=np.int64)
    for label in dataset["label"]:
        counts[label] += 1
    return counts


def balancing_probabilities(dataset: Dataset) -> np.ndarray:
    """Return the probability of each clip with which all classes are drawn alike often: shape `(num_clips,)`.

    A clip with several labels has the weight of its rarest one.
    """
    rarity = 1 / np.maximum(count_classes(dataset), 1)
    weights = np.array([np.max(rarity[label], initial=0.0) for label in dataset["label"]])
    return weights / weights.sum()


def class_weights(dataset: Dataset) -> Tensor:
    """Weight each class in the loss by the inverse of its number of clips: shape `(num_labels,)`.

    With several labels a clip, the weight is that of the clips that have the label: how many lack it for each that has.
    """
    counts = torch.from_numpy(count_classes(dataset)).clamp(min=1)
    if problem_type_of(dataset.features) == MULTI:
        return (len(dataset) - counts) / counts
    return len(dataset) / (len(counts) * counts)
