"""A pool of audio: recordings decoded once, in one memory-mapped file, with the origin and licence of each."""

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


POOL_RATE = 32000  # hertz, the highest rate of a teacher
SAMPLES_FILE, RECORDINGS_FILE, LEFT_OUT_FILE = "samples.i16", "recordings.jsonl", "left_out.jsonl"
BEGUN_FILE, FINISHED_FILE = "begun_sources.jsonl", "finished_sources.jsonl"
SCALE = 2**15  # int16 of 1.0


@dataclass(frozen=True)
class Recording:
    """A recording in a pool.

    Args:
        name: Its name, unique in the pool: the package or folder, and the path within.
        source: What it comes from: a package, a folder, a data set or a synthesiser.
        version: Version of the source; empty if it has none.
        licence: Short name of its licence.
        kind: What it is, such as `"speech"` or `"music"`; mixtures and tables go by it.
        sha256: Digest of its samples.
        start: Its first sample in the file.
        num_samples: Its length, in samples at 32 kHz.
    """

    name: str
    source: str
    version: str
    licence: str
    kind: str
    sha256: str
    start: int
    num_samples: int

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return self.num_samples / POOL_RATE


class AudioPool:
    """Reads a pool. Its samples are int16, mono, at 32 kHz, in memory that the operating system pages in.

    Args:
        folder: Folder of the pool.

    Raises:
        FileNotFoundError: If there is no pool.
        ValueError: If it is empty, or its file of samples is too short.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        if not (self.folder / RECORDINGS_FILE).is_file():
            raise FileNotFoundError(
                f"There is no pool of audio in {str(folder)!r}. Make one with research/corpus/make_corpus.py."
            )
        self.recordings = read_recordings(self.folder)
        if not self.recordings:
            raise ValueError(f"The pool of audio in {str(folder)!r} is empty: it has no recording.")
        self.samples = np.memmap(self.folder / SAMPLES_FILE, dtype=np.int16, mode="r")
        last = self.recordings[-1]
        if len(self.samples) < last.start + last.num_samples:
            raise ValueError(
                f"{str(self.folder / SAMPLES_FILE)!r} has {len(self.samples)} samples, expected at least "
                f"{last.start + last.num_samples}. Make the pool again."
            )

    def read(self, recording: Recording, start: int = 0, num_samples: int | None = None) -> np.ndarray:
        """Return float32 samples of a recording, in [-1, 1], from a sample on."""
        length = recording.num_samples - start if num_samples is None else num_samples
        length = min(length, recording.num_samples - start)
        first = recording.start + start
        return self.samples[first : first + length].astype(np.float32) / SCALE


class PoolWriter:
    """Writes a pool, and continues one that was interrupted: what was not written whole is dropped.

    Args:
        folder: Folder of the pool, which may be there.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (RECORDINGS_FILE, LEFT_OUT_FILE):
            drop_partial_line(self.folder / name)
        recordings = read_recordings(self.folder)
        self.end = recordings[-1].start + recordings[-1].num_samples if recordings else 0
        (self.folder / SAMPLES_FILE).touch()
        self.samples = open(self.folder / SAMPLES_FILE, "r+b")  # noqa: SIM115, until `close`
        self.samples.truncate(2 * self.end)
        self.samples.seek(0, os.SEEK_END)
        self.names = {recording.name for recording in recordings}
        self.digests = {recording.sha256 for recording in recordings}
        self.left_out = {row["name"]: row["reason"] for row in read_lines(self.folder / LEFT_OUT_FILE)}

    def __contains__(self, name: str) -> bool:
        """Whether a recording was written or left out before."""
        return name in self.names or name in self.left_out

    def add(self, samples: np.ndarray, **fields):
        """Append int16 samples, with the other fields of a [`Recording`]."""
        recording = Recording(**fields, start=self.end, num_samples=len(samples))
        self.samples.write(samples.astype("<i2").tobytes())
        self.samples.flush()  # before the line that announces them
        append_line(self.folder / RECORDINGS_FILE, asdict(recording))
        self.end += len(samples)
        self.names.add(recording.name)
        self.digests.add(recording.sha256)

    def leave_out(self, name: str, reason: str):
        """Note that a recording is left out, and why."""
        append_line(self.folder / LEFT_OUT_FILE, {"name": name, "reason": reason})
        self.left_out[name] = reason

    def close(self):
        """Close the file of samples."""
        self.samples.close()


def read_recordings(folder: Path) -> list[Recording]:
    """Return the recordings of a pool, in the order of their samples."""
    return [Recording(**row) for row in read_lines(folder / RECORDINGS_FILE)]


def read_lines(path: Path) -> list[dict]:
    """Return the rows of a file of JSON lines, without a last one that is not whole."""
    content = path.read_bytes() if path.is_file() else b""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def drop_partial_line(path: Path):
    """Cut off a last line that is not whole."""
    content = path.read_bytes() if path.is_file() else b"\n"
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def append_line(path: Path, row: dict):
    """Append a row to a file of JSON lines."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")  # ASCII: a file name may have any bytes


def hours_by_kind(recordings: list[Recording]) -> dict[str, dict]:
    """Return, for each kind, the number of recordings, of sources, and the hours."""
    table = {}
    for kind in sorted({recording.kind for recording in recordings}):
        chosen = [recording for recording in recordings if recording.kind == kind]
        table[kind] = {
            "recordings": len(chosen),
            "sources": len(Counter(recording.source for recording in chosen)),
            "hours": round(sum(recording.seconds for recording in chosen) / 3600, 2),
        }
    return table
