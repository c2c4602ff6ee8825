"""Open anything that users call audio as blocks of mono samples: paths, URLs, bytes, files, arrays, dictionaries.

A new kind of source is one more branch of [`open_audio`].
"""

import contextlib
import io
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import soxr
import torch
from huggingface_hub.utils import httpx

from ..waveforms import as_tensor
from .channels import Downmix, as_channels
from .files import SAMPLING_RATES, AudioFileError, stream_audio


STALLED = 10.0  # seconds without a byte after which a download is abandoned
LONGEST_DOWNLOAD = 600.0  # seconds
LARGEST_COPY = 2**32  # bytes of a download or a pipe
IN_MEMORY = 2**24  # bytes; larger copies are temporary files


def open_audio(inputs, sampling_rate: int, channel: int | None = None) -> Iterator[np.ndarray]:
    """Yield the samples of one recording in blocks, mono and resampled.

    Args:
        inputs: A path; an `http://` or `https://` URL; the bytes of a file; an open binary file; a waveform at
            `sampling_rate` as an array, tensor or list, of shape `(num_samples,)` or with channels on either axis; a
            dictionary with `"array"` (or `"raw"`) and `"sampling_rate"`, or with `"bytes"` or `"path"`, as an `Audio`
            column of datasets has them, or with one of these under `"audio"`; or torchcodec's `AudioDecoder`.
        sampling_rate: Samples per second of the result, in hertz.
        channel: Number of a channel, from 0, to take instead of the mean of all.

    Yields:
        Float32 arrays of shape `(num_samples,)`.

    Raises:
        AudioFileError: If a file or URL cannot be read: see [`stream_audio`].
        ValueError: If an array is empty, not finite, or not shaped like audio.
        TypeError: If the input is none of these.
    """
    if isinstance(inputs, Mapping) and "audio" in inputs:
        inputs = inputs["audio"]
    if hasattr(inputs, "get_all_samples"):
        try:
            samples = inputs.get_all_samples()
        except (OSError, RuntimeError) as error:
            raise AudioFileError(f"torchcodec cannot decode a recording: {error}") from error
        inputs = {"array": samples.data, "sampling_rate": samples.sample_rate}
    if isinstance(inputs, str) and inputs.startswith(("http://", "https://")):
        with download(inputs) as file:
            yield from stream_audio(file, sampling_rate, repr(inputs), channel)
    elif isinstance(inputs, (str, os.PathLike)):
        yield from stream_audio(inputs, sampling_rate, None, channel)
    elif isinstance(inputs, (bytes, bytearray, memoryview)):
        content = io.BytesIO(inputs)
        yield from stream_audio(content, sampling_rate, f"The file of {content.getbuffer().nbytes} bytes", channel)
    elif hasattr(inputs, "read"):
        with seekable(inputs) as file:
            name = getattr(inputs, "name", None)
            name = repr(name) if isinstance(name, str) else "The file object"
            yield from stream_audio(file, sampling_rate, name, channel)
    elif isinstance(inputs, Mapping) and ("array" in inputs or "raw" in inputs) and "sampling_rate" in inputs:
        array = inputs["raw"] if inputs.get("raw") is not None else inputs["array"]
        yield resample(as_mono(array, channel), inputs["sampling_rate"], sampling_rate)
    elif isinstance(inputs, Mapping) and inputs.get("bytes") is not None:
        name = repr(inputs["path"]) if inputs.get("path") else None
        yield from stream_audio(io.BytesIO(inputs["bytes"]), sampling_rate, name, channel)
    elif isinstance(inputs, Mapping) and inputs.get("path") is not None:
        yield from stream_audio(inputs["path"], sampling_rate, None, channel)
    elif isinstance(inputs, Mapping):
        raise ValueError(
            f"The dictionary has the keys {sorted(map(str, inputs))}, expected 'array' (or 'raw') and 'sampling_rate', "
            "or 'bytes', or 'path'."
        )
    elif isinstance(inputs, (np.ndarray, torch.Tensor, list, tuple)):
        yield as_mono(inputs, channel)
    else:
        raise TypeError(
            f"Got a {type(inputs).__name__}, expected a path, URL, bytes, an open binary file, a waveform, or a "
            "dictionary with 'array' and 'sampling_rate'."
        )


