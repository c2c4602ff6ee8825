# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Batched log-mel filterbank, equal to Kaldi's: the recipe of `compute-fbank-feats`, step by step, in torch alone."""

import itertools
import math
import os
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor


PREEMPHASIS = 0.97  # y[t] = x[t] - 0.97 x[t - 1], Kaldi's coefficient
LOW_FREQUENCY = 20.0  # hertz, lower edge of the first filter; the upper edge of the last is the Nyquist frequency
EPSILON = torch.finfo(torch.float32).eps  # floor of the mel energies, so that silence is log(1.19e-7) = -15.94

# The filters are applied in bands of neighbours, each to the few frequencies that it reaches: a third of the product.
NUM_BANDS = 4

# A fork copies the thread that calls it, not those of OpenMP, for which the first parallel operation in the child would
# wait without end: in `datasets.Dataset.map(..., num_proc=2)`, for example. PyTorch's data loaders do the same.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def frame_sizes(sampling_rate: int, frame_length: float, frame_shift: float) -> tuple[int, int]:
    """Return length and shift of a frame in samples, from milliseconds. Fractions are truncated, as in Kaldi."""
    return int(sampling_rate * frame_length * 0.001), int(sampling_rate * frame_shift * 0.001)


def num_frames(num_samples: int, window: int, shift: int) -> int:
    """Return how many whole frames of `window` samples, `shift` apart, fit into `num_samples`."""
    return 1 + (num_samples - window) // shift if num_samples >= window else 0


def fft_length_of(window: int) -> int:
    """Return the length of the Fourier transform of a frame: the next power of two."""
    return 2 ** math.ceil(math.log2(window))


