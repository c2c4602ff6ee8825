"""FLAC files: several in one, and the number of samples where the header does not tell it or is wrong.

The format: RFC 9639.
"""

import collections
import itertools
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .parts import Part, PartReader, patch, read_at


# The name of the format and the header of STREAMINFO (34 bytes); or another file, with the name of its first chunk:
# FLAC keeps the header of a file that it was made from in its metadata, without that.
START = re.compile(
    rb"fLaC[\x00\x80]\x00\x00\x22|(RIFF|RF64)....WAVE(fmt |bext|JUNK|ds64)|FORM....AIF[FC][A-Z]{4}", re.DOTALL
)
HEADER = 42  # bytes of these
TOTAL = 18  # where 8 bytes start: 20 bits of rate, 3 of channels, 5 of width, 36 of the number of samples
UNKNOWN = 2**36
SYNC = re.compile(rb"\xff[\xf8\xf9]")
TAIL = 2**18  # bytes at the end, at least, among which the last frame is sought
WIDEST = 32  # bytes of a sample of eight channels
# Samples of a frame by the code in its header; with 6 and 7, the size follows the number, in 8 and 16 bits.
BLOCK_SIZES = {1: 192} | {code: 576 << code - 2 for code in range(2, 6)} | {code: 1 << code for code in range(8, 16)}
READ = 2**20  # bytes
LONGEST_HEADER = 16  # bytes of a frame
OTHER = "what follows is no FLAC"
NOT_ZERO = re.compile(rb"[^\0]")


