# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Batched log-mel filterbank, equal to Kaldi's: the recipe of `compute-fbank-feats`, step by step, in torch alone."""

import math
from functools import lru_cache

import torch
from torch import Tensor


PREEMPHASIS = 0.97  # y[t] = x[t] - 0.97 x[t - 1], Kaldi's coefficient
LOW_FREQUENCY = 20.0  # hertz, lower edge of the first filter; the upper edge of the last is the Nyquist frequency
EPSILON = torch.finfo(torch.float32).eps  # floor of the mel energies, so that silence is log(1.19e-7) = -15.94

# Parts of the filterbank that are multiplied each with the few frequencies that they reach: a third of the product.
NUM_BANDS = 4


def frame_sizes(sampling_rate: int, frame_length: float, frame_shift: float) -> tuple[int, int]:
    """Return the length and the shift of a frame in samples, from milliseconds; fractions are cut as Kaldi does."""
    return int(sampling_rate * frame_length * 0.001), int(sampling_rate * frame_shift * 0.001)


def num_frames(num_samples: int, window: int, shift: int) -> int:
    """Return how many whole frames of `window` samples, `shift` apart, lie within `num_samples`."""
    return 1 + (num_samples - window) // shift if num_samples >= window else 0


def fft_length_of(window: int) -> int:
    """Return the length of the Fourier transform of a frame: the next power of two."""
    return 2 ** math.ceil(math.log2(window))


def frames_per_block(num_frames: int, device: torch.device) -> int:
    """Return how many of `num_frames` frames are processed together.

    On a CPU the working set of a block (frames, spectra, powers: about 7 kB a frame at 16 kHz) must stay in the
    processor's cache, and few frames must not pay for the new pages of large buffers; on an accelerator only memory
    bounds it.
    """
    if device.type != "cpu":
        return 65536
    return 512 if num_frames < 4096 else 1024


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept must be of use for training, too
def mel_filters(sampling_rate: int, num_mel_bins: int, fft_length: int) -> Tensor:
    """Compute Kaldi's triangular filters, equally spaced and of height 1 on the mel scale 1127 ln(1 + f / 700).

    Single precision, as Kaldi's: where a filter barely reaches one bin of the spectrum, its weight there is rounding.

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
        For each band: its mel bins, its bins of the spectrum, and its part of the filters, of these two sizes.
    """
    bands = []
    for columns in torch.arange(num_mel_bins, device="cpu").chunk(NUM_BANDS):
        mels = slice(int(columns[0]), int(columns[-1]) + 1)
        filters = mel_filters(sampling_rate, num_mel_bins, fft_length)[:, mels]
        reached = filters.any(1).nonzero().flatten().tolist() or [0]
        bins = slice(reached[0], reached[-1] + 1)
        bands.append((mels, bins, filters[bins].contiguous().to(device)))
    return bands


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

    Row `i` is what `torchaudio.compliance.kaldi.fbank(window_type="hanning", dither=0)` gives for that row alone:
    frames never see their neighbours, because DC offset and pre-emphasis are taken per frame.

    Args:
        waveform: Float tensor of shape `(batch_size, num_samples)`, mono, in [-1, 1].
        sampling_rate: Samples per second, in hertz.
        num_mel_bins: Number of triangular filters between 20 Hz and the Nyquist frequency.
        frame_length: Length of the analysis window, in milliseconds.
        frame_shift: Step from one window to the next, in milliseconds.
        out: Tensor to write the features to, of the shape, dtype and device of what is returned.

    Returns:
        Float tensor of shape `(batch_size, num_frames, num_mel_bins)` on the waveform's device: natural log of power,
        floored at float32 epsilon, with `num_frames = 1 + (num_samples - frame_length) // frame_shift` in samples.

    Raises:
        ValueError: If the waveform is not a float32 tensor of two axes, or is shorter than one frame, or `out` has
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
            f"got {waveform.shape[1]} samples; pad the waveform with zeros."
        )
    device = waveform.device
    fft_length = fft_length_of(window)
    bands = mel_bands(sampling_rate, num_mel_bins, fft_length, device)
    hann = torch.hann_window(window, periodic=False, dtype=torch.float32, device=device)

    frames = waveform.unfold(1, window, shift)  # (batch_size, num_frames, window), a view
    batch_size, length = frames.shape[:2]
    block_size = frames_per_block(batch_size * length, device)
    rows, columns = max(1, block_size // length), min(length, block_size)
    shape = (batch_size, length, num_mel_bins)
    features = waveform.new_empty(shape) if out is None else out
    if features.shape != shape or features.dtype != torch.float32:
        raise ValueError(f"`out` is {features.dtype} of shape {tuple(features.shape)}, expected float32 of {shape}.")
    block = (min(rows, batch_size), columns)
    centred = waveform.new_empty(*block, window)
    padded = waveform.new_zeros(*block, fft_length)
    spectra = waveform.new_empty(*block, fft_length // 2 + 1, dtype=torch.complex64)
    powers = waveform.new_empty(*block, fft_length // 2 + 1)
    energies = waveform.new_empty(*block, num_mel_bins)
    for row in range(0, batch_size, rows):
        for column in range(0, length, columns):
            raw = frames[row : row + rows, column : column + columns]
            x, tapered, spectrum, power, energy = (
                buffer[: raw.shape[0], : raw.shape[1]] for buffer in (centred, padded, spectra, powers, energies)
            )
            torch.sub(raw, raw.mean(-1, keepdim=True), out=x)
            # The first sample needs no pre-emphasis: the window is zero there.
            y = tapered[..., 1:window]
            torch.mul(x[..., :-1], -PREEMPHASIS, out=y)  # the product is complete before it is subtracted
            y += x[..., 1:]
            y *= hann[1:]
            torch.fft.rfft(tapered, out=spectrum)
            real, imaginary = torch.view_as_real(spectrum).square_().unbind(-1)
            torch.add(real, imaginary, out=power)
            for mels, bins, filters in bands:
                torch.mm(power.flatten(0, 1)[:, bins], filters, out=energy.flatten(0, 1)[:, mels])
            torch.log(energy.clamp_(min=EPSILON), out=features[row : row + rows, column : column + columns])
    return features
