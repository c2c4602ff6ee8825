"""Find recordings of the same sound by pairs of spectral peaks (Wang 2003, "An Industrial-Strength Audio Search").

A pair is two peaks and the time between them. The same sound has many pairs in common, all at one distance in time,
whatever its level and format; other sounds hardly any.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, signal


RATE = 8000  # hertz
WINDOW, HOP = 512, 128  # samples: 64 ms and 16 ms
NEIGHBOURHOOD = (15, 7)  # bins and frames in which a peak is the largest
RANGE = 60.0  # dB below the loudest peak
PARTNERS, REACH, SPREAD = 5, 63, 63  # pairs a peak, their largest distance in frames and in bins
LEAST, SHARE = 8, 0.15  # pairs in common, and their share of those of the shorter recording


def find_pairs(waveform: np.ndarray) -> np.ndarray:
    """Return the pairs of peaks of a waveform at 8 kHz: int64 of shape `(num_pairs, 2)`, hash and frame."""
    if len(waveform) < WINDOW:
        waveform = np.pad(waveform, (0, WINDOW - len(waveform)))
    _, _, spectrum = signal.stft(waveform, nperseg=WINDOW, noverlap=WINDOW - HOP, boundary=None, padded=True)
    level = 20 * np.log10(np.abs(spectrum) + 1e-10)
    peaks = (ndimage.maximum_filter(level, NEIGHBOURHOOD) == level) & (level > max(level.max() - RANGE, -110))
    frames, bins = np.nonzero(peaks.T)
    pairs = []
    for step in range(1, len(frames)):
        distance, spread = frames[step:] - frames[:-step], bins[step:] - bins[:-step]
        if distance.min(initial=REACH + 1) > REACH:
            break
        good = (distance > 0) & (distance <= REACH) & (np.abs(spread) <= SPREAD)
        first = np.nonzero(good)[0]
        hashes = (bins[first] << 13) | ((spread[good] + SPREAD + 1) << 6) | distance[good]
        pairs.append(np.stack([hashes, frames[first], first], axis=1))
    if not pairs:
        return np.zeros((0, 2), np.int64)
    pairs = np.concatenate(pairs)  # nearest partners first
    order = np.argsort(pairs[:, 2], kind="stable")
    pairs = pairs[order]
    starts = np.r_[0, np.nonzero(np.diff(pairs[:, 2]))[0] + 1]
    rank = np.arange(len(pairs)) - np.repeat(starts, np.diff(np.r_[starts, len(pairs)]))
    return pairs[rank < PARTNERS, :2].astype(np.int64)


@dataclass
class Match:
    """The recording that is most like another: of those that hold the same sound, and of all if none does.

    Args:
        name: Its name.
        pairs: Number of pairs in common, at one distance in time.
        share: Their share of the pairs of the shorter recording.
    """

    name: str
    pairs: int
    share: float

    @property
    def is_same(self) -> bool:
        """Whether both hold the same sound."""
        return self.pairs >= LEAST and self.share >= SHARE


class FingerprintIndex:
    """Finds the recording that sounds like another.

    Args:
        recordings: The pairs of each recording by its name: see [`find_pairs`].
    """

    def __init__(self, recordings: dict[str, np.ndarray]):
        self.names = list(recordings)
        self.counts = np.array([len(pairs) for pairs in recordings.values()], np.int64)
        numbers = np.repeat(np.arange(len(self.names)), self.counts)
        pairs = np.concatenate(list(recordings.values())) if recordings else np.zeros((0, 2), np.int64)
        order = np.argsort(pairs[:, 0], kind="stable")
        self.hashes, self.frames, self.numbers = pairs[order, 0], pairs[order, 1], numbers[order]

    def find(self, pairs: np.ndarray) -> Match:
        """Return the best match of a recording with these pairs."""
        lows, highs = (np.searchsorted(self.hashes, pairs[:, 0], side) for side in ("left", "right"))
        hits = highs - lows
        if hits.sum() == 0:
            return Match("", 0, 0.0)
        offsets = np.arange(hits.sum()) - np.repeat(np.cumsum(hits) - hits, hits)
        places = np.repeat(lows, hits) + offsets
        shift = self.frames[places] - np.repeat(pairs[:, 1], hits)
        # Pairs a frame apart count together: the frames of the two recordings need not lie at the same places.
        keys = np.concatenate([self.numbers[places] * 2**24 + shift + 2**23 + step for step in (0, 1)])
        values, counts = np.unique(keys, return_counts=True)
        numbers = values // 2**24
        shares = counts / np.maximum(np.minimum(self.counts[numbers], len(pairs)), 1)
        best = np.lexsort((shares, counts, (counts >= LEAST) & (shares >= SHARE)))[-1]
        return Match(self.names[numbers[best]], int(counts[best]), float(shares[best]))
