"""Formats that libsndfile does not read, by how their files start."""

import re
from typing import BinaryIO

from .parts import Foreign, read_at


READABLE = "WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF and more"  # what libsndfile reads
SPEEX = Foreign("Ogg Speex", "ogg")
STARTS = {
    rb"....(ftyp|moov|mdat|wide|free|skip|pnot)": Foreign(
        "MPEG-4 or QuickTime (M4A, MP4, MOV, 3GP)", "mov", timed=True
    ),
    rb"\xff[\xf0\xf1\xf8\xf9].{6}|ADIF": Foreign("AAC", "aac"),
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11": Foreign("Windows Media (WMA)", "asf", timed=True),
    rb"\x1a\x45\xdf\xa3": Foreign("Matroska or WebM", "matroska", timed=True),
    rb"wvpk": Foreign("WavPack", "wv", timed=True),
    rb"#!AMR": Foreign("AMR", "amr"),
}
PATTERNS = [(re.compile(start, re.DOTALL), foreign) for start, foreign in STARTS.items()]


def recognise(file: BinaryIO, start: int) -> Foreign | None:
    """Return the format of a file, if it is one of these."""
    head = read_at(file, start, 200)
    return next((foreign for pattern, foreign in PATTERNS if pattern.match(head)), None)
