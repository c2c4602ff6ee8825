"""Whatever a user calls audio, as blocks of mono samples: paths, URLs, bytes, arrays, dictionaries, file objects."""

import contextlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping

import numpy as np
import soxr
import torch
from huggingface_hub.utils import httpx

from .audio import SAMPLING_RATES, AudioFileError, stream_audio
from .feature_extraction_asm import as_waveform


STALLED = 10.0  # seconds without a byte after which a download is given up
LONGEST_DOWNLOAD = 600.0  # seconds
LARGEST_DOWNLOAD = 2**32  # bytes
IN_MEMORY = 2**24  # bytes; what is larger lies in a temporary file


def open_audio(inputs, sampling_rate: int) -> Iterator[np.ndarray]:
    """Yield the samples of anything that stands for one recording, mono and resampled, in blocks.

    Args:
        inputs: A path; an `http://` or `https://` URL; the bytes of a file; an open binary file; a waveform as array,
            tensor or list, at `sampling_rate`, of shape `(num_samples,)` or with channels on either axis; a dictionary
            with `"array"` (or `"raw"`) and `"sampling_rate"`, or with `"bytes"` or `"path"`, as the column `Audio` of
            datasets has them, or with one of these as `"audio"`; or torchcodec's `AudioDecoder`.
        sampling_rate: Samples per second of the result, in hertz.

    Yields:
        float32 arrays of shape `(num_samples,)`.

    Raises:
        AudioFileError: If a file or URL cannot be read: see [`stream_audio`].
        ValueError: If an array is empty, not finite, or has no shape of audio.
        TypeError: If it is none of these.
    """
    if isinstance(inputs, Mapping) and "audio" in inputs:
        inputs = inputs["audio"]
    if hasattr(inputs, "get_all_samples"):
        samples = inputs.get_all_samples()
        inputs = {"array": samples.data, "sampling_rate": samples.sample_rate}
    if isinstance(inputs, str) and inputs.startswith(("http://", "https://")):
        with download(inputs) as file:
            yield from stream_audio(file, sampling_rate, repr(inputs))
    elif isinstance(inputs, (str, os.PathLike)):
        yield from stream_audio(inputs, sampling_rate)
    elif isinstance(inputs, (bytes, bytearray)):
        yield from stream_audio(io.BytesIO(inputs), sampling_rate, f"The file of {len(inputs)} bytes")
    elif hasattr(inputs, "read"):
        with seekable(inputs) as file:
            name = getattr(inputs, "name", None)
            yield from stream_audio(file, sampling_rate, repr(name) if isinstance(name, str) else "The file object")
    elif isinstance(inputs, Mapping) and ("array" in inputs or "raw" in inputs) and "sampling_rate" in inputs:
        array = inputs["raw"] if inputs.get("raw") is not None else inputs["array"]
        yield resample(as_mono(array), inputs["sampling_rate"], sampling_rate)
    elif isinstance(inputs, Mapping) and inputs.get("bytes") is not None:
        name = repr(inputs["path"]) if inputs.get("path") else None
        yield from stream_audio(io.BytesIO(inputs["bytes"]), sampling_rate, name)
    elif isinstance(inputs, Mapping) and inputs.get("path") is not None:
        yield from stream_audio(inputs["path"], sampling_rate)
    elif isinstance(inputs, Mapping):
        raise ValueError(
            f"The dictionary has the keys {sorted(map(str, inputs))}, expected 'array' (or 'raw') and 'sampling_rate', "
            "or 'bytes', or 'path'."
        )
    elif isinstance(inputs, (np.ndarray, torch.Tensor, list, tuple)):
        yield as_mono(inputs)
    else:
        raise TypeError(
            f"Got a {type(inputs).__name__}, expected a path, URL, bytes, an open binary file, a waveform, or a "
            "dictionary with 'array' and 'sampling_rate'."
        )


def as_mono(array) -> np.ndarray:
    """Return a float32 waveform; of two axes, the shorter one is the channels'."""
    array = array if isinstance(array, torch.Tensor) else torch.as_tensor(np.asarray(array))
    if array.ndim not in (1, 2):
        raise ValueError(f"The waveform has shape {tuple(array.shape)}, expected (num_samples,) or two axes.")
    waveform = as_waveform(array.reshape(-1), 0).reshape(array.shape).cpu()
    if waveform.ndim == 2:
        waveform = waveform.mean(0 if waveform.shape[0] <= waveform.shape[1] else 1)
    if not torch.isfinite(waveform).all():
        raise ValueError("The waveform has samples that are not finite: repair it, or `numpy.nan_to_num(waveform)`.")
    return waveform.numpy()


def resample(waveform: np.ndarray, rate: int, sampling_rate: int) -> np.ndarray:
    """Resample a waveform as [`stream_audio`] does."""
    low, high = SAMPLING_RATES
    if not low <= rate <= high:
        raise ValueError(f"The waveform has a sampling rate of {rate} Hz, expected {low} to {high}.")
    resampled = soxr.resample(waveform, rate, sampling_rate) if rate != sampling_rate else waveform
    if resampled.size == 0:
        raise ValueError(
            f"{waveform.size} samples at {rate} Hz are none at {sampling_rate}: the waveform is too short."
        )
    return resampled


def seekable(file):
    """Return a file that can be read twice: this one, or a copy of what a pipe has to say. Leaving it closes a copy."""
    try:
        if file.seekable():
            return contextlib.nullcontext(file)  # the caller's, and stays open
        return spool(file)
    except (AttributeError, OSError, TypeError, ValueError) as error:  # ValueError: it is closed
        raise AudioFileError(f"Cannot read {getattr(file, 'name', 'the file object')!r}: {error}") from error


def spool(file) -> tempfile.SpooledTemporaryFile:
    """Copy what a binary file has still to say into a temporary one; what is large does not stay in memory."""
    copy = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  closed by the caller
    shutil.copyfileobj(file, copy)
    return copy


def download(url: str):
    """Fetch a URL into a temporary file, within limits of time and size; only http and https, redirects included.

    Raises:
        AudioFileError: If the server does not answer, stalls, answers with an error, sends too much, or redirects to
            something else.
    """
    file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  closed by the caller
    end, size = time.monotonic() + LONGEST_DOWNLOAD, 0
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=STALLED) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                size += len(chunk)
                if size > LARGEST_DOWNLOAD or time.monotonic() > end:
                    raise AudioFileError(
                        f"Gave up {url!r} after {size} bytes: more than {LARGEST_DOWNLOAD} bytes, or "
                        f"{LONGEST_DOWNLOAD:.0f} seconds. Download it by another program."
                    )
                file.write(chunk)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        file.close()
        raise AudioFileError(f"Cannot download {url!r}: {error or type(error).__name__}") from error
    except AudioFileError:
        file.close()
        raise
    return file
