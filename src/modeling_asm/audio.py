"""Decoding of audio files by soundfile and resampling by soxr: no FFmpeg, torchaudio or torchcodec."""

import os

import numpy as np
import soundfile
import soxr


class AudioFileError(ValueError):
    """A file that cannot be decoded, or holds nothing to classify; the message names it."""


def load_audio(path: str | os.PathLike, sampling_rate: int = 16000) -> np.ndarray:
    """Decode a file, mix its channels down and resample it.

    Args:
        path: A file in any format that libsndfile knows: WAV, FLAC, OGG, MP3, AIFF and others.
        sampling_rate: Samples per second of the result, in hertz.

    Returns:
        float32 array of shape `(num_samples,)`, in [-1, 1]: the mean of the channels.

    Raises:
        FileNotFoundError: If there is no such file.
        AudioFileError: If it is not audio, is damaged, or has no samples.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no audio file {os.fspath(path)!r}.")
    try:
        waveform, file_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioFileError(f"Cannot decode {os.fspath(path)!r}: {error}") from error
    waveform = waveform.mean(axis=1)
    if file_rate != sampling_rate:
        waveform = soxr.resample(waveform, file_rate, sampling_rate)
    if waveform.size == 0:
        raise AudioFileError(f"{os.fspath(path)!r} has no samples.")
    if not np.isfinite(waveform).all():
        raise AudioFileError(f"{os.fspath(path)!r} has samples that are not finite.")
    return waveform
