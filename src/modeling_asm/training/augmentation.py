"""Augmentation of training clips: of waveforms one by one, and of batches of features. All draws come from torch's
global generator, so that `transformers.set_seed` makes them repeatable."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Augmentation:
    """What is done to training clips, and how strongly; a strength of 0 switches a step off.

    Args:
        time_shift: Largest shift of a clip to either side, in seconds. What leaves at the start is lost; room at the
            start is filled with silence.
        speed: Largest relative change of speed and pitch, either way: 0.1 plays a clip up to 10 % slower or faster.
        gain: Largest change of loudness to either side, in decibels.
        noise: Lowest signal-to-noise ratio of added white noise, in decibels; the highest is 50 dB above it. `None`
            switches it off.
        equalizer: Largest change of a mel bin's level, in decibels. The changes are drawn at four bins and run
            linearly between them, as the response of another microphone or room.
        time_warp: Largest relative stretch of the spectrogram along time, from the clip's start: another speaking rate.
        frequency_warp: Largest relative stretch along frequency, from the lowest bin: another length of the vocal tract
            (Jaitly and Hinton 2013, "Vocal Tract Length Perturbation improves speech recognition").
        frequency_mask: Widest mask along frequency, in mel bins; there are two a clip (SpecAugment,
            https://arxiv.org/abs/1904.08779).
        time_mask: Longest mask along time, in frames; there are two a clip.
        mixup: Parameter alpha of mixup's Beta(alpha, alpha) (https://arxiv.org/abs/1710.09412).
    """

    time_shift: float = 0.1
    speed: float = 0.1
    gain: float = 10.0
    noise: float | None = 10.0
    equalizer: float = 6.0
    time_warp: float = 0.1
    frequency_warp: float = 0.1
    frequency_mask: int = 8
    time_mask: int = 16
    mixup: float = 0.2

    def augment_waveform(self, waveform: Tensor, sampling_rate: int) -> Tensor:
        """Change speed, position, loudness and background of one float clip of shape `(num_samples,)` in [-1, 1]."""
        if self.speed > 0:
            waveform = change_speed(waveform, 1 + self.speed * uniform(-1, 1))
        if self.time_shift > 0:
            waveform = shift(waveform, round(self.time_shift * uniform(-1, 1) * sampling_rate))
        if self.gain > 0:
            waveform = waveform * 10 ** (self.gain * uniform(-1, 1) / 20)
        if self.noise is not None:
            waveform = add_noise(waveform, self.noise + 50 * uniform(0, 1))
        return waveform

    def augment_features(self, input_values: Tensor, decibels: float) -> Tensor:
        """Equalise and mask a batch of features of shape `(batch_size, max_length, num_mel_bins)`.

        Args:
            input_values: Normalised log-mel features.
            decibels: How much a feature grows by one decibel: `log(10) / 10 / (2 * std)` for normalised features.
        """
        if self.time_warp > 0 or self.frequency_warp > 0:
            input_values = warp(input_values, self.time_warp, self.frequency_warp)
        if self.equalizer > 0:
            input_values = input_values + equalizer_curve(input_values, self.equalizer * decibels)
        for _ in range(2):
            input_values = mask(input_values, self.time_mask, axis=1)
            input_values = mask(input_values, self.frequency_mask, axis=2)
        return input_values


def uniform(low: float, high: float) -> float:
    """Draw a number between `low` and `high` from torch's global generator."""
    return low + (high - low) * torch.rand(()).item()


def change_speed(waveform: Tensor, speed: float) -> Tensor:
    """Play a waveform of shape `(num_samples,)` at `speed`, pitch included, by linear interpolation."""
    num_samples = max(round(waveform.shape[0] / speed), 1)
    return nn.functional.interpolate(waveform[None, None], size=num_samples, mode="linear")[0, 0]


def shift(waveform: Tensor, num_samples: int) -> Tensor:
    """Delay a waveform by `num_samples` zeros, or start it so much earlier; at least half of it is kept."""
    if num_samples >= 0:
        return nn.functional.pad(waveform, (num_samples, 0))
    return waveform[min(-num_samples, waveform.shape[0] // 2) :]


def add_noise(waveform: Tensor, snr: float) -> Tensor:
    """Add white noise, `snr` decibels below the waveform's own power."""
    return waveform + torch.randn_like(waveform) * waveform.square().mean().sqrt() * 10 ** (-snr / 20)


def equalizer_curve(input_values: Tensor, strength: float) -> Tensor:
    """Draw a piecewise linear curve over the mel bins for each clip: shape `(batch_size, 1, num_mel_bins)`."""
    knots = strength * (2 * torch.rand(input_values.shape[0], 1, 4) - 1)
    return nn.functional.interpolate(knots, size=input_values.shape[2], mode="linear", align_corners=True)


def warp(input_values: Tensor, time: float, frequency: float) -> Tensor:
    """Stretch each spectrogram of `(batch_size, max_length, num_mel_bins)` by its own factors of 1 plus or minus
    `time` and `frequency`, from its first frame and its lowest bin; beyond its edge the last values are repeated."""
    batch_size, max_length, num_mel_bins = input_values.shape
    strength = torch.tensor([time, frequency])
    scale = 1 + strength * (2 * torch.rand(batch_size, 2) - 1)
    rows = torch.arange(max_length) * scale[:, :1] / max(max_length - 1, 1)  # 0 to 1 is first to last frame
    columns = torch.arange(num_mel_bins) * scale[:, 1:] / max(num_mel_bins - 1, 1)
    grid = torch.stack(
        [
            columns[:, None, :].expand(batch_size, max_length, num_mel_bins),
            rows[:, :, None].expand(batch_size, max_length, num_mel_bins),
        ],
        dim=-1,
    )
    warped = nn.functional.grid_sample(
        input_values[:, None], 2 * grid - 1, mode="bilinear", padding_mode="border", align_corners=True
    )
    return warped[:, 0]


def mask(input_values: Tensor, longest: int, axis: int) -> Tensor:
    """Set a random span along an axis, another for each clip and at most `longest` wide, to 0: the data's mean."""
    batch_size, size = input_values.shape[0], input_values.shape[axis]
    width = (torch.rand(batch_size, 1) * (min(longest, size) + 1)).floor()
    start = (torch.rand(batch_size, 1) * (size - width + 1)).floor()
    index = torch.arange(size)
    masked = (index >= start) & (index < start + width)  # (batch_size, size)
    return input_values.masked_fill(masked.unsqueeze(3 - axis), 0.0)


def mixup(input_values: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend each clip with another one of the batch, and their targets alike.

    Args:
        input_values: Features of shape `(batch_size, max_length, num_mel_bins)`.
        targets: Class probabilities of shape `(batch_size, num_labels)`.
        alpha: The share of a clip itself is drawn from Beta(alpha, alpha), and is at least a half.

    Returns:
        Blended features and targets of the same shapes.
    """
    share = torch.distributions.Beta(alpha, alpha).sample((input_values.shape[0],))
    share = torch.maximum(share, 1 - share)
    other = torch.randperm(input_values.shape[0])
    blend_features, blend_targets = share[:, None, None], share[:, None]
    return (
        blend_features * input_values + (1 - blend_features) * input_values[other],
        blend_targets * targets + (1 - blend_targets) * targets[other],
    )