def frames_per_block(num_frames: int, device: torch.device) -> int:
    """Return how many of `num_frames` frames are processed together.

    On a CPU the working set of a block (frames, spectra, powers: about 7 kB per frame at 16 kHz) should stay in the
    processor's cache, and a few frames should not pay for the fresh pages of large buffers. On an accelerator only
    memory is a limit.
    """
    if device.type != "cpu":
        return 65536
    return 512 if num_frames < 4096 else 1024


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # cached tensors must be usable in training, too
def mel_filters(sampling_rate: int, num_mel_bins: int, fft_length: int) -> Tensor:
    """Compute Kaldi's triangular filters, equally spaced and of height 1 on the mel scale 1127 ln(1 + f / 700).

    Like Kaldi, it uses single precision: where a filter barely reaches a bin of the spectrum, its weight is rounding.

    Returns:
        Float tensor of shape `(fft_length // 2 + 1, num_mel_bins)`. The row of the Nyquist frequency is zero.
    """
    low, high = (1127.0 * math.log(1.0 + hertz / 700.0) for hertz in (LOW_FREQUENCY, sampling_rate / 2))
    step = (high - low) / (num_mel_bins + 1)
    index = torch.arange(num_mel_bins, dtype=torch.float32, device="cpu")
    left, center, right = low + index * step, low + (index + 1) * step, low + (index + 2) * step
    hertz = sampling_rate / fft_length * torch.arange(fft_length // 2 + 1, dtype=torch.float32, device="cpu")
    mel = (1127.0 * (1.0 + hertz / 700.0).log())[:, None]  # (fft_length // 2 + 1, 1)
    filters = torch.minimum((mel - left) / (center - left), (right - mel) / (right - center)).clamp_(min=0)
    filters[-1] = 0
    return filters


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def mel_bands(
    sampling_rate: int, num_mel_bins: int, fft_length: int, device: torch.device
) -> list[tuple[slice, slice, Tensor]]:
    """Cut [`mel_filters`] into bands of neighbouring filters, without the frequencies that a band does not reach.

    Returns:
        For each band: its mel bins, its bins of the spectrum, and the part of the filters with these two sizes.
    """
    bands = []
    for columns in torch.arange(num_mel_bins, device="cpu").chunk(NUM_BANDS):
        mels = slice(int(columns[0]), int(columns[-1]) + 1)
        filters = mel_filters(sampling_rate, num_mel_bins, fft_length)[:, mels]
        reached = filters.any(1).nonzero().flatten().tolist() or [0]
        bins = slice(reached[0], reached[-1] + 1)
        bands.append((mels, bins, filters[bins].contiguous().to(device)))
    return bands


class Workspace(NamedTuple):
    """Buffers for a block of frames, of shape `(rows, columns, ...)`, which all blocks share."""

    centred: Tensor  # (..., window)
    tapered: Tensor  # (..., fft_length), zero behind the window
    spectrum: Tensor  # (..., fft_length // 2 + 1), complex
    power: Tensor  # (..., fft_length // 2 + 1)
    energy: Tensor  # (..., num_mel_bins)

    @classmethod
    def allocate(cls, like: Tensor, rows: int, columns: int, window: int, num_mel_bins: int) -> "Workspace":
        """Allocate buffers with the dtype and device of `like`."""
        fft_length = fft_length_of(window)
        bins = fft_length // 2 + 1
        return cls(
            centred=like.new_empty(rows, columns, window),
            tapered=like.new_zeros(rows, columns, fft_length),
            spectrum=like.new_empty(rows, columns, bins, dtype=torch.complex64),
            power=like.new_empty(rows, columns, bins),
            energy=like.new_empty(rows, columns, num_mel_bins),
        )

    def cut(self, rows: int, columns: int) -> "Workspace":
        """Return the part for a smaller block."""
        return Workspace(*(buffer[:rows, :columns] for buffer in self))


def log_mel(frames: Tensor, hann: Tensor, bands: list[tuple[slice, slice, Tensor]], space: Workspace, out: Tensor):
    """Compute the log-mel energies of a block of frames: Kaldi's recipe, step by step.

    Args:
        frames: Float tensor of shape `(rows, columns, window)`.
        hann: The window function, of shape `(window,)`.
        bands: The filters, as [`mel_bands`] returns them.
        space: Buffers for the intermediate results.
        out: Where to write the energies: shape `(rows, columns, num_mel_bins)`.
    """
    # 1. Remove the DC offset of each frame.
    x = torch.sub(frames, frames.mean(-1, keepdim=True), out=space.centred)
    # 2. Pre-emphasis. The first sample needs none, because the window is zero there.
    y = space.tapered[..., 1 : len(hann)]
    torch.mul(x[..., :-1], -PREEMPHASIS, out=y)  # the product is complete before it is subtracted
    y += x[..., 1:]
    # 3. Hann window, 4. power spectrum.
    y *= hann[1:]
    torch.fft.rfft(space.tapered, out=space.spectrum)
    real, imaginary = torch.view_as_real(space.spectrum).square_().unbind(-1)
    power = torch.add(real, imaginary, out=space.power).flatten(0, 1)
    # 5. Mel filters, 6. logarithm.
    for mels, bins, filters in bands:
        torch.mm(power[:, bins], filters, out=space.energy.flatten(0, 1)[:, mels])
    torch.log(space.energy.clamp_(min=EPSILON), out=out)


@torch.no_grad()
def fbank(
    waveform: Tensor,
    sampling_rate: int = 16000,
    num_mel_bins: int = 128,
    frame_length: float = 25.0,
    frame_shift: float = 10.0,
    out: Tensor | None = None,
) -> Tensor:
    """Compute log-mel filterbank features of a batch of equally long waveforms.

    Row `i` equals `torchaudio.compliance.kaldi.fbank(window_type="hanning", dither=0)` of that row alone: frames never
    see their neighbours, because DC offset and pre-emphasis are computed per frame.

    Args:
        waveform: Float tensor of shape `(batch_size, num_samples)`, mono, in [-1, 1].
        sampling_rate: Samples per second, in hertz.
        num_mel_bins: Number of triangular filters between 20 Hz and the Nyquist frequency.
        frame_length: Length of the analysis window, in milliseconds.
        frame_shift: Distance between windows, in milliseconds.
        out: Tensor to write the features to, with the shape, dtype and device of the result.

    Returns:
        Float tensor of shape `(batch_size, num_frames, num_mel_bins)` on the waveform's device: natural log of power,
        floored at float32 epsilon, with `num_frames = 1 + (num_samples - frame_length) // frame_shift` in samples.

    Raises:
        ValueError: If the waveform is not a float32 tensor of two axes or is shorter than one frame, or if `out` has
            another shape or dtype.
    """
    window, shift = frame_sizes(sampling_rate, frame_length, frame_shift)
    if waveform.ndim != 2 or waveform.dtype != torch.float32:
        raise ValueError(
            "fbank expects a float32 waveform of shape (batch_size, num_samples), "
            f"got {waveform.dtype} of shape {tuple(waveform.shape)}."
        )
    if waveform.shape[1] < window:
        raise ValueError(
            f"fbank needs at least one frame of {window} samples ({frame_length} ms at {sampling_rate} Hz), "
            f"got {waveform.shape[1]} samples. Pad the waveform with zeros."
        )
    frames = waveform.unfold(1, window, shift)  # (batch_size, num_frames, window), a view
    batch_size, length = frames.shape[:2]
    shape = (batch_size, length, num_mel_bins)
    features = waveform.new_empty(shape) if out is None else out
    if features.shape != shape or features.dtype != torch.float32:
        raise ValueError(f"`out` is {features.dtype} of shape {tuple(features.shape)}, expected float32 of {shape}.")

    device = waveform.device
    bands = mel_bands(sampling_rate, num_mel_bins, fft_length_of(window), device)
    hann = torch.hann_window(window, periodic=False, dtype=torch.float32, device=device)
    block_size = frames_per_block(batch_size * length, device)
    rows, columns = min(max(1, block_size // length), batch_size), min(length, block_size)
    space = Workspace.allocate(waveform, rows, columns, window, num_mel_bins)
    for row, column in itertools.product(range(0, batch_size, rows), range(0, length, columns)):
        part = (slice(row, row + rows), slice(column, column + columns))
        block = frames[part]
        log_mel(block, hann, bands, space.cut(*block.shape[:2]), out=features[part])
    return features
