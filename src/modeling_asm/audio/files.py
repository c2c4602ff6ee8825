"""Decode audio files with soundfile and resample them with soxr, in blocks: no FFmpeg, torchaudio or torchcodec."""

import io
import itertools
import operator
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from ..waveforms import check_scale
from .channels import Downmix
from .containers import READABLE, Part, PartReader, find_parts
from .ffmpeg import decode_foreign


class AudioFileError(ValueError):
    """A file that cannot be decoded or has no samples; the message names it."""


BLOCK_SAMPLES = 2**19  # samples of all channels that are decoded together: 2 MB
STEP_SAMPLES = 2**10  # the same where a block is damaged, to tell its place
# Hertz. Anything else in a header is damage, and resampling it would exhaust the memory.
SAMPLING_RATES = (1000, 1_000_000)
# Formats of libsndfile, by its names, whose files are checked for their end, or announce none.
CHECKED = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "SVX", "CAF", "FLAC", "OGG", "MP3", "AU", "NIST", "AVR", "VOC"}
CHECKED |= {"HTK", "IRCAM", "PAF", "PVF"}
BUFFER = 2**16  # bytes that are read together
UNRECOGNISED = 1  # the number of an error of libsndfile
AGAIN = " Copy or record it again."


def decode_blocks(source: BinaryIO, name: str, parts: list[Part] | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Yield blocks of a file, of shape `(num_samples, num_channels)`, with its sampling rate: see [`stream_audio`].

    What is decoded is what the file holds, part after part, or an error says where it ends and why.

    Args:
        source: The open file.
        name: Its name, for messages.
        parts: Its parts, if they are known.
    """
    try:
        parts = find_parts(source) if parts is None else parts
    except (ValueError, OverflowError) as error:
        raise AudioFileError(f"Cannot decode {name}: {error}.") from error
    except OSError as error:
        raise AudioFileError(f"Cannot read {name}: {error}") from error
    seconds = 0.0
    for part in parts:
        reader, error = PartReader(source, part), None
        try:
            for block, rate in decode_foreign(reader, part.foreign) if part.foreign else decode_part(reader, part):
                check_rate(rate, name)
                seconds += len(block) / rate
                yield block, rate
        except AudioFileError:
            raise
        except (RuntimeError, TypeError, OSError, ValueError) as caught:  # of the decoders, which swallow the file's
            error = caught
        if reader.error is not None:
            raise AudioFileError(f"Cannot read {name}: {reader.error}") from reader.error
        if part.fault or error is not None:
            damaged = bool(part.fault or seconds or isinstance(error, soundfile.LibsndfileError))
            why = part.fault or str(error).strip(".") or type(error).__name__
            if isinstance(error, soundfile.LibsndfileError) and not part.fault:
                why = f"libsndfile says '{error.error_string.removeprefix('Error : ').strip('.')}'"
            done = f"{name} can be decoded up to {seconds:.2f} s only"
            if not seconds:
                done, why = f"Cannot decode {name}", why.removesuffix(" after it")
            raise AudioFileError(f"{done}: {why}.{AGAIN if damaged else ''}") from error


def check_rate(rate: int, name: str):
    """Raise an error if a sampling rate is not one of sound."""
    low, high = SAMPLING_RATES
    if not low <= rate <= high:
        raise AudioFileError(f"{name} claims a sampling rate of {rate} Hz, expected {low} to {high}: is it audio?")


def decode_part(reader: PartReader, part: Part) -> Iterator[tuple[np.ndarray, int]]:
    """Yield blocks of a part that libsndfile reads. A damaged block is read again in steps, up to the damage.

    Raises:
        ValueError: If it ends before its header says.
        RuntimeError: If libsndfile does not know it, or finds damage.
    """
    file, decoded, first = io.BufferedReader(reader, BUFFER), 0, None
    for size in (BLOCK_SAMPLES, STEP_SAMPLES):
        try:
            for block, rate in read_part(file, part, size, decoded):
                decoded += len(block)
                yield block, rate
            return
        except soundfile.LibsndfileError as error:
            first = first or error
    raise first


def read_part(source: BinaryIO, part: Part, size: int, start: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield blocks of so many samples, from a place on, which is reached by decoding."""
    source.seek(0)
    try:
        file = soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        if error.code == UNRECOGNISED:
            raise ValueError(f"its format is not known; {READABLE} can be read") from error
        raise
    with file:
        if file.format not in CHECKED:
            raise ValueError(f"the format {file.format} does not tell whether a file is whole; convert it to WAV")
        expected = file.frames if part.frames is None else part.frames
        decoded, frames = 0, max(size // file.channels, 1)
        while len(block := file.read(frames, dtype="float32", always_2d=True)) > 0:
            decoded += len(block)
            if decoded > start:
                yield block[start - decoded :], file.samplerate
        if decoded < expected:
            raise ValueError(f"its header announces {expected} samples, and {decoded} are there")


def stream_audio(
    source: str | os.PathLike | BinaryIO,
    sampling_rate: int = 16000,
    name: str | None = None,
    channel: int | None = None,
) -> Iterator[np.ndarray]:
    """Decode a file block by block, mix it down to mono and resample it. Memory does not grow with its length.

    Args:
        source: A path or an open, seekable binary file, in a format that libsndfile reads (WAV, FLAC, OGG, MP3, AIFF
            and others) or, with PyAV, in M4A, AAC, WMA, WebM, WavPack, Speex or AMR.
        sampling_rate: Samples per second of the result, in hertz.
        name: Name of the file in messages; by default its path.
        channel: Number of a channel, from 0, to take instead of the mean of all.

    Yields:
        Float32 arrays of shape `(num_samples,)`, in [-1, 1]. Concatenated, the blocks equal the whole file decoded at
        once.

    Raises:
        AudioFileError: If the file is missing, not audio, truncated or otherwise damaged, or has no samples,
            non-finite ones, or no such channel. Damage may surface after some blocks.
    """
    if isinstance(source, (str, os.PathLike)):
        name = name or repr(os.fspath(source))
        with open_file(source, name) as file:
            yield from stream_audio(file, sampling_rate, name, channel)
        return
    name = name or "The audio"
    downmix = Downmix(name, channel)
    yield from stream_mixed(source, sampling_rate, name, downmix)
    downmix.warn()


def stream_mixed(
    source: BinaryIO, sampling_rate: int, name: str, downmix: Downmix, parts: list[Part] | None = None
) -> Iterator[np.ndarray]:
    """Do what [`stream_audio`] does, with a mix that the caller has, and without its warning.

    Args:
        source: The open file.
        sampling_rate: Samples per second of the result, in hertz.
        name: Its name, for messages.
        downmix: What mixes its channels.
        parts: Its parts, if they are known.
    """
    if source.seek(0, io.SEEK_END) == 0:
        raise AudioFileError(f"{name} is an empty file.")
    resampled, rate = 0, sampling_rate
    try:
        for rate, blocks in itertools.groupby(decode_blocks(source, name, parts), key=operator.itemgetter(1)):
            for waveform in resample_blocks((downmix(block) for block, _ in blocks), rate, sampling_rate):
                check_scale(float(np.abs(waveform).max(initial=0.0)), name)
                resampled += waveform.size
                yield waveform
    except AudioFileError:
        raise
    except ValueError as error:
        raise AudioFileError(str(error)) from error
    if downmix.samples == 0:
        raise AudioFileError(f"{name} has no samples.")
    if resampled == 0:
        raise AudioFileError(
            f"{name} is too short: {downmix.samples} samples at {rate} Hz give none at {sampling_rate} Hz."
        )


def open_file(path: str | os.PathLike, name: str) -> BinaryIO:
    """Open a file, or say why that is impossible."""
    if not os.path.isfile(path):
        if os.path.isdir(path):
            raise AudioFileError(f"{name} is a folder, expected an audio file. Name the files in it.")
        kind = "is not a file" if os.path.exists(path) else "is missing"
        raise AudioFileError(f"{name} {kind}, expected an audio file.")
    try:
        return open(path, "rb")
    except OSError as error:
        raise AudioFileError(f"Cannot open {name}: {error.strerror}.") from error


def resample_blocks(blocks: Iterable[np.ndarray], rate: int, sampling_rate: int) -> Iterator[np.ndarray]:
    """Resample a waveform that arrives in blocks; those of the result are not empty."""
    if rate != sampling_rate:
        resampler = soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32")
        ends = itertools.chain(((block, False) for block in blocks), [(np.zeros(0, np.float32), True)])
        blocks = (resampler.resample_chunk(block, last) for block, last in ends)
    yield from (block for block in blocks if block.size > 0)


def load_audio(
    path: str | os.PathLike, sampling_rate: int = 16000, data: bytes | None = None, channel: int | None = None
) -> np.ndarray:
    """Decode a whole file, mix it down to mono and resample it: see [`stream_audio`].

    Args:
        path: The file.
        sampling_rate: Samples per second of the result, in hertz.
        data: The content of the file, if it is not on disk; `path` is then only its name.
        channel: Number of a channel, from 0, to take instead of the mean of all.

    Returns:
        Float32 array of shape `(num_samples,)`, in [-1, 1].

    Raises:
        AudioFileError: As [`stream_audio`].
    """
    source, name = (path, None) if data is None else (io.BytesIO(data), repr(os.fspath(path)))
    return np.concatenate(list(stream_audio(source, sampling_rate, name, channel)))
