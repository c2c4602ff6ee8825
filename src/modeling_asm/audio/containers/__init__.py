"""What a file holds, found in its container: libsndfile takes headers at their word, and stops at the first part."""

import io
from collections.abc import Callable
from typing import BinaryIO

from .chunks import find_aiff, find_caf, find_svx, find_w64, find_wav
from .flac import find_flac
from .foreign import READABLE, find_foreign, recognise
from .headers import find_au, find_avr, find_nist, find_voc
from .mpeg import Frames, find_mpeg, size_of_id3
from .ogg import find_ogg
from .parts import ID3V1, Foreign, Part, PartReader, read_at


__all__ = ["READABLE", "Foreign", "Part", "PartReader", "find_parts", "is_recording"]


def find_whole(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return a file as its only part."""
    return [Part([range(start, stop)])]


# How a file starts, and what finds its parts. A new format is one more line.
FINDERS: dict[tuple[bytes, bytes], Callable[[BinaryIO, int, int], list[Part]]] = {
    **{(name, b"WAVE"): find_wav for name in (b"RIFF", b"RIFX", b"RF64", b"BW64")},
    (b"riff\x2e\x91\xcf\x11", b""): find_w64,
    **{(b"FORM", kind): find_aiff for kind in (b"AIFF", b"AIFC")},
    **{(b"FORM", kind): find_svx for kind in (b"8SVX", b"16SV")},
    (b"caff", b""): find_caf,
    (b"fLaC", b""): find_flac,
    (b"OggS", b""): find_ogg,
    (b".snd", b""): find_au,
    (b"dns.", b""): find_au,
    (b"NIST_1A", b""): find_nist,
    (b"2BIT", b""): find_avr,
    (b"Creative Voice File", b""): find_voc,
    # Formats without frames, which must not be mistaken for MPEG: IRCAM, PAF, PVF, MATLAB, Psion, XI and MIDI.
    **{(name, b""): find_whole for name in (b"\x64\xa3", b" paf", b"fap ", b"PVF1\n", b"MATLAB")},
    **{(name, b""): find_whole for name in (b"ALawSoundFile", b"Extended Instrument", b"\xf0\x7e")},
}


def find_parts(file: BinaryIO) -> list[Part]:
    """Return what decoders read as files of their own, in the order of time, at least one.

    A fault ends them: what follows is left out.

    Args:
        file: An open, seekable file.

    Raises:
        ValueError: If nothing can be read; the message says why.
    """
    start, stop = without_tags(file)
    parts = find_next(file, start, stop)
    while (following := parts[-1].following) is not None and parts[-1].fault is None:
        parts += find_next(file, following, stop)
    return parts


def find_next(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the parts of the file that starts at a place."""
    if find := choose_finder(file, start):
        return find(file, start, stop)
    if foreign := recognise(file, start):
        return find_foreign(file, start, stop, foreign)
    try:
        return find_mpeg(file, start, stop)
    except ValueError:
        return find_whole(file, 0, stop)  # headerless, or no audio


def is_recording(file: BinaryIO) -> bool:
    """Return whether a file starts like a recording: nothing else is checked."""
    start, stop = without_tags(file)
    find = choose_finder(file, start)
    if find is not None:
        return find is not find_whole
    return recognise(file, start) is not None or Frames(file, stop).confirmed(start) is not None


def without_tags(file: BinaryIO) -> tuple[int, int]:
    """Return where a file starts and ends, without the ID3 tags in front of it and behind it."""
    start, stop = 0, file.seek(0, io.SEEK_END)
    while size := size_of_id3(read_at(file, start, 10)):
        start += size
    tagged = stop - start > ID3V1 and read_at(file, stop - ID3V1, 3) == b"TAG"
    return min(start, stop), stop - ID3V1 if tagged else stop


def choose_finder(file: BinaryIO, start: int) -> Callable | None:
    """Return what finds the parts of a file, judging by how it starts."""
    head = read_at(file, start, 20)
    starts = (find for (name, kind), find in FINDERS.items() if head.startswith(name) and head[8:].startswith(kind))
    return next(starts, None)
