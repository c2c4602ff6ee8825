"""From several channels to one, with the check that every sample passes, whichever way it came in."""

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging

from ..waveforms import MAX_CHANNELS, as_samples, check_finite


logger = logging.get_logger(__name__)

# Decibels by which a mix may be quieter than its channels. One of eight channels with sound gives 9.
QUIETER = 20.0
DECLARE = "Pass mono samples of shape (num_samples,), or declare the channels of a stream, as with `channels=2`."


class Downmix:
    """Take the mean of the channels of a recording, block by block, or one of them.

    Args:
        name: Name of the recording in messages.
        channel: Number of the channel, from 0; by default the mean.
    """

    def __init__(self, name: str, channel: int | None = None):
        self.name, self.channel = name, channel
        self.samples, self.mixed, self.apart = 0, 0.0, 0.0  # their number, and the energy of the mix and its channels

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Take float32 samples of shape `(num_samples, num_channels)` and return `(num_samples,)`.

        Raises:
            ValueError: If there is no such channel, or a sample is not finite.
        """
        channels = block.shape[1]
        if self.channel is None:
            waveform = block.mean(axis=1)
        elif 0 <= self.channel < channels:
            waveform = np.ascontiguousarray(block[:, self.channel])
        else:
            have = "1 channel" if channels == 1 else f"{channels} channels"
            raise ValueError(f"{self.name} has {have}, numbered from 0, and none is {self.channel}.")
        if not np.isfinite(waveform.sum()):  # fast, and in this thread
            check_finite(torch.from_numpy(waveform)[None], self.name, self.samples)
        self.samples += len(waveform)
        if self.channel is None and channels > 1:
            self.mixed += float(np.vdot(waveform, waveform))
            self.apart += float(np.vdot(block, block)) / channels
        return waveform

    @property
    def decibels(self) -> float:
        """How much quieter the mix is than its channels, so far."""
        if self.apart == 0:
            return 0.0
        return 10 * float(np.log10(self.apart / self.mixed)) if self.mixed > 0 else np.inf

    @property
    def cancels(self) -> bool:
        """Whether the channels cancel each other, as those of a cable with crossed wires do."""
        return self.decibels > QUIETER

    def warn(self):
        """Warn if the channels cancel each other."""
        if self.cancels:
            quieter = "silent" if np.isinf(self.decibels) else f"{self.decibels:.0f} dB quieter than they are"
            logger.warning(
                f"{self.name} has channels that cancel each other: their mean is {quieter}. Use one of them, with "
                "`--channel 0` or `channel=0`."
            )


def as_channels(tensor: Tensor, name: str, channels: int | None = None, first: bool | None = None) -> np.ndarray:
    """Return samples as float32 of shape `(num_samples, num_channels)`.

    Args:
        tensor: Samples of shape `(num_samples,)`, or with the channels on either axis. Several channels on one axis
            are interleaved.
        name: What they are, for messages.
        channels: Number of channels. By default, one axis means one channel, and the shorter of two holds them.
        first: Whether the first axis holds the channels, if that is known.

    Raises:
        ValueError: If the shape has no meaning, or more than one.
    """
    shape = tuple(tensor.shape)
    if tensor.ndim not in (1, 2):
        raise ValueError(f"{name} has shape {shape}, expected (num_samples,), or two axes for samples and channels.")
    if tensor.ndim == 1 and tensor.numel() % (channels or 1):
        raise ValueError(f"{name} has {tensor.numel()} numbers, expected a multiple of {channels}, one per channel.")
    if tensor.ndim == 2:
        first = holds_channels_first(shape, name, channels) if first is None else first
        if channels not in (None, shape[0 if first else 1]):
            raise ValueError(f"{name} has shape {shape}, expected {channels} channels. {DECLARE}")
    samples = as_samples(tensor, name).cpu().numpy()
    if samples.ndim == 1:
        return samples.reshape(-1, channels or 1)
    return samples.T if first else samples


def holds_channels_first(shape: tuple[int, int], name: str, channels: int | None = None) -> bool:
    """Return whether the first of two axes holds the channels: the one of their number, or else the shorter one.

    Raises:
        ValueError: If either axis could, or none.
    """
    if channels is not None and (shape[0] == channels) != (shape[1] == channels):
        return shape[0] == channels
    if channels is not None and channels not in shape:
        raise ValueError(f"{name} has shape {shape}, expected one axis of {channels} channels. {DECLARE}")
    if shape == (1, 1):
        return False
    if channels is not None or max(shape) <= MAX_CHANNELS:
        raise ValueError(f"{name} has shape {shape}, and either axis could hold the channels. {DECLARE}")
    if min(shape) > MAX_CHANNELS:
        raise ValueError(
            f"{name} has shape {shape}: {min(shape)} channels are more than {MAX_CHANNELS}. Pass several recordings as "
            "a list of arrays, or mix the channels of one down first."
        )
    return shape[0] < shape[1]
