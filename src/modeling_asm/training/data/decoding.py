"""From files to samples: decode every clip once, cache the samples, and fingerprint the clips."""

import hashlib
import os
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset, DatasetDict, Features, List, Value

from ...audio.files import AudioFileError, load_audio


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
) -> tuple[Dataset, list[str]]:
    """Decode every clip once, so that a damaged file is found before training and not during it.

    The samples are cached on disk, in the cache of datasets, under a name derived from the names, sizes and
    modification times of the files. Later runs, and the other processes of a run, read them from there.

    Args:
        dataset: Clips with a column `audio`.
        sampling_rate: Rate to resample to, in hertz.
        on_bad_audio: `"error"` raises at the first clip that cannot be read; `"skip"` omits it.
        keep: Whether to cache the samples. Otherwise each epoch decodes again, and needs no disk space.
        num_proc: Number of decoding processes.

    Returns:
        The readable clips with the new columns `seconds` and, if cached, `waveform`; and for each other clip a message
        that names its file.

    Raises:
        AudioFileError: If a clip cannot be read and `on_bad_audio` is `"error"`.
        ValueError: If no clip can be read.
    """

    def decode(audios: list[dict], rows: list[int]) -> dict[str, list]:
        columns: dict[str, list] = {"seconds": [], "problem": []} | ({"waveform": []} if keep else {})
        for audio, row in zip(audios, rows):
            waveform, problem = np.zeros(0, np.float32), ""
            try:
                waveform = load_audio(clip_name(audio, row), sampling_rate, audio.get("bytes"))
            except AudioFileError as error:
                problem = str(error)
            columns["seconds"].append(waveform.size / sampling_rate)
            columns["problem"].append(problem)
            if keep:
                columns["waveform"].append(waveform)
        return columns

    features = {"seconds": Value("float64"), "problem": Value("string")}
    features |= {"waveform": List(Value("float32"))} if keep else {}
    decoded = dataset.select_columns("audio").map(
        decode,
        batched=True,
        batch_size=64,
        with_indices=True,
        input_columns="audio",
        remove_columns="audio",
        features=Features(features),
        num_proc=num_proc if num_proc and len(dataset) > 64 * num_proc else None,
        cache_file_name=cache_file(dataset, sampling_rate) if keep else None,
        desc="Decoding",
    )
    problems = [problem for problem in decoded["problem"] if problem]
    if problems and on_bad_audio == "error":
        raise AudioFileError(problems[0] + SKIP)
    if len(problems) == len(dataset):
        raise ValueError(f"None of the {len(problems)} audio files can be read. The first: {problems[0]}")
    good = [row for row, problem in enumerate(decoded["problem"]) if not problem]
    dataset = datasets.concatenate_datasets([dataset, decoded.remove_columns("problem")], axis=1)
    return dataset.select(good) if problems else dataset, problems


def decode_splits(
    dataset: DatasetDict, further: Dataset | None, sampling_rate: int, on_bad_audio: str = "error", **options
) -> tuple[DatasetDict, Dataset | None, list[str]]:
    """Decode all splits and additional clips with [`decode_audio`], and print why clips were skipped."""
    decoded, problems = DatasetDict(), []
    for name, split in with_further(dataset, further).items():
        decoded[name], skipped = decode_audio(split, sampling_rate, on_bad_audio, **options)
        problems += skipped
    if problems:
        print(f"Skipped {len(problems)} unreadable files:", *problems, sep="\n  ")
    return decoded, decoded.pop(FURTHER, None), problems


def with_further(dataset: DatasetDict, further: Dataset | None) -> DatasetDict:
    return dataset if further is None else DatasetDict({**dataset, FURTHER: further})


def cache_file(dataset: Dataset, sampling_rate: int) -> str:
    """Return the cache file of these clips. Its name changes when a file is replaced or modified."""
    digest = hashlib.sha256(f"1 {sampling_rate}".encode())  # 1: what `decode_audio` writes has this form
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


def read_waveform(row: dict, sampling_rate: int) -> np.ndarray:
    """Return the samples of a clip, from the cache or decoded now."""
    if row.get("waveform") is not None:
        return np.array(row["waveform"], dtype=np.float32)  # a copy, since the cache is read-only
    return load_audio(clip_name(row["audio"]), sampling_rate, row["audio"].get("bytes"))


def content_of(audio: dict) -> bytes:
    """Return the content of a clip's file, or nothing if there is none."""
    if audio.get("bytes") is not None:
        return audio["bytes"]
    return Path(audio["path"]).read_bytes() if os.path.isfile(audio["path"] or "") else b""


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
            if contents or audio.get("bytes") is not None:
                digest.update(content_of(audio))
            elif os.path.isfile(path):
                digest.update(b"%d" % os.path.getsize(path))
    return digest.hexdigest()[:16]
