# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Configuration of the Audio Spectrogram Mixer (ASM, https://arxiv.org/abs/2401.11102): every number of the model."""

import difflib
import functools
import math
from collections.abc import Iterable
from dataclasses import fields
from typing import NamedTuple

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig
from transformers.utils import logging


logger = logging.get_logger(__name__)

HIDDEN_ACTS = ("gelu", "mish", "silu", "swish", "acon_c")
ACON_C_INITS = ("swish", "random")
POOLINGS = ("mean", "mean_std")
WINDOW_AGGREGATIONS = ("mean", "max", "logits")
# Names that transformers passes or saves in addition to the fields; any other unknown name is taken for a typo.
ACCEPTED_NAMES = (
    "attn_implementation",
    "auto_map",
    "compression_config",
    "custom_pipelines",
    "experts_implementation",
    "quantization_config",
    "torch_dtype",
    "use_cache",
)
PROBLEM_TYPES = (None, "single_label_classification", "multi_label_classification", "regression")


def _raise_value_errors(cls: type) -> type:
    """Make a `strict` dataclass raise `ValueError`, as configurations do: `StrictDataclassError` is not one."""

    def wrap(method):
        @functools.wraps(method)
        def wrapped(self, *args, **kwargs):
            try:
                return method(self, *args, **kwargs)
            except StrictDataclassError as error:
                raise ValueError(str(error)) from error

        return wrapped

    for name in ("__init__", "__setattr__", "validate"):
        setattr(cls, name, wrap(getattr(cls, name)))
    return cls


