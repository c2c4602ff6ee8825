"""Ogg files: their pages, the streams that were chained, and FLAC in them as native FLAC.

The format: RFC 3533.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import soundfile

from .flac import count_samples
from .foreign import SPEEX
from .mpeg import starts_another
from .parts import Part, PartReader, is_padding, read_at


REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
HEADER = 27  # bytes of a page's header, before the table of its segments
FIRST, LAST = 2, 4  # flags of a page
FLAC_HEADER = 9  # bytes before "fLaC" in the first packet: https://xiph.org/flac/ogg_mapping.html
# How the first page of a stream starts, and the name of its format.
CODECS = {b"\x01vorbis": "Vorbis", b"OpusHead": "Opus", b"\x7fFLAC": "FLAC", b"Speex   ": "Speex"}
NO_SOUND = (b"fishead\0", b"fisbone\0", b"\x80theora", b"\x80kate", b"BBCD\0", b"\x01video", b"\x01text", b"CMML")
MISSING = "pages are missing or damaged after it"
MOST = 2**20  # samples of a page: 255 packets of up to 4096
BLOCK = 2**12


@dataclass
class Page:
    """A page: where it starts, where its body does, where it ends, and what its header says.

    Its position is the number of samples up to its end.
    """

    start: int
    body: int
    stop: int
    flags: int
    position: int
    serial: int
    number: int


@dataclass
class Link:
    """The pages of one stream, which another one may follow: its format, its pieces, and why it ends early."""

    codec: bytes
    pieces: list[range] = field(default_factory=list)
    last: Page | None = None
    number: int = 0
    fault: str | None = None

    @property
    def name(self) -> str | None:
        """The name of its format, if it has sound."""
        return next((name for start, name in CODECS.items() if self.codec.startswith(start)), None)

    @property
    def ended(self) -> bool:
        """Whether its last page is marked as such."""
        return self.last is not None and bool(self.last.flags & LAST)

    def add(self, page: Page):
        """Add a page; of FLAC, its body."""
        start = page.body if self.name == "FLAC" else page.start
        if self.pieces and self.pieces[-1].stop == start:
            self.pieces[-1] = range(self.pieces[-1].start, page.stop)
        else:
            self.pieces.append(range(start, page.stop))
        self.last = page
        self.number += 1

    def as_part(self, file: BinaryIO) -> Part:
        """Return the part for a decoder."""
        fault = self.fault or (None if self.ended else "its last page is missing")
        if self.name == "FLAC":
            first = read_at(file, self.pieces[0].start, len(self.pieces[0]))[FLAC_HEADER:]
            part = count_samples(file, [first, *self.pieces[1:]])
            return Part(part.pieces, fault or part.fault)
        if self.name in ("Vorbis", "Opus") and fault is None:
            return Part(count_from_the_start(file, self.pieces, self.name == "Opus"))
        return Part(list(self.pieces), fault, foreign=SPEEX if self.name == "Speex" else None)


def find_ogg(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the parts of an Ogg file, one for each stream of a chain, without its pictures and texts.

    Raises:
        ValueError: If it has no sound that can be decoded, or several streams of sound side by side.
    """
    links, streams, place, following = [], {}, start, None
    while place < stop:
        page = read_page(file, place, stop)
        if page is None:
            if not links:
                raise ValueError("its first page is damaged")
            if starts_another(file, place, stop) and read_at(file, place, 4) != b"OggS":
                following = place
            elif not is_padding(file, place, stop):
                links[-1].fault = MISSING if read_at(file, place, 4) == b"OggS" else "it is damaged after it"
            break
        if page.flags & FIRST:
            codec = read_at(file, page.body, min(8, page.stop - page.body))
            link = streams[page.serial] = Link(codec)
            if link.name and links and not links[-1].ended:
                if links[-1].number > 1:  # streams side by side start together
                    break
                raise ValueError("it holds several streams of sound side by side")
            if link.name:
                links.append(link)
            elif not codec.startswith(NO_SOUND):
                raise ValueError(f"it holds a format that is unknown: {codec!r}")
        link = streams.get(page.serial)
        if link is None:
            raise ValueError("its first pages are missing")
        if link.last and page.number != link.last.number + 1:
            link.fault = MISSING
            break
        link.add(page)
        place = page.stop
    if not links:
        raise ValueError("it has no sound")
    parts = [link.as_part(file) for link in links]
    parts[-1].following = following
    return parts


