"""A recording on its way into the corpus, and what is done with each before it is written."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from fingerprints import RATE, find_pairs

from modeling_asm.audio import AudioFileError, stream_audio
from modeling_asm.training.distillation.pool import POOL_RATE


SHORTEST = 0.1  # seconds
QUIETEST = 1e-3  # of full scale: below it, a recording is taken for silence


@dataclass
class Item:
    """A recording with its origin.

    Args:
        name: Its name, unique in the corpus.
        source: The package, folder, data set or synthesiser that it comes from.
        version: Version of the source.
        licence: Short name of its licence.
        kind: What it is.
        audio: Content of the file, its path, or float samples at 32 kHz.
        reason: Why it is left out; empty if it is not.
    """

    name: str
    source: str
    version: str
    licence: str
    kind: str
    audio: bytes | Path | np.ndarray
    reason: str = ""


@dataclass
class Prepared:
    """A decoded recording, or the reason why there is none.

    Args:
        samples: int16 samples at 32 kHz.
        sha256: Their digest.
        pairs: Its fingerprint: see [`find_pairs`].
        reason: Why it is left out; empty if it is not.
    """

    samples: np.ndarray | None = None
    sha256: str = ""
    pairs: np.ndarray | None = None
    reason: str = ""


def prepare(item: Item, max_seconds: float) -> Prepared:
    """Decode a recording, cut it to its first seconds, and fingerprint it."""
    if item.reason:
        return Prepared(reason=item.reason)
    limit = round(max_seconds * POOL_RATE)
    try:
        waveform = item.audio if isinstance(item.audio, np.ndarray) else decode(item, limit)
    except AudioFileError as error:
        return Prepared(reason=str(error))
    waveform = waveform[:limit]
    if len(waveform) < SHORTEST * POOL_RATE:
        return Prepared(reason=f"it is shorter than {SHORTEST} s")
    if np.abs(waveform).max() < QUIETEST:
        return Prepared(reason="it is silent")
    samples = np.clip(np.round(waveform * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
    pairs = find_pairs(soxr.resample(waveform, POOL_RATE, RATE))
    return Prepared(samples, hashlib.sha256(samples.tobytes()).hexdigest(), pairs)


def decode(item: Item, limit: int) -> np.ndarray:
    """Decode so many samples of a recording."""
    source = io.BytesIO(item.audio) if isinstance(item.audio, bytes) else item.audio
    return np.concatenate(list(take(stream_audio(source, POOL_RATE, name=repr(item.name)), limit)))


def take(blocks: Iterator[np.ndarray], limit: int) -> Iterator[np.ndarray]:
    """Yield blocks until there are so many samples."""
    count = 0
    for block in blocks:
        yield block
        count += len(block)
        if count >= limit:
            return
