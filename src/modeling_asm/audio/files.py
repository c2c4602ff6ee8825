"""Decode audio files with soundfile and resample them with soxr, in blocks: no FFmpeg, torchaudio or torchcodec."""

import io
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from ..waveforms import check_scale


class AudioFileError(ValueError):
    """A file that cannot be decoded or has no samples; the message names it."""


# What libsndfile logs when the samples of a WAV or AIFF file end before its header says.
SHORT_CHUNK = re.compile(r"(?:data|SSND) *: (\d+) \(should be (\d+)\)")
UNKNOWN_SIZE = 0x7FFFF000  # recorders that do not know the length yet write this or more

BLOCK_SAMPLES = 2**19  # samples of all channels that are decoded together: 2 MB
# Hertz. Anything else in a header is damage, and resampling it would exhaust the memory.
SAMPLING_RATES = (1000, 1_000_000)

# The first frame of an MP3 file holds its frame count under one of these names, if it has one.
MP3_COUNTS = (b"Xing", b"Info", b"VBRI")
MP3_HEADER = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
LARGEST_MP3_FRAME = 1441  # bytes
ID3V1 = 128  # bytes of a tag at the end


class Reader:
    """An open binary file, as libsndfile reads it. It keeps the last read error, which libsndfile swallows.

    Args:
        file: The file.
        stretch: How many times its length the file claims to have. libsndfile estimates the length of an MP3 file
            without a frame count from its size and first frame, and stops there. If the estimate is too long, it stops
            at the end of the file instead.
    """

    def __init__(self, file: BinaryIO, stretch: int = 1):
        self.file, self.stretch, self.end, self.error = file, stretch, None, None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            self.end = self.stretch * self.file.seek(0, io.SEEK_END)
            return self.file.seek(self.end + offset)
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readinto(self, buffer) -> int:
        try:
            if self.stretch > 1 and self.tell() == self.end - ID3V1:
                data = bytes(min(len(buffer), ID3V1))  # no tag where there is no file
            else:
                data = self.file.read(len(buffer))
            buffer[: len(data)] = data
        except Exception as error:
            self.error = error
            return 0
        return len(data)


