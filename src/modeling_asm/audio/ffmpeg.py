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
    except ImportError as error:
        raise ValueError(f"{foreign.name} needs PyAV: `pip install av`. Without it, {READABLE} can be read") from error
    try:
        with errors() as messages:  # those about the header are about more than sound
            container = av.open(file, format=foreign.demuxer)
    except av.FFmpegError as error:
        raise ValueError(messages[0] if messages else error.strerror) from error
    with container:
        blocks = demux(container, foreign)
        while True:
            try:
                with errors() as messages:
                    block = next(blocks, None)
            except av.FFmpegError as error:
                raise ValueError(messages[0] if messages else error.strerror) from error
            if messages:  # of what FFmpeg left out
                raise ValueError(messages[0])
            if block is None:
                return
            yield block


@contextlib.contextmanager
def errors() -> Iterator[list[str]]:
    """Collect what FFmpeg logs as errors, which it does not always raise, in words that follow a colon."""
    from av import logging

    level, skip, messages = logging.get_level(), logging.get_skip_repeated(), []
    logging.set_level(logging.WARNING)
    logging.set_skip_repeated(False)
    try:
        with logging.Capture() as logs:
            yield messages
    finally:
        logging.set_level(level)
        logging.set_skip_repeated(skip)
        messages += [
            f"FFmpeg says '{text.strip().rstrip('.')}'"
            for severity, _, text in logs
            if (severity <= logging.ERROR or "corrupt" in text) and HARMLESS not in text
        ]


def demux(container, foreign: Foreign) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the blocks of the only stream of sound in an open file."""
    import av

    if (count := len(container.streams.audio)) != 1:
        raise ValueError(f"it has {count} streams of sound, expected one; extract one with FFmpeg")
    planar, seconds = av.AudioResampler(format="fltp"), 0.0
    for packet in container.demux(container.streams.audio[0]):
        if packet.is_corrupt:
            raise ValueError("a packet after it is damaged")
        for frame in packet.decode():
            for converted in planar.resample(frame):
                seconds += converted.samples / converted.sample_rate
                yield converted.to_ndarray().T, converted.sample_rate
    announced = (container.duration or 0) / av.time_base if foreign.timed and len(container.streams) == 1 else 0.0
    if seconds < announced - SHORTFALL or (announced > 0 and not seconds):
        raise ValueError(f"its header announces {announced:.2f} s")
