import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import RECORDINGS, decode, fault_of, noise, parts_of, read, samples_of, write

from modeling_asm.audio import AudioFileError
from modeling_asm.audio.containers import flac
from modeling_asm.audio.containers.flac import (
    CRC8,
    CRC16,
    SYNC,
    TOTAL,
    end_of_frame,
    find_first_frame,
    find_last_frame,
    parse_header,
)
from modeling_asm.audio.containers.parts import Part, PartReader


def set_total(content: bytes, total: int) -> bytes:
    """Write another number of samples into STREAMINFO."""
    packed = int.from_bytes(content[TOTAL : TOTAL + 8], "big") >> 36 << 36 | total
    return content[:TOTAL] + packed.to_bytes(8, "big") + content[TOTAL + 8 :]


@pytest.mark.parametrize(("table", "expected"), [(CRC8, 0xF4), (CRC16, 0xFEE8)], ids=["CRC-8", "CRC-16"])
def test_checksums(table, expected):
    """Of "123456789": CRC-8/SMBUS and CRC-16/UMTS in the catalogue of CRC algorithms, reveng.sourceforge.io."""
    bits, value = (8, 0) if table is CRC8 else (16, 0)
    for byte in b"123456789":
        value = table[value >> bits - 8 ^ byte] ^ (value << 8) % (1 << bits)
    assert value == expected


@pytest.mark.parametrize("number", [100, 4096, 10_000, 100_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_last_frame(number, channels):
    content = write(noise(number, channels), kind="FLAC")
    last = find_last_frame(content, 4096)
    assert last.stop == number
    assert end_of_frame(content[last.place :]) == len(content) - last.place
    assert end_of_frame(content[last.place : -3]) is None


@given(number=st.integers(1, 30_000), total=st.sampled_from([0, 1, 17]), subtype=st.sampled_from(["PCM_16", "PCM_24"]))
def test_a_file_that_does_not_tell_its_length(number, total, subtype):
    """Written to a pipe, or by a recorder that stopped."""
    content = write(noise(number), kind="FLAC", subtype=subtype)
    np.testing.assert_array_equal(samples_of(set_total(content, total)), samples_of(content))


@pytest.mark.parametrize("name", ["piped_sox.flac", "sox.flac", "mono24_16000.flac"])
def test_files_by_encoders(name):
    (part,) = parts_of(read(name))
    assert part.fault is None
    assert len(samples_of(read(name))) == RECORDINGS[name]["samples"]


@pytest.mark.parametrize("total", [None, 0], ids=["known", "unknown"])
@given(share=st.floats(0.05, 0.99))
def test_a_cut_file(total, share):
    content = write(noise(30_000), kind="FLAC")
    content = set_total(content, total) if total is not None else content
    fault = fault_of(content[: int(share * len(content))])
    assert fault is None or "announces 30000 samples" in fault or fault == "its last frame is damaged or cut off"
    with pytest.raises(ValueError, match="decode"):
        decode(content[: int(share * len(content))])


def test_joined_files():
    first, second = write(noise(9000), kind="FLAC"), write(noise(500, 2), 8000, "FLAC", "PCM_24")
    blocks = decode(first + second + set_total(second, 0))
    assert [(len(block), rate) for block, rate in blocks] == [(9000, 16000), (500, 8000), (500, 8000)]
    tagged = decode(first + b"ID3\4\0\0\0\0\0\x14" + bytes(20) + second)
    assert [len(block) for block, _ in tagged] == [9000, 500]
    with pytest.raises(AudioFileError, match=r"the file can be decoded up to 0\.56 s only: .*flac decoder lost sync"):
        decode(first + second[:-30])


@pytest.mark.parametrize(
    "rest", [b"TAG" + bytes(125), bytes(700), b"APETAGEX" + bytes(30)], ids=["id3v1", "zeros", "ape"]
)
def test_what_follows_the_last_frame(rest):
    content = write(noise(9000), kind="FLAC")
    for total in (9000, 0):
        assert len(samples_of(set_total(content, total) + rest)) == 9000


@pytest.mark.parametrize("channels", [1, 8])
def test_frames_larger_than_usual(channels, monkeypatch):
    """The last frame is sought among as many bytes as frames may have, by the header or by their samples."""
    monkeypatch.setattr(flac, "TAIL", 2**8)
    content = write(noise(30_000, channels), kind="FLAC", subtype="PCM_24")
    unknown = content[:15] + bytes(3) + content[18:]  # the size of the largest frame
    for whole in (content, unknown, set_total(content, 0)):
        assert fault_of(whole) is None
        assert len(samples_of(whole)) == 30_000


def test_a_name_in_the_metadata_is_no_second_file():
    content = write(noise(9000), kind="FLAC")
    comment = b"fLaC is the name of the format"
    block = bytes([1]) + len(comment).to_bytes(3, "big") + comment
    assert len(parts_of(content[:42] + block + content[42:])) == 1


def test_what_is_no_frame():
    assert parse_header(b"\xff\xf8\xc9\x08\x00\x00" + bytes(10), 0, 4096) is None  # a wrong checksum
    assert find_last_frame(bytes(1000), 4096) is None


def test_variable_block_sizes():
    """The header of such a frame holds the number of its first sample, not of the frame."""
    header = bytes([0xFF, 0xF9, 0xC9, 0x08, 0xE2, 0x82, 0xAC])  # 0x20AC, as in UTF-8
    checksum = 0
    for byte in header:
        checksum = CRC8[checksum ^ byte]
    frame = parse_header(io.BytesIO(header + bytes([checksum])).read(), 0, 0)
    assert (frame.start, frame.stop) == (0x20AC, 0x20AC + 4096)


def test_a_piece_that_was_cut_from_the_middle():
    """`ffmpeg -ss 2 -c copy` keeps the numbers of the frames, and the total."""
    content = write(noise(30_000), kind="FLAC")
    starts = [match.start() for match in SYNC.finditer(content) if parse_header(content, match.start(), 4096)]
    start = find_first_frame(PartReader(io.BytesIO(content), Part([range(len(content))])))
    piece = content[:start] + content[starts[2] :]
    np.testing.assert_array_equal(samples_of(piece), samples_of(content)[2 * 4096 :])


def test_zeros_and_more_after_the_last_frame():
    """Not in quadratic time: a minute, once."""
    content = set_total(write(noise(5000), kind="FLAC"), 0)
    assert fault_of(content + bytes(200_000) + b"X") is not None


@given(kind=st.sampled_from([b"", b"fLaC"]), content=st.binary(max_size=60))
def test_a_damaged_header(kind, content):
    with contextlib.suppress(ValueError):
        assert parts_of(kind + content)
