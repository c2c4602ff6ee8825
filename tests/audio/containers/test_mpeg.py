import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import RECORDINGS, decode, fault_of, parts_of, read, samples_of

from modeling_asm.audio.containers.mpeg import LARGEST_FRAME, Frames, find_mpeg, parse_header, skip_tags


MP3 = sorted(name for name in RECORDINGS if name.endswith(".mp3"))
MP2 = sorted(name for name in RECORDINGS if name.endswith(".mp2"))
BARE = [name for name in MP3 if "bare" in name] + ["shine.mp3", *MP2]


def tag(size: int, flags: int = 0, version: int = 4) -> bytes:
    digits = bytes(size >> 7 * place & 127 for place in (3, 2, 1, 0))
    head = bytes([version, 0, flags]) + digits
    return b"ID3" + head + bytes(size) + (b"3DI" + head if flags & 0x10 else b"")


APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (40).to_bytes(4, "little") + bytes(4)
TAGS = {
    "two": tag(90) + tag(400),
    "footer": tag(100, 0x10),
    "padded": tag(100) + bytes(3000),
    "old": tag(300, version=2),
    "large": tag(70_000),
}
TRAILERS = {
    "id3v1": b"TAG" + bytes(125),
    "enhanced": b"TAG+" + bytes(223) + b"TAG" + bytes(125),
    "ape": APE + (1 << 31 | 1 << 29).to_bytes(4, "little") + bytes(8) + bytes(8) + APE + bytes(12),
    "ape-footer": APE + bytes(12),
    "lyrics": b"LYRICSBEGINwords000011LYRICS200",
    "zeros": bytes(4000),
}


@pytest.mark.parametrize(
    ("header", "kind", "length", "samples"),
    [
        ("fffb9064", (1, 3, 44100, False), 417, 1152),
        ("fffb9264", (1, 3, 44100, False), 418, 1152),
        ("fffbe0c4", (1, 3, 44100, True), 1044, 1152),
        ("fff364c4", (2, 3, 24000, True), 144, 576),
        ("ffe318c4", (4, 3, 8000, True), 72, 576),
        ("fffd8004", (1, 2, 44100, False), 417, 1152),
        ("fff584c4", (2, 2, 24000, True), 384, 1152),
        ("ffff9404", (1, 1, 48000, False), 288, 384),
    ],
)
def test_headers(header, kind, length, samples):
    """By the formulas of ISO/IEC 11172-3, 2.4.3.1: 144 (MPEG-2 layer III: 72) times bits by rate; layer I: 12, by 4."""
    frame = parse_header(bytes.fromhex(header))
    assert (frame.kind, frame.length, frame.samples) == (kind, length, samples)


@pytest.mark.parametrize("header", ["fffbf064", "fffb9c64", "ffea9064", "fff99064", "fffb9066", "7ffb9064", "fffb90"])
def test_what_is_no_header(header):
    assert parse_header(bytes.fromhex(header)) is None


@pytest.mark.parametrize("name", MP3 + MP2)
def test_a_whole_file(name):
    (part,) = parts_of(read(name))
    assert part.fault is None
    entry = RECORDINGS[name]
    number = len(samples_of(read(name)))
    assert part.frames in (None, number)
    if entry["samples"]:  # FFmpeg does not decode the free format
        assert abs(number - entry["samples"]) <= 2 * 1152


@pytest.mark.parametrize("front", TAGS)
@pytest.mark.parametrize("name", ["lame.mp3", "lame_bare.mp3", "ffmpeg_22050.mp2"])
def test_tags_in_front(name, front):
    np.testing.assert_array_equal(samples_of(TAGS[front] + read(name)), samples_of(read(name)))


@pytest.mark.parametrize("rest", TRAILERS)
@pytest.mark.parametrize("name", ["lame.mp3", "lame_bare.mp3"])
def test_tags_at_the_end(name, rest):
    np.testing.assert_array_equal(samples_of(read(name) + TRAILERS[rest]), samples_of(read(name)))


@pytest.mark.parametrize("name", ["lame.mp3", "lame_vbr_bare.mp3", "ffmpeg_44100.mp2"])
def test_leading_junk(name):
    junk = np.random.default_rng(1).bytes(5000)
    np.testing.assert_array_equal(samples_of(junk + read(name)), samples_of(read(name)))


@pytest.mark.parametrize("name", BARE)
def test_a_file_without_a_count_ends_with_its_last_whole_frame(name):
    whole, cut = samples_of(read(name)), samples_of(read(name)[:-20])
    assert 0 < len(whole) - len(cut) <= 1152
    np.testing.assert_array_equal(cut, whole[: len(cut)])


def test_a_count_that_exceeds_the_frames():
    content = read("lame.mp3")
    assert fault_of(content[:-20]) is None  # one frame
    assert fault_of(content[:-900]) == "its header announces 13 frames, and 10 are there"


