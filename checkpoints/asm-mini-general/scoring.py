# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Scores of a clip: how the logits of its windows become one prediction."""

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn

from .configuration_asm import WINDOW_AGGREGATIONS
from .targets import MULTI_LABEL, REGRESSION, SINGLE_LABEL, problem_type_of


# How logits become scores: the functions that pipelines know, and the one that belongs to each problem type.
SCORE_FUNCTIONS = {"softmax": partial(torch.softmax, dim=-1), "sigmoid": torch.sigmoid, "none": torch.clone}
FUNCTION_OF = {SINGLE_LABEL: "softmax", MULTI_LABEL: "sigmoid", REGRESSION: "none"}


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
    aggregation = check_aggregation(aggregation or getattr(config, "window_aggregation", "mean"))
    function = function or FUNCTION_OF[problem_type_of(config)]
    score = SCORE_FUNCTIONS[function]
    if aggregation == "logits":
        return score(logits.mean(0))
    scores = score(logits)
    if aggregation == "mean":
        return scores.mean(0)
    best = scores.amax(0)
    return best / best.sum() if function == "softmax" else best


def check_aggregation(aggregation: str) -> str:
    """Return the name of a way to combine windows; raise `ValueError` if there is none of this name."""
    if aggregation not in WINDOW_AGGREGATIONS:
        raise ValueError(f"`window_aggregation` must be one of {WINDOW_AGGREGATIONS}, got {aggregation!r}.")
    return aggregation


def predict_clip(logits: Tensor, config) -> Tensor:
    """Combine the windows of a clip into one prediction, as the configuration's `window_aggregation` says.

    Args:
        logits: Float tensor of shape `(num_windows, num_labels)`.
        config: The model's configuration.

    Returns:
        Logits of shape `(num_labels,)` whose scores, under the function of the problem type, are those of the clip.
    """
    problem_type, aggregation = problem_type_of(config), check_aggregation(config.window_aggregation)
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
    the other way round for several labels. The wrong activation, alone or in a loss, raises `ValueError` instead of
    returning a wrong number. Parts, casts and concatenations of such logits are still such logits; anything else that
    is computed from them is a plain tensor.
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
        name = func.__name__.removeprefix("special_")
        if name in cls.refused:
            raise ValueError(
                f"The logits combine several windows of a clip after {cls.activation}, so that `{name}` of "
                'them is not the clip\'s score. Use the pipeline "asm-audio-classification", which applies '
                '`function_to_apply` to each window, set `window_aggregation="logits"`, or pass single windows.'
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        if name not in SAME_LOGITS:
            return result
        if type(result) in (tuple, list):
            return type(result)(part.as_subclass(cls) for part in result)
        return result.as_subclass(cls) if isinstance(result, Tensor) else result

    def __deepcopy__(self, memo):
        return copy.deepcopy(self.as_subclass(Tensor), memo)

    def __reduce_ex__(self, protocol):
        return self.as_subclass(Tensor).__reduce_ex__(protocol)


# By the names of PyTorch's functions and methods: what returns the same values, and activations with the losses that
# contain them. (Properties are no methods: compiled models cannot return logits that follow them.)
SAME_LOGITS = {"__getitem__", "select", "narrow", "index_select", "gather", "unbind", "split", "chunk"}
SAME_LOGITS |= {"to", "type", "float", "double", "half", "bfloat16", "cpu", "cuda", "detach", "clone", "contiguous"}
SAME_LOGITS |= {"view", "reshape", "flatten", "squeeze", "unsqueeze", "expand", "transpose", "permute"}
SAME_LOGITS |= {"cat", "concat", "concatenate", "stack", "vstack"}
SIGMOIDS = {"sigmoid", "sigmoid_", "expit", "logsigmoid", "log_sigmoid", "binary_cross_entropy_with_logits"}
SIGMOIDS |= {"multilabel_soft_margin_loss", "soft_margin_loss"}
SOFTMAXES = {"softmax", "log_softmax", "softmin", "gumbel_softmax", "cross_entropy"}


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
