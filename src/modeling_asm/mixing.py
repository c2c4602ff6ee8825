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
    def resize(self, matrix: Tensor, density: float):
        """Fit the weights to another grid of tokens. The arguments are what [`resize_tokens`] returns."""
        matrix = matrix.to(self.fc1.weight)
        resized = {
            (self.fc1, "weight"): self.fc1.weight @ matrix.T / density,
            (self.fc2, "weight"): matrix @ self.fc2.weight,
            (self.fc2, "bias"): matrix @ self.fc2.bias,
        }
        for (module, name), value in resized.items():
            setattr(module, name, nn.Parameter(value, requires_grad=getattr(module, name).requires_grad))
        self.fc1.in_features = self.fc2.out_features = matrix.shape[0]


TOKEN_MIXING_CLASSES = {"mlp": ASMTokenMixing}  # by their names in `ASMConfig.token_mixing`


def make_token_mixing(config: ASMConfig) -> nn.Module:
    """Return the token mixing of one layer.

    Raises:
        ValueError: If no class has the name `config.token_mixing`.
    """
    if config.token_mixing not in TOKEN_MIXING_CLASSES:
        raise ValueError(f"`token_mixing` must be one of {tuple(TOKEN_MIXING_CLASSES)}, got {config.token_mixing!r}.")
    return TOKEN_MIXING_CLASSES[config.token_mixing](config)
