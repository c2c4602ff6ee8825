"""What the containers have in common: files that were joined, and what only looks like a recording."""

import io

import numpy as np
import pytest
from recordings import decode, fault_of, noise, parts_of, read, samples_of, write

from modeling_asm.audio.containers import is_recording


KINDS = ("WAV", "RF64", "W64", "AIFF", "SVX", "CAF", "AU", "NIST", "VOC", "AVR", "FLAC")


def sound(kind: str, number: int = 3000, rate: int = 16000) -> bytes:
    return write(noise(number), rate, kind, "PCM_16")


@pytest.mark.parametrize("kind", KINDS)
def test_two_files_of_a_format(kind):
    """Both are heard, each at its rate, and the header of the second is not."""
    first, second = sound(kind), sound(kind, 2000, 8000)
    blocks = decode(first + second)
    assert [(len(block), rate) for block, rate in blocks] == [(3000, 16000), (2000, 8000)]
    np.testing.assert_array_equal(blocks[1][0], decode(second)[0][0])


@pytest.mark.parametrize("second", ["AIFF", "FLAC", "lame.mp3", "oggenc.ogg"])
@pytest.mark.parametrize("first", ["WAV", "AIFF", "FLAC", "lame.mp3", "oggenc.ogg"])
def test_two_files_of_two_formats(first, second):
    contents = [read(name) if "." in name else sound(name, 20_000) for name in (first, second)]
    alone = sum(len(samples_of(content)) for content in contents)
    if first == "FLAC" and "." in second:  # only what holds no frames of FLAC is looked for
        assert fault_of(b"".join(contents)) in ("what follows is no FLAC", None)
        return
    assert sum(len(block) for block, _ in decode(b"".join(contents))) == alone


def test_many_files():
    assert sum(len(block) for block, _ in decode(sound("WAV", 20) * 1500)) == 30_000


def test_joined_mpeg4_files_are_refused():
    """FFmpeg would read the first."""
    with pytest.raises(ValueError, match="several MPEG-4 files that were joined"):
        parts_of(read("aac.m4a") * 2)


def test_a_fault_ends_the_parts():
    parts = parts_of(sound("FLAC")[:-100] + sound("WAV"))
    assert parts[-1].fault is None or len(parts) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\0\0\0\x18ftypM4A \0\0\0\0", True),
        (b"\0\0\0\x18ftypheic\0\0\0\0", False),
        (b"\0\0\0\x1cftypavif\0\0\0\0", False),
        (b"4th free sample", False),
        (b"the skipper", False),
        (b"MATLAB 5.0 MAT-file", False),
        (b"", False),
        (b"ID3\4\0\0\0\0\0\0fLaC\0\0\0\x22", True),
    ],
)
def test_what_starts_like_a_recording(content, expected):
    assert is_recording(io.BytesIO(content)) == expected
