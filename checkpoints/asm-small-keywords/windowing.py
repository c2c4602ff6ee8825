# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Clips that are longer than the model's window: where their windows start, and how these become one prediction."""

import math

import torch
from torch import Tensor, nn


WINDOWS_PER_BLOCK = 32  # windows of a long clip that the model gets at once, which bounds its memory


def window_starts(num_frames: int, max_length: int, shift: int) -> list[int]:
    """Return the first frame of each window of a clip: `shift` frames apart, the last one at the end of the clip."""
    last = max(num_frames - max_length, 0)
    return [*range(0, last, shift), last]


def cut_windows(input_values: Tensor, lengths: list[int], max_length: int, shift: int) -> list[list[Tensor]]:
    """Cut each clip of `(batch_size, num_frames, num_mel_bins)` into windows of `(max_length, num_mel_bins)`.

    Args:
        input_values: The features of the clips.
        lengths: Number of frames of each clip; what follows is padding.
        max_length: Length of a window, in frames.
        shift: Distance between windows, in frames.
    """
    return [
        [clip[start : start + max_length] for start in window_starts(length, max_length, shift)]
        for clip, length in zip(input_values, lengths)
    ]


def run_in_blocks(model, windows: list[Tensor]) -> Tensor:
    """Call a model on stacked windows, a block at a time, and concatenate what it returns."""
    blocks = [windows[first : first + WINDOWS_PER_BLOCK] for first in range(0, len(windows), WINDOWS_PER_BLOCK)]
    return torch.cat([model(torch.stack(block)) for block in blocks])


def predict_clip(logits: Tensor, config, aggregation: str | None = None) -> Tensor:
    """Combine the logits of a clip's windows, `(num_windows, num_labels)`, as the config (or `aggregation`) says."""
    aggregation = aggregation or getattr(config, "window_aggregation", "mean")
    return aggregate_windows(logits, aggregation, config.problem_type)


def aggregate_windows(logits: Tensor, aggregation: str = "mean", problem_type: str | None = None) -> Tensor:
    """Combine the windows of a clip into one prediction.

    Args:
        logits: Float tensor of shape `(num_windows, num_labels)`.
        aggregation: See `window_aggregation` of [`ASMConfig`].
        problem_type: Whether scores are a softmax, sigmoids or the logits themselves.

    Returns:
        Logits of shape `(num_labels,)` whose scores are those of the clip.
    """
    if len(logits) == 1:
        return logits[0]
    if aggregation == "logits":
        return logits.mean(0)
    several, mean = problem_type == "multi_label_classification", aggregation == "mean"
    regression = problem_type == "regression" or (problem_type is None and logits.shape[1] == 1)
    if regression or (several and not mean):
        return logits.mean(0) if mean else logits.amax(0)
    if several:  # the logit of the mean of p is log(mean of p) - log(mean of 1 - p)
        on, off = nn.functional.logsigmoid(logits.float()), nn.functional.logsigmoid(-logits.float())
        return (on.logsumexp(0) - off.logsumexp(0)).to(logits.dtype)
    sums = logits.float().logsumexp(-1, keepdim=True)  # what softmax subtracts; their mean keeps the logits' level
    log_scores = logits.float() - sums
    log_scores = log_scores.logsumexp(0) - math.log(len(logits)) if mean else log_scores.amax(0)
    return (log_scores + sums.mean()).to(logits.dtype)
