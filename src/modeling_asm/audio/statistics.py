"""Mean and standard deviation of log-mel energies over recordings of any length, for the feature extractor."""

import math

import numpy as np
import torch

from ..feature_extraction_asm import ASMFeatureExtractor
from .sources import open_audio
from .windows import FrameStream


class FeatureStatistics:
    """Running mean and standard deviation of all values of the added frames, in double precision."""

    def __init__(self):
        self.count, self.total, self.squares = 0, 0.0, 0.0

    def add(self, frames: torch.Tensor):
        """Add log-mel energies of any shape."""
        frames = frames.double()
        self.count += frames.numel()
        self.total += frames.sum().item()
        self.squares += frames.square().sum().item()

    def result(self) -> tuple[float, float]:
        """Return mean and standard deviation.

        Raises:
            ValueError: If there were no frames, or all were digital silence.
        """
        if self.count == 0:
            raise ValueError("There is no recording to measure.")
        mean = self.total / self.count
        std = math.sqrt(max(self.squares / self.count - mean**2, 0.0))
        if std == 0:
            raise ValueError("All clips are digital silence, so there is nothing to learn from them.")
        return mean, std


def measure_recording(
    source, feature_extractor: ASMFeatureExtractor, statistics: FeatureStatistics, channel: int | None = None
):
    """Add the frames of a whole recording. One shorter than a frame is padded with zeros.

    Args:
        source: The recording, as [`open_audio`] takes it.
        feature_extractor: Its rate, frames and mel bins, without normalisation.
        statistics: Statistics to add the frames to. If the recording cannot be read to its end, nothing is added.
        channel: Number of a channel, from 0, to take instead of the mean of all.
    """
    frames, own = FrameStream(feature_extractor), FeatureStatistics()
    for block in open_audio(source, feature_extractor.sampling_rate, channel):
        own.add(frames.push(torch.from_numpy(np.ascontiguousarray(block))))
    if own.count == 0:
        own.add(frames.push(torch.zeros(frames.window - len(frames.samples))))
    statistics.count += own.count
    statistics.total += own.total
    statistics.squares += own.squares
