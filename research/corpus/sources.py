"""Recordings of folders and of data sets on the Hub."""

from collections.abc import Iterator
from pathlib import Path

import datasets
from items import Item
from tqdm.auto import tqdm

from modeling_asm.audio.listing import list_recordings
from modeling_asm.training.data.loading import DataArguments, StreamedAudio, load_hub_dataset


SPLITS = ("train", "validation", "test")  # folders that are named with the data set they belong to


def name_of(folder: str) -> str:
    """Return the name of a folder of recordings; that of a split has the data set's before it."""
    parts = Path(folder).resolve().parts
    return "/".join(parts[-2:]) if parts[-1] in SPLITS else parts[-1]


def read_folder(folder: str, kind: str, licence: str) -> Iterator[Item]:
    """Yield the recordings in a folder, and say how many files were found, used and left out.

    Raises:
        FileNotFoundError: If there is no such folder, or no recording in it.
    """
    root = Path(folder)
    listing = list_recordings(root) if root.is_dir() else None
    if listing is None or not listing.files:
        raise FileNotFoundError(f"{folder!r} {'has no recordings' if listing else 'is not a folder'}.")
    name = name_of(folder)
    tqdm.write(f"{name}: {listing.describe(root)}")
    for path in listing.files:
        yield Item(f"{name}/{path.relative_to(root)}", name, "", licence, kind, path)


def read_hub(name: str, kind: str, licence: str, limit: int) -> Iterator[Item]:
    """Yield the first clips of a data set on the Hub, `owner/name` or `owner/name:configuration`, streamed.

    Raises:
        ValueError: If it has no audio.
    """
    repository, _, configuration = name.partition(":")
    args = DataArguments(dataset_name=repository, dataset_config=configuration or None, streaming=True)
    split = next(iter(load_hub_dataset(args).values()))
    features = split.features or {}
    columns = [key for key, feature in features.items() if isinstance(feature, datasets.Audio)]
    if not columns:
        raise ValueError(f"The data set {name!r} has no column of audio, only {', '.join(features) or 'unknown ones'}.")
    column = columns[0]
    for number, row in enumerate(split.cast_column(column, StreamedAudio(decode=False)).take(limit)):
        content = row[column]["bytes"] or Path(row[column]["path"])
        yield Item(f"{name}/{number:07d}", repository, "", licence, kind, content)
