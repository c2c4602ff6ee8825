"""Files whose header announces the size of the samples that follow it: AU, NIST SPHERE, AVR and VOC."""

import re
import struct
from typing import BinaryIO, Literal

from .parts import Part, missing_samples, patch, read_at, starts_file


UNKNOWN = 2**32 - 1  # bytes of an AU file
NIST_HEADER = 1024  # bytes
AVR_HEADER = struct.Struct(">4s8shhhhhii")
VOC_END, VOC_SOUND = 0, (1, 2, 9)  # kinds of blocks
VOC_EXCESS = 16  # bytes: SoX announces fewer than it writes


def find_au(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the part of an AU file. Its samples go on to its end; its header may announce fewer, but not more."""
    order: Literal["big", "little"] = "big" if read_at(file, start, 4) == b".snd" else "little"
    header = read_at(file, start + 4, 8)
    samples, declared = start + int.from_bytes(header[:4], order), int.from_bytes(header[4:], order)
    following = samples + declared if starts_file(file, samples + declared, stop) else None
    found = max((following or stop) - samples, 0)
    fault = missing_samples(declared, found) if found < declared < UNKNOWN else None
    pieces = patch(start, following or stop, {start + 8: min(found, UNKNOWN).to_bytes(4, order)})
    return [Part(pieces, fault, following=following)]


def find_nist(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the part of a NIST SPHERE file. Its samples go on to its end; its header may announce fewer."""
    header = read_at(file, start, NIST_HEADER)
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    found = [re.search(name + rb" -i (\d+)", header) for name in names]
    count, channels, width = (int(match[1]) if match else default for match, default in zip(found, (0, 1, 1)))
    return [whole_or_cut(file, start, stop, start + NIST_HEADER, count * channels * width)]


def find_avr(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the part of an AVR file."""
    header = read_at(file, start, AVR_HEADER.size).ljust(AVR_HEADER.size, b"\0")
    _, _, stereo, bits, _, _, _, _, frames = AVR_HEADER.unpack(header)
    return [whole_or_cut(file, start, stop, start + 128, frames * (2 if stereo else 1) * bits // 8)]


def find_voc(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the part of a Creative Voice file.

    Raises:
        ValueError: If it has several blocks of sound, of which libsndfile reads the first.
    """
    place, sounds = start + int.from_bytes(read_at(file, start + 20, 2), "little"), 0
    while stop - place > VOC_EXCESS and (block := read_at(file, place, 4))[0] != VOC_END:
        size = int.from_bytes(block[1:], "little")
        sounds += block[0] in VOC_SOUND
        if sounds > 1:
            raise ValueError("it has several blocks of sound, of which only one can be read; convert it to WAV")
        if place + 4 + size > stop:
            return [whole_or_cut(file, start, stop, place + 4, size)]
        place += 4 + size
    following = next((after for after in (place, place + 1) if starts_file(file, after, stop)), None)
    return [Part([range(start, following or stop)], following=following)]


def whole_or_cut(file: BinaryIO, start: int, stop: int, samples: int, declared: int) -> Part:
    """Return the part of a file whose samples, `declared` bytes, start at a place; with a fault if they are fewer."""
    following = samples + declared if starts_file(file, samples + declared, stop) else None
    found = max((following or stop) - samples, 0)
    fault = missing_samples(declared, found) if found < declared else None
    return Part([range(start, following or stop)], fault, following=following)
