"""Decoding of audio files by soundfile and resampling by soxr: no FFmpeg, torchaudio or torchcodec."""

import io
import os
import re

import numpy as np
import soundfile
import soxr


class AudioFileError(ValueError):
    """A file that cannot be decoded, or holds nothing to classify; the message names it."""


# What libsndfile logs of a WAV or AIFF file whose samples end before its header says so.
SHORT_CHUNK = re.compile(r"(?:data|SSND) *: (\d+) \(should be (\d+)\)")
UNKNOWN_SIZE = 0x7FFFF000  # what recorders write that do not know the length yet, or more


def read_audio(path: str | os.PathLike, data: bytes | None = None) -> tuple[np.ndarray, int]:
    """Decode a file and mix its channels down, at the file's own rate.

    Args:
        path: A file in any format that libsndfile knows: WAV, FLAC, OGG, MP3, AIFF and others.
        data: The content of the file, where it is not on the disk; `path` is then only its name.

    Returns:
        float32 array of shape `(num_samples,)`, in [-1, 1]: the mean of the channels; and its sampling rate in hertz.

    Raises:
        AudioFileError: If the file is not there, is not audio, is truncated or otherwise damaged, or has no samples or
            infinite ones.
    """
    name = repr(os.fspath(path))
    if data is None and not os.path.isfile(path):
        raise AudioFileError(f"{name} is {'a folder' if os.path.isdir(path) else 'not there'}, expected an audio file.")
    if (os.path.getsize(path) if data is None else len(data)) == 0:
        raise AudioFileError(f"{name} is an empty file.")
    try:
        with soundfile.SoundFile(path if data is None else io.BytesIO(data)) as file:
            waveform, sampling_rate = file.read(dtype="float32", always_2d=True), file.samplerate
            promised, log = file.frames, file.extra_info
    except (RuntimeError, TypeError) as error:  # soundfile's own errors; and a name that promises headerless audio
        raise AudioFileError(f"Cannot decode {name}: {error}") from error
    short = [(int(size), int(found)) for size, found in SHORT_CHUNK.findall(log) if int(size) < UNKNOWN_SIZE]
    if any(size > found for size, found in short) or len(waveform) < promised:
        raise AudioFileError(f"{name} is truncated: it ends before its header says so. Copy or record it again.")
    waveform = waveform.mean(axis=1)
    if waveform.size == 0:
        raise AudioFileError(f"{name} has no samples.")
    if not np.isfinite(waveform).all():
        raise AudioFileError(f"{name} has samples that are not finite.")
    return waveform, sampling_rate


def load_audio(path: str | os.PathLike, sampling_rate: int = 16000, data: bytes | None = None) -> np.ndarray:
    """Decode a file, mix its channels down and resample it to `sampling_rate`, in hertz: see [`read_audio`]."""
    waveform, file_rate = read_audio(path, data)
    if file_rate == sampling_rate:
        return waveform
    resampled = soxr.resample(waveform, file_rate, sampling_rate)
    if resampled.size == 0:
        name = repr(os.fspath(path))
        raise AudioFileError(
            f"{name} is too short: {waveform.size} samples at {file_rate} Hz are none at {sampling_rate}."
        )
    return resampled
