# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Clips that are longer than the model's window: where their windows start, and how these become one prediction."""

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn
from transformers.utils import logging

from .targets import MULTI_LABEL, REGRESSION, SINGLE_LABEL


logger = logging.get_logger(__name__)

WINDOWS_PER_BLOCK = 32  # windows of a long clip that the model gets at once, which bounds its memory

# How logits become scores: the functions that pipelines know, and the one that belongs to each problem type.
SCORE_FUNCTIONS = {"softmax": partial(torch.softmax, dim=-1), "sigmoid": torch.sigmoid, "none": torch.clone}
FUNCTION_OF = {SINGLE_LABEL: "softmax", MULTI_LABEL: "sigmoid", REGRESSION: "none"}


def window_starts(num_frames: int, max_length: int, shift: int) -> list[int]:
    """Return the first frame of each window of a clip: `shift` frames apart, the last one at the end of the clip."""
    last = max(num_frames - max_length, 0)
    return [*range(0, last, shift), last]


def cut_windows(input_values: Tensor, spans: list[tuple[int, int]], max_length: int, shift: int) -> list[list[Tensor]]:
    """Cut each clip of `(batch_size, num_frames, num_mel_bins)` into windows of `(max_length, num_mel_bins)`.

    Args:
        input_values: The features of the clips.
        spans: First frame of each clip, and the one after its last. A clip shorter than a window gets the frames
            beside it: those that follow or, at the end of the row, those before.
        max_length: Length of a window, in frames.
        shift: Distance between windows, in frames.
    """
    clips = []
    for row, (first, end) in zip(input_values, spans):
        first = min(first, max(end - max_length, 0))
        starts = [first + start for start in window_starts(end - first, max_length, shift)]
        clips.append([row[start : start + max_length] for start in starts])
    return clips


@torch.compiler.disable  # it depends on values
def find_clips(input_values: Tensor, attention_mask: Tensor | None) -> list[tuple[int, int]]:
    """Return the frames of each clip of a padded batch: the first, and the one after the last.

    Without a mask, padding is recognised by its frames, whose mel bins are all equal. Only digital silence looks the
    same, so that silence at the ends of a recording is then left out, with a warning.

    Args:
        input_values: Float tensor of shape `(batch_size, num_frames, num_mel_bins)`.
        attention_mask: Integer or boolean tensor of shape `(batch_size, num_frames)`, padded on one side or both.

    Raises:
        ValueError: If the mask has gaps, or a row without a frame.
    """
    batch_size, num_frames = input_values.shape[:2]
    if attention_mask is not None:
        inside = attention_mask != 0
    elif torch.compiler.is_exporting() or torch.jit.is_tracing():  # a graph for other runtimes takes all frames
        return [(0, num_frames)] * batch_size
    else:
        inside = (input_values != input_values[..., :1]).any(-1) | (input_values.shape[2] == 1)
        inside[~inside.any(1), 0] = True  # nothing but silence
    counts = inside.cumsum(1)
    first = (counts == 0).sum(1)
    end = num_frames - (counts == counts[:, -1:]).sum(1) + 1
    spans = list(zip(first.tolist(), end.tolist()))
    if attention_mask is not None:
        for row, ((start, stop), count) in enumerate(zip(spans, counts[:, -1].tolist())):
            if count == 0 or stop - start != count:
                problem = "is 0 throughout" if count == 0 else "has a gap"
                raise ValueError(
                    f"Row {row} of `attention_mask` {problem}, expected 1 for the frames of one clip and 0 for padding "
                    "before or after them."
                )
    elif any(span != (0, num_frames) for span in spans):
        logger.warning_once(
            "Clips of several lengths came without `attention_mask`: frames of one constant value at either end of a "
            "clip are taken for padding, and so is digital silence. Keep the `attention_mask` of the feature extractor."
        )
    return spans


def check_mask(attention_mask: Tensor, input_values: Tensor):
    """Raise `ValueError` if a mask does not have the shape and the dtype of one for these inputs."""
    if attention_mask.shape != input_values.shape[:2]:
        raise ValueError(
            f"`attention_mask` has shape {tuple(attention_mask.shape)}, expected {tuple(input_values.shape[:2])}: one "
            "row for each clip and one column for each frame of `input_values`, as the feature extractor returns it."
        )
    if attention_mask.is_floating_point() or attention_mask.is_complex():
        raise ValueError(
            f"`attention_mask` is {attention_mask.dtype}, expected integers or booleans: 1 for frames of the clip, 0 "
            "for padding. Convert it: `attention_mask.long()`."
        )


def run_in_blocks(model, windows: list[Tensor]) -> Tensor:
    """Call a model on stacked windows, a block at a time, and concatenate what it returns."""
    blocks = [windows[first : first + WINDOWS_PER_BLOCK] for first in range(0, len(windows), WINDOWS_PER_BLOCK)]
    return torch.cat([model(torch.stack(block)) for block in blocks])


def problem_type_of(config) -> str:
    """Return a configuration's problem type; without one, a single label is a regression, and several are classes."""
    return config.problem_type or (REGRESSION if config.num_labels == 1 else SINGLE_LABEL)