def count_from_the_start(file: BinaryIO, pieces: list[range], opus: bool) -> list[bytes | range]:
    """Return the pieces of a Vorbis or Opus stream, with positions that include what is left in front of a cut.

    FFmpeg cuts a stream without decoding it, and counts from the cut, although the page in front of it is there:
    libsndfile then stops as much too early, or refuses the file. Whole streams are returned as they are.
    """
    stream, start = PartReader(file, Part(list(pieces))), []
    for page in read_pages(stream):
        start.append(with_position(stream, page, MOST if page.position > 0 else page.position))
        if page.position > 0:
            break
    if page.stop == stream.size:  # it may count fewer samples than its packets have, which cuts the end
        return list(pieces)
    if opus:
        number = sum(map(length_of_opus, read_packets(stream, page)))
    else:
        try:
            with soundfile.SoundFile(io.BytesIO(b"".join(start))) as sound:
                number = sum(map(len, sound.blocks(BLOCK, dtype="int16", always_2d=True, frames=MOST)))
        except soundfile.LibsndfileError:  # which the decoder will meet, too
            return list(pieces)
    more = number - page.position
    if more <= 0:
        return list(pieces)
    return [with_position(stream, page, page.position + more * (page.position > 0)) for page in read_pages(stream)]


def length_of_opus(packet: bytes) -> int:
    """Return the number of samples of a packet of Opus, at 48 kHz: RFC 6716, section 3.1."""
    configuration = packet[0] >> 3
    if configuration < 12:
        size = (480, 960, 1920, 2880)[configuration % 4]
    elif configuration < 16:
        size = (480, 960)[configuration % 2]
    else:
        size = (120, 240, 480, 960)[configuration % 4]
    return size * (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[packet[0] & 3]


def read_packets(stream: PartReader, page: Page) -> Iterator[bytes]:
    """Yield the packets of a page that end in it and have content."""
    segments, place, length = read_at(stream, page.start + HEADER, page.body - page.start - HEADER), page.body, 0
    for size in segments:
        length += size
        if size < 255:
            if length:
                yield read_at(stream, place, length)
            place, length = place + length, 0


def with_position(stream: PartReader, page: Page, position: int) -> bytes:
    """Return a page with another position."""
    content = read_at(stream, page.start, page.stop - page.start)
    content = content[:6] + position.to_bytes(8, "little", signed=True) + content[14:22] + bytes(4) + content[26:]
    return content[:22] + checksum_of(content).to_bytes(4, "little") + content[26:]


def read_pages(stream: PartReader) -> Iterator[Page]:
    """Yield the pages of a stream that has been read before."""
    place = 0
    while place < stream.size and (page := read_page(stream, place, stream.size)):
        yield page
        place = page.stop


def read_page(file: BinaryIO, place: int, stop: int) -> Page | None:
    """Return the page that starts at a place, or `None` if there is none or its checksum is wrong."""
    header = read_at(file, place, min(HEADER + 255, stop - place))
    if header[:5] != b"OggS\0" or len(header) < HEADER:
        return None
    flags, position, serial, number, checksum, segments = struct.unpack("<5xBqIIIB", header[:HEADER])
    body = place + HEADER + segments
    end = body + sum(header[HEADER : HEADER + segments])
    if end > stop or len(header) < HEADER + segments:
        return None
    content = header[:22] + bytes(4) + header[26 : HEADER + segments] + read_at(file, body, end - body)
    return Page(place, body, end, flags, position, serial, number) if checksum_of(content) == checksum else None


def checksum_of(page: bytes) -> int:
    """Return the checksum of a page, whose own is 0.

    zlib's has the same polynomial, but reads bits from the other end and inverts its start and its result.
    """
    result = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{result:032b}"[::-1], 2)
