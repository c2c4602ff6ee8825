# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""How a layer mixes tokens and channels: the MLP, its activation, and the token mixings that a config can name.

To add a token mixing, write a module here that maps `(batch_size, num_patches, hidden_size)` to the same shape and has
`num_units` and `resize`, as [`ASMTokenMixing`] has, and add it to `TOKEN_MIXING_CLASSES`.
"""

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from .configuration_asm import ASMConfig


VARIANCE_FLOOR = 1e-6  # of the tokens of a window, so that the deviation of equal tokens has a gradient


class ASMAconC(nn.Module):
    """Acon-C (https://arxiv.org/abs/2009.04759): `(p1 - p2) x sigmoid(beta (p1 - p2) x) + p2 x`, learned per unit.

    It starts as Swish (`p1 = beta = 1`, `p2 = 0`), or from random `p1` and `p2` with `config.acon_c_init = "random"`.

    Args:
        num_units: Number of hidden units, each with its own `p1`, `p2` and `beta`.
    """

    def __init__(self, num_units: int):
        super().__init__()
        self.p1 = nn.Parameter(torch.ones(num_units))
        self.p2 = nn.Parameter(torch.zeros(num_units))
        self.beta = nn.Parameter(torch.ones(num_units))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(..., num_units)` to the same shape and dtype."""
        difference = (self.p1 - self.p2) * hidden_states
        return difference * torch.sigmoid(self.beta * difference) + self.p2 * hidden_states


class ASMMLP(nn.Module):
    """Two linear maps with an activation in between, along the last axis."""

    def __init__(self, config: ASMConfig, size: int, width: int):
        super().__init__()
        self.fc1 = nn.Linear(size, width)
        self.activation_fn = ASMAconC(width) if config.hidden_act == "acon_c" else ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(width, size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(..., size)` to the same shape."""
        hidden_states = self.dropout(self.activation_fn(self.fc1(hidden_states)))
        return self.dropout(self.fc2(hidden_states))


class ASMChannelMixing(ASMMLP):
    """An MLP along the channels, the same for every token."""

    def __init__(self, config: ASMConfig):
        super().__init__(config, config.hidden_size, config.channels_mlp_dim)


class ASMTokenMixing(ASMMLP):
    """An MLP along the tokens, the same for every channel (https://arxiv.org/abs/2105.01601)."""

    def __init__(self, config: ASMConfig):
        super().__init__(config, config.num_patches, config.tokens_mlp_dim)
        self.num_units = config.hidden_size * config.tokens_mlp_dim  # hidden units of one example

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(batch_size, num_patches, hidden_size)` to the same shape."""
        return super().forward(hidden_states.transpose(1, 2)).transpose(1, 2)

    @torch.no_grad()
    def resize(self, config: ASMConfig, matrix: Tensor, density: float):
        """Fit the weights to the grid of tokens of `config`. The others are what [`resize_tokens`] returns."""
        matrix = matrix.to(self.fc1.weight)
        resized = {
            (self.fc1, "weight"): self.fc1.weight @ matrix.T / density,
            (self.fc2, "weight"): matrix @ self.fc2.weight,
            (self.fc2, "bias"): matrix @ self.fc2.bias,
        }
        for (module, name), value in resized.items():
            setattr(module, name, nn.Parameter(value, requires_grad=getattr(module, name).requires_grad))
        self.fc1.in_features = self.fc2.out_features = matrix.shape[0]


class ASMTokenConvolution(nn.Module):
    """A convolution of each channel over the grid of tokens, and the mean over all tokens: it fits any length.

    A depthwise convolution mixes tokens in ConvMixer, too (https://arxiv.org/abs/2201.09792). The mean lets a token
    know of those beyond the kernel; its weights start at 0.
    """

    def __init__(self, config: ASMConfig):
        super().__init__()
        size, channels = tuple(config.token_kernel_size), config.hidden_size
        self.patch_grid = config.patch_grid
        padding = tuple(side // 2 for side in size)
        self.convolution = nn.Conv2d(channels, channels, size, padding=padding, groups=channels)
        self.mean_weight = nn.Parameter(torch.zeros(channels))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.num_units = channels * config.num_patches

    def resize(self, config: ASMConfig, matrix: Tensor, density: float):
        """Fit another grid of tokens; the weights are the same at every place."""
        self.patch_grid, self.num_units = config.patch_grid, config.hidden_size * config.num_patches

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(batch_size, num_patches, hidden_size)` to the same shape."""
        grid = hidden_states.transpose(1, 2).unflatten(2, self.patch_grid)  # (batch_size, hidden_size, *patch_grid)
        mixed = self.convolution(grid).flatten(2).transpose(1, 2)
        return self.dropout(mixed + self.mean_weight * hidden_states.mean(1, keepdim=True))


class ASMPooling(nn.Module):
    """From the tokens of a window to one vector: their mean and, with `"mean_std"`, their standard deviation.

    With `config.pooling_dim`, each token is first mapped to so many channels, with the activation of the layers, so
    that the mean is that of detectors and not of the tokens themselves. With `config.embedding_dim`, a linear layer
    maps what was pooled to an embedding of this length.
    """

    def __init__(self, config: ASMConfig):
        super().__init__()
        self.with_deviation = config.pooling == "mean_std"
        self.projection = None
        if config.pooling_dim is not None:
            acon = config.hidden_act == "acon_c"
            activation = ASMAconC(config.pooling_dim) if acon else ACT2FN[config.hidden_act]
            self.projection = nn.Sequential(nn.Linear(config.hidden_size, config.pooling_dim), activation)
        self.embedding = None
        if config.embedding_dim is not None:
            self.embedding = nn.Linear(config.num_pooled, config.embedding_dim)

    def project(self, hidden_states: Tensor) -> Tensor:
        """Map `(batch_size, num_patches, hidden_size)` to what is pooled: `(batch_size, num_patches, pooling_dim)`."""
        return hidden_states if self.projection is None else self.projection(hidden_states)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(batch_size, num_patches, hidden_size)` to `(batch_size, pooled_size)`."""
        hidden_states = self.project(hidden_states)
        pooled = mean = hidden_states.mean(dim=1)
        if self.with_deviation:
            variance = (hidden_states - mean.unsqueeze(1)).square().mean(dim=1)
            pooled = torch.cat([mean, (variance + VARIANCE_FLOOR).sqrt()], dim=1)
        return pooled if self.embedding is None else self.embedding(pooled)


TOKEN_MIXING_CLASSES = {
    "mlp": ASMTokenMixing,
    "conv": ASMTokenConvolution,
}  # by their names in `ASMConfig.token_mixing`


def make_token_mixing(config: ASMConfig) -> nn.Module:
    """Return the token mixing of one layer.

    Raises:
        ValueError: If no class has the name `config.token_mixing`.
    """
    if config.token_mixing not in TOKEN_MIXING_CLASSES:
        raise ValueError(f"`token_mixing` must be one of {tuple(TOKEN_MIXING_CLASSES)}, got {config.token_mixing!r}.")
    return TOKEN_MIXING_CLASSES[config.token_mixing](config)
