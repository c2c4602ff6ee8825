"""From files to samples: decode every clip once, cache the samples, and fingerprint the clips."""

import functools
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import datasets
import numpy as np
from datasets import Dataset, DatasetDict, Features, List, Value

from ...audio.channels import Downmix
from ...audio.files import AudioFileError, open_file, stream_mixed
from ...audio.stretches import load_stretch


LONGEST_KEPT = 60  # seconds of a clip whose samples are cached
BATCH = 16  # clips that are decoded and written together, unless their files are in the data set
NOTHING = np.zeros(0, np.float32)
FURTHER = "--train_also"  # key of additional training clips; no split has this name
SKIP = " Use --on_bad_audio skip to skip such files."


def clip_name(audio: dict, row: int | None = None) -> str:
    """Return the name of a clip of the column `audio`: its path or, without one, its row."""
    return audio["path"] or (f"row {row}" if row is not None else "an unnamed clip")


def decode_audio(
    dataset: Dataset,
    sampling_rate: int,
    on_bad_audio: str = "error",
    keep: bool = True,
    num_proc: int | None = None,
    channel: int | None = None,
    say: Callable[[str], None] = print,
) -> tuple[Dataset, list[str]]:
    """Decode every clip once, so that a damaged file is found before training and not during it.

    The samples of clips of up to a minute are cached on disk, in the cache of datasets, under a name derived from the
    names, sizes and modification times of the files. Later runs, and the other processes of a run, read them from
    there, and try again what could not be read. Of longer clips, training decodes what it needs. Memory does not grow
    with the length or the number of clips.

    Args:
        dataset: Clips with a column `audio`.
        sampling_rate: Rate to resample to, in hertz.
        on_bad_audio: `"error"` raises at the first clip that cannot be read; `"skip"` omits it.
        keep: Whether to cache samples. Otherwise each epoch decodes again, and needs no disk space.
        num_proc: Number of decoding processes.
        channel: Number of a channel, from 0, to take instead of the mean of all.
        say: What takes a line about clips whose channels cancel each other.

    Returns:
        The readable clips with the new columns `seconds` and, if cached, `waveform`, which is empty for long clips;
        and for each other clip a message that names its file.

    Raises:
        AudioFileError: If a clip cannot be read and `on_bad_audio` is `"error"`.
        ValueError: If no clip can be read.
    """

    def decode(audios: list[dict], rows: list[int]) -> dict[str, list]:
        columns: dict[str, list] = {"seconds": [], "problem": [], "cancels": []} | ({"waveform": []} if keep else {})
        for audio, row in zip(audios, rows):
            waveform, number, problem, downmix = NOTHING, 0, "", Downmix(repr(clip_name(audio, row)), channel)
            try:
                waveform, number = decode_clip(audio, sampling_rate, downmix)
            except AudioFileError as error:
                problem = str(error)
            columns["seconds"].append(number / sampling_rate)
            columns["problem"].append(problem)
            columns["cancels"].append(downmix.cancels)
            if keep:
                columns["waveform"].append(waveform)
        return columns

    features = {"seconds": Value("float64"), "problem": Value("string"), "cancels": Value("bool")}
    features |= {"waveform": List(Value("float32"))} if keep else {}
    file = cache_file(dataset, sampling_rate, channel) if keep else None

    def decode_all() -> Dataset:
        return dataset.select_columns("audio").map(
            decode,
            batched=True,
            batch_size=1 if holds_files(dataset) else BATCH,
            writer_batch_size=BATCH,
            with_indices=True,
            input_columns="audio",
            remove_columns="audio",
            features=Features(features),
            num_proc=num_proc if num_proc and len(dataset) > 64 * num_proc else None,
            cache_file_name=file,
            desc="Decoding",
        )

    known = list(Path(file).parent.glob(f"{Path(file).stem}*")) if file else []  # one for each process that wrote it
    decoded = decode_all()
    bad = [row for row, problem in enumerate(decoded["problem"]) if problem]
    if known and not all(decode([dataset[row]["audio"]], [row])["problem"][0] for row in bad):
        for part in known:  # something could not be read then, and can be now
            part.unlink()
        decoded = decode_all()
    problems = [problem for problem in decoded["problem"] if problem]
    if problems and on_bad_audio == "error":
        raise AudioFileError(problems[0] + SKIP)
    if len(problems) == len(dataset):
        raise ValueError(f"None of the {len(problems)} audio files can be read. The first: {problems[0]}")
    if cancelling := [row for row, cancels in enumerate(decoded["cancels"]) if cancels]:
        first = clip_name(dataset[cancelling[0]]["audio"], cancelling[0])
        say(f"{len(cancelling)} clips, such as {first!r}, have channels that cancel each other: use --channel 0")
    good = [row for row, problem in enumerate(decoded["problem"]) if not problem]
    dataset = datasets.concatenate_datasets([dataset, decoded.remove_columns(["problem", "cancels"])], axis=1)
    return dataset.select(good) if problems else dataset, problems


def holds_files(dataset: Dataset) -> bool:
    """Return whether the content of the files is in the data set, rather than their names."""
    return len(dataset) > 0 and dataset[0]["audio"].get("bytes") is not None


