"""Random mixtures of a pool's recordings, which teachers label and a student learns from."""

from dataclasses import dataclass, field

import numpy as np
import soxr
from scipy import fft, signal

from .pool import POOL_RATE, AudioPool, Recording


@dataclass
class MixtureSettings:
    """How mixtures are made. Probabilities are those of a mixture or, for speed, of a recording.

    Args:
        seconds: Length of a mixture, in seconds.
        sampling_rate: Its samples per second, in hertz.
        second_source: Probability of a second track under the first.
        level_difference: Lowest and highest level of the first track above the second, in decibels.
        speed_probability: Probability that a recording is played faster or slower.
        speed: Lowest and highest speed.
        gap: Mean silence between the recordings of a track, in seconds; long ones fill it alone.
        alone: Probability that a short recording is left alone, with silence around it.
        repeated: Probability that a short recording is repeated until it fills the window, as the feature extractor
            pads a short clip.
        equalizer_probability: Probability of an equaliser.
        equalizer: Its largest gain or loss, in decibels.
        reverberation_probability: Probability of an artificial room.
        reverberation_time: Shortest and longest time in which its sound decays by 60 dB, in seconds.
        noise_probability: Probability of noise.
        noise_level: Lowest and highest level of the mixture above the noise, in decibels.
        level: Lowest and highest level of a mixture, in decibels below full scale (root mean square); lower where its
            peaks would be above full scale.
        kind_weights: Weight of each kind of recording; the others have 1. A kind is drawn by its weight times the
            square root of its hours, and a recording by the square root of its length.
    """

    seconds: float = 4.015
    sampling_rate: int = 16000
    second_source: float = 0.4
    level_difference: tuple[float, float] = (-3.0, 20.0)
    speed_probability: float = 0.4
    speed: tuple[float, float] = (0.6, 1.6)
    gap: float = 0.25
    alone: float = 0.15
    repeated: float = 0.0
    equalizer_probability: float = 0.5
    equalizer: float = 12.0
    reverberation_probability: float = 0.25
    reverberation_time: tuple[float, float] = (0.1, 0.9)
    noise_probability: float = 0.2
    noise_level: tuple[float, float] = (3.0, 40.0)
    level: tuple[float, float] = (-40.0, -12.0)
    kind_weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("second_source", "alone", "repeated", "speed_probability", "noise_probability",
                     "equalizer_probability", "reverberation_probability"):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be a probability from 0 to 1, got {getattr(self, name)!r}.")
        if self.alone + self.repeated > 1:
            raise ValueError(
                f"`alone` and `repeated` must be at most 1 together, got {self.alone} and {self.repeated}."
            )
        for name in ("level_difference", "speed", "reverberation_time", "noise_level", "level"):
            low, high = getattr(self, name)
            if low > high or (name in ("speed", "reverberation_time") and low <= 0):
                raise ValueError(f"`{name}` must be a lowest and a highest value, got {getattr(self, name)!r}.")
        if min(self.gap, self.equalizer, *self.kind_weights.values()) < 0:
            raise ValueError(f"`gap`, `equalizer` and `kind_weights` must be at least 0, got {self!r}.")


