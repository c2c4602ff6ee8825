import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_asm.audio.containers.parts import PADDING, Part, PartReader, is_padding, patch, read_at


CONTENT = bytes(range(100))


def reader(*pieces, **options) -> PartReader:
    return PartReader(io.BytesIO(CONTENT), Part(list(pieces), **options))


def test_pieces_are_one_file():
    assert reader(b"ab", range(3, 6), range(6, 6), b"", range(90, 200)).read() == b"ab\3\4\5" + CONTENT[90:]


@given(
    places=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=5),
    start=st.integers(0, 300),
    length=st.integers(0, 300),
)
def test_any_place_can_be_read(places, start, length):
    """As from the joined bytes, and never fewer than are there: libsndfile takes that for the end."""
    pieces = [range(min(pair), max(pair)) for pair in places]
    joined = b"".join(CONTENT[piece.start : piece.stop] for piece in pieces)
    file = reader(*pieces)
    assert file.seek(0, io.SEEK_END) == len(joined)
    file.seek(start)
    assert file.read(length) == joined[start : start + length]
    assert file.tell() == start + len(joined[start : start + length])


def test_a_part_without_a_count_claims_to_be_longer():
    file = reader(range(100), frames=5)
    assert file.seek(0, io.SEEK_END) == 6400
    file.seek(-128, io.SEEK_END)
    assert file.read(128) == bytes(128)  # no tag
    file.seek(99)
    assert file.read(10) == b"c"


def test_the_error_of_a_read_is_kept():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError("the disk is broken")

    file = PartReader(Broken(CONTENT), Part([range(100)]))
    assert file.read(10) == b""
    assert str(file.error) == "the disk is broken"


def test_patches_replace_bytes():
    pieces = patch(10, 20, {15: b"xy", 11: b"z"})
    assert reader(*pieces).read() == b"\x0az\x0c\x0d\x0exy\x11\x12\x13"


def test_reading_past_the_end():
    file = io.BytesIO(CONTENT)
    assert read_at(file, 98, 10) == b"bc"
    assert read_at(file, 98, -1) == b""


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", True), (bytes(500), True), (bytes(500) + b"\1", False), (bytes(PADDING + 1), False)],
    ids=["nothing", "zeros", "sound", "many-zeros"],
)
def test_padding(content, expected):
    assert is_padding(io.BytesIO(content), 0, len(content)) == expected
