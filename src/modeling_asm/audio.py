"""Decoding of audio files by soundfile and resampling by soxr: no FFmpeg, torchaudio or torchcodec."""

import os

import numpy as np
import soundfile
import soxr


class AudioFileError(ValueError):
    """A file that cannot be decoded, or holds nothing to classify; the message names it."""


def read_audio(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Decode a file and mix its channels down, at the file's own rate.

    Args:
        path: A file in any format that libsndfile knows: WAV, FLAC, OGG, MP3, AIFF and others.

    Returns:
        float32 array of shape `(num_samples,)`, in [-1, 1]: the mean of the channels; and its sampling rate in hertz.

    Raises:
        AudioFileError: If the file is not there, is not audio, is damaged, or has no samples or infinite ones.
    """
    name = repr(os.fspath(path))
    if not os.path.isfile(path):
        raise AudioFileError(f"{name} is {'a folder' if os.path.isdir(path) else 'not there'}, expected an audio file.")
    try:
        waveform, sampling_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, TypeError) as error:  # soundfile's own errors; and a name that promises headerless audio
        raise AudioFileError(f"Cannot decode {name}: {error}") from error
    waveform = waveform.mean(axis=1)
    if waveform.size == 0:
        raise AudioFileError(f"{name} has no samples.")
    if not np.isfinite(waveform).all():
        raise AudioFileError(f"{name} has samples that are not finite.")
    return waveform, sampling_rate


def load_audio(path: str | os.PathLike, sampling_rate: int = 16000) -> np.ndarray:
    """Decode a file, mix its channels down and resample it to `sampling_rate`, in hertz: see [`read_audio`]."""
    waveform, file_rate = read_audio(path)
    return waveform if file_rate == sampling_rate else soxr.resample(waveform, file_rate, sampling_rate)
