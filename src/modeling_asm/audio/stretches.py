"""Some seconds of a recording, without decoding all of it where its format can seek."""

import contextlib
import functools
import io
import math
import os
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from .channels import Downmix
from .containers import Part, PartReader, find_parts
from .files import open_file, stream_mixed


# Formats of libsndfile in which it seeks to the sample. In Ogg and MP3, what it decodes after a seek differs a little.
SEEKABLE = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "NIST", "FLAC"}
SEEKABLE_CODECS = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")
MARGIN = 0.1  # seconds on either side that the resampler needs to give what it gives for the whole recording


def load_stretch(
    path: str | os.PathLike,
    start: int,
    length: int,
    sampling_rate: int = 16000,
    data: bytes | None = None,
    channel: int | None = None,
) -> np.ndarray:
    """Return some samples of a file, as [`load_audio`] decodes it.

    A file of one part in a format without compression, or in FLAC, is decoded from there; another one from its start,
    in blocks.

    Args:
        path: The file.
        start: The first sample, at `sampling_rate`.
        length: Number of samples.
        sampling_rate: Samples per second of the result, in hertz.
        data: The content of the file, if it is not on disk; `path` is then only its name.
        channel: Number of a channel, from 0, to take instead of the mean of all.

    Returns:
        Float32 array of shape `(num_samples,)`, of fewer than `length` samples at the end of the file.

    Raises:
        AudioFileError: As [`load_audio`].
    """
    name = repr(os.fspath(path))
    with io.BytesIO(data) if data is not None else open_file(path, name) as file:
        parts = None
        with contextlib.suppress(soundfile.LibsndfileError, ValueError, OSError):  # `stream_audio` tells what is wrong
            parts = find_parts(file) if data is not None else known_parts(file, os.fspath(path))
            if len(parts) == 1 and parts[0].plain:
                reader = PartReader(file, parts[0])
                with soundfile.SoundFile(io.BufferedReader(reader)) as sound:
                    if sound.format in SEEKABLE and sound.subtype.startswith(SEEKABLE_CODECS):
                        waveform = seek(sound, start, length, sampling_rate, Downmix(name, channel))
                        if reader.error is None:
                            return waveform
        blocks, place = [], 0
        for block in stream_mixed(file, sampling_rate, name, Downmix(name, channel), parts):
            blocks.append(block[max(start - place, 0) : max(start + length - place, 0)])
            place += block.size
            if place >= start + length:
                break
        return np.concatenate(blocks)


def seek(sound: soundfile.SoundFile, start: int, length: int, sampling_rate: int, downmix: Downmix) -> np.ndarray:
    """Decode a stretch of an open file, with a margin for the resampler."""
    rate = sound.samplerate
    if rate == sampling_rate:
        return downmix(read_whole(sound, start, start + length))
    # The samples of the file and the result that fall together: the stretch starts at one, as the whole file does.
    common = rate // math.gcd(rate, sampling_rate)
    first = max((start * rate // sampling_rate - int(MARGIN * rate)) // common * common, 0)
    last = -(-(start + length) * rate // sampling_rate) + int(MARGIN * rate)
    waveform = downmix(read_whole(sound, first, last))
    resampled = soxr.resample(waveform, rate, sampling_rate)
    place = start - first * sampling_rate // rate
    return resampled[place : place + length]


def read_whole(sound: soundfile.SoundFile, first: int, last: int) -> np.ndarray:
    """Return the samples from one place to another, or to the end of a file.

    Raises:
        ValueError: If there are fewer than the header announces.
    """
    first, last = min(first, sound.frames), min(last, sound.frames)
    sound.seek(first)
    samples = sound.read(last - first, dtype="float32", always_2d=True)
    if len(samples) < last - first:
        raise ValueError("it ends before its header says")
    return samples


def known_parts(file: BinaryIO, path: str) -> list[Part]:
    """Return the parts of an open file, which are found again only if its size or its modification time changes."""
    status = os.fstat(file.fileno())
    return parts_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(256)
def parts_of(path: str, size: int, modified: int) -> list[Part]:
    """Return the parts of a file, the same for the same arguments."""
    with open(path, "rb") as file:
        return find_parts(file)
