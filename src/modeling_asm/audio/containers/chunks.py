"""Files made of chunks: WAV, RF64, BW64, Wave64, AIFF, AIFF-C, 8SVX and CAF.

Recorders write the size of the samples when they stop, and programs that write into a pipe never can. So the size in
the header may be a placeholder, or older than the samples; they then go on to the end of the file.
"""

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal

from .mpeg import find_mpeg, skip_tags, starts_another
from .parts import Foreign, Part, is_padding, missing_samples, patch, read_at, starts_file


# Sizes that stand for an unknown one: none, about the largest 32-bit numbers, and about the largest 64-bit ones.
PLACEHOLDERS = (range(1), range(0x7FFFF000, 0x80001000), range(0xFFFFF000, 2**32), range(2**63 - 2**12, 2**64))
# Chunks after the samples that may themselves be cut off. Of others, the size must fit: they could be samples.
KNOWN = {b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"fact", b"PEAK", b"iXML", b"axml", b"_PMX", b"JUNK"}
KNOWN |= {b"NAME", b"AUTH", b"(c) ", b"ANNO", b"MARK", b"INST", b"COMT", b"APPL", b"COMM", b"pakt", b"info", b"free"}
WIDTHS = {b"ima4": 34, b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1}  # bytes of a frame of one channel in AIFF-C,
PCM = {b"NONE", b"twos", b"sowt", b"raw ", b"in24", b"ni24", b"42ni", b"in32", b"ni32", b"23ni"}  # or as many as bits
PCM |= {b"fl32", b"FL32", b"fl64", b"FL64"}
EXTENSIBLE, MPEG_TAGS = 0xFFFE, {0x0050, 0x0055}  # codecs of a WAV file: in its subformat; MPEG audio, layer III
# Codecs that libsndfile reads: in WAV and Wave64, AIFF-C and CAF.
WAV_TAGS = {0x0001, 0x0002, 0x0003, 0x0006, 0x0007, 0x0011, 0x0031, 0x0038, 0x0040, 0x0045} | MPEG_TAGS
AIFF_CODECS = {b"GSM "} | PCM | set(WIDTHS)
CAF_CODECS = {b"lpcm", b"alaw", b"ulaw", b"alac"}
TEXT = re.compile(rb"[\t\r\n -~]{16,}")
LARGEST_CONTENT = 2**16  # bytes of a chunk that is read as a whole


@dataclass
class Chunk:
    """A chunk of a file: its name, where its content starts, and the size that its header announces, in bytes."""

    name: bytes
    start: int
    size: int


