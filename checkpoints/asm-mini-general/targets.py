# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Labels that a model is trained with: the problem type that they imply, their checks, and the loss."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .configuration_asm import PROBLEM_TYPES


_, SINGLE_LABEL, MULTI_LABEL, REGRESSION = PROBLEM_TYPES
SUM_TOLERANCE = 0.02  # of class probabilities, which may have been rounded to bfloat16
NUMBERS = f"One number per clip is a regression: set `problem_type={REGRESSION!r}` and `num_labels=1` in the "
NUMBERS += "configuration. For class indices, pass `labels.long()` of shape (batch_size,)."


def compute_loss(logits: Tensor, labels: Tensor, config, loss_function: Callable[..., Tensor]) -> Tensor:
    """Check the labels of a batch, and compute the loss of the configuration's problem type.

    Args:
        logits: Float tensor of shape `(batch_size, num_labels)`.
        labels: See [`ASMForAudioClassification`].
        config: The model's configuration. If it names no problem type, it is given the one that the labels imply.
        loss_function: The model's, as transformers defines it. It does not take class probabilities.

    Raises:
        ValueError: See [`check_labels`]. The configuration is then unchanged.
    """
    labels = labels.to(logits.device)
    problem_type = problem_type_of(config, labels)
    try:
        labels = check_labels(labels, logits, problem_type)
    except ValueError as error:
        if config.problem_type:
            raise
        raise ValueError(f"{error} (The configuration sets no `problem_type`: it was inferred.)") from None
    config.problem_type = problem_type
    if problem_type == SINGLE_LABEL and labels.is_floating_point():
        return nn.functional.cross_entropy(logits.float(), labels)
    return loss_function(labels=labels, pooled_logits=logits, config=config)


def problem_type_of(config, labels: Tensor | None = None) -> str:
    """Return a configuration's problem type or, if it names none, the one that transformers' models infer.

    A single label is a regression. Several are classes that exclude each other, unless `labels` are floats.
    """
    if config.problem_type:
        if config.problem_type not in PROBLEM_TYPES:
            raise ValueError(f"`problem_type` must be one of {PROBLEM_TYPES[1:]}, got {config.problem_type!r}.")
        return config.problem_type
    if config.num_labels == 1:
        return REGRESSION
    return MULTI_LABEL if labels is not None and labels.is_floating_point() else SINGLE_LABEL


def check_labels(labels: Tensor, logits: Tensor, problem_type: str) -> Tensor:
    """Check labels against logits of shape `(batch_size, num_labels)`, and return them as the loss takes them.

    Raises:
        ValueError: If number of labels, shape, dtype or values do not fit the problem type. Compiled graphs, which
            cannot look at values, skip the check of the values.
    """
    num_labels = logits.shape[1]
    if problem_type == SINGLE_LABEL:
        return check_classes(labels, logits.shape)
    labels = labels[:, None] if num_labels == 1 and labels.ndim == 1 else labels
    check_shape(labels, logits.shape, problem_type, "targets")
    labels = labels.to(logits.dtype)
    if problem_type == MULTI_LABEL:
        remedy = f"No index is ignored. Set `problem_type={REGRESSION!r}` for other numbers"
        check_range(labels, 1, f"`problem_type` is {MULTI_LABEL!r}, whose targets are between 0 and 1. {remedy}")
    elif not torch.compiler.is_compiling() and not labels.isfinite().all():
        raise ValueError(
            "`labels` has values that are not finite, which no regression can learn. Leave such clips out."
        )
    return labels


def check_classes(labels: Tensor, shape: torch.Size) -> Tensor:
    """Check class indices, or class probabilities, against the shape of the logits."""
    num_labels = shape[1]
    if num_labels == 1:
        raise ValueError(
            f"`problem_type` is {SINGLE_LABEL!r} but `num_labels` is 1: with one class there is nothing to learn. Set "
            f"`problem_type={REGRESSION!r}` to predict a number, or `{MULTI_LABEL!r}` for yes or no."
        )
    if not labels.is_floating_point():
        check_shape(labels, shape[:1], SINGLE_LABEL, "class indices")
        labels = labels.long()  # smaller types could not hold `num_labels`
        allowed = f"`num_labels`={num_labels} allows class indices of 0 to {num_labels - 1}, and -100 to ignore a clip"
        remedy = f"`problem_type` is {SINGLE_LABEL!r}. Set `num_labels` to the number of classes"
        check_range(labels, num_labels - 1, f"{allowed}. {remedy}", ignored=-100)
        if not torch.compiler.is_compiling() and (labels == -100).all():
            raise ValueError("All `labels` are -100, so that there is no loss. Leave out batches without a label.")
        return labels
    check_shape(labels, shape, SINGLE_LABEL, "class probabilities")
    labels = labels.float()
    if not torch.compiler.is_compiling():
        wrong = (labels < 0).any(1) | ~((labels.sum(1) - 1).abs() <= SUM_TOLERANCE)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise ValueError(
                f"Row {row} of `labels`, {[round(value, 3) for value in labels[row].tolist()[:8]]}, does not hold "
                f"class probabilities, which are at least 0 and sum to 1. `problem_type` is {SINGLE_LABEL!r}. Set "
                f"`problem_type={MULTI_LABEL!r}` if a clip may have several labels, or `{REGRESSION!r}` for numbers."
            )
    return labels


def check_shape(labels: Tensor, shape: torch.Size, problem_type: str, kind: str):
    """Raise `ValueError` if labels do not have the shape that the loss needs; the message says what to change."""
    if labels.shape == shape:
        return
    indices = labels.ndim == 1 and not labels.is_floating_point()
    if labels.ndim == 0 or labels.shape[0] != shape[0]:
        hint = f"Pass one row of labels for each of the {shape[0]} clips."
    elif labels.is_floating_point() and labels.shape == (shape[0], 1):
        hint = NUMBERS
    elif labels.shape == (*shape, 1):
        hint = "Remove the last axis: `labels.squeeze(-1)`."
    elif labels.ndim == len(shape) == 2:
        hint = f"Set `num_labels={labels.shape[1]}`, or pass rows of {shape[1]}."
    elif labels.ndim == 1 and not indices:
        hint = NUMBERS
    elif indices:
        hint = f"One class index per clip is `problem_type={SINGLE_LABEL!r}`."
    else:
        hint = f"For several labels per clip, set `problem_type={MULTI_LABEL!r}` and pass rows of 0 and 1."
    raise ValueError(
        f"`labels` has shape {tuple(labels.shape)}, but `problem_type` is {problem_type!r}, whose {kind} have shape "
        f"{tuple(shape)}. {hint}"
    )


def check_range(labels: Tensor, highest: int, allowed: str, ignored: int | None = None):
    """Raise `ValueError` if a label is not between 0 and `highest`."""
    if torch.compiler.is_compiling():
        return
    wrong = ~((labels >= 0) & (labels <= highest))
    outside = labels[wrong if ignored is None else wrong & (labels != ignored)]
    if outside.numel() > 0:
        raise ValueError(f"`labels` contains {outside[0].item()}, but {allowed}.")