def score_clip(logits: Tensor, config, function: str | None = None, aggregation: str | None = None) -> Tensor:
    """Score a clip from the logits of its windows.

    Args:
        logits: Float tensor of shape `(num_windows, num_labels)`.
        config: The model's configuration.
        function: `"softmax"`, `"sigmoid"` or `"none"`; by default the one of the problem type.
        aggregation: See `window_aggregation` of [`ASMConfig`], whose value is the default.

    Returns:
        Scores of shape `(num_labels,)`. With `"mean"`, they are the mean of the windows' scores under the function.
    """
    aggregation = aggregation or getattr(config, "window_aggregation", "mean")
    function = function or FUNCTION_OF[problem_type_of(config)]
    score = SCORE_FUNCTIONS[function]
    if aggregation == "logits":
        return score(logits.mean(0))
    scores = score(logits)
    if aggregation == "mean":
        return scores.mean(0)
    best = scores.amax(0)
    return best / best.sum() if function == "softmax" else best


def predict_clip(logits: Tensor, config) -> Tensor:
    """Combine the windows of a clip into one prediction, as the configuration's `window_aggregation` says.

    Args:
        logits: Float tensor of shape `(num_windows, num_labels)`.
        config: The model's configuration.

    Returns:
        Logits of shape `(num_labels,)` whose scores, under the function of the problem type, are those of the clip.
    """
    problem_type, aggregation = problem_type_of(config), config.window_aggregation
    if len(logits) == 1:
        return logits[0]
    if aggregation == "logits":
        return logits.mean(0)
    mean = aggregation == "mean"
    if problem_type == REGRESSION or (problem_type == MULTI_LABEL and not mean):
        return logits.mean(0) if mean else logits.amax(0)
    if problem_type == MULTI_LABEL:  # the logit of the mean of p is log(mean of p) - log(mean of 1 - p)
        on, off = nn.functional.logsigmoid(logits.float()), nn.functional.logsigmoid(-logits.float())
        return (on.logsumexp(0) - off.logsumexp(0)).to(logits.dtype)
    sums = logits.float().logsumexp(-1, keepdim=True)  # what softmax subtracts; their mean keeps the logits' level
    log_scores = logits.float() - sums
    log_scores = log_scores.logsumexp(0) - math.log(len(logits)) if mean else log_scores.amax(0)
    return (log_scores + sums.mean()).to(logits.dtype)


class ClipLogits(Tensor):
    """Logits of clips of several windows, which are only valid with the activation of their problem type.

    Their softmax is the mean of the windows' softmax, but their sigmoid is not the mean of the windows' sigmoid; and
    the other way round for several labels. The wrong activation raises `ValueError` instead of returning a wrong
    number. What is computed from the logits is a plain tensor; parts and casts of them are still such logits.
    """

    refused: frozenset = frozenset()
    activation: str

    @classmethod
    @torch.compiler.disable
    def of(cls, logits: Tensor, config) -> Tensor:
        """Mark logits that combine windows, unless each window's logits count alike under any activation."""
        if config.window_aggregation == "logits" or torch.compiler.is_exporting():
            return logits
        return logits.as_subclass(CLIP_LOGITS[problem_type_of(config)])

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in cls.refused:
            raise ValueError(
                f"The logits combine several windows of a clip after {cls.activation}, so that `{func.__name__}` of "
                'them is not the clip\'s score. Use the pipeline "asm-audio-classification", which applies '
                '`function_to_apply` to each window, set `window_aggregation="logits"`, or pass single windows.'
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        same = func in SAME_LOGITS and isinstance(result, Tensor)
        return result.as_subclass(cls) if same else result

    def __deepcopy__(self, memo):
        return copy.deepcopy(self.as_subclass(Tensor), memo)

    def __reduce_ex__(self, protocol):
        return self.as_subclass(Tensor).__reduce_ex__(protocol)


SAME_LOGITS = {Tensor.__getitem__, Tensor.to, Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.cpu}
SAME_LOGITS |= {Tensor.cuda, Tensor.detach, Tensor.clone, Tensor.contiguous, Tensor.squeeze, Tensor.unsqueeze}
SIGMOIDS = {Tensor.sigmoid, Tensor.sigmoid_, torch.sigmoid, torch.special.expit, nn.functional.sigmoid}
SIGMOIDS |= {nn.functional.logsigmoid, nn.functional.binary_cross_entropy_with_logits}
SOFTMAXES = {Tensor.softmax, torch.softmax, torch.special.softmax, nn.functional.softmax, nn.functional.cross_entropy}
SOFTMAXES |= {Tensor.log_softmax, torch.log_softmax, torch.special.log_softmax, nn.functional.log_softmax}


class SoftmaxLogits(ClipLogits):
    """Logits of one label per clip."""

    refused, activation = frozenset(SIGMOIDS), "softmax"


class SigmoidLogits(ClipLogits):
    """Logits of several labels per clip."""

    refused, activation = frozenset(SOFTMAXES), "sigmoid"


class RegressionLogits(ClipLogits):
    """Values of a regression."""

    refused, activation = frozenset(SIGMOIDS | SOFTMAXES), "no activation"


CLIP_LOGITS = {SINGLE_LABEL: SoftmaxLogits, MULTI_LABEL: SigmoidLogits, REGRESSION: RegressionLogits}