def decode_blocks(source: BinaryIO, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield blocks of a file, of shape `(num_samples, num_channels)`, with its sampling rate: see [`stream_audio`]."""
    reader, decoded = Reader(source), None
    try:
        if guessed := is_mp3_without_count(source):
            reader.stretch = 64  # no frame is that much smaller than the first
        source.seek(0)
        with soundfile.SoundFile(reader) as file:
            low, high = SAMPLING_RATES
            if not low <= file.samplerate <= high:
                raise AudioFileError(
                    f"{name} claims a sampling rate of {file.samplerate} Hz, expected {low} to {high}: is it audio?"
                )
            decoded, frames = 0, max(BLOCK_SAMPLES // file.channels, 1)
            while len(block := file.read(frames, dtype="float32", always_2d=True)) > 0:
                decoded += len(block)
                yield block, file.samplerate
            if reader.error is not None:
                raise OSError(reader.error)
            short = [(int(size), int(found)) for size, found in SHORT_CHUNK.findall(file.extra_info)]
            if (decoded < file.frames and not guessed) or any(found < size < UNKNOWN_SIZE for size, found in short):
                raise AudioFileError(f"{name} is truncated: it ends before its header says. Copy or record it again.")
            if file.format == "MP3" and mp3_goes_on(source):
                raise AudioFileError(
                    f"{name} continues after {decoded / file.samplerate:.1f} s, where its header says that it ends, as "
                    "joined MP3 files do. Re-encode it with a program that decodes all of it."
                )
    except (RuntimeError, TypeError, OSError) as error:  # soundfile's own errors, and the file's
        if reader.error is not None:
            raise AudioFileError(f"Cannot read {name}: {reader.error}") from reader.error
        damaged = "" if decoded is None else " to its end; it is damaged or truncated"  # its header is intact
        raise AudioFileError(f"Cannot decode {name}{damaged}: {getattr(error, 'error_string', error)}") from error


def is_mp3_without_count(source: BinaryIO) -> bool:
    """Return whether a file starts, after a tag, with an MP3 frame that does not hold a frame count."""
    source.seek(0)
    head = source.read(10)
    tag = sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:])) + 10 if head[:3] == b"ID3" else 0
    source.seek(tag)
    first = source.read(2 * LARGEST_MP3_FRAME)
    return MP3_HEADER.match(first) is not None and not any(name in first for name in MP3_COUNTS)


def mp3_goes_on(source: BinaryIO) -> bool:
    """Return whether MP3 frames follow the place where the decoder stopped reading."""
    rest = source.read(2**16)
    return len(MP3_HEADER.findall(rest)) > 1 + len(rest) // LARGEST_MP3_FRAME


def stream_audio(
    source: str | os.PathLike | BinaryIO, sampling_rate: int = 16000, name: str | None = None
) -> Iterator[np.ndarray]:
    """Decode a file block by block, mix it down to mono and resample it. Memory does not grow with its length.

    Args:
        source: A path or an open, seekable binary file, in a format that libsndfile reads: WAV, FLAC, OGG, MP3, AIFF
            and others.
        sampling_rate: Samples per second of the result, in hertz.
        name: Name of the file in messages; by default its path.

    Yields:
        Float32 arrays of shape `(num_samples,)`, in [-1, 1]: the mean of the channels. Concatenated, the blocks equal
        the whole file decoded at once.

    Raises:
        AudioFileError: If the file is missing, not audio, truncated or otherwise damaged, or has no samples or
            non-finite ones. Damage may surface after some blocks.
    """
    if isinstance(source, (str, os.PathLike)):
        name = name or repr(os.fspath(source))
        if not os.path.isfile(source):
            kind = (
                "is a folder" if os.path.isdir(source) else "is not a file" if os.path.exists(source) else "is missing"
            )
            raise AudioFileError(f"{name} {kind}, expected an audio file.")
        try:
            file = open(source, "rb")  # noqa: SIM115  closed below
        except OSError as error:
            raise AudioFileError(f"Cannot open {name}: {error.strerror}.") from error
        with file:
            yield from stream_audio(file, sampling_rate, name)
        return
    name = name or "The audio"
    if source.seek(0, io.SEEK_END) == 0:
        raise AudioFileError(f"{name} is an empty file.")
    source.seek(0)

    resampler, decoded, resampled = None, 0, 0
    for block, file_rate in decode_blocks(source, name):
        waveform = block.mean(axis=1)
        if not np.isfinite(waveform).all():
            raise AudioFileError(f"{name} has samples that are not finite.")
        check_scale(float(np.abs(waveform).max(initial=0.0)), name)
        decoded += waveform.size
        if file_rate != sampling_rate:
            resampler = resampler or soxr.ResampleStream(file_rate, sampling_rate, 1, dtype="float32")
            waveform = resampler.resample_chunk(waveform)
        resampled += waveform.size
        if waveform.size > 0:
            yield waveform
    if decoded == 0:
        raise AudioFileError(f"{name} has no samples.")
    if resampler is not None:
        rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        if resampled + rest.size == 0:
            raise AudioFileError(
                f"{name} is too short: {decoded} samples at {file_rate} Hz give none at {sampling_rate} Hz."
            )
        if rest.size > 0:
            yield rest


def load_audio(path: str | os.PathLike, sampling_rate: int = 16000, data: bytes | None = None) -> np.ndarray:
    """Decode a whole file, mix it down to mono and resample it: see [`stream_audio`].

    Args:
        path: The file.
        sampling_rate: Samples per second of the result, in hertz.
        data: The content of the file, if it is not on disk; `path` is then only its name.

    Returns:
        Float32 array of shape `(num_samples,)`, in [-1, 1].

    Raises:
        AudioFileError: As [`stream_audio`].
    """
    source, name = (path, None) if data is None else (io.BytesIO(data), repr(os.fspath(path)))
    return np.concatenate(list(stream_audio(source, sampling_rate, name)))
