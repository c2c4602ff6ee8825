import io
import struct

import numpy as np
import pytest
import soundfile
from recordings import decode, fault_of, noise, parts_of, read, samples_of, write

from modeling_asm.audio.containers import find_parts
from modeling_asm.audio.containers.chunks import WAV, as_size, write_wav_header
from modeling_asm.audio.containers.parts import PADDING, PartReader
from modeling_asm.audio.files import AudioFileError, decode_blocks


KINDS = {
    "WAV": (b"data", 4, "little", 0),
    "RF64": (b"data", 4, "little", 0),
    "AIFF": (b"SSND", 4, "big", 8),
    "SVX": (b"BODY", 4, "big", 0),
    "CAF": (b"data", 8, "big", 4),
    "W64": (b"data\xf3\xac", 8, "little", 24),
}


def resize(content: bytes, kind: str, size: int) -> bytes:
    """Write another size of the samples into a header."""
    name, width, order, extra = KINDS[kind]
    place = content.index(name) + (16 if kind == "W64" else 4)
    number = (size + extra).to_bytes(width, order) if size >= 0 else b"\xff" * width
    return content[:place] + number + content[place + width :]


def plain(kind: str, number: int = 4000) -> tuple[bytes, np.ndarray]:
    """A file, and the samples that it holds."""
    content = write(noise(number), kind=kind, subtype="PCM_16")
    return content, soundfile.read(io.BytesIO(content), always_2d=True, dtype="float32")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file(kind):
    content, samples = plain(kind)
    assert fault_of(content) is None
    np.testing.assert_array_equal(samples_of(content), samples)


