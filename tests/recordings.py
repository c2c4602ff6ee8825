"""Short recordings by real encoders (see research/compare_decoders.py), and what is decoded of a file."""

import io
import json
from pathlib import Path

import numpy as np
import soundfile

from modeling_asm.audio.containers import find_parts
from modeling_asm.audio.files import decode_blocks


FOLDER = Path(__file__).resolve().parent / "assets" / "recordings"
RECORDINGS = {entry["name"]: entry for entry in json.loads((FOLDER / "recordings.json").read_text())}
NEED_PYAV = {"aac.m4a", "aac_front.m4a", "aac_pieces.mp4", "aac.mov", "aac.aac", "wma2.wma", "wma1.wma", "wma.wav"}
NEED_PYAV |= {
    "opus.webm",
    "live.webm",
    "vorbis.webm",
    "mp3.mka",
    "piped_mp3.mka",
    "flac.mka",
    "wavpack.wv",
    "ffmpeg.wv",
}
NEED_PYAV |= {"sox_8000.amr-nb", "copied_8000.3gp", "speexenc_16000.spx", "ffmpeg_16000.spx", "ima.caf"}
NEED_PYAV |= {"piped_wma2.wma", "eight.m4a", "eight.wv"}


def read(name: str) -> bytes:
    """Return the content of a recording."""
    return (FOLDER / name).read_bytes()


def write(samples, rate: int = 16000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """Return a file that libsndfile writes."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=kind)
    return file.getvalue()


def noise(number: int = 4000, channels: int = 1) -> np.ndarray:
    """Return samples of which no two are alike."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (number, channels))
    return samples[:, 0] if channels == 1 else samples


def decode(content: bytes) -> list[tuple[np.ndarray, int]]:
    """Return the blocks of a file, of shape `(num_samples, num_channels)`, each with its rate."""
    return list(decode_blocks(io.BytesIO(content), "the file"))


def samples_of(content: bytes) -> np.ndarray:
    """Return the samples of a file that has one rate, of shape `(num_samples, num_channels)`."""
    return np.concatenate([block for block, _ in decode(content)])


def parts_of(content: bytes) -> list:
    """Return the parts of a file."""
    return find_parts(io.BytesIO(content))


def fault_of(content: bytes) -> str | None:
    """Return what is wrong with a file, by its container."""
    return parts_of(content)[-1].fault
