"""Augmentation of training clips: of waveforms one by one, and of batches of features. All draws come from torch's
global generator, so that `transformers.set_seed` makes them repeatable."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


def strength(default: float, description: str):
    """A field of [`Augmentation`], with the help that `HfArgumentParser` prints."""
    return field(default=default, metadata={"help": description})


@dataclass
class Augmentation:
    """What is done to training clips, and how strongly. A strength of 0 switches a step off, and a noise of 100 dB.

    The equalizer is a curve over the mel bins, as the response of another microphone or room; the warps and masks are
    those of SpecAugment (https://arxiv.org/abs/1904.08779) and, along frequency, of vocal tract length perturbation
    (Jaitly and Hinton, 2013); mixup is of https://arxiv.org/abs/1710.09412.

    Raises:
        ValueError: If a strength is negative, or a relative one is not below 1.
    """

    time_shift: float = strength(0.1, "Largest shift of a clip to either side, in seconds; at most half of it is lost.")
    speed: float = strength(0.1, "Largest relative change of speed and pitch.")
    gain: float = strength(10.0, "Largest change of loudness, in decibels.")
    noise: float = strength(10.0, "Lowest ratio of signal to white noise, in decibels; the highest is 50 above it.")
    equalizer: float = strength(6.0, "Largest change of a mel bin's level, in decibels.")
    time_warp: float = strength(0.1, "Largest relative stretch of the spectrogram along time.")
    frequency_warp: float = strength(0.1, "Largest relative stretch of the spectrogram along frequency.")
    frequency_mask: int = strength(8, "Widest of two masks along frequency, in mel bins.")
    time_mask: int = strength(16, "Longest of two masks along time, in frames.")
    mixup: float = strength(0.2, "Parameter alpha of mixup's Beta(alpha, alpha).")

    def __post_init__(self):
        for name, value in vars(self).items():
            relative = name in ("speed", "time_warp", "frequency_warp")
            if not value >= 0 or (relative and value >= 1):
                raise ValueError(f"`{name}` must be at least 0{' and below 1' if relative else ''}, got {value}.")

    def augment_waveform(self, waveform: Tensor, sampling_rate: int) -> Tensor:
        """Change speed, position, loudness and background of one float clip of shape `(num_samples,)` in [-1, 1]."""
        if self.speed > 0:
            waveform = change_speed(waveform, 1 + self.speed * uniform(-1, 1))
        if self.time_shift > 0:
            waveform = shift(waveform, round(self.time_shift * uniform(-1, 1) * sampling_rate))
        if self.gain > 0:
            waveform = waveform * 10 ** (self.gain * uniform(-1, 1) / 20)
        if self.noise < 100:
            waveform = add_noise(waveform, self.noise + 50 * uniform(0, 1))
        return waveform

    def augment_features(self, input_values: Tensor, decibel: float) -> Tensor:
        """Warp, equalise and mask a batch of features of shape `(batch_size, max_length, num_mel_bins)`.

        Args:
            input_values: Normalised log-mel features.
            decibel: How much a feature grows by one decibel: `log(10) / 10 / (2 * std)` for normalised features.
        """
        if self.time_warp > 0 or self.frequency_warp > 0:
            input_values = warp(input_values, self.time_warp, self.frequency_warp)
        if self.equalizer > 0:
            input_values = input_values + equalizer_curve(input_values, self.equalizer * decibel)
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


def equalizer_curve(input_values: Tensor, largest: float) -> Tensor:
    """Draw a piecewise linear curve over the mel bins for each clip: shape `(batch_size, 1, num_mel_bins)`."""
    knots = largest * (2 * torch.rand(input_values.shape[0], 1, 4) - 1)
    return nn.functional.interpolate(knots, size=input_values.shape[2], mode="linear", align_corners=True)


def warp(input_values: Tensor, time: float, frequency: float) -> Tensor:
    """Stretch each spectrogram of `(batch_size, max_length, num_mel_bins)` by its own factors of 1 plus or minus
    `time` and `frequency`, from its first frame and its lowest bin; beyond its edge the last values are repeated."""
    batch_size, max_length, num_mel_bins = input_values.shape
    scale = 1 + torch.tensor([time, frequency]) * (2 * torch.rand(batch_size, 2) - 1)
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
