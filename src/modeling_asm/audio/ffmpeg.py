"""Decode with FFmpeg, through PyAV, what libsndfile does not read: an optional package."""

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from .containers import READABLE, Foreign


HARMLESS = "Error parsing Opus packet header"  # what FFmpeg 7 says at the end of a whole file
SHORTFALL = 0.5  # seconds that may be missing: headers include the delay of the encoder, or a preroll


def decode_foreign(file: BinaryIO, foreign: Foreign) -> Iterator[tuple[np.ndarray, int]]:
    """Yield blocks of a file, of shape `(num_samples, num_channels)`, with its sampling rate.

    Raises:
        ValueError: If PyAV is missing, or if the file is damaged, ends early, or has several streams of sound or none.
    """
    try:
        import av
        import av.logging
    except ImportError as error:
        raise ValueError(f"{foreign.name} needs PyAV: `pip install av`. Without it, {READABLE} can be read") from error
    with strict(av) as messages:
        container = av.open(file, format=foreign.demuxer)
        messages.clear()  # those about the header are about more than sound
    with container:
        blocks = demux(container, foreign)
        while True:
            with strict(av):
                block = next(blocks, None)
            if block is None:
                return
            yield block


@contextlib.contextmanager
def strict(av) -> Iterator[list]:
    """Raise what FFmpeg logs as errors, of which it does not always raise one, in words that follow a colon.

    Yields:
        What it logged so far: severity, place and text.

    Raises:
        ValueError: If it raises an error, or has left something out.
    """
    level, skip, error = av.logging.get_level(), av.logging.get_skip_repeated(), None
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logs:
            yield logs
    except av.FFmpegError as caught:
        error = caught
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip)
    for severity, _, text in logs:
        if (severity <= av.logging.ERROR or "corrupt" in text) and HARMLESS not in text:
            raise ValueError(f"FFmpeg says '{text.strip().rstrip('.')}'") from error
    if error is not None:
        raise ValueError(error.strerror) from error


def demux(container, foreign: Foreign) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the blocks of the only stream of sound in an open file."""
    import av

    if (count := len(container.streams.audio)) != 1:
        raise ValueError(f"it has {count} streams of sound, expected one; extract one with FFmpeg")
    resampler, seconds = av.AudioResampler(format="flt"), 0.0  # planes of more than seven channels crash PyAV
    for packet in container.demux(container.streams.audio[0]):
        if packet.is_corrupt:
            raise ValueError("a packet after it is damaged")
        for frame in packet.decode():
            for converted in resampler.resample(frame):
                seconds += converted.samples / converted.sample_rate
                yield converted.to_ndarray().reshape(-1, converted.layout.nb_channels), converted.sample_rate
    announced = (container.duration or 0) / av.time_base if foreign.timed and len(container.streams) == 1 else 0.0
    if seconds < announced - SHORTFALL or (announced > 0 and not seconds):
        raise ValueError(f"its header announces {announced:.2f} s")
