"""Read thousands of damaged audio files: the only exception is `AudioFileError`, and nothing hangs or fills the memory.

    python tests/fuzz_audio.py 10000

prints how many were read and how many refused. A crash of the decoder ends this process, so the tests start it as one.
"""

import faulthandler
import io
import itertools
import resource
import sys

import numpy as np
import soundfile
from recordings import RECORDINGS, read

from modeling_asm.audio import AudioFileError, stream_audio


FORMATS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
FORMATS += [("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16")]
FORMATS += [("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("RF64", "PCM_16"), ("VOC", "PCM_U8"), ("SVX", "PCM_16")]
FORMATS += [("NIST", "PCM_16"), ("AVR", "PCM_16"), ("PAF", "PCM_16"), ("PVF", "PCM_16"), ("IRCAM", "PCM_16")]
LARGEST_RECORDING = 8000  # bytes of a file by an encoder: damage must be likely to hit its headers
EXTREMES = [b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x0f\x42"]
SECONDS = 10  # that one file may take
LONGEST = 2**24  # samples that are taken from one file; compression makes long ones of a few bytes
MEMORY = 4 * 2**30  # bytes of address space above those at the start


def make_files() -> list[bytes]:
    """Return a short sound in every format, also by encoders, and files that were joined."""
    samples = 0.3 * np.sin(np.arange(2400) / 9)[:, None] * [1, 0.5]
    files = []
    for kind, subtype in FORMATS:
        buffer = io.BytesIO()
        channels = 1 if kind == "SVX" else 2
        soundfile.write(buffer, samples[:, :channels], 48000 if subtype == "OPUS" else 16000, subtype, format=kind)
        files.append(buffer.getvalue())
        if kind == "MP3":  # and without the first frame, which tells how many there are
            files.append(files[-1][files[-1].index(files[-1][:2], 4) :])
    encoded = [read(name) for name in RECORDINGS if len(read(name)) <= LARGEST_RECORDING]
    joined = [first + second for first, second in itertools.pairwise(encoded)]
    return files + encoded + joined


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with some damage: other bits, extreme numbers, pieces missing, doubled or exchanged."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        near = max(min(len(content), 64 if rng.random() < 0.6 else 10**9), 1)
        place, length = int(rng.integers(0, near)), int(rng.integers(1, 65))
        match rng.integers(0, 6):
            case 0:
                content[place : place + 1] = rng.bytes(1)
            case 1:
                content[place : place + 4] = EXTREMES[rng.integers(0, len(EXTREMES))]
            case 2:
                del content[place : place + length]
            case 3:
                content[place:place] = content[place : place + length]
            case 4:
                del content[int(rng.integers(0, len(content) + 1)) :]
            case 5:
                content[place : place + length] = rng.bytes(length)
    return bytes(content)


def main(number: int):
    files, rng, counts = make_files(), np.random.default_rng(0), {"read": 0, "refused": 0}
    if sys.platform == "linux":
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for index in range(number):
        content = mutate(files[index % len(files)], rng)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            samples = 0
            for block in stream_audio(io.BytesIO(content), 16000, f"file {index}"):
                samples += block.size
                if samples > LONGEST:
                    break
            counts["read"] += 1
        except AudioFileError as error:
            assert f"file {index}" in str(error)
            counts["refused"] += 1
    faulthandler.cancel_dump_traceback_later()
    print(f"{counts['read']} read, {counts['refused']} refused")


if __name__ == "__main__":
    main(int(sys.argv[1]))
