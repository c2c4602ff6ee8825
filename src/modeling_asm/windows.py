"""Frames and windows of a waveform that comes piece by piece: none is computed twice, and the memory stays bounded."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from .fbank import frame_sizes
from .feature_extraction_asm import ASMFeatureExtractor, as_waveform, check_finite


class FrameStream:
    """Extract the frames of a waveform as its samples come; together they are those of the whole waveform.

    Args:
        feature_extractor: Its rate, frames and normalisation.
    """

    def __init__(self, feature_extractor: ASMFeatureExtractor):
        self.feature_extractor = feature_extractor
        self.window, self.shift = frame_sizes(
            feature_extractor.sampling_rate, feature_extractor.frame_length, feature_extractor.frame_shift
        )
        self.samples = torch.zeros(0)  # those of which a later frame has need
        self.skip = 0  # samples to come that no frame hears, where frames do not overlap

    def push(self, samples: Tensor) -> Tensor:
        """Take float32 samples of shape `(num_samples,)`; return the new frames, `(num_frames, num_mel_bins)`.

        Raises:
            ValueError: If a sample is not finite.
        """
        check_finite(samples[None])
        skipped = min(self.skip, len(samples))
        self.skip -= skipped
        self.samples = torch.cat([self.samples, samples[skipped:]])
        if len(self.samples) < self.window:
            return samples.new_zeros(0, self.feature_extractor.num_mel_bins)
        frames = self.feature_extractor.extract_frames(self.samples[None])[0]
        used = len(frames) * self.shift
        self.skip = max(used - len(self.samples), 0)
        self.samples = self.samples[used:].clone()
        return frames


class WindowStream:
    """Cut windows of `max_length` frames, `shift` apart, out of frames that come piece by piece.

    Args:
        max_length: Number of frames of a window.
        shift: Number of frames from one window to the next.
        step: The last window, too, starts at a multiple of `step` frames.
    """

    def __init__(self, max_length: int, shift: int, step: int = 1):
        self.max_length, self.shift, self.step = max_length, shift, step
        self.frames: Tensor | None = None
        self.first = 0  # number of the first frame that is kept
        self.next = 0  # first frame of the next window

    @property
    def num_frames(self) -> int:
        """Number of frames that have come."""
        return self.first + (0 if self.frames is None else len(self.frames))

    @property
    def last(self) -> int:
        """First frame of the window at the end of what has come; below 0 where that is less than a window."""
        return (self.num_frames - self.max_length) // self.step * self.step

    def push(self, frames: Tensor) -> list[tuple[int, Tensor]]:
        """Take frames of shape `(num_frames, num_mel_bins)`; return the windows that are whole, each with its start."""
        self.frames = frames if self.frames is None else torch.cat([self.frames, frames])
        windows = []
        while self.next + self.max_length <= self.num_frames:
            windows.append((self.next, self.cut(self.next)))
            self.next += self.shift
        unused = min(self.next, self.last) - self.first
        if unused > 0:
            self.frames = self.frames[unused:].clone()
            self.first += unused
        return windows

    def finish(self) -> list[tuple[int, Tensor]]:
        """Return the window at the end, where the last of [`push`] did not reach it."""
        start = self.last
        if start < 0 or self.next - self.shift == start:
            return []
        return [(start, self.cut(start))]

    def cut(self, start: int) -> Tensor:
        return self.frames[start - self.first : start - self.first + self.max_length]


def read_windows(
    blocks: Iterable[np.ndarray], feature_extractor: ASMFeatureExtractor, shift: int
) -> Iterator[tuple[float, float, Tensor]]:
    """Yield the windows of a recording, `shift` frames apart, the last one at its end; a short one is padded.

    Args:
        blocks: The samples, as [`stream_audio`] or [`open_audio`] yields them, at the extractor's rate.
        feature_extractor: Its rate, frames, normalisation, padding, and the length of a window.
        shift: Number of frames from one window to the next.

    Yields:
        Start and end of a window, in seconds, and float32 features of shape `(max_length, num_mel_bins)`.

    Raises:
        ValueError: If there is no sample, or one that is not finite; and whatever the blocks raise.
    """
    rate, size = feature_extractor.sampling_rate, feature_extractor.nb_max_samples
    samples, blocks = read_opening(blocks, size)
    if len(samples) < size:
        inputs = feature_extractor(samples, sampling_rate=rate, return_tensors="pt", truncation=True)
        yield 0.0, len(samples) / rate, inputs["input_values"][0]
        return
    frames, windows = FrameStream(feature_extractor), WindowStream(feature_extractor.max_length, shift)

    def describe(start: int, window: Tensor) -> tuple[float, float, Tensor]:
        return start * frames.shift / rate, (start * frames.shift + size) / rate, window

    for block in itertools.chain([samples], blocks):
        new = frames.push(torch.from_numpy(np.ascontiguousarray(block)))
        yield from (describe(*window) for window in windows.push(new))
    yield from (describe(*window) for window in windows.finish())


def read_waveforms(
    blocks: Iterable[np.ndarray], feature_extractor: ASMFeatureExtractor, shift: int
) -> Iterator[tuple[float, float, Tensor, int]]:
    """Yield the windows of a recording as [`read_windows`] does, but as samples.

    Yields:
        Start and end of a window, in seconds; float32 samples of shape `(nb_max_samples,)`, zeros behind the end of a
        short recording; and how many of them are the recording's.
    """
    rate, size = feature_extractor.sampling_rate, feature_extractor.nb_max_samples
    samples, blocks = read_opening(blocks, size)
    if len(samples) < size:
        waveform = as_waveform(samples, 0)
        check_finite(waveform[None])
        yield 0.0, len(samples) / rate, pad(waveform, (0, size - len(samples))), len(samples)
        return
    hop = frame_sizes(rate, feature_extractor.frame_length, feature_extractor.frame_shift)[1]
    windows = WindowStream(size, shift * hop, step=hop)
    for block in itertools.chain([samples], blocks):
        new = torch.from_numpy(np.ascontiguousarray(block))
        check_finite(new[None])
        yield from ((start / rate, (start + size) / rate, window, size) for start, window in windows.push(new))
    yield from ((start / rate, (start + size) / rate, window, size) for start, window in windows.finish())


def read_opening(blocks: Iterable[np.ndarray], size: int) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Return at least the first `size` samples of a recording, or all where it has less, and the blocks after them."""
    blocks = iter(blocks)
    opening = [next(blocks, np.zeros(0, np.float32))]
    while sum(map(len, opening)) < size and (block := next(blocks, None)) is not None:
        opening.append(block)
    return np.concatenate(opening), blocks
