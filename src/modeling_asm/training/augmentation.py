"""Augment batches of training clips: waveforms, then features.

All random numbers come from the caller's generator, so the result depends neither on the number of workers nor on what
ran before. A new augmentation is a field of [`Augmentation`], and a function that one of its methods calls.
"""

from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor, nn


def strength(default: float, description: str):
    """Return a field of [`Augmentation`] with the help text for `HfArgumentParser`."""
    return field(default=default, metadata={"help": description})


# For the general encoder, which has heard noise and mixtures of waveforms: mixup is one of log-mel features.
GENERAL_AUGMENTATION = {"noise": 100.0, "mixup": 0.0}


@dataclass
class Augmentation:
    """The augmentations and their strengths. A strength of 0 disables an augmentation; for noise, 100 dB does.

    The equalizer is a curve over the mel bins, like the response of another microphone or room. Warps and masks are
    those of SpecAugment (https://arxiv.org/abs/1904.08779) and, along frequency, of vocal tract length perturbation
    (Jaitly and Hinton, 2013). Mixup is that of https://arxiv.org/abs/1710.09412.

    Raises:
        ValueError: If a strength is negative, or a relative one is not below 1.
    """

    time_shift: float = strength(0.1, "Largest shift to either side, in seconds; at most half of a clip is lost.")
    speed: float = strength(0.1, "Largest relative change of speed and pitch.")
    gain: float = strength(10.0, "Largest change of loudness, in decibels.")
    noise: float = strength(
        10.0,
        "Lowest signal-to-noise ratio of white noise, in decibels; the highest is 50 more. From the general encoder, "
        "no noise is added by default.",
    )
    equalizer: float = strength(6.0, "Largest change of the level of a mel bin, in decibels.")
    time_warp: float = strength(0.1, "Largest relative stretch of the spectrogram along time.")
    frequency_warp: float = strength(0.1, "Largest relative stretch of the spectrogram along frequency.")
    frequency_mask: int = strength(8, "Widest of two masks along frequency, in mel bins.")
    time_mask: int = strength(16, "Longest of two masks along time, in frames.")
    mixup: float = strength(
        0.2, "Parameter alpha of mixup's Beta(alpha, alpha). From the general encoder, the default is 0."
    )

    def __post_init__(self):
        for name, value in vars(self).items():
            relative = name in ("speed", "time_warp", "frequency_warp")
            if not value >= 0 or (relative and value >= 1):
                raise ValueError(f"`{name}` must be at least 0{' and below 1' if relative else ''}, got {value}.")
        self.given = {item.name for item in fields(self) if getattr(self, item.name) != item.default}

    def augment_waveforms(self, waveforms: list[Tensor], sampling_rate: int, rng: np.random.Generator) -> list[Tensor]:
        """Change speed, position, loudness and background of clips.

        Args:
            waveforms: Float clips in [-1, 1], each of shape `(num_samples,)`.
            sampling_rate: Their samples per second.
            rng: Source of random numbers.

        Returns:
            As many clips, whose lengths have changed with speed and position.
        """
        lengths = torch.tensor([waveform.shape[0] for waveform in waveforms])[:, None]
        batch = nn.utils.rnn.pad_sequence(waveforms, batch_first=True)  # (batch_size, num_samples)
        size = lengths.shape
        if self.speed > 0 or self.time_shift > 0:
            speed = 1 + uniform(rng, size, self.speed)
            delay = (uniform(rng, size, self.time_shift) * sampling_rate).round()
            batch, lengths = move(batch, lengths, speed, delay)
        if self.gain > 0:
            batch = batch * 10 ** (uniform(rng, size, self.gain) / 20)
        if self.noise < 100:
            batch = add_noise(batch, lengths, self.noise + 25 + uniform(rng, size, 25), rng)
        return [row[:length] for row, length in zip(batch, lengths[:, 0].tolist())]

    def augment_features(
        self, input_values: Tensor, decibel: float, rng: np.random.Generator, mean: float = 0.0
    ) -> Tensor:
        """Warp, equalise and mask a batch of features of shape `(batch_size, max_length, num_mel_bins)`.

        Args:
            input_values: Log-mel features.
            decibel: How much a feature grows when the sound gets one decibel louder: `units_per_decibel` of the feature
                extractor.
            rng: Source of random numbers.
            mean: Mean of the training clips' features, which fills the masks: 0 if they are normalised.
        """
        if self.time_warp > 0 or self.frequency_warp > 0:
            input_values = warp(input_values, self.time_warp, self.frequency_warp, rng)
        if self.equalizer > 0:
            input_values = input_values + equalizer_curve(input_values, self.equalizer * decibel, rng)
        for _ in range(2):
            input_values = mask(input_values, self.time_mask, 1, rng, mean)
            input_values = mask(input_values, self.frequency_mask, 2, rng, mean)
        return input_values