class MixtureMaker:
    """Makes mixtures of the recordings of a pool.

    Args:
        pool: The pool.
        recordings: Those of its recordings that are used.
        settings: How mixtures are made.

    Raises:
        ValueError: If all kinds have the weight 0.
    """

    def __init__(self, pool: AudioPool, recordings: list[Recording], settings: MixtureSettings):
        self.pool, self.settings = pool, settings
        self.num_samples = round(settings.seconds * settings.sampling_rate)
        self.kinds = sorted({recording.kind for recording in recordings})
        self.recordings = {kind: [row for row in recordings if row.kind == kind] for kind in self.kinds}
        lengths = {kind: np.array([row.seconds for row in rows]) for kind, rows in self.recordings.items()}
        self.chances = {kind: np.cumsum(np.sqrt(values)) for kind, values in lengths.items()}
        weights = [settings.kind_weights.get(kind, 1.0) * np.sqrt(lengths[kind].sum()) for kind in self.kinds]
        self.kind_chances = np.cumsum(weights)
        if not self.kind_chances[-1] > 0:
            raise ValueError(f"`kind_weights` leaves nothing to mix of the kinds {self.kinds}.")

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        """Return a mixture: float32 of shape `(num_samples,)`, in [-1, 1]."""
        settings = self.settings
        wave = self.make_track(rng)
        if rng.random() < settings.second_source:
            under = set_level(self.make_track(rng), root_mean_square(wave), -rng.uniform(*settings.level_difference))
            wave = wave + under
        if rng.random() < settings.equalizer_probability:
            wave = equalize(wave, settings.equalizer, rng)
        if rng.random() < settings.reverberation_probability:
            wave = reverberate(wave, settings.sampling_rate, rng.uniform(*settings.reverberation_time), rng)
        if rng.random() < settings.noise_probability:
            noise = coloured_noise(len(wave), rng)
            wave = wave + set_level(noise, root_mean_square(wave), -rng.uniform(*settings.noise_level))
        wave = set_level(wave, 1.0, rng.uniform(*settings.level))
        return (wave / max(np.abs(wave).max(), 1.0)).astype(np.float32)  # a short sound is louder than its window

    def make_track(self, rng: np.random.Generator) -> np.ndarray:
        """Fill a window with a part of a long recording, or with one or several short ones of a kind."""
        kind = self.kinds[draw(self.kind_chances, rng)]
        track, place, chance = np.zeros(self.num_samples, np.float32), 0, rng.random()
        alone = chance < self.settings.alone
        repeated = not alone and chance < self.settings.alone + self.settings.repeated
        while place < self.num_samples:
            recording = self.recordings[kind][draw(self.chances[kind], rng)]
            wave = self.read(recording, rng)
            if repeated:
                return np.resize(wave, self.num_samples)
            if alone:
                place = rng.integers(0, max(self.num_samples - len(wave), 0) + 1)
            part = wave[: self.num_samples - place]
            track[place : place + len(part)] = part
            pause = rng.exponential(self.settings.gap) * self.settings.sampling_rate
            place = self.num_samples if alone else place + len(part) + round(pause)
        return track

    def read(self, recording: Recording, rng: np.random.Generator) -> np.ndarray:
        """Return a part of a recording that is at most a window long, perhaps at another speed."""
        speed = 1.0
        if rng.random() < self.settings.speed_probability:
            speed = np.exp(rng.uniform(*np.log(self.settings.speed)))
        wanted = round(self.num_samples * speed * POOL_RATE / self.settings.sampling_rate)
        start = rng.integers(0, max(recording.num_samples - wanted, 0) + 1)
        wave = self.pool.read(recording, start, wanted)
        resampled = soxr.resample(wave, POOL_RATE * speed, self.settings.sampling_rate, quality="MQ")
        return resampled[: self.num_samples]


def draw(chances: np.ndarray, rng: np.random.Generator) -> int:
    """Draw an index by cumulated weights."""
    return int(np.searchsorted(chances, rng.random() * chances[-1], side="right"))


def root_mean_square(wave: np.ndarray) -> float:
    """Return the root mean square of a waveform, at least a tiny number."""
    return max(float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))), 1e-8)


def set_level(wave: np.ndarray, reference: float, decibel: float) -> np.ndarray:
    """Scale a waveform to a level relative to a root mean square."""
    return wave * (reference * 10 ** (decibel / 20) / root_mean_square(wave))


def equalize(wave: np.ndarray, largest: float, rng: np.random.Generator) -> np.ndarray:
    """Change the level of a waveform by a random smooth curve over the octaves."""
    size = fft.next_fast_len(len(wave), real=True)
    spectrum = fft.rfft(wave, size)
    octaves = np.log2(np.arange(1, len(spectrum) + 1) / len(spectrum))  # below the highest frequency
    gains = rng.uniform(-largest, largest, 8)
    curve = np.interp(octaves, np.linspace(-7, 0, len(gains)), gains)
    return fft.irfft(spectrum * 10 ** (curve / 20), size)[: len(wave)].astype(np.float32)


def reverberate(wave: np.ndarray, sampling_rate: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Put a waveform into a room: the direct sound, and noise that decays by 60 dB in so many seconds."""
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    response = np.concatenate([[1.0], rng.uniform(0.1, 1.0) * tail / np.sqrt(np.sum(tail**2))])
    return signal.oaconvolve(wave, response.astype(np.float32))[: len(wave)]


def coloured_noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise whose power falls with frequency, by a random exponent from white to brown."""
    spectrum = fft.rfft(rng.standard_normal(fft.next_fast_len(size, real=True)).astype(np.float32))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** rng.uniform(0, 1)
    return fft.irfft(spectrum)[:size]