def as_mono(array, channel: int | None = None) -> np.ndarray:
    """Return a float32 mono waveform. Of two axes, the shorter one holds the channels."""
    array, name = as_tensor(array, "The waveform"), "The waveform"
    if array.numel() == 0:
        raise ValueError(f"{name} is empty, expected at least one sample.")
    downmix = Downmix(name, channel)
    waveform = downmix(as_channels(array, name))
    downmix.warn()
    return waveform


def resample(waveform: np.ndarray, rate: int, sampling_rate: int) -> np.ndarray:
    """Resample a waveform as [`stream_audio`] does."""
    low, high = SAMPLING_RATES
    try:
        number = float(rate)
    except (TypeError, ValueError):  # None, or words
        number = 0.0
    if not low <= number <= high:
        raise ValueError(f"The waveform has a sampling rate of {rate} Hz, expected {low} to {high}.")
    resampled = soxr.resample(waveform, number, sampling_rate) if number != sampling_rate else waveform
    if resampled.size == 0:
        raise ValueError(
            f"{waveform.size} samples at {rate} Hz give none at {sampling_rate} Hz: the waveform is too short."
        )
    return resampled


class TemporaryCopy(tempfile.SpooledTemporaryFile):
    """A temporary file that has the name of its original. A large one is on disk."""

    def __init__(self, name: object):
        super().__init__(IN_MEMORY)
        self.original = name

    @property
    def name(self) -> object:
        return self.original

    def fill(self, chunks: Iterable[bytes]):
        """Copy chunks until they end.

        Raises:
            AudioFileError: If they exceed `LARGEST_COPY` bytes.
        """
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > LARGEST_COPY:
                raise AudioFileError(f"Gave up on {self.name!r} after {LARGEST_COPY} bytes. Cut it into several files.")
            self.write(chunk)


def seekable(file):
    """Return a context manager for a seekable file: this one, or a copy of a pipe's content, which it closes."""
    name = getattr(file, "name", "The file object")
    if isinstance(file, io.TextIOBase):
        raise TypeError(f"{name!r} is open for text, expected an open binary file: `open(path, 'rb')`.")
    try:
        if file.seekable():
            return contextlib.nullcontext(file)  # it belongs to the caller and stays open
        return spool(file)
    except AudioFileError:
        raise
    except (AttributeError, OSError, TypeError, ValueError) as error:  # ValueError: it is closed
        raise AudioFileError(f"Cannot read {name!r}: {error}") from error


def spool(file) -> TemporaryCopy:
    """Copy the rest of a binary file into a temporary one, which the caller closes."""
    copy = TemporaryCopy(getattr(file, "name", "The file object"))
    try:
        copy.fill(iter(lambda: file.read(2**20), b""))
    except BaseException:
        copy.close()
        raise
    return copy


def download(url: str) -> TemporaryCopy:
    """Fetch an http or https URL, redirects included, into a temporary file, which the caller closes.

    Raises:
        AudioFileError: If the server does not answer, stalls, returns an error, takes too long, sends too much, or
            redirects to another protocol.
    """
    copy, errors = TemporaryCopy(url), []

    def fetch():
        try:
            with httpx.stream("GET", url, follow_redirects=True, timeout=STALLED) as response:
                response.raise_for_status()
                copy.fill(response.iter_bytes())
        except AudioFileError as error:
            errors.append(error)
        except Exception as error:  # of httpx, of the name's encoding, of the disk
            errors.append(AudioFileError(f"Cannot download {url!r}: {str(error) or type(error).__name__}"))

    # httpx limits each wait but not their sum: a server that sends a byte now and then could block forever.
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(LONGEST_DOWNLOAD)
    if thread.is_alive():
        copy.close()  # which also ends the thread when it next writes
        raise AudioFileError(f"Gave up on {url!r} after {LONGEST_DOWNLOAD:.0f} s. Download it with another program.")
    if errors:
        copy.close()
        raise errors[0]
    return copy
