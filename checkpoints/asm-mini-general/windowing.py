# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Clips that are longer than the model's window: where they start and end in a padded batch, and their windows."""

import torch
from torch import Tensor
from transformers.utils import logging


logger = logging.get_logger(__name__)

WINDOWS_PER_BLOCK = 32  # windows of a long clip that the model gets at once, which bounds its memory


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


def mask_frames(clip) -> Tensor:
    """Return the mask of features of shape `(num_frames, num_mel_bins)`, int64 of shape `(num_frames,)`."""
    clip = torch.as_tensor(clip)
    ((first, end),) = find_clips(clip[None], None) if clip.ndim == 2 else [(0, len(clip))]
    frames = torch.arange(len(clip))
    return ((frames >= first) & (frames < end)).long()


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