def test_a_count_that_is_too_small():
    """As that of a recorder that stopped before it wrote the last one."""
    content = read("lame.mp3")
    place = content.index(b"Info") + 8
    assert int.from_bytes(content[place : place + 4], "big") == 13
    short = content[:place] + (5).to_bytes(4, "big") + content[place + 4 :]
    assert len(samples_of(short)) == 13 * 1152


@pytest.mark.parametrize(
    "names",
    [
        ("lame.mp3", "lame.mp3"),
        ("lame_bare.mp3", "lame.mp3"),
        ("lame.mp3", "lame_mono.mp3"),
        ("lame_bare.mp3", "lame_16000.mp3"),
        ("lame_tagged.mp3", "lame_tagged.mp3"),
        ("lame_vbr.mp3", "ffmpeg_22050.mp2", "lame_8000.mp3"),
    ],
    ids="+".join,
)
def test_joined_files(names):
    blocks = decode(b"".join(map(read, names)))
    expected = [decode(read(name))[0] for name in names]
    assert [rate for _, rate in blocks] == [rate for _, rate in expected]
    for (found, _), (alone, _) in zip(blocks, expected, strict=True):
        np.testing.assert_array_equal(found, alone)


def test_joined_streams_without_counts_are_one():
    content = read("ffmpeg_bare.mp3")
    assert parts_of(content + TAGS["two"] + content)[0].frames == 2 * parts_of(content)[0].frames


def test_damage_between_frames():
    content = read("lame_bare.mp3")
    place = 5 * 418
    damaged = content[:place] + bytes([1, 2, 3]) * 300 + content[place:]
    assert "bytes after it are damaged" in fault_of(damaged)
    assert parts_of(damaged)[0].frames < 6 * 1152


def test_damage_up_to_the_end():
    content = read("lame_bare.mp3")
    assert fault_of(content + b"\1" * 100) is None
    assert fault_of(content + b"\1" * (LARGEST_FRAME + 1)) == f"{LARGEST_FRAME + 1} bytes after it are damaged"


def test_what_is_no_mpeg_audio():
    with pytest.raises(ValueError, match="no MPEG audio frames"):
        find_mpeg(io.BytesIO(bytes(1000)), 0, 1000)


@given(seed=st.integers(0, 100))
def test_quiet_samples_are_no_frames(seed):
    """As 16-bit numbers, those just below zero look like headers."""
    rng = np.random.default_rng(seed)
    samples, quiet = rng.bytes(5000), rng.integers(-30, 5, 20_000).astype("<i2").tobytes()
    for content in (quiet, samples, samples + quiet):
        with pytest.raises(ValueError, match="no MPEG audio frames"):
            find_mpeg(io.BytesIO(content), 0, len(content))


def test_the_free_format():
    """Its headers do not tell the length of a frame: the distance to the next one does."""
    content = read("lame_free.mp3")
    frames = Frames(io.BytesIO(content), len(content))
    assert parse_header(content[:4]).length <= 1
    assert frames.at(0).length in (652, 653)  # 200 kbit/s: 144 * 200,000 / 44,100
    assert len(samples_of(content)) == 13230


@given(order=st.permutations(sorted(TAGS)), zeros=st.integers(0, 200))
def test_tags_in_any_order(order, zeros):
    content = b"".join(itertools.chain.from_iterable((TAGS[name], bytes(zeros)) for name in order))
    assert skip_tags(io.BytesIO(content + b"\xff\xfb"), 0, len(content) + 2) == len(content)


@pytest.mark.parametrize("content", [b"ID3\4\0\0\xff\xff\xff\xff", b"ID3", b"LYRICSBEGIN without an end", b"sound"])
def test_what_is_no_tag(content):
    assert skip_tags(io.BytesIO(content), 0, len(content)) == 0


def test_zeros_instead_of_frames():
    """A hole in a copy, also where sound goes on with a whole frame; padding between joined files is none."""
    content = read("lame_bare.mp3")
    frames, starts = Frames(io.BytesIO(content), len(content)), [0]
    while len(starts) < 8:
        starts.append(starts[-1] + frames.at(starts[-1]).length)
    second, fifth = starts[4], starts[7]
    hole = content[:second] + bytes(fifth - second) + content[fifth:]
    assert fault_of(hole) == f"{fifth - second} bytes after it are zero"
    joined = read("lame.mp3") + bytes(500) + read("lame.mp3")
    assert len(samples_of(joined)) == 2 * len(samples_of(read("lame.mp3")))


def test_junk_in_front_of_a_large_tag():
    junk, tag = np.random.default_rng(1).bytes(900), TAGS["large"]
    content = read("lame_bare.mp3")
    np.testing.assert_array_equal(samples_of(junk + content + TRAILERS["zeros"]), samples_of(content))
    assert len(samples_of(tag + content)) == len(samples_of(content))


def test_a_tag_that_is_cut_off():
    """Another file started there."""
    content = read("lame.mp3")
    assert fault_of(content + TAGS["two"]) is None
    for first in (content, content + TRAILERS["id3v1"]):
        for rest in (TAGS["large"][:500], TAGS["two"] + content[:200]):
            assert fault_of(first + rest) == "what follows it is cut off"