def uniform(rng: np.random.Generator, size: tuple[int, ...], largest: float) -> Tensor:
    """Draw numbers between `-largest` and `largest`, float32 of shape `size`."""
    return torch.from_numpy(rng.uniform(-largest, largest, size).astype(np.float32))


def move(batch: Tensor, lengths: Tensor, speed: Tensor, delay: Tensor) -> tuple[Tensor, Tensor]:
    """Play clips faster or slower, pitch included, by linear interpolation, and later or earlier.

    Args:
        batch: Clips of shape `(batch_size, num_samples)`, padded at their ends.
        lengths: Their lengths, integers of shape `(batch_size, 1)`.
        speed: Factors of speed, of the same shape.
        delay: Samples of silence before each clip, of the same shape. Negative values cut off its beginning, at most
            half of it.

    Returns:
        The clips and their new lengths.
    """
    played = (lengths / speed).round().clamp(min=1)
    delay = torch.maximum(delay, -(played / 2).floor())
    new_lengths = (played + delay).long()
    time = torch.arange(int(new_lengths.max())) - delay  # position in the played clip, in samples
    inside = (time >= 0) & (time < played)
    position = (time * speed).clamp(min=0).minimum(lengths - 1.0)
    before = position.floor().long()
    after = (before + 1).minimum(lengths - 1)
    moved = torch.lerp(batch.gather(1, before), batch.gather(1, after), position - before)
    return moved * inside, new_lengths


def add_noise(batch: Tensor, lengths: Tensor, snr: Tensor, rng: np.random.Generator) -> Tensor:
    """Add white noise to each clip, `snr` decibels below its own power; samples after its end do not matter."""
    inside = torch.arange(batch.shape[1]) < lengths
    power = (batch.square() * inside).sum(1, keepdim=True) / lengths
    noise = torch.from_numpy(rng.standard_normal(batch.shape, dtype=np.float32))
    return batch + noise * power.sqrt() * 10 ** (-snr / 20)


def equalizer_curve(input_values: Tensor, largest: float, rng: np.random.Generator) -> Tensor:
    """Draw a piecewise linear curve over the mel bins for each clip: shape `(batch_size, 1, num_mel_bins)`."""
    knots = uniform(rng, (input_values.shape[0], 1, 4), largest)
    return nn.functional.interpolate(knots, size=input_values.shape[2], mode="linear", align_corners=True)


def warp(input_values: Tensor, time: float, frequency: float, rng: np.random.Generator) -> Tensor:
    """Stretch each spectrogram of `(batch_size, max_length, num_mel_bins)` by random factors of up to 1 plus or minus
    `time` and `frequency`, from its first frame and its lowest bin. Values beyond an edge repeat those at the edge."""
    batch_size, max_length, num_mel_bins = input_values.shape
    time_scale, frequency_scale = (1 + uniform(rng, (batch_size, 1), largest) for largest in (time, frequency))
    rows = torch.arange(max_length) * time_scale / max(max_length - 1, 1)  # from 0, the first frame, to 1, the last
    columns = torch.arange(num_mel_bins) * frequency_scale / max(num_mel_bins - 1, 1)
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


def mask(input_values: Tensor, longest: int, axis: int, rng: np.random.Generator, value: float = 0.0) -> Tensor:
    """Set a random span of each clip along an axis to `value`. It is at most `longest` long and a quarter of the axis,
    so that something is left of short windows."""
    batch_size, size = input_values.shape[0], input_values.shape[axis]
    width = rng.integers(0, min(longest, size // 4), (batch_size, 1), endpoint=True)
    start = rng.integers(0, size - width, endpoint=True)
    index = np.arange(size)
    masked = torch.from_numpy((index >= start) & (index < start + width))  # (batch_size, size)
    return input_values.masked_fill(masked.unsqueeze(3 - axis), value)


def mixup(input_values: Tensor, targets: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Blend each clip with another one of the batch, and their targets in the same way.

    Args:
        input_values: Features or waveforms of shape `(batch_size, ...)`.
        targets: Class probabilities of shape `(batch_size, num_labels)`, or numbers of shape `(batch_size,)`.
        alpha: The weight of the clip itself is drawn from Beta(alpha, alpha), and is at least one half.
        rng: Source of random numbers.

    Returns:
        Blended features and targets of the same shapes.
    """
    share = rng.beta(alpha, alpha, input_values.shape[0])
    share = torch.from_numpy(np.maximum(share, 1 - share).astype(np.float32))
    other = torch.from_numpy(rng.permutation(input_values.shape[0]))

    def blend(values: Tensor) -> Tensor:
        own = share.reshape(-1, *[1] * (values.ndim - 1))
        return own * values + (1 - own) * values[other]

    return blend(input_values), blend(targets)
