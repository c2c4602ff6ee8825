# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Labels that a model is trained with: their checks, and the problem type that they imply."""

import torch
from torch import Tensor


def infer_problem_type(labels: Tensor, num_labels: int) -> str:
    """Return the problem type that labels imply when the config names none, as everywhere in transformers."""
    if num_labels == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


def check_labels(labels: Tensor, logits: Tensor, problem_type: str) -> Tensor:
    """Check labels against logits of shape `(batch_size, num_labels)`, and return them as the loss takes them.

    Raises:
        ValueError: If shape or range do not fit the problem type. Compiled graphs, which cannot look at values, skip
            the check of the range.
    """
    num_labels = logits.shape[1]
    if problem_type == "single_label_classification" and labels.is_floating_point():
        check_shape(labels, logits.shape, "class probabilities")
        return labels.float()
    if problem_type == "single_label_classification":
        check_shape(labels, logits.shape[:1], "class indices")
        check_range(
            labels, num_labels - 1, f"`num_labels`={num_labels} allows 0 to {num_labels - 1}, and -100 to ignore", -100
        )
        return labels.long()
    labels = labels.to(logits.dtype)
    labels = labels[:, None] if num_labels == 1 and labels.ndim == 1 else labels
    check_shape(labels, logits.shape, problem_type)
    if problem_type == "multi_label_classification":
        check_range(labels, 1, "multi-label targets are between 0 and 1")
    return labels


def check_shape(labels: Tensor, shape: torch.Size, kind: str):
    """Raise `ValueError` if labels do not have the shape that the loss needs."""
    if labels.shape != shape:
        raise ValueError(f"`labels` has shape {tuple(labels.shape)}, but {kind} must have shape {tuple(shape)}.")


def check_range(labels: Tensor, highest: int, allowed: str, ignored: int | None = None):
    """Raise `ValueError` if a label is below 0 or above `highest`."""
    if torch.compiler.is_compiling():
        return
    wrong = (labels < 0) | (labels > highest)
    outside = labels[wrong if ignored is None else wrong & (labels != ignored)]
    if outside.numel() > 0:
        raise ValueError(f"`labels` contains {outside[0].item()}, but {allowed}.")
