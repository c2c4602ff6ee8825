"""MPEG audio, layers I to III: its frames, one after another, without the tags and the junk around them."""

import functools
import re
import struct
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from .parts import ID3V1, Part, read_at, starts_file


# Kilobits per second by the index in a header: MPEG-1 layers I, II and III; MPEG-2 and 2.5 layer I, and II and III
# (ISO/IEC 11172-3, table in 2.4.2.3; ISO/IEC 13818-3, table in 2.4.2.3).
BITRATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SAMPLING_RATES = (44100, 48000, 32000)  # hertz, of MPEG-1; half of them in MPEG-2, and a quarter in MPEG-2.5
COUNTS = (b"Xing", b"Info")  # names of the frame that tells how many follow it, as decoders know it
VBRI = 36  # where that of Fraunhofer's encoder starts
CUT_OFF = "what follows it is cut off"
LEADING = 2**16  # bytes of junk before the first frame
LARGEST_FRAME, LARGEST_FREE = 2881, 2**13  # bytes


@dataclass(frozen=True)
class Frame:
    """The header of a frame.

    Args:
        kind: Version (1, 2 or 4 for 2.5), layer, sampling rate in hertz, and whether it is mono. A decoder keeps it.
        length: Its bytes; in the free format, which does not tell, 0 or 1: its padding.
        samples: Its samples of each channel.
        count: Where the name of a frame count would start.
    """

    kind: tuple[int, int, int, bool]
    length: int
    samples: int
    count: int


@functools.lru_cache(4096)
def parse_header(header: bytes) -> Frame | None:
    """Return what a frame's first four bytes say, or `None` if they are no header."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = {0: 4, 2: 2, 3: 1}.get(header[1] >> 3 & 3), 4 - (header[1] >> 1 & 3)
    bitrate, rate, mono = header[2] >> 4, header[2] >> 2 & 3, header[3] >> 6 == 3
    if version is None or layer == 4 or bitrate == 15 or rate == 3 or header[3] & 3 == 2:
        return None
    rate = SAMPLING_RATES[rate] // version
    samples = 384 if layer == 1 else 576 if layer == 3 and version > 1 else 1152
    slot, padding = 4 if layer == 1 else 1, header[2] >> 1 & 1
    kilobits = BITRATES[version == 1, layer][bitrate - 1] if bitrate > 0 else 0
    length = (samples // 8 * 1000 * kilobits // slot // rate + padding) * slot
    side = (17 if mono else 32) if version == 1 else (9 if mono else 17)
    return Frame((version, layer, rate, mono), length, samples, 4 + side)


class Frames:
    """The frames of a file, found by their headers.

    Args:
        file: The open file.
        stop: Where it ends, or what contains the frames.
    """

    def __init__(self, file: BinaryIO, stop: int):
        self.file, self.stop = file, stop
        self.free: dict[tuple, int] = {}  # length in the free format, without padding, by the kind of frame

    def at(self, place: int) -> Frame | None:
        """Return the header at a place, or `None` if there is none."""
        frame = parse_header(read_at(self.file, place, min(4, self.stop - place)))
        if frame is None or frame.length > 4:
            return frame
        if frame.kind not in self.free:
            self.free[frame.kind] = self.measure(place, frame)
        length = self.free[frame.kind]
        return replace(frame, length=length + frame.length) if length else None

    def measure(self, place: int, frame: Frame) -> int:
        """Return the distance to the next frame of the same kind in the free format, less padding; 0 if none comes."""
        data = read_at(self.file, place, min(LARGEST_FREE, self.stop - place))
        other = data.find(data[:2], 4)
        while other > 0:
            found = parse_header(data[other : other + 4])
            if found and found.kind == frame.kind and found.length <= 4:
                return other - frame.length
            other = data.find(data[:2], other + 1)
        return 0

    def confirmed(self, place: int) -> Frame | None:
        """Return the header at a place if another one of its kind follows it, and one after that if it can."""
        frame, after = self.at(place), place
        for _ in range(2 if frame else 0):
            after += self.at(after).length
            following = self.at(after)
            if following is None or following.kind != frame.kind:
                return frame if self.stop - 4 < after <= self.stop and after > place + frame.length else None
        return frame

    def search(self, place: int, stop: int) -> int | None:
        """Return the first place from `place` to `stop` at which confirmed frames start."""
        while place < stop:
            data = read_at(self.file, place, min(2**16, stop - place))
            for match in re.finditer(b"\xff[\xe0-\xff]", data):
                if self.confirmed(place + match.start()):
                    return place + match.start()
            place += max(len(data) - 1, 1)
        return None


@dataclass
class Stream:
    """Frames of one kind, one after another: their places in the file, how many they are, and what their count says."""

    kind: tuple
    samples: int
    pieces: list[range] = field(default_factory=list)
    frames: int = 0
    count: int | None = None
    counter: range | None = None  # the frame that holds the count

    def add(self, place: int, length: int):
        """Add a frame."""
        if self.pieces and self.pieces[-1].stop == place:
            self.pieces[-1] = range(self.pieces[-1].start, place + length)
        else:
            self.pieces.append(range(place, place + length))
        self.frames += 1

    def as_part(self, fault: str | None) -> Part:
        """Return the part for a decoder. A count is kept only if it is right: a decoder stops there."""
        if self.count is not None and self.count > self.frames + 1:  # one may be cut off
            fault = fault or f"its header announces {self.count} frames, and {self.frames} are there"
        if self.counter and self.count == self.frames and not fault:
            return Part([self.counter, *self.pieces])
        return Part(list(self.pieces), fault, frames=self.frames * self.samples)


def find_mpeg(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the parts of MPEG audio: a new one starts where the rate or the channels change, and at a frame count.

    Raises:
        ValueError: If there are no frames.
    """
    frames, streams, place = Frames(file, stop), [], start
    fault = following = None
    junk, tags, tagged = False, 0, start  # whether junk is in front; bytes of tags, and where the last one ends
    while place < stop:
        frame = frames.at(place)
        if frame and (not streams or frame.kind != streams[-1].kind):
            frame = frames.confirmed(place)
        if frame is None:
            if streams and starts_file(file, place, stop):
                following = place
                break
            after = skip_tags(file, place, stop)
            if streams and after > stop:
                fault = CUT_OFF
                break
            tags += after - place
            only_zeros = not any(read_at(file, place, min(after - place, ID3V1)))
            if streams and place < after < stop and only_zeros and not starts_anew(file, after, frames):
                fault = f"{after - place} bytes after it are zero"
            elif after == place and (after := frames.search(place, stop if streams else min(place + LEADING, stop))):
                fault = f"{after - place} bytes after it are damaged" if streams else None
                junk = junk or not streams
            if after is None and streams and stop - place > LARGEST_FRAME:
                fault = f"{stop - place} bytes after it are damaged"
            if after is None or fault:
                break
            place = tagged = after
            continue
        if place + frame.length > stop:  # the last one is cut off
            if streams and place == tagged:
                fault = CUT_OFF
            break
        counter = read_counter(read_at(file, place, frame.length), frame)
        if counter or not streams or frame.kind != streams[-1].kind:
            streams.append(Stream(frame.kind, frame.samples))
        if counter:
            known, streams[-1].count = counter
            streams[-1].counter = range(place, place + frame.length) if known else None
        else:
            streams[-1].add(place, frame.length)
        place += frame.length
    streams = [stream for stream in streams if stream.frames or stream.count]
    framed = sum(len(piece) for stream in streams for piece in stream.pieces)
    if not streams or (junk and (fault or 2 * framed < stop - start - tags)):  # other data can look like a few frames
        raise ValueError("it has no MPEG audio frames")
    parts = [*(stream.as_part(None) for stream in streams[:-1]), streams[-1].as_part(fault)]
    parts[-1].following = following
    return parts


