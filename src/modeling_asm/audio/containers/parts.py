"""Parts of a file, each of which a decoder reads as a file of its own, with a header that says what is there."""

import bisect
import io
import itertools
import re
import sys
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple


ID3V1 = 128  # bytes of a tag at the end of an MPEG file
PADDING = 2**12  # bytes
# How files start that may follow another one.
FILES = re.compile(
    rb"(RIFF|RIFX|RF64|BW64)....WAVE|FORM....(AIFF|AIFC|8SVX|16SV)|riff\x2e\x91\xcf\x11|caff\x00\x01|fLaC[\x00\x80]|OggS\0|"
    rb"\.snd\0|dns\.|NIST_1A\n|2BIT|Creative Voice File",
    re.DOTALL,
)


class Foreign(NamedTuple):
    """A format that libsndfile does not read.

    Args:
        name: Its name, in words.
        demuxer: FFmpeg's name of what reads its files.
        timed: Whether their headers tell the duration, unless a program wrote them into a pipe.
    """

    name: str
    demuxer: str
    timed: bool = False


@dataclass
class Part:
    """What a decoder reads as one file.

    Args:
        pieces: Its bytes, one piece after another: given ones, or those of the file from `start` to `stop`, as
            `range(start, stop)`.
        fault: Why it ends early, in words that follow "only: "; `None` if it is whole.
        frames: Number of samples of each channel, if it is known and its header does not tell.
        foreign: Its format, if libsndfile does not read it.
        following: Where another file starts that was joined to this one.
    """

    pieces: list[bytes | range]
    fault: str | None = None
    frames: int | None = None
    foreign: Foreign | None = None
    following: int | None = None

    @property
    def plain(self) -> bool:
        """Whether libsndfile reads it, and its header tells all about it."""
        return self.fault is None and self.frames is None and self.foreign is None


class PartReader(io.RawIOBase):
    """A part of an open file as a file. It keeps the last error of a read, which libsndfile swallows.

    libsndfile estimates the length of an MPEG stream without a frame count from its size and its first frame, and stops
    there. Such a part, whose number of samples is known otherwise, claims to be longer than it is.

    Args:
        file: The open file.
        part: The part.
    """

    STRETCH = 64  # no frame is that much smaller than the first

    def __init__(self, file: BinaryIO, part: Part):
        self.file, self.pieces = file, part.pieces
        self.ends = list(itertools.accumulate(map(len, part.pieces)))
        self.size = self.ends[-1] if self.ends else 0
        self.claimed = self.size if part.frames is None else self.size * self.STRETCH
        self.position, self.error = 0, None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.claimed}[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer) -> int:
        """Fill a buffer, with fewer bytes only at the end: libsndfile takes a short read for the end of a file."""
        length = 0
        try:
            while data := self.read_piece(len(buffer) - length):
                buffer[length : length + len(data)] = data
                length += len(data)
                self.position += len(data)
        except Exception as error:
            self.error = error
        return length

    def read_piece(self, length: int) -> bytes:
        """Return up to `length` bytes of the part, from one of its pieces."""
        if self.claimed > self.size and self.position == self.claimed - ID3V1:
            return bytes(min(length, ID3V1))  # no tag where there is no file
        index = bisect.bisect(self.ends, self.position)
        if self.position < 0 or index == len(self.pieces) or length == 0:
            return b""
        piece = self.pieces[index]
        inside = piece[self.position - self.ends[index] + len(piece) :][:length]
        return inside if isinstance(inside, bytes) else read_at(self.file, inside.start, len(inside))


def read_at(file: BinaryIO, start: int, length: int) -> bytes:
    """Return `length` bytes of a file from `start`, or fewer at its end."""
    if start > sys.maxsize or length <= 0:  # after a chunk whose size is damaged
        return b""
    file.seek(start)
    return file.read(length)


def patch(start: int, stop: int, patches: dict[int, bytes]) -> list[bytes | range]:
    """Return the pieces of a file from `start` to `stop` with other bytes at some places."""
    pieces: list[bytes | range] = []
    for place, replacement in sorted(patches.items()):
        pieces += [range(start, place), replacement]
        start = place + len(replacement)
    return [*pieces, range(start, stop)]


def is_padding(file: BinaryIO, start: int, stop: int) -> bool:
    """Return whether the bytes of a file from `start` to `stop` are only padding: zeros, and not many."""
    return stop - start <= PADDING and not any(read_at(file, start, stop - start))


def missing_samples(declared: int, found: int) -> str:
    """Say that a header announces more bytes of samples than there are."""
    return f"its header announces {declared} bytes of samples, and {found} are there"


def starts_file(file: BinaryIO, place: int, stop: int) -> bool:
    """Return whether a file starts at a place after the end of another one."""
    return FILES.match(read_at(file, place, min(20, stop - place))) is not None
