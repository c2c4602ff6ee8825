"""Formats that libsndfile does not read, by how their files start."""

import re
from typing import BinaryIO

from .parts import Foreign, Part, read_at


READABLE = "WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF and more"  # what libsndfile reads
SPEEX = Foreign("Ogg Speex", "ogg")
MPEG4 = Foreign("MPEG-4 or QuickTime (M4A, MP4, MOV, 3GP)", "mov", timed=True)
WINDOWS_MEDIA = Foreign("Windows Media (WMA)", "asf", timed=True)
STARTS = {
    # but no pictures
    rb"\0\0..ftyp(?!heic|heix|heim|heis|hevc|mif1|msf1|avif|avis)|\0...(moov|wide|free|skip|pnot)|....mdat": MPEG4,
    rb"\xff[\xf0\xf1\xf8\xf9].{6}|ADIF": Foreign("AAC", "aac"),
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11": WINDOWS_MEDIA,
    rb"\x1a\x45\xdf\xa3": Foreign("Matroska or WebM", "matroska", timed=True),
    rb"wvpk": Foreign("WavPack", "wv", timed=True),
    rb"#!AMR": Foreign("AMR", "amr"),
}
# Of Windows Media: the object with the size of the file, which a program that writes into a pipe does not know.
FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
BROADCAST, LARGEST_HEADER = 1, 2**16
PATTERNS = [(re.compile(start, re.DOTALL), foreign) for start, foreign in STARTS.items()]


def recognise(file: BinaryIO, start: int) -> Foreign | None:
    """Return the format of a file, if it is one of these."""
    head = read_at(file, start, 200)
    return next((foreign for pattern, foreign in PATTERNS if pattern.match(head)), None)


def find_foreign(file: BinaryIO, start: int, stop: int, foreign: Foreign) -> list[Part]:
    """Return the part of a file of one of these formats, with a fault if it is known to be cut.

    Raises:
        ValueError: If it is several files that were joined, of which FFmpeg reads the first.
    """
    fault = None
    if foreign is MPEG4 and count_headers(file, start, stop) > 1:
        raise ValueError("it is several MPEG-4 files that were joined; convert each before they are joined")
    if foreign is WINDOWS_MEDIA:
        header = read_at(file, start, LARGEST_HEADER)
        place = header.find(FILE_PROPERTIES)
        size = int.from_bytes(header[place + 40 : place + 48], "little")
        written = not int.from_bytes(header[place + 88 : place + 92], "little") & BROADCAST
        if place > 0 and written and size > stop - start:
            fault = f"its header announces a file of {size} bytes, and {stop - start} are there"
    return [Part([range(start, stop)], fault, foreign=foreign)]


def count_headers(file: BinaryIO, place: int, stop: int) -> int:
    """Return how many boxes `ftyp` an MPEG-4 file has on its highest level."""
    count = 0
    while place < stop and len(header := read_at(file, place, 16)) >= 8:
        size = int.from_bytes(header[:4], "big")
        count += header[4:8] == b"ftyp"
        size = int.from_bytes(header[8:], "big") if size == 1 else size
        if size < 8:  # up to the end
            break
        place += size
    return count
