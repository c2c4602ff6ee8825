import io
import struct
import zlib

import numpy as np
import pytest
from recordings import RECORDINGS, decode, fault_of, noise, parts_of, read, samples_of, write

from modeling_asm.audio import AudioFileError
from modeling_asm.audio.containers.ogg import REVERSED, length_of_opus, read_page, with_position
from modeling_asm.audio.stretches import load_stretch


OGG = sorted(name for name in RECORDINGS if name.endswith((".ogg", ".oga", ".opus")))


def pages_of(content: bytes) -> list[bytes]:
    pages, place = [], 0
    while place < len(content):
        page = read_page(io.BytesIO(content), place, len(content))
        pages.append(content[place : page.stop])
        place = page.stop
    return pages


def make_page(body: bytes, flags: int = 0, serial: int = 7, number: int = 0) -> bytes:
    """Return a page, with the checksum computed bit by bit, as RFC 3533 describes it."""
    segments = bytes([255] * (len(body) // 255) + [len(body) % 255])
    page = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, 0, serial, number, 0, len(segments)) + segments + body
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    return page[:22] + struct.pack("<I", checksum) + page[26:]


@pytest.mark.parametrize("name", OGG)
def test_a_whole_file(name):
    (part,) = parts_of(read(name))
    assert part.fault is None
    number = len(samples_of(read(name)))  # FFmpeg fills the last block of Vorbis
    assert 0 <= RECORDINGS[name]["samples"] - number < (128 if name.endswith(".ogg") else 1)


@pytest.mark.parametrize("name", OGG)
def test_a_cut_file(name):
    content = read(name)
    first = len(pages_of(content)[0])
    for place in np.linspace(first, len(content) - 1, 10).astype(int):
        assert "missing" in fault_of(content[:place])
        with pytest.raises(
            AudioFileError, match=r"^Cannot decode the file: |^the file can be decoded up to .* s only: "
        ):
            decode(content[:place])


def test_a_file_that_ends_with_a_page():
    content = read("ffmpeg.ogg")
    assert fault_of(content[: -len(pages_of(content)[-1])]) == "its last page is missing"


def move(content: bytes, samples: int) -> bytes:
    """Count samples from a later place, as FFmpeg does after a cut without decoding."""
    pages = [io.BytesIO(page) for page in pages_of(content)]
    headers = [read_page(page, 0, len(page.getbuffer())) for page in pages]
    return b"".join(
        with_position(page, header, header.position - samples * (header.position > 0))
        for page, header in zip(pages, headers)
    )


@pytest.mark.parametrize(("subtype", "rate"), [("VORBIS", 44100), ("VORBIS", 8000), ("OPUS", 48000), ("OPUS", 16000)])
def test_positions_that_count_from_a_cut(subtype, rate):
    """All that the pages hold is read, also from a place in the middle."""
    whole = write(noise(5 * rate), rate, "OGG", subtype)
    moved, samples = move(whole, 10_000 if rate > 8000 else 3_000), samples_of(whole)
    assert moved != whole
    assert fault_of(moved) is None
    np.testing.assert_array_equal(samples_of(moved), samples)
    stretch = load_stretch("x", 3 * rate, 1000, rate, moved)
    np.testing.assert_allclose(stretch, samples[3 * rate :][:1000, 0], atol=0.02 if subtype == "OPUS" else 1e-6)


def test_a_header_of_vorbis_that_means_nothing():
    """The checksums are right, so that only a decoder can tell."""
    pages = make_page(b"\x01vorbis" + bytes(30), 2) + make_page(b"sound", 0, number=1) + make_page(b"x", 4, number=2)
    moved = pages_of(pages)[0]
    for page in pages_of(pages)[1:]:
        moved += with_position(io.BytesIO(page), read_page(io.BytesIO(page), 0, len(page)), 100)
    with pytest.raises(AudioFileError, match=r"^Cannot decode the file: "):
        decode(moved)


def test_positions_of_one_page_cut_the_end():
    whole = write(noise(2000), 44100, "OGG", "VORBIS")
    assert len(samples_of(move(whole, 500))) == 1500


@pytest.mark.parametrize(
    ("packet", "samples"),
    [(b"\x08", 960), (b"\x78\0", 960), (b"\x80", 120), (b"\xf9\0", 1920), (b"\xfb\x03", 2880), (b"\xfb", 0)],
)
def test_the_length_of_a_packet_of_opus(packet, samples):
    """SILK 20 ms; hybrid 20 ms; CELT 2.5 ms; twice 20 ms; three times; none."""
    assert length_of_opus(packet) == samples


def test_a_missing_page():
    pages = [make_page(bytes([index]), number=index) for index in range(1, 5)]
    first = make_page(b"\x01vorbis", flags=2)
    assert fault_of(first + pages[0] + pages[2]) == "pages are missing or damaged after it"
    assert fault_of(first + pages[0] + pages[1]) == "its last page is missing"


def test_a_damaged_page():
    content = bytearray(read("oggenc.ogg"))
    content[-100] ^= 1
    assert fault_of(bytes(content)) == "pages are missing or damaged after it"


@pytest.mark.parametrize(
    "names",
    [
        ("oggenc.ogg", "mono_16000.ogg"),
        ("ffmpeg.opus", "opusenc.opus"),
        ("ffmpeg.opus", "mono_16000.opus", "ffmpeg.ogg"),
        ("ffmpeg_flac.oga", "oggenc.ogg"),
    ],
    ids="+".join,
)
def test_a_chain(names):
    """Also with another rate, number of channels or format after the first stream."""
    expected = [decode(read(name))[0] for name in names]
    found = decode(b"".join(map(read, names)))
    for (block, rate), (alone, own) in zip(found, expected, strict=True):
        assert rate == own
        np.testing.assert_array_equal(block, alone)


def test_pages_of_other_streams_are_left_out():
    """Video beside the sound: its pages stand between those of the sound."""
    first, *rest = pages_of(read("oggenc.ogg"))
    others = [make_page(b"\x80theora" + bytes(30), flags=2), *(make_page(b"x", number=i + 1) for i in range(len(rest)))]
    mixed = first + others[0] + b"".join(page + other for page, other in zip(rest, others[1:]))
    np.testing.assert_array_equal(samples_of(mixed), samples_of(read("oggenc.ogg")))


def test_two_streams_side_by_side():
    first, second = pages_of(read("oggenc.ogg")), pages_of(read("ffmpeg.ogg"))
    mixed = b"".join([first[0], second[0], *first[1:], *second[1:]])
    with pytest.raises(ValueError, match="several streams of sound side by side"):
        parts_of(mixed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (make_page(b"\x80theora", flags=2), "it has no sound"),
        (make_page(b"new codec", flags=2), "a format that is unknown: b'new code'"),
        (make_page(b"words"), "its first pages are missing"),
        (b"OggS" + bytes(100), "its first page is damaged"),
    ],
)
def test_what_cannot_be_read(content, message):
    with pytest.raises(ValueError, match=message):
        parts_of(content)


def test_flac_in_ogg_is_native_flac():
    (part,) = parts_of(read("ffmpeg_flac.oga"))
    assert part.pieces[0].startswith(b"fLaC")


def test_speex_is_for_ffmpeg():
    (part,) = parts_of(read("speexenc_16000.spx"))
    assert part.foreign.name == "Ogg Speex"
    assert part.fault is None


def test_zeros_at_the_end():
    assert fault_of(read("oggenc.ogg") + bytes(500)) is None
    assert fault_of(read("oggenc.ogg") + b"something") == "it is damaged after it"


def test_the_checksum_is_that_of_zlib_with_its_bits_reversed():
    page = make_page(b"\x01vorbis", flags=2)
    zeroed = page[:22] + bytes(4) + page[26:]
    checksum = zlib.crc32(zeroed.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    assert int(f"{checksum:032b}"[::-1], 2) == int.from_bytes(page[22:26], "little")