@_raise_value_errors
@strict
class ASMConfig(PreTrainedConfig):
    r"""Configuration of [`ASMModel`] and [`ASMForAudioClassification`].

    The defaults describe the paper's model: AST's input (10.24 s of 128 mel bins, cut into 16x16 patches) and the
    encoder of Mixer-B. The paper does not state the stride, the MLP widths, the epsilon or the adapted initialisation
    of Acon-C. Their defaults are those of MLP-Mixer (https://arxiv.org/abs/2105.01601); for Acon-C, this project's.

    Args:
        hidden_size: Width of a token, in channels.
        num_hidden_layers: Number of Mixer layers.
        token_mixing: How a layer mixes tokens: `"mlp"`, the paper's token-mixing MLP, or `"conv"`, a convolution of
            each channel and the mean over all tokens. The latter has the same weights at every place, so that a window
            of any length keeps them.
        tokens_mlp_dim: Hidden width of the token-mixing MLP.
        token_kernel_size: Size of the kernel of `"conv"`, odd: tokens along frequency, and along time.
        channels_mlp_dim: Hidden width of the channel-mixing MLP.
        hidden_act: Activation in both MLPs: `"gelu"`, `"mish"`, `"silu"` (or its synonym `"swish"`) or `"acon_c"`.
        acon_c_init: Initial values of Acon-C's `p1` and `p2`: `"swish"` (1 and 0, so that it starts as Swish) or
            `"random"` (both from a standard normal distribution, as in https://arxiv.org/abs/2009.04759).
        hidden_dropout_prob: Dropout probability after each of the two linear maps of an MLP.
        drop_path_rate: Stochastic depth: probability of skipping a residual branch of the last layer. It grows
            linearly from 0 at the first layer.
        layer_norm_eps: Epsilon of the LayerNorms.
        initializer_range: Standard deviation of the normal distribution that initialises the weights.
        patch_size: Side of a square patch, or a pair (mel bins, frames).
        frequency_stride: Distance between neighbouring patches along frequency, in mel bins.
        time_stride: Distance between neighbouring patches along time, in frames.
        max_length: Length of the model's window, in frames; 100 frames are about 1 s.
        num_mel_bins: Number of mel bins of the input.
        stem_channels: Output channels of 3x3 convolutions before the patches. Each halves the mel bins and keeps the
            frames, so with `n` of them, `num_mel_bins`, the patch height and `frequency_stride` must be multiples of
            `2**n`. The paper's model has none.
        stem_time_strides: Frames to which each of these convolutions moves on, so that fewer are left; by default 1.
            `max_length`, the patch width and `time_stride` must be multiples of their product.
        pooling: What the classifier gets of the tokens of a window: their `"mean"`, or `"mean_std"`, mean and standard
            deviation.
        pooling_dim: Channels to which each token is mapped before it is pooled; by default, the tokens are pooled.
        embedding_dim: Length of the embedding to which a linear layer maps what is pooled, and which the classifier
            gets; by default, it gets what is pooled.
        norm_patch_loss: Whether [`ASMForPreTraining`] predicts each patch less its own mean and divided by its own
            deviation, as ViTMAE's `norm_pix_loss` does.
        window_overlap: Fraction of a window that overlaps with the next, when a clip is longer than one window.
        window_aggregation: How the windows of a clip become one prediction: `"mean"` of their scores (probabilities,
            or the values of a regression), their `"max"`, or the mean of their `"logits"`.

    Raises:
        ValueError: If a field has the wrong type or an impossible value. The message names the field.

    Example:

    ```python
    >>> from modeling_asm import ASMConfig, ASMForAudioClassification

    >>> config = ASMConfig(max_length=512, num_labels=50)
    >>> config.num_patches
    256
    >>> model = ASMForAudioClassification(config)
    ```"""

    model_type = "audio-spectrogram-mixer"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    token_mixing: str = "mlp"
    tokens_mlp_dim: int = 384
    token_kernel_size: list[int] | tuple[int, ...] = (1, 9)
    channels_mlp_dim: int = 3072
    hidden_act: str = "gelu"
    acon_c_init: str = "swish"
    hidden_dropout_prob: float | int = 0.0
    drop_path_rate: float | int = 0.0
    layer_norm_eps: float | int = 1e-6
    initializer_range: float | int = 0.02
    patch_size: int | list[int] | tuple[int, ...] = 16
    frequency_stride: int = 16
    time_stride: int = 16
    max_length: int = 1024
    num_mel_bins: int = 128
    stem_channels: list[int] | tuple[int, ...] = ()
    stem_time_strides: list[int] | tuple[int, ...] = ()
    pooling: str = "mean"
    pooling_dim: int | None = None
    embedding_dim: int | None = None
    norm_patch_loss: bool = True
    window_overlap: float | int = 0.5
    window_aggregation: str = "mean"

    def __post_init__(self, **kwargs):
        warn_of_unknown_fields(self, kwargs)
        super().__post_init__(**kwargs)
        if self.num_labels == 1 and self.problem_type is None:
            self.problem_type = "regression"  # as transformers infers it, but only at the first loss
        # As transformers does with the keys of `id2label`: JSON and examples have the numbers as text.
        self.label2id = {label: int(index) for label, index in (self.label2id or {}).items()}

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Size of a patch: (mel bins, frames)."""
        return (self.patch_size, self.patch_size) if isinstance(self.patch_size, int) else tuple(self.patch_size)

    @property
    def stem_stride(self) -> tuple[int, int]:
        """Mel bins and frames that one value after the stem stands for."""
        return 2 ** len(self.stem_channels), math.prod(self.stem_time_strides)

    @property
    def num_pooled(self) -> int:
        """Number of means and deviations that are pooled of the tokens."""
        return (self.pooling_dim or self.hidden_size) * (2 if self.pooling == "mean_std" else 1)

    @property
    def pooled_size(self) -> int:
        """Length of the vector that the classifier gets."""
        return self.embedding_dim or self.num_pooled

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Number of patches along (frequency, time)."""
        patch_bins, patch_frames = self.patch_shape
        return (
            (self.num_mel_bins - patch_bins) // self.frequency_stride + 1,
            (self.max_length - patch_frames) // self.time_stride + 1,
        )

    @property
    def num_patches(self) -> int:
        """Number of tokens: all patches of the grid."""
        return self.patch_grid[0] * self.patch_grid[1]

    @property
    def window_shift(self) -> int:
        """Distance between the windows of a long clip, in frames."""
        return self.shift_of_overlap(self.window_overlap)

    def shift_of_overlap(self, overlap: float) -> int:
        """Return the distance, in frames, between windows that overlap by this fraction of a window."""
        if not 0 <= overlap < 1:
            raise ValueError(f"`window_overlap` must be at least 0 and below 1, got {overlap}.")
        return max(round(self.max_length * (1 - overlap)), 1)

    def validate_ranges(self):
        """Check that sizes are positive, probabilities are below 1 and scales are not negative."""
        sizes = ("hidden_size", "num_hidden_layers", "tokens_mlp_dim", "channels_mlp_dim")
        for name in (*sizes, "frequency_stride", "time_stride", "max_length", "num_mel_bins"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        for name in ("hidden_dropout_prob", "drop_path_rate", "window_overlap"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 0 and below 1, got {getattr(self, name)}.")
        if not self.layer_norm_eps > 0:
            raise ValueError(f"`layer_norm_eps` must be above 0, got {self.layer_norm_eps}.")
        if not self.initializer_range >= 0:
            raise ValueError(f"`initializer_range` must not be negative, got {self.initializer_range}.")

    def validate_patches(self):
        """Check that a patch is one or two positive integers and fits into the input."""
        if len(self.patch_shape) != 2 or min(self.patch_shape) < 1:
            raise ValueError(
                f"`patch_size` must be a positive integer or a pair of them (mel bins, frames), got {self.patch_size}."
            )
        for patch, name in zip(self.patch_shape, ("num_mel_bins", "max_length")):
            if patch > getattr(self, name):
                raise ValueError(
                    f"`patch_size` {self.patch_size} does not fit: a side of {patch} is longer than "
                    f"`{name}`={getattr(self, name)}. Allowed are sides of 1 to {getattr(self, name)}."
                )

    def validate_tokens(self):
        """Check the kernel of a token convolution, and the width of what is pooled."""
        if len(self.token_kernel_size) != 2 or any(side < 1 or side % 2 == 0 for side in self.token_kernel_size):
            raise ValueError(
                "`token_kernel_size` must be two odd numbers of tokens (frequency, time), got "
                f"{self.token_kernel_size}."
            )
        for name in ("pooling_dim", "embedding_dim"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1 or None, got {getattr(self, name)}.")

    def validate_stem(self):
        """Check that the stem divides mel bins, frames, patches and strides without a remainder."""
        if any(channels < 1 for channels in self.stem_channels):
            raise ValueError(f"`stem_channels` must be positive integers, got {self.stem_channels}.")
        step = 2 ** len(self.stem_channels)
        sides = (self.num_mel_bins, self.patch_shape[0], self.frequency_stride)
        for name, size in zip(("num_mel_bins", "patch_size", "frequency_stride"), sides):
            if size % step:
                raise ValueError(
                    f"`{name}` of {size} mel bins is not a multiple of {step}, which the {len(self.stem_channels)} "
                    "convolutions of `stem_channels` need. Change it, or use fewer convolutions."
                )
        strides = self.stem_time_strides
        if strides and (len(strides) != len(self.stem_channels) or min(strides) < 1):
            raise ValueError(
                f"`stem_time_strides` must be a positive integer for each of the {len(self.stem_channels)} "
                f"convolutions of `stem_channels`, got {strides}."
            )
        sides = (self.max_length, self.patch_shape[1], self.time_stride)
        for name, size in zip(("max_length", "patch_size", "time_stride"), sides):
            if size % self.stem_stride[1]:
                raise ValueError(
                    f"`{name}` of {size} frames is not a multiple of {self.stem_stride[1]}, the product of "
                    "`stem_time_strides`. Change one of them."
                )

    def validate_choices(self):
        """Check the fields that take one of a few values."""
        choices = {"hidden_act": HIDDEN_ACTS, "acon_c_init": ACON_C_INITS, "problem_type": PROBLEM_TYPES}
        choices |= {"window_aggregation": WINDOW_AGGREGATIONS, "pooling": POOLINGS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` must be one of {allowed}, got {getattr(self, name)!r}.")


def warn_of_unknown_fields(config: PreTrainedConfig, names: Iterable[str]):
    """Warn of arguments of a configuration that it does not have, and would silently save."""
    known = [*(field.name for field in fields(config)), "num_labels"]
    for name in names:
        if name.startswith("_") or name in ACCEPTED_NAMES or hasattr(type(config), name):
            continue
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
        logger.warning(f"{type(config).__name__} has no field `{name}`, so it has no effect; did you mean `{nearest}`?")


class ASMSize(NamedTuple):
    """A named size: keyword arguments for [`ASMConfig`], and the parameters of the [`ASMModel`] they give."""

    config: dict
    parameters: int


# "tiny" and "small" are for clips of about a second and little data. "tiny" suits few speakers: 40 mel bins, which do
# not resolve the pitch of a voice, in overlapping patches of half the band. "small" has patches of the whole band and
# three frames, as keyword spotters do, and a deeper encoder. "base" is the paper's model, with a window of 10.24 s.
ASM_SIZES = {
    "tiny": ASMSize(
        {
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "tokens_mlp_dim": 64,
            "channels_mlp_dim": 512,
            "patch_size": (20, 16),
            "frequency_stride": 10,
            "time_stride": 4,
            "max_length": 98,
            "num_mel_bins": 40,
        },
        parameters=603_004,
    ),
    "small": ASMSize(
        {
            "hidden_size": 128,
            "num_hidden_layers": 10,
            "tokens_mlp_dim": 64,
            "channels_mlp_dim": 512,
            "patch_size": (64, 3),
            "frequency_stride": 64,
            "time_stride": 2,
            "max_length": 98,
            "num_mel_bins": 64,
        },
        parameters=1_409_760,
    ),
    "base": ASMSize({}, parameters=61_634_304),
}


__all__ = ["ASM_SIZES", "ASMConfig", "ASMSize"]
