"""Labelled audio from a folder, as `datasets` data sets that neither need nor use torchcodec or FFmpeg."""

import csv
import math
import random
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Audio, ClassLabel, Dataset, DatasetDict, concatenate_datasets
from tqdm.auto import tqdm

from ..audio import AudioFileError, load_audio, read_audio
from ..fbank import fbank, frame_sizes
from ..feature_extraction_asm import ASMFeatureExtractor
from .augmentation import Augmentation, mixup


OWN_COLUMNS = ("file_name", "audio", "label", "seconds")  # names that columns of a metadata.csv cannot keep


def load_audio_folder(data_dir: str | Path, label_column: str = "label") -> DatasetDict:
    """Index an `audiofolder`: one sub-folder a split, or a single one that is then named `train`.

    A split has either a `metadata.csv` with the columns `file_name` (relative to the split) and `label_column`, or one
    sub-folder a class, in which every file is a clip. Hidden files are left out. No audio is decoded here.

    Args:
        data_dir: The folder.
        label_column: The column of `metadata.csv` that holds the class.

    Returns:
        Splits with the columns `audio` (undecoded), `label` (a `ClassLabel` whose names are those of all splits,
        sorted) and the other columns of `metadata.csv`, as text.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If `metadata.csv` lacks a column or a value or leaves the folder, splits and classes stand side by
            side, or there are fewer than two classes.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise FileNotFoundError(f"There is no data folder {str(data_dir)!r}.")
    splits = {"train": data_dir} if (data_dir / "metadata.csv").is_file() else find_splits(data_dir)
    columns = {name: read_split(folder, label_column) for name, folder in splits.items()}
    names = sorted({label for split in columns.values() for label in split["label"]})
    if len(names) < 2:
        raise ValueError(
            f"{str(data_dir)!r} has {len(names)} labels {names}, expected at least two classes: one sub-folder a "
            "class, or a metadata.csv, each in the folder itself or in a sub-folder a split (train, validation, test)."
        )
    dataset = DatasetDict({name: Dataset.from_dict(split) for name, split in columns.items()})
    return dataset.cast_column("audio", Audio(decode=False)).cast_column("label", ClassLabel(names=names))


def find_splits(data_dir: Path) -> dict[str, Path]:
    """Return the sub-folders that are splits, by name; or the folder itself, as `train`, where they are classes."""
    folders = [child for child in visible(data_dir) if child.is_dir()]
    splits = {
        folder.name: folder
        for folder in folders
        if (folder / "metadata.csv").is_file() or any(audio_files(child) for child in visible(folder) if child.is_dir())
    }
    classes = [folder.name for folder in folders if folder.name not in splits and audio_files(folder)]
    if splits and classes:
        raise ValueError(
            f"{str(data_dir)!r} has splits {sorted(splits)} beside classes {classes}. Move the latter into a split."
        )
    return splits or {"train": data_dir}


def visible(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without what operating systems hide or leave there."""
    return sorted(child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX")))


def audio_files(folder: Path) -> list[Path]:
    """The visible files in a folder itself."""
    return [child for child in visible(folder) if child.is_file()]


def read_split(folder: Path, label_column: str) -> dict[str, list[str]]:
    """Read one split as columns: paths as `audio`, classes as `label`, and the rest of `metadata.csv`."""
    metadata = folder / "metadata.csv"
    if not metadata.is_file():
        classes = [child for child in visible(folder) if child.is_dir()]
        files = [(str(file), child.name) for child in classes for file in audio_files(child)]
        return {"audio": [path for path, _ in files], "label": [label for _, label in files]}
    with open(metadata, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="", strict=True)
        rows, found = list(reader), list(reader.fieldnames or [])
    for column in ("file_name", label_column):
        if column not in found:
            raise ValueError(
                f"{str(metadata)!r} has no column {column!r}; it has: {', '.join(found) or 'none'}. "
                "Rename a column, or name the one with the classes by --label_column."
            )
        for line, row in enumerate(rows, start=2):
            if not row[column]:
                raise ValueError(f"{str(metadata)!r} has no {column!r} in row {line}. Fill it in, or remove the row.")
    others = [column for column in found if column not in (*OWN_COLUMNS, label_column)]
    return {
        "audio": [str(resolve_inside(folder, row["file_name"])) for row in rows],
        "label": [row[label_column] for row in rows],
        **{column: [row[column] for row in rows] for column in others},
    }


def resolve_inside(folder: Path, file_name: str) -> Path:
    """Join a folder and a name from its `metadata.csv`, which must not leave the folder."""
    path = folder / file_name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{str(folder / 'metadata.csv')!r} names {file_name!r}, which lies outside its folder.")
    return path


def hold_out(dataset: DatasetDict, column: str, values: list[str]) -> DatasetDict:
    """Pool all splits, and divide them anew: `test` has the rows whose `column` is one of `values`, `train` the rest.

    Raises:
        ValueError: If there is no such column, or a value is not in it.
    """
    pool = concatenate_datasets(list(dataset.values()))
    check_column(pool, column)
    missing = sorted(set(values) - set(pool[column]))
    if missing:
        raise ValueError(f"{missing} not found in column {column!r}, which has: {sorted(set(pool[column]))}.")
    held = set(values)
    if held == set(pool[column]):
        raise ValueError(f"{sorted(held)} are all values of column {column!r}: nothing is left to train on.")
    rows = {"train": [], "test": []}
    for index, value in enumerate(pool[column]):
        rows["test" if value in held else "train"].append(index)
    return DatasetDict({split: pool.select(indices) for split, indices in rows.items()})


def split_groups(dataset: Dataset, fraction: float, column: str | None, seed: int) -> tuple[Dataset, Dataset]:
    """Split off about a fraction of the clips, such that no group (speaker, kit, session) is on both sides.

    Args:
        dataset: The clips.
        fraction: Share to split off, in (0, 1).
        column: The column that names a clip's group; clips without one (`""`) are groups of their own, and so is every
            clip where `column` is `None`.
        seed: Seed of the draw.

    Returns:
        The rest, and what was split off.
    """
    if column is None:
        groups = [str(index) for index in range(len(dataset))]
    else:
        check_column(dataset, column)
        groups = [name or f"row {index}" for index, name in enumerate(dataset[column])]
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    chosen: list[int] = []
    for group in order:
        if len(chosen) + len(members[group]) / 2 <= fraction * len(dataset) or not chosen:
            chosen += members[group]
    rest = sorted(set(range(len(dataset))) - set(chosen))
    if not rest:
        raise ValueError(
            f"{fraction:.0%} of {len(dataset)} clips in {len(members)} groups leave nothing to train on. Take a "
            "smaller fraction, or a column with more groups."
        )
    return dataset.select(rest), dataset.select(sorted(chosen))


def check_column(dataset: Dataset, column: str):
    """Raise `ValueError` where a data set does not have a column."""
    if column not in dataset.column_names:
        raise ValueError(f"There is no column {column!r}; the columns are: {', '.join(dataset.column_names)}.")


def check_audio(dataset: Dataset, on_bad_audio: str = "error") -> tuple[Dataset, list[str]]:
    """Decode every clip once, so that a damaged file is found before the training and not in its midst.

    Args:
        dataset: Clips with a column `audio`.
        on_bad_audio: `"error"` raises at the first clip that cannot be read; `"skip"` goes on without it.

    Returns:
        The readable clips with a new column `seconds`, and a message for each other one, which names the file.

    Raises:
        AudioFileError: If a clip cannot be read and `on_bad_audio` is `"error"`.
        ValueError: If no clip is left.
    """
    good, seconds, problems = [], [], []
    for index, audio in enumerate(tqdm(dataset["audio"], desc="Checking audio", unit="clip")):
        try:
            waveform, rate = read_audio(audio["path"])
            seconds.append(waveform.size / rate)
            good.append(index)
        except AudioFileError as error:
            if on_bad_audio == "error":
                raise AudioFileError(f"{error} Use --on_bad_audio skip to go on without such files.") from error
            problems.append(str(error))
    if not good:
        raise ValueError(f"None of {len(problems)} audio files can be read; the first: {problems[0]}")
    return dataset.select(good).add_column("seconds", seconds), problems


def measure_features(dataset: Dataset, feature_extractor: ASMFeatureExtractor) -> tuple[float, float]:
    """Compute mean and standard deviation of the log-mel energies of all frames of all clips, without padding."""
    count, total, squares = 0, 0.0, 0.0
    rate, window = feature_extractor.sampling_rate, feature_extractor.frame_length
    shift, num_mel_bins = feature_extractor.frame_shift, feature_extractor.num_mel_bins
    shortest = frame_sizes(rate, window, shift)[0]
    for audio in tqdm(dataset["audio"], desc="Mean and standard deviation", unit="clip"):
        waveform = torch.from_numpy(load_audio(audio["path"], rate))
        waveform = torch.nn.functional.pad(waveform, (0, max(0, shortest - waveform.shape[0])))
        features = fbank(waveform[None], rate, num_mel_bins, window, shift).double()
        count += features.numel()
        total += features.sum().item()
        squares += features.square().sum().item()
    mean = total / count
    std = math.sqrt(max(squares / count - mean**2, 0.0))
    if std == 0:
        raise ValueError("All training clips are digital silence: nothing can be learnt from them.")
    return mean, std


def make_transform(
    feature_extractor: ASMFeatureExtractor,
    num_labels: int,
    augmentation: Augmentation | None = None,
    label_smoothing: float = 0.0,
) -> Callable[[dict], dict]:
    """Make a function for [`datasets.Dataset.set_transform`]: a batch of rows to `input_values` and `labels`.

    The labels are class indices or, with augmentation or label smoothing, the classes' probabilities.
    """
    rate = feature_extractor.sampling_rate

    def transform(rows: dict) -> dict:
        waveforms = [torch.from_numpy(load_audio(audio["path"], rate)) for audio in rows["audio"]]
        labels = torch.tensor(rows["label"])
        if augmentation is not None:
            waveforms = [augmentation.augment_waveform(waveform, rate) for waveform in waveforms]
        input_values = feature_extractor(waveforms, sampling_rate=rate, return_tensors="pt")["input_values"]
        if augmentation is not None or label_smoothing > 0:
            one_hot = torch.nn.functional.one_hot(labels, num_labels).float()
            labels = one_hot * (1 - label_smoothing) + label_smoothing / num_labels
        if augmentation is not None:
            decibel = math.log(10) / 10 / (2 * feature_extractor.std)
            input_values = augmentation.augment_features(input_values, decibel)
            if augmentation.mixup > 0:
                input_values, labels = mixup(input_values, labels, augmentation.mixup)
        return {"input_values": input_values, "labels": labels}

    return transform
