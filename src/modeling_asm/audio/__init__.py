"""From anything that users call audio to a waveform: files, other sources, windows along time, statistics."""

from .files import SAMPLING_RATES, AudioFileError, load_audio, stream_audio
from .sources import open_audio


__all__ = ["SAMPLING_RATES", "AudioFileError", "load_audio", "open_audio", "stream_audio"]