def decode_clip(audio: dict, sampling_rate: int, downmix: Downmix) -> tuple[np.ndarray, int]:
    """Decode a clip to its end.

    Args:
        audio: Its value in the column `audio`.
        sampling_rate: Rate to resample to, in hertz.
        downmix: What mixes its channels, with its name.

    Returns:
        Its samples, which are left out if the clip is longer than a minute, and their number.

    Raises:
        AudioFileError: If it cannot be read.
    """
    blocks, number, most = [], 0, LONGEST_KEPT * sampling_rate
    with open_clip(audio, downmix.name) as file:
        for block in stream_mixed(file, sampling_rate, downmix.name, downmix):
            number += block.size
            blocks = [*blocks, block] if number <= most else []
    return (np.concatenate(blocks) if blocks else NOTHING), number


def open_clip(audio: dict, name: str) -> BinaryIO:
    """Open the file of a clip, or its content."""
    if audio.get("bytes") is not None:
        return io.BytesIO(audio["bytes"])
    return open_file(audio["path"] or "", name)


def decode_splits(
    dataset: DatasetDict,
    further: Dataset | None,
    sampling_rate: int,
    on_bad_audio: str = "error",
    say: Callable[[str], None] = print,
    **options,
) -> tuple[DatasetDict, Dataset | None, list[str]]:
    """Decode all splits and additional clips with [`decode_audio`], and say why clips were skipped."""
    decoded, problems = DatasetDict(), []
    for name, split in with_further(dataset, further).items():
        decoded[name], skipped = decode_audio(split, sampling_rate, on_bad_audio, say=say, **options)
        problems += skipped
    if problems:
        say("\n  ".join([f"Skipped {len(problems)} unreadable files:", *problems]))
    return decoded, decoded.pop(FURTHER, None), problems


def with_further(dataset: DatasetDict, further: Dataset | None) -> DatasetDict:
    return dataset if further is None else DatasetDict({**dataset, FURTHER: further})


def cache_file(dataset: Dataset, sampling_rate: int, channel: int | None = None) -> str:
    """Return the cache file of these clips. Its name changes when a file is replaced or modified."""
    digest = hashlib.sha256(f"3 {sampling_rate} {channel}".encode())  # 3: what `decode_audio` writes has this form
    for audio in dataset["audio"]:
        if audio.get("bytes") is not None:
            digest.update(audio["bytes"])
        elif os.path.isfile(path := audio["path"] or ""):
            status = os.stat(path)
            digest.update(f"{os.path.abspath(path)} {status.st_size} {status.st_mtime_ns}".encode())
        else:
            digest.update(path.encode())
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "modeling_asm"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{digest.hexdigest()[:32]}.arrow")


def read_stretch(row: dict, start: int, length: int, sampling_rate: int, channel: int | None = None) -> np.ndarray:
    """Return some samples of a clip, from the cache or decoded now.

    Args:
        row: A row of what [`decode_audio`] returns, with `audio` unless its `waveform` is cached.
        start: The first sample.
        length: Number of samples; fewer at the end of the clip.
        sampling_rate: Rate to resample to, in hertz.
        channel: Number of a channel, from 0, to take instead of the mean of all.
    """
    if row.get("waveform") is not None and len(row["waveform"]):
        return np.array(row["waveform"][start : start + length], dtype=np.float32)  # a copy: the cache is read-only
    data = row["audio"].get("bytes")
    return load_stretch(clip_name(row["audio"]), start, length, sampling_rate, data, channel)


def digest_of(audio: dict) -> str:
    """Return a digest of the content of a clip's file, or nothing if there is none. A file is read once."""
    if audio.get("bytes") is not None:
        return hashlib.sha256(audio["bytes"]).hexdigest()
    path = audio["path"] or ""
    if not os.path.isfile(path):
        return ""
    status = os.stat(path)
    return digest_file(path, status.st_size, status.st_mtime_ns)


@functools.cache
def digest_file(path: str, size: int, modified: int) -> str:
    """Return a digest of a file, which is read again only if its size or its time of modification changes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def size_of(audio: dict) -> int:
    """Return the size of a clip's file in bytes; -1 if there is none."""
    if audio.get("bytes") is not None:
        return len(audio["bytes"])
    return os.path.getsize(audio["path"]) if os.path.isfile(audio["path"] or "") else -1


def fingerprint(dataset: DatasetDict, further: Dataset | None = None, contents: bool = True) -> str:
    """Return a digest of the data set, which differs if a clip, a label or any other column differs.

    Args:
        dataset: The splits.
        further: Additional training clips.
        contents: Whether to read the files. Otherwise, files of the same name and size count as equal.
    """
    digest = hashlib.sha256()
    for name, split in with_further(dataset, further).items():
        digest.update(f"{name} {len(split)} {split.column_names}".encode())
        for row in split:
            audio = row.pop("audio")
            path = audio["path"] or ""
            digest.update(f"{os.path.basename(path)} {row}\n".encode())
            known = digest_of(audio) if contents or audio.get("bytes") is not None else str(size_of(audio))
            digest.update(known.encode())
    return digest.hexdigest()[:16]
