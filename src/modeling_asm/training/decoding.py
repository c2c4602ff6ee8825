"""From files to samples: decode every clip once, keep what came out, and tell the same clips again."""

import hashlib
import os
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset, DatasetDict, Features, List, Value

from ..audio import AudioFileError, load_audio


FURTHER = "--train_also"  # further clips beside the splits; no split has that name
SKIP = " Use --on_bad_audio skip to go on without such files."


def clip_name(audio: dict, row: int | None = None) -> str:
    """Return what to call a clip of the column `audio`: its path, or its row where it has none."""
    return audio["path"] or (f"row {row}" if row is not None else "a clip without a name")


def decode_audio(
    dataset: Dataset,
    sampling_rate: int,
    on_bad_audio: str = "error",
    keep: bool = True,
    num_proc: int | None = None,
) -> tuple[Dataset, list[str]]:
    """Decode every clip once, so that a damaged file is found before the training and not in its midst.

    The samples are kept in datasets' cache on the disk, under a name made of the files' names, sizes and times of
    change; a second run reads them from there, and so does each process of a run.

    Args:
        dataset: Clips with a column `audio`.
        sampling_rate: Rate to resample to, in hertz.
        on_bad_audio: `"error"` raises at the first clip that cannot be read; `"skip"` goes on without it.
        keep: Whether to keep the samples. Without, each epoch decodes anew, and needs no space on the disk.
        num_proc: Number of processes that decode.

    Returns:
        The readable clips with new columns `seconds` and, if they are kept, `waveform`; and a message for each other
        one, which names the file.

    Raises:
        AudioFileError: If a clip cannot be read and `on_bad_audio` is `"error"`.
        ValueError: If no clip is left.
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
        raise ValueError(f"None of {len(problems)} audio files can be read; the first: {problems[0]}")
    good = [row for row, problem in enumerate(decoded["problem"]) if not problem]
    dataset = datasets.concatenate_datasets([dataset, decoded.remove_columns("problem")], axis=1)
    return dataset.select(good) if problems else dataset, problems


def decode_splits(
    dataset: DatasetDict, further: Dataset | None, sampling_rate: int, on_bad_audio: str = "error", **options
) -> tuple[DatasetDict, Dataset | None, list[str]]:
    """Decode all splits and further clips by [`decode_audio`], and print what is wrong with those that are left out."""
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
    """Return where the samples of these clips are kept: another name whenever a file is another or has changed."""
    digest = hashlib.sha256(f"1 {sampling_rate}".encode())  # 1: what `decode_audio` writes has this form
    for audio in dataset["audio"]:
        if audio.get("bytes") is not None:
            digest.update(audio["bytes"])
        elif os.path.isfile(audio["path"]):
            status = os.stat(audio["path"])
            digest.update(f"{os.path.abspath(audio['path'])} {status.st_size} {status.st_mtime_ns}".encode())
        else:
            digest.update(audio["path"].encode())
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "modeling_asm"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{digest.hexdigest()[:32]}.arrow")


def read_waveform(row: dict, sampling_rate: int) -> np.ndarray:
    """Return the samples of a clip: kept ones, or decoded now."""
    if row.get("waveform") is not None:
        return np.array(row["waveform"], dtype=np.float32)  # a copy, for what is kept is read-only
    return load_audio(clip_name(row["audio"]), sampling_rate, row["audio"].get("bytes"))


def content_of(audio: dict) -> bytes:
    """Return what a clip's file holds; nothing where there is none."""
    if audio.get("bytes") is not None:
        return audio["bytes"]
    return Path(audio["path"]).read_bytes() if os.path.isfile(audio["path"] or "") else b""


def fingerprint(dataset: DatasetDict, further: Dataset | None = None, contents: bool = True) -> str:
    """Return what tells these rows from others: another text where a clip, a label or a speaker is another.

    Args:
        dataset: The splits.
        further: Clips beside them that are trained on, too.
        contents: Whether to read the files. Without, a file of the same name and size is the same.
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