def find_flac(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the parts of a FLAC file: one for each that was joined to it.

    Raises:
        ValueError: If its header is damaged.
    """
    starts = list(find_starts(file, start, stop))
    others = [place for place, name in starts if name != b"fLaC"]
    stop = others[0] if others else stop
    places = [place for place, _ in starts if place < stop]
    if not places:
        raise ValueError("its header is damaged")
    parts: list[Part] = []
    for first, after in itertools.pairwise([*places, stop]):
        parts.append(count_samples(file, [range(first, after)]))
        if parts[-1].fault:
            return parts
    parts[-1].following = others[0] if others else None
    return parts


def find_starts(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Yield the places where a FLAC stream or a WAV or AIFF file starts, with the first four bytes."""
    overlap = 15  # bytes of a start before its last one
    for place in range(start, stop, READ):
        data = read_at(file, place, min(READ + overlap, stop - place))
        yield from ((place + match.start(), match[0][:4]) for match in START.finditer(data) if match.start() < READ)


def count_samples(file: BinaryIO, pieces: list[bytes | range]) -> Part:
    """Return the part of one FLAC stream, with the right number of samples in its header.

    Args:
        file: The open file.
        pieces: Where the stream is. If the first piece is bytes, it holds the whole of STREAMINFO.
    """
    stream = PartReader(file, Part(pieces))
    header = read_at(stream, 0, HEADER)
    largest = int.from_bytes(header[15:18], "big")  # bytes of a frame; 0 if it is not known
    packed, block_size = int.from_bytes(header[TOTAL : TOTAL + 8], "big"), int.from_bytes(header[10:12], "big")
    declared, fault = packed % UNKNOWN, None
    size = max(TAIL, 2 * (largest or block_size * WIDEST))
    tail = read_at(stream, max(stream.size - size, 0), size)
    last = find_last_frame(tail, block_size)
    if last is None:  # for the decoder to refuse, unless what it needs is in front
        return Part(pieces, OTHER if stream.size > size else None)
    # A piece that was cut from the middle of a recording keeps the numbers of its frames, and its total.
    place = find_first_frame(stream)
    first = parse_header(read_at(stream, place, LONGEST_HEADER), 0, block_size)
    offset = first.start if first else 0
    if last.stop == declared and not offset and len(tail) - last.place <= largest:
        return Part(pieces)  # its end is for the decoder to check
    whole, follows = end_of_frame(tail[last.place :]) is not None, 0 < largest < len(tail) - last.place
    found = (last.stop if whole or follows else last.start) - offset
    if declared > found and not offset:
        fault = f"its header announces {declared} samples, and {found} are there"
    elif not whole:
        fault = OTHER if follows else "its last frame is damaged or cut off"
    total = (packed - declared + min(found, UNKNOWN - 1)).to_bytes(8, "big")
    if isinstance(pieces[0], bytes):
        return Part([header[:TOTAL] + total + pieces[0][TOTAL + 8 :], *pieces[1:]], fault)
    start = pieces[0].start
    return Part([*patch(start, pieces[0].stop, {start + TOTAL: total}), *pieces[1:]], fault)


def find_first_frame(stream: PartReader) -> int:
    """Return where the frames of a stream start, after its blocks of metadata."""
    place, last = len(b"fLaC"), False
    while not last and len(block := read_at(stream, place, 4)) == 4:
        last = bool(block[0] & 0x80)
        place += 4 + int.from_bytes(block[1:], "big")
    return place


class Frame(NamedTuple):
    """The header of a frame.

    Args:
        place: Where it is.
        start: Its first sample.
        stop: The sample after its last one.
        constant: What the frames of a stream have in common: how they are numbered, the rate, and the width.
    """

    place: int
    start: int
    stop: int
    constant: tuple[int, int, int]


def find_last_frame(tail: bytes, block_size: int) -> Frame | None:
    """Return the last of the frames that are like most of them: sound can look like a header now and then."""
    frames = [frame for match in SYNC.finditer(tail) if (frame := parse_header(tail, match.start(), block_size))]
    if not frames:
        return None
    usual = collections.Counter(frame.constant for frame in frames).most_common(1)[0][0]
    return [frame for frame in frames if frame.constant == usual][-1]


def end_of_frame(last: bytes) -> int | None:
    """Return where a frame ends, if nothing but padding or a tag follows it, or `None`."""
    checksum = 0  # that of a frame and its checksum is zero
    for index, byte in enumerate(last):
        before, checksum = checksum, CRC16[checksum >> 8 ^ byte] ^ (checksum << 8 & 0xFFFF)
        if checksum == 0 and before != 0 and index > 4:  # not along zeros
            rest = NOT_ZERO.search(last, index + 1)
            if rest is None or last[rest.start() :].startswith((b"TAG", b"ID3", b"APE")):
                return index + 1
    return None


def parse_header(data: bytes, place: int, block_size: int) -> Frame | None:
    """Return the header of a frame that starts at a place, or `None` if there is none."""
    header = data[place : place + LONGEST_HEADER].ljust(LONGEST_HEADER, b"\0")
    more = 8 - (header[4] ^ 0xFF).bit_length()  # bytes of the number, which is written as in UTF-8, in up to 7 of them
    if header[3] & 1 or header[3] >> 4 > 10 or header[2] & 15 == 15 or header[2] >> 4 == 0 or more in (1, 8):
        return None
    end = 4 + max(more, 1)
    number = header[4] & 0x7F >> more
    for byte in header[5:end]:
        number = number << 6 | byte & 0x3F
    code, rate, variable = header[2] >> 4, header[2] & 15, header[1] & 1
    size = BLOCK_SIZES.get(code) or int.from_bytes(header[end : end + code - 5], "big") + 1
    end += {6: 1, 7: 2}.get(code, 0) + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    checksum = 0
    for byte in header[:end]:
        checksum = CRC8[checksum ^ byte]
    if checksum != header[end]:
        return None
    start = number if variable else number * block_size
    return Frame(place, start, start + size, (variable, rate, header[3] & 14))


def crc_table(polynomial: int, bits: int) -> list[int]:
    """Return the checksum of each byte, for a polynomial whose highest power is `bits`."""
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 else 0)
        table.append(value % (1 << bits))
    return table


CRC8, CRC16 = crc_table(0x107, 8), crc_table(0x18005, 16)
