# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""What users pass as waveforms: arrays, tensors and lists of any type, to float32 tensors in [-1, 1], or an error."""

import math

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging


logger = logging.get_logger(__name__)

MAX_CHANNELS = 8  # more rows than this, none longer than this: the channels are on the last axis

LARGEST_PEAK = 32.0  # 30 dB above full scale: floats beyond it are integers that nobody scaled

# Integer PCM: the values of zero and of full scale.
PCM_SCALES = {torch.uint8: (128, 128), torch.int16: (0, 2**15), torch.int32: (0, 2**31)}

scale_warned = False  # whether `check_scale` has warned in this process


def split_clips(raw_speech) -> list:
    """Split the input of the feature extractor into single clips, unconverted."""
    if isinstance(raw_speech, (np.ndarray, Tensor)):
        if raw_speech.ndim == 3:
            raise ValueError(
                f"`raw_speech` of shape {tuple(raw_speech.shape)} has three axes, but only mono audio is supported: "
                "(num_samples,) or (batch_size, num_samples). Mix the channels down: `raw_speech.mean(axis)` with "
                "the axis of the channels."
            )
        clips = list(raw_speech) if raw_speech.ndim == 2 else [raw_speech]
    elif isinstance(raw_speech, (list, tuple)):
        batched = len(raw_speech) == 0 or isinstance(raw_speech[0], (list, tuple, np.ndarray, Tensor))
        clips = list(raw_speech) if batched else [raw_speech]
    else:
        raise TypeError(
            f"`raw_speech` is a {type(raw_speech).__name__}, expected a waveform as a NumPy array, torch tensor or "
            "list of numbers, or a list of waveforms. Decode a file first: `soundfile.read(path)`."
        )
    if not clips:
        raise ValueError("`raw_speech` is empty, expected at least one clip with at least one sample.")
    if len(clips) > MAX_CHANNELS and all(np.ndim(clip) == 1 and 1 <= len(clip) <= MAX_CHANNELS for clip in clips):
        raise ValueError(
            f"`raw_speech` has {len(clips)} rows of {len(clips[0])} numbers, which looks like (num_samples, "
            "num_channels), but only mono audio is supported. Mix the channels down: `numpy.mean(raw_speech, axis=1)`."
        )
    return clips


def as_waveform(clip, index: int) -> Tensor:
    """Convert one clip to a float32 tensor of shape `(num_samples,)` in [-1, 1]; `index` is for the messages."""
    clip = as_tensor(clip, f"Clip {index}")
    if clip.ndim == 2:
        raise ValueError(
            f"Clip {index} has shape {tuple(clip.shape)}, but only mono audio of shape (num_samples,) is supported. "
            f"Mix the channels down: `clip.mean({int(clip.shape[0] > clip.shape[1])})`."
        )
    if clip.ndim != 1:
        raise ValueError(f"Clip {index} has shape {tuple(clip.shape)}, expected (num_samples,).")
    if clip.numel() == 0:
        raise ValueError(f"Clip {index} is empty, expected at least one sample.")
    return as_samples(clip, f"Clip {index}")


def as_tensor(numbers, name: str) -> Tensor:
    """Convert an array of any byte order and strides, or a sequence, to a tensor; `name` is for the messages."""
    if isinstance(numbers, Tensor):
        return numbers
    try:
        array = np.asarray(numbers)
    except ValueError as error:  # nested sequences of different lengths
        raise ValueError(f"{name} is not a plain sequence of numbers: {error}") from error
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} holds {array.dtype} values ({type(numbers).__name__}), expected numbers.")
    copy = not array.flags.writeable or any(stride < 0 for stride in array.strides)
    native = array.dtype.newbyteorder("=")
    return torch.from_numpy(array.astype(native, order="C", copy=copy))


def as_samples(tensor: Tensor, name: str) -> Tensor:
    """Convert a tensor to float32; PCM is scaled to [-1, 1], floats are not. `name` is for the messages."""
    if tensor.is_floating_point():
        samples = tensor.detach().float()
        check_scale(max(map(abs, samples.aminmax())).item() if samples.numel() else 0.0, name)
        return samples
    if tensor.dtype not in PCM_SCALES:
        raise TypeError(
            f"{name} holds {tensor.dtype} samples, whose full scale is unknown. Expected floating point samples "
            f"in [-1, 1], or PCM of type {', '.join(str(dtype) for dtype in PCM_SCALES)}."
        )
    zero, full_scale = PCM_SCALES[tensor.dtype]
    return (tensor.float() - zero) / full_scale


def check_scale(peak: float, name: str):
    """Warn, once in a process, of floating point samples that can only be unscaled integers."""
    global scale_warned
    if LARGEST_PEAK < peak < math.inf and not scale_warned:
        scale_warned = True
        logger.warning(
            f"{name} has a peak of {peak:.6g}, but floating point samples are in [-1, 1], so features and answers are "
            "wrong. Divide 16-bit samples by 32768, or pass them as int16."
        )


def fill_up(waveform: Tensor, num_samples: int, padding_mode: str) -> Tensor:
    """Lengthen a waveform to `num_samples` with its own samples, if `padding_mode` says so."""
    if len(waveform) >= num_samples or padding_mode not in ("repeat", "reflect"):
        return waveform
    period = waveform if padding_mode == "repeat" else torch.cat([waveform, waveform.flip(0)])
    return period.repeat(-(-num_samples // len(period)))[:num_samples]


def check_finite(batch: Tensor, name: str | None = None, first: int = 0):
    """Raise `ValueError` if a sample is not finite.

    Args:
        batch: Samples, `(batch_size, num_samples)`.
        name: What they are, for the message; by default, the number of the clip.
        first: Number of the first sample.
    """
    if batch.sum().isfinite():  # fast; a sum can overflow although all samples are finite
        return
    finite = torch.isfinite(batch)
    if not finite.all():
        index, sample = (~finite).nonzero()[0].tolist()
        raise ValueError(
            f"{name or f'Clip {index}'} has the value {batch[index, sample].item()} at sample {first + sample}, "
            "expected finite samples. Repair the recording, or replace such samples: `numpy.nan_to_num(waveform)`."
        )