def starts_another(file: BinaryIO, place: int, stop: int) -> bool:
    """Return whether another recording starts at a place after the end of one."""
    return starts_file(file, place, stop) or Frames(file, stop).confirmed(place) is not None


def starts_anew(file: BinaryIO, place: int, frames: Frames) -> bool:
    """Return whether a frame that holds a count starts at a place: zeros before it pad the file that ended."""
    frame = frames.at(place)
    return frame is not None and read_counter(read_at(file, place, frame.length), frame) is not None


def read_counter(content: bytes, frame: Frame) -> tuple[bool, int | None] | None:
    """Return what a frame that holds no sound but a count says: whether decoders know it, and the count if it has one.

    `None` for a frame of sound.
    """
    if frame.kind[1] != 3:
        return None
    if content[frame.count : frame.count + 4] in COUNTS:
        flags, count = struct.unpack(">II", content[frame.count + 4 : frame.count + 12].ljust(8, b"\0"))
        return True, count if flags & 1 else None
    if content[VBRI : VBRI + 4] == b"VBRI":
        return False, int.from_bytes(content[VBRI + 14 : VBRI + 18], "big")
    return None


def size_of_id3(head: bytes) -> int:
    """Return the size of the ID3v2 tag that starts with these bytes; 0 if there is none."""
    if head[:3] != b"ID3" or len(head) < 10 or head[3] not in (2, 3, 4) or max(head[6:10]) >= 128:
        return 0
    size = sum(byte << 7 * (3 - index) for index, byte in enumerate(head[6:10]))
    return 10 + size + (10 if head[5] & 0x10 else 0)  # with a footer


def skip_tags(file: BinaryIO, place: int, stop: int) -> int:
    """Return where the tags (ID3v2, ID3v1, APE, Lyrics3) and zeros that start at a place end; after `stop`, if cut."""
    while place < stop:
        head, before = read_at(file, place, min(32, stop - place)), place
        if size := size_of_id3(head):
            place += size
        elif head[:4] == b"TAG+":
            place += 227
        elif head[:3] == b"TAG":
            place += ID3V1
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            size, flags = int.from_bytes(head[12:16], "little"), int.from_bytes(head[20:24], "little")
            place += 32 + (size if flags & 1 << 29 else 0)  # of a tag that starts with its footer, only that
        elif head[:11] == b"LYRICSBEGIN":
            lyrics = read_at(file, place, min(2**16, stop - place))
            end = max(lyrics.find(b"LYRICS200"), lyrics.find(b"LYRICSEND"))
            place += end + 9 if end > 0 else 0
        elif head[:1] == b"\0":
            zeros = read_at(file, place, min(2**16, stop - place))
            place += len(zeros) - len(zeros.lstrip(b"\0"))
        if place == before:
            break
    return place