@dataclass
class Form:
    """How a format writes chunks.

    Args:
        order: Byte order of a size.
        name: Number of bytes of a name, of which the first four are unlike others.
        size: Number of bytes of a size.
        multiple: Chunks are padded to a multiple of so many bytes.
        whole: Whether a size includes the name and itself.
    """

    order: Literal["big", "little"]
    name: int = 4
    size: int = 4
    multiple: int = 2
    whole: bool = False

    def read(self, file: BinaryIO, place: int, stop: int) -> Chunk | None:
        """Return the chunk that starts at a place, or `None` if there is none."""
        header = read_at(file, place, min(self.name + self.size, stop - place))
        name, size = header[:4], int.from_bytes(header[self.name :], self.order)
        if len(header) < self.name + self.size or not name.isascii() or not name.decode().isprintable():
            return None
        return Chunk(name, place + len(header), max(size - len(header), 0) if self.whole else size)

    def after(self, chunk: Chunk) -> int:
        """Return where the chunk after another starts."""
        return chunk.start + -(-chunk.size // self.multiple) * self.multiple


WAV, RIFX, AIFF = Form("little"), Form("big"), Form("big")
CAF = Form("big", size=8, multiple=1)
W64 = Form("little", name=16, size=8, multiple=8, whole=True)


def find_wav(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the part of a WAV, RIFX, RF64 or BW64 file; if it contains MPEG audio, the parts of that."""
    wav = RIFX if read_at(file, start, 4) == b"RIFX" else WAV
    chunks = read_chunks(file, start + 12, stop, wav, b"fmt ", b"ds64", b"fact", b"data")
    data = require(chunks, b"fmt ", b"data")
    codec, sizes = content_of(file, chunks[b"fmt "]), content_of(file, chunks.get(b"ds64"))
    if data.size == 2**32 - 1 and len(sizes) >= 16:
        data.size = int.from_bytes(sizes[8:16], "little")
    end, following, fault = find_end(file, data, stop, wav)
    place = 24 if int.from_bytes(codec[:2], wav.order) == EXTENSIBLE else 0
    tag = int.from_bytes(codec[place : place + 2], wav.order)
    if tag in MPEG_TAGS:
        parts = find_mpeg(file, data.start, end)
        parts[-1].fault = fault or parts[-1].fault
    elif tag not in WAV_TAGS:
        foreign = Foreign(f"WAV with the codec {tag:#06x}", "wav")
        parts = [Part([range(start, following or stop)], fault, foreign=foreign)]
    else:
        content = {b"fmt ": codec} | {name: content_of(file, chunks[name]) for name in chunks if name == b"fact"}
        parts = [Part([write_wav_header(wav, content, end - data.start), range(data.start, end)], fault)]
    parts[-1].following = following
    return parts


def write_wav_header(wav: Form, chunks: dict[bytes, bytes], size: int) -> bytes:
    """Return the header of a WAV file with `size` bytes of samples; of an RF64 file, if they are too many for one."""
    pack = f"{'<' if wav.order == 'little' else '>'}4sI"
    body = b"".join(
        struct.pack(pack, name, len(content)) + content + bytes(len(content) % 2) for name, content in chunks.items()
    )
    total = len(b"WAVE") + len(body) + 8 + size
    if total < 2**32:
        name = b"RIFF" if wav.order == "little" else b"RIFX"
        return struct.pack(pack, name, total) + b"WAVE" + body + struct.pack(pack, b"data", size)
    unknown, sizes = 2**32 - 1, struct.pack("<4sIQQQI", b"ds64", 28, total + 36, size, 0, 0)
    return struct.pack(pack, b"RF64", unknown) + b"WAVE" + sizes + body + struct.pack(pack, b"data", unknown)


def find_w64(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the part of a Wave64 file."""
    data = require(read_chunks(file, start + 40, stop, W64, b"fmt ", b"data"), b"fmt ", b"data")
    end, following, fault = find_end(file, data, stop, W64)
    size = (24 + end - data.start).to_bytes(8, "little")
    return [Part(patch(start, end, {data.start - 8: size}), fault, following=following)]


def find_aiff(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the part of an AIFF or AIFF-C file."""
    chunks = read_chunks(file, start + 12, stop, AIFF, b"COMM", b"SSND", all_of_them=True)
    sound = require(chunks, b"COMM", b"SSND")
    common = content_of(file, chunks[b"COMM"])
    end, following, fault = find_end(file, sound, stop, AIFF)
    codec = common[18:22] if read_at(file, start + 8, 4) == b"AIFC" else b"NONE"
    samples = sound.start + 8 + int.from_bytes(read_at(file, sound.start, 4), "big")
    channels, _, bits = struct.unpack(">hIh", common[:8].ljust(8, b"\0"))
    width = channels * (-(-bits // 8) if codec in PCM else WIDTHS.get(codec, 0))
    patches = {sound.start - 4: as_size(end - sound.start)}
    if width > 0:
        patches[chunks[b"COMM"].start + 2] = as_size(max(end - samples, 0) // width)
    foreign = None if codec in AIFF_CODECS else Foreign(f"AIFF-C with the codec {codec.decode('latin1')!r}", "aiff")
    return [Part(patch(start, end, patches), fault, foreign=foreign, following=following)]


def find_svx(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the part of an 8SVX file."""
    body = require(read_chunks(file, start + 12, stop, AIFF, b"VHDR", b"BODY"), b"VHDR", b"BODY")
    end, following, fault = find_end(file, body, stop, AIFF)
    return [Part(patch(start, end, {body.start - 4: as_size(end - body.start)}), fault, following=following)]


def find_caf(file: BinaryIO, start: int, stop: int) -> list[Part]:
    """Return the part of a CAF file."""
    chunks = read_chunks(file, start + 8, stop, CAF, b"desc", b"data")
    data, description = require(chunks, b"desc", b"data"), content_of(file, chunks[b"desc"])
    codec, flags = description[8:12], description[12:16]
    end, following, fault = find_end(file, data, stop, CAF)
    # Chunks after the samples remain: those of compressed ones describe the packets.
    known = codec in CAF_CODECS and (codec != b"alac" or any(flags))  # which tell the width
    foreign = None if known else Foreign(f"CAF with the codec {codec.decode('latin1')!r}", "caf")
    pieces = patch(start, following or stop, {data.start - 8: (end - data.start).to_bytes(8, "big")})
    return [Part(pieces, fault, foreign=foreign, following=following)]


def read_chunks(
    file: BinaryIO, place: int, stop: int, form: Form, *names: bytes, all_of_them: bool = False
) -> dict[bytes, Chunk]:
    """Return the first chunk of each of these names from `place` to the last name, or to `stop` if all are sought."""
    chunks: dict[bytes, Chunk] = {}
    while (names[-1] not in chunks or (all_of_them and len(chunks) < len(names))) and place < stop:
        chunk = form.read(file, place, stop)
        if chunk is None:
            break
        if chunk.name in names:
            chunks.setdefault(chunk.name, chunk)
        place = form.after(chunk)
    return chunks


def as_size(number: int) -> bytes:
    """Return a size or a number of frames in 32 bits, or the largest if it needs more."""
    return min(number, 2**32 - 1).to_bytes(4, "big")


def content_of(file: BinaryIO, chunk: Chunk | None) -> bytes:
    """Return the content of a short chunk, or nothing if there is none."""
    return b"" if chunk is None else read_at(file, chunk.start, min(chunk.size, LARGEST_CONTENT))


def require(chunks: dict[bytes, Chunk], *names: bytes) -> Chunk:
    """Return the chunk with the last of some names.

    Raises:
        ValueError: If a name is not there.
    """
    if not set(names) <= set(chunks):
        raise ValueError("its header ends before its samples")
    return chunks[names[-1]]


def find_end(file: BinaryIO, samples: Chunk, stop: int, form: Form) -> tuple[int, int | None, str | None]:
    """Return where the samples of a file end, where a file that was joined to it starts, and what is wrong.

    What follows the samples must be chunks, tags, text, another file or padding; else they go on to the end.
    """
    end, unknown = samples.start + samples.size, any(samples.size in sizes for sizes in PLACEHOLDERS)
    if end > stop:
        return stop, None, None if unknown else missing_samples(samples.size, stop - samples.start)
    place = form.after(samples)
    if place > end and form.read(file, place, stop) is None:
        place = end  # without padding
    while place < stop:
        if starts_file(file, place, stop) or (not unknown and starts_another(file, place, stop)):
            return end, place, None
        if unknown:
            return stop, None, None
        if (after := skip_tags(file, place, stop)) > place and read_at(file, place, 1) != b"\0":
            place = after
            continue
        if TEXT.fullmatch(read_at(file, place, min(64, stop - place))):
            break
        if chunk := form.read(file, place, stop):
            place = form.after(chunk)
            if place - 1 > stop:  # its padding may be missing, but no more
                return end if chunk.name in KNOWN else stop, None, None
        elif is_padding(file, place, stop):
            break
        else:
            return stop, None, None
    return end, None, None