@pytest.mark.parametrize("size", [-1, 0, 2000], ids=["unknown", "zero", "part"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_announces_less_or_nothing(kind, size):
    """The recorder stopped before it wrote the size, or wrote into a pipe: the samples go on to the end."""
    content, samples = plain(kind)
    if kind == "CAF" and size >= 0:  # its size has 64 bits, and -1 means "to the end"
        size = max(size, 1)
    assert fault_of(resize(content, kind, size)) is None
    np.testing.assert_array_equal(samples_of(resize(content, kind, size))[: len(samples)], samples)


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_announces_more(kind):
    content, samples = plain(kind)
    half = content[: len(content) - 3000]
    assert "bytes of samples, and" in fault_of(half)
    number = sum(len(block) for block, _ in collect(half))
    assert number == len(samples) - 1500


def collect(content: bytes) -> list:
    """Return the blocks of a file up to the error at its end."""
    blocks = []
    with pytest.raises(AudioFileError, match="can be decoded up to"):
        for block in decode_blocks(io.BytesIO(content), "the file"):
            blocks.append(block)
    return blocks


@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
@pytest.mark.parametrize(
    "rest",
    [
        b"LIST\x04\0\0\0abcd",
        b"LIST\xff\0\0\0abcd",
        b"TAG" + bytes(125),
        bytes(300),
        b"\0",
        b"junk\0\0\0\0" + b"more\0\0\0\0",
    ],
    ids=["chunk", "cut-chunk", "tag", "padding", "byte", "chunks"],
)
def test_what_follows_the_samples_is_not_heard(kind, rest):
    content, samples = plain(kind)
    if kind == "AIFF":
        rest = rest.replace(b"\x04\0\0\0", b"\0\0\0\x04")
    np.testing.assert_array_equal(samples_of(content + rest), samples)


def test_a_chunk_after_samples_without_padding():
    """Some programs do not pad an odd number of bytes."""
    content = write(noise(3001), subtype="PCM_U8")
    content = content[: content.index(b"data") + 8 + 3001]
    assert len(samples_of(content + b"LIST\x04\0\0\0abcd")) == 3001
    assert len(samples_of(content + b"\0LIST\x04\0\0\0abcd")) == 3001


def test_samples_go_on_where_no_chunk_follows():
    content, samples = plain("WAV")
    more = noise(PADDING).astype(np.float32).tobytes()
    assert len(samples_of(content + more)) == len(samples) + len(more) // 2


@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
def test_joined_files(kind):
    first, samples = plain(kind)
    second = write(noise(1000, 2), 8000, kind, "PCM_24")
    blocks = decode(first + second)
    assert [rate for _, rate in blocks] == [16000, 8000]
    np.testing.assert_array_equal(blocks[0][0], samples)
    np.testing.assert_allclose(blocks[1][0], noise(1000, 2), atol=1e-6)


def test_a_joined_file_that_is_cut():
    content, _ = plain("WAV")
    parts = parts_of(content + content[:-100])
    assert [part.fault is None for part in parts] == [True, False]


def test_a_large_file_is_rf64():
    """Over 4 GiB, a WAV header cannot say its size; libsndfile believes that of RF64."""
    header = write_wav_header(WAV, {b"fmt ": struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)}, 5 * 2**30)
    assert header[:4] == b"RF64"
    file = PartReader(io.BytesIO(), parts_of(plain("WAV")[0])[0])
    file.pieces = [header, range(5 * 2**30)]
    file.ends, file.size = [len(header), len(header) + 5 * 2**30], len(header) + 5 * 2**30
    file.claimed = file.size
    assert soundfile.info(file).frames == 5 * 2**29


def test_a_file_over_four_gib(tmp_path):
    """A recorder's 32-bit size overflowed: the file holds 4 GiB and a little more, a hole after its start."""
    content, _ = plain("WAV")
    size = 2**32 + 1000
    with open(tmp_path / "long.wav", "wb") as file:
        file.write(resize(content, "WAV", size % 2**32))
        file.truncate(content.index(b"data") + 8 + size)
        file.seek(-2, io.SEEK_END)
        file.write(b"\x00\x40")
    with open(tmp_path / "long.wav", "rb") as file:
        part = find_parts(file)[0]
        with soundfile.SoundFile(PartReader(file, part)) as sound:
            assert sound.frames == size // 2
            sound.seek(-1, io.SEEK_END)
            assert sound.read(1) == 0.5


@pytest.mark.parametrize("name", ["mp3.wav", "mp3_vbr.wav", "piped_mp3.wav"])
def test_mp3_in_wav(name):
    content = read(name)
    assert parts_of(content)[0].frames == 13 * 1152  # with the encoder's delay, of 0.3 s
    cut = fault_of(content[:-500])
    assert cut is None if name == "piped_mp3.wav" else "bytes of samples, and" in cut


@pytest.mark.parametrize(
    ("name", "codec"), [("wma.wav", "WAV with the codec 0x0161"), ("ima.caf", "CAF with the codec 'ima4'")]
)
def test_codecs_that_libsndfile_does_not_read(name, codec):
    assert parts_of(read(name))[0].foreign.name == codec


def test_alac_of_two_programs():
    """libsndfile's own tells the width of its samples; FFmpeg's does not, and libsndfile refuses it."""
    content = write(noise(), kind="CAF", subtype="ALAC_16")
    assert parts_of(content)[0].foreign is None
    place = content.index(b"alac") + 4
    assert parts_of(content[:place] + bytes(4) + content[place + 4 :])[0].foreign.demuxer == "caf"


def test_a_codec_of_aiff():
    content = read("mulaw.aifc")
    assert parts_of(content)[0].foreign is None
    other = content.replace(b"ulaw", b"QDM2", 1)
    assert parts_of(other)[0].foreign.name == "AIFF-C with the codec 'QDM2'"


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_ends(kind):
    content, _ = plain(kind)
    with pytest.raises(ValueError, match="its header ends before its samples"):
        parts_of(content[: content.index(KINDS[kind][0])])


@pytest.mark.parametrize(
    "rest",
    [
        b"ID3\4\0\0\0\0\7\x68" + bytes(1000),
        b"APETAGEX" + (2000).to_bytes(4, "little") + (32).to_bytes(4, "little") + bytes(16),
        b"<?xml version='1.0'?>\n<session><take>1</take></session>\n" * 9,
    ],
    ids=["id3v2", "ape", "xml"],
)
def test_tags_and_text_after_the_samples_are_not_heard(rest):
    content, samples = plain("WAV")
    np.testing.assert_array_equal(samples_of(content + rest), samples)


def test_silence_in_a_file_that_was_never_closed():
    """Zeros are samples where the header does not tell their number."""
    content = write(np.zeros(9000))
    assert len(samples_of(resize(content, "WAV", 0))) == 9000


def test_gsm_in_aiff():
    """Its frames are no samples: the header keeps their number."""
    content = write(noise(16_000), kind="AIFF", subtype="GSM610")
    assert len(samples_of(content)) == 16_000


def test_a_size_that_does_not_fit():
    assert as_size(2**33) == b"\xff" * 4


@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_mp3_in_a_file_that_was_never_closed(size):
    """Its frames are not those of another file."""
    content = read("mp3.wav")
    np.testing.assert_array_equal(samples_of(resize(content, "WAV", size)), samples_of(content))
