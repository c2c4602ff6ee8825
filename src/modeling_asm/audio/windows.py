"""Frames and windows of a waveform that arrives in pieces: none is computed twice, and memory stays bounded."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..feature_extraction_asm import ASMFeatureExtractor
from ..waveforms import as_waveform, check_finite


class FrameStream:
    """Extract the frames of a waveform as its samples arrive. Together they equal those of the whole waveform.

    Args:
        feature_extractor: Its rate, frames and normalisation.
    """

    def __init__(self, feature_extractor: ASMFeatureExtractor):
        self.feature_extractor = feature_extractor
        self.window, self.shift = feature_extractor.frame_samples
        self.samples = torch.zeros(0)  # those that later frames need
        self.skip = 0  # coming samples that no frame covers, if frames do not overlap

    def push(self, samples: Tensor) -> Tensor:
        """Take float32 samples of shape `(num_samples,)` and return the new frames, `(num_frames, num_mel_bins)`.

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
    """Cut windows of `max_length` frames, `shift` apart, from frames that arrive in pieces.

    Args:
        max_length: Length of a window, in frames.
        shift: Distance between windows, in frames.
        step: The last window starts at a multiple of `step` frames, too.
    """

    def __init__(self, max_length: int, shift: int, step: int = 1):
        self.max_length, self.shift, self.step = max_length, shift, step
        self.frames: Tensor | None = None
        self.first = 0  # index of the first frame that is kept
        self.next = 0  # first frame of the next window

    @property
    def num_frames(self) -> int:
        """Number of frames that have arrived."""
        return self.first + (0 if self.frames is None else len(self.frames))

    @property
    def last(self) -> int:
        """First frame of the window at the end of the frames so far; negative if they are fewer than a window."""
        return (self.num_frames - self.max_length) // self.step * self.step

    def push(self, frames: Tensor) -> list[tuple[int, Tensor]]:
        """Take frames of shape `(num_frames, num_mel_bins)` and return the completed windows, each with its start."""
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
        """Return the window at the end, unless the last window of [`push`] ended there."""
        start = self.last
        if start < 0 or self.next - self.shift == start:
            return []
        return [(start, self.cut(start))]

    def cut(self, start: int) -> Tensor:
        return self.frames[start - self.first : start - self.first + self.max_length]


def read_windows(
    blocks: Iterable[np.ndarray], feature_extractor: ASMFeatureExtractor, shift: int
) -> Iterator[tuple[float, float, Tensor]]:
    """Yield the windows of a recording, `shift` frames apart, the last one at its end. A short recording is padded.

    Args:
        blocks: The samples, as [`stream_audio`] or [`open_audio`] yields them, at the extractor's rate.
        feature_extractor: Its rate, frames, normalisation, padding, and the length of a window.
        shift: Distance between windows, in frames.

    Yields:
        Start and end of a window, in seconds, and float32 features of shape `(max_length, num_mel_bins)`.

    Raises:
        ValueError: If there are no samples or non-finite ones; and whatever the blocks raise.
    """
    rate, size = feature_extractor.sampling_rate, feature_extractor.nb_max_samples
    samples, blocks = read_opening(blocks, size)
    if len(samples) < size:
        inputs = feature_extractor(samples, sampling_rate=rate, return_tensors="pt", truncation=True)
        yield 0.0, len(samples) / rate, inputs["input_values"][0]
        return
    frames, windows = FrameStream(feature_extractor), WindowStream(feature_extractor.max_length, shift)
    times = feature_extractor.window_times
    for block in itertools.chain([samples], blocks):
        new = frames.push(torch.from_numpy(np.ascontiguousarray(block)))
        yield from ((*times(start), window) for start, window in windows.push(new))
    yield from ((*times(start), window) for start, window in windows.finish())


def read_waveforms(
    blocks: Iterable[np.ndarray], feature_extractor: ASMFeatureExtractor, shift: int
) -> Iterator[tuple[float, float, Tensor, int]]:
    """Yield the windows of a recording as [`read_windows`] does, but as samples instead of features.

    Yields:
        Start and end of a window, in seconds; float32 samples of shape `(nb_max_samples,)`, with zeros after the end
        of a short recording; and how many of them belong to the recording.
    """
    rate, size = feature_extractor.sampling_rate, feature_extractor.nb_max_samples
    samples, blocks = read_opening(blocks, size)
    if len(samples) < size:
        waveform = as_waveform(samples, 0)
        check_finite(waveform[None])
        yield 0.0, len(samples) / rate, pad(waveform, (0, size - len(samples))), len(samples)
        return
    hop, times = feature_extractor.frame_samples[1], feature_extractor.window_times
    windows = WindowStream(size, shift * hop, step=hop)
    for block in itertools.chain([samples], blocks):
        new = torch.from_numpy(np.ascontiguousarray(block))
        check_finite(new[None])
        yield from ((*times(start // hop), window, size) for start, window in windows.push(new))
    yield from ((*times(start // hop), window, size) for start, window in windows.finish())


def read_pieces(blocks: Iterable[np.ndarray], size: int) -> Iterator[Tensor]:
    """Yield a recording as pieces of `size` samples one after another, the last one at its end, or as one short piece.

    Args:
        blocks: The samples, as [`stream_audio`] or [`open_audio`] yields them.
        size: Length of a piece.
    """
    samples, blocks = read_opening(blocks, size)
    if len(samples) < size:
        yield torch.from_numpy(samples)
        return
    windows = WindowStream(size, size)
    for block in itertools.chain([samples], blocks):
        yield from (piece for _, piece in windows.push(torch.from_numpy(np.ascontiguousarray(block))))
    yield from (piece for _, piece in windows.finish())


def read_opening(blocks: Iterable[np.ndarray], size: int) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Return the first `size` samples of a recording or more (all, if it has fewer), and the blocks after them."""
    blocks = iter(blocks)
    opening = [next(blocks, np.zeros(0, np.float32))]
    while sum(map(len, opening)) < size and (block := next(blocks, None)) is not None:
        opening.append(block)
    return np.concatenate(opening), blocks
