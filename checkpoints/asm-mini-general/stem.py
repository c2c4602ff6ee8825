# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Convolutions before the patches, and the batch normalisation of a network that may be frozen."""

from torch import Tensor, nn

from .configuration_asm import ASMConfig


class ASMBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose running statistics are updated only while its parameters are trainable.

    Where they are frozen (a linear probe, adapters) it normalises with the statistics it has, as in evaluation, so that
    a frozen model stays the same in every training loop.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel of `(batch_size, num_features, height, width)`."""
        # By name: the replicas of `nn.DataParallel` have these tensors, but no parameters.
        if self.training and not (self.weight.requires_grad and self.bias.requires_grad):
            statistics = (self.running_mean, self.running_var)
            return nn.functional.batch_norm(input, *statistics, self.weight, self.bias, training=False, eps=self.eps)
        return super().forward(input)


class ASMStem(nn.Sequential):
    """Convolutions before the patches (https://arxiv.org/abs/2106.14881); not part of the paper's model.

    Each is 3x3 with batch normalisation and GELU. It halves the mel bins, and keeps the frames or takes every n-th.
    """

    def __init__(self, config: ASMConfig):
        widths = [1, *config.stem_channels]
        strides = config.stem_time_strides or [1] * len(config.stem_channels)
        super().__init__(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, kernel_size=3, stride=(2, stride), padding=1, bias=False),
                    ASMBatchNorm2d(after),
                    nn.GELU(),
                )
                for before, after, stride in zip(widths, config.stem_channels, strides)
            )
        )
