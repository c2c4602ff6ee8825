# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""The arithmetic of fitting trained weights to another grid of patches: interpolation matrices, in float64."""

import math

import torch
from torch import Tensor, nn

from .configuration_asm import ASMConfig


def projection_geometry(config: ASMConfig) -> dict[str, tuple[int, int]]:
    """Return kernel size and stride of the patch projection, on the rows and columns that the stem leaves."""
    (bins, frames), (patch_bins, patch_frames) = config.stem_stride, config.patch_shape
    return {
        "kernel_size": (patch_bins // bins, patch_frames // frames),
        "stride": (config.frequency_stride // bins, config.time_stride // frames),
    }


def resize_tokens(old: ASMConfig, new: ASMConfig, stretch: bool = False) -> tuple[Tensor, float]:
    """Compute how values at the patches of one geometry are interpolated at those of another.

    Args:
        old: Configuration that the values belong to.
        new: Configuration with the new geometry.
        stretch: Whether the new window holds what the old one held, only slower or faster.

    Returns:
        Float64 tensor of shape `(new.num_patches, old.num_patches)`, linear along both axes and smoothed where patches
        become sparser; and the number of new patches per old patch.
    """
    matrices, density = [], 1.0
    for axis, (size, stride) in enumerate([("num_mel_bins", "frequency_stride"), ("max_length", "time_stride")]):
        relative = axis == 0 or stretch  # positions are fractions of the axis, or frames
        positions, steps = [], []
        for config in (old, new):
            unit = getattr(config, size) if relative else 1
            steps.append(getattr(config, stride) / unit)
            centres = torch.arange(config.patch_grid[axis], dtype=torch.float64, device="cpu") * steps[-1]
            positions.append(centres + config.patch_shape[axis] / 2 / unit)
        if relative:
            positions[1] = positions[1].clamp(positions[0][0], positions[0][-1])
        width = max(steps)
        weights = (1 - (positions[1][:, None] - positions[0]).abs() / width).clamp(min=0)
        inside = (positions[1] >= positions[0][0]) & (positions[1] <= positions[0][-1])
        matrices.append(weights / torch.where(inside, weights.sum(1), width / steps[0])[:, None])
        density *= steps[0] / steps[1]
    return torch.kron(*matrices), density


def resize_pictures(old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Return the float64 matrix `(pixels of new, pixels of old)` that resizes a flattened picture bilinearly."""
    pictures = torch.eye(math.prod(old), dtype=torch.float64, device="cpu").unflatten(1, (1, *old))
    return nn.functional.interpolate(pictures, size=new, mode="bilinear", antialias=True).flatten(1).T


@torch.no_grad()
def resize_projection(projection: nn.Conv2d, config: ASMConfig):
    """Fit a patch projection to another patch, in place: a resized patch gives the token that the original gave.

    The weights are multiplied by the pseudo-inverse of the resizing (https://arxiv.org/abs/2212.08013).
    """
    geometry = projection_geometry(config)
    old, new = projection.kernel_size, geometry["kernel_size"]
    if old != new:
        inverse = torch.linalg.pinv(resize_pictures(old, new)).to(projection.weight)
        weight = (projection.weight.flatten(2) @ inverse).unflatten(2, new)
        projection.weight = nn.Parameter(weight, requires_grad=projection.weight.requires_grad)
    projection.kernel_size, projection.stride = new, geometry["stride"]
