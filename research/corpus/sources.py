"""Recordings of folders and of data sets on the Hub."""

from collections.abc import Iterator
from pathlib import Path

import datasets
from items import Item

from modeling_asm.audio.listing import list_recordings


SPLITS = ("train", "validation", "test")  # folders that are named with the data set they belong to


def read_folder(folder: str, kind: str, licence: str) -> Iterator[Item]:
    """Yield the recordings in a folder.

    Raises:
        FileNotFoundError: If there is no such folder, or no recording in it.
    """
    root = Path(folder)
    listing = list_recordings(root) if root.is_dir() else None
    if listing is None or not listing.files:
        raise FileNotFoundError(f"{folder!r} {'has no recordings' if listing else 'is not a folder'}.")
    parts = root.resolve().parts
    name = "/".join(parts[-2:]) if parts[-1] in SPLITS else parts[-1]
    for path in listing.files:
        yield Item(f"{name}/{path.relative_to(root)}", name, "", licence, kind, path)


def read_hub(name: str, kind: str, licence: str, limit: int) -> Iterator[Item]:
    """Yield the first clips of a data set on the Hub, `owner/name` or `owner/name:configuration`, streamed."""
    repository, _, configuration = name.partition(":")
    splits = datasets.load_dataset(repository, configuration or None, streaming=True)
    split = next(iter(splits.values())) if isinstance(splits, dict) else splits
    column = next(key for key, feature in split.features.items() if isinstance(feature, datasets.Audio))
    split = split.cast_column(column, datasets.Audio(decode=False))
    for number, row in enumerate(split.take(limit)):
        audio = row[column]
        content = audio["bytes"] if audio["bytes"] is not None else Path(audio["path"])
        yield Item(f"{name}/{number:07d}", repository, (split.info.version and str(split.info.version)) or "", licence,
                   kind, content)  # fmt: skip
