"""Labelled audio in folders, read as plain columns: splits, classes and other levels. No audio is decoded."""

import os
from dataclasses import dataclass
from pathlib import Path

from ...audio.listing import MISSING, Listing, list_recordings, sub_folders
from .manifests import Columns, find_label_column, read_manifest, resolve_inside
from .splits import SPLIT_NAMES, known_name


METADATA = ("metadata.csv", "metadata.jsonl")
UNLISTED, OUTSIDE = "not in {}", "outside the folders"


@dataclass
class Split:
    """The clips of a split.

    Args:
        columns: `audio` (paths), `label` and others.
        listing: The same files, and those that are left out.
        folder: The folder that was searched.
    """

    columns: Columns
    listing: Listing
    folder: Path


def read_folder(
    data_dir: str | Path,
    audio_column: str = "file_name",
    label_column: str | None = None,
    folder_columns: list[str] | None = None,
    split_lists: dict[str, str] | None = None,
    labelled: bool = True,
) -> dict[str, Split]:
    """Read an `audiofolder`: one sub-folder per split, or a single folder, which becomes `train`.

    A split has either a metadata file (`metadata.csv` or `metadata.jsonl`) or one sub-folder per class. The recordings
    in the folder of a class, at any depth, are its clips.

    Args:
        data_dir: The folder.
        audio_column: Column of the metadata with the names of the files, relative to the split.
        label_column: Column of the metadata, or of `folder_columns`, with the classes; by default `label` or `labels`.
        folder_columns: Meaning of each level of sub-folders, such as `["speaker", "label"]`; by default `["label"]`.
            If it is given, no sub-folder is a split.
        split_lists: For each split, a text file in `data_dir` that lists its clips, one path per line. Clips that are
            in no list belong to `train` or, if there is a list of `train`, are left out.
        labelled: Whether the clips have labels. Without labels, and if no sub-folder has metadata, all files at any
            depth are clips: of the splits, if the sub-folders have names of splits, or else of `train`.

    Raises:
        FileNotFoundError: If there is no such folder or list.
        ValueError: If the metadata lacks a column or a value or names a file outside the folder, if splits and
            classes are mixed, or if lists divide what is divided already.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise FileNotFoundError(f"There is no data folder {str(data_dir)!r}.")
    if find_metadata(data_dir) is not None:
        if folder_columns:
            raise ValueError(
                f"{str(find_metadata(data_dir))!r} describes the clips, so --folder_columns {' '.join(folder_columns)} "
                "would have no effect. Remove one of them."
            )
        splits = {"train": read_described(data_dir, audio_column, label_column, labelled)}
    elif folder_columns and labelled:
        split = read_levels(data_dir, folder_columns, data_dir)
        split.columns["label"] = split.columns[find_label_column(folder_columns, label_column, "--folder_columns")]
        splits = {"train": split}
    elif not labelled and not any(map(find_metadata, sub_folders(data_dir))):
        folders = [folder for folder in sub_folders(data_dir) if list_recordings(folder).files]
        named = bool(folders) and all(folder.name.lower() in SPLIT_NAMES for folder in folders)
        found = {folder.name: folder for folder in folders} if named else {"train": data_dir}
        splits = {name: read_levels(folder, None, data_dir) for name, folder in found.items()}
    else:
        splits = {}
        for name, folder in find_splits(data_dir).items():
            described = find_metadata(folder) is not None
            if not described and audio_column != "file_name":
                raise ValueError(
                    f"There is no column {audio_column!r}: in {str(folder)!r}, the files in the sub-folders are the "
                    "clips. Omit --audio_column, or write a metadata.csv with that column."
                )
            if not described and label_column not in (None, "label"):
                raise ValueError(
                    f"There is no column {label_column!r}: in {str(folder)!r}, the sub-folders are the labels. Omit "
                    "--label_column, or write a metadata.csv with that column."
                )
            if described:
                splits[name] = read_described(folder, audio_column, label_column, labelled)
            else:
                splits[name] = read_levels(folder, ["label"] if labelled else None, data_dir)
    return apply_split_lists(splits, data_dir, split_lists) if split_lists else splits


def find_metadata(folder: Path) -> Path | None:
    """Return the metadata file of a folder, if there is one."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def find_splits(data_dir: Path) -> dict[str, Path]:
    """Return the sub-folders that are splits, by name; or the folder itself, as `train`, if they are classes."""
    splits: dict[str, Path] = {}
    classes = []
    for folder in sub_folders(data_dir):
        named = folder.name.lower() in SPLIT_NAMES and any(
            list_recordings(child).files for child in sub_folders(folder)
        )
        if not named and find_metadata(folder) is None and list_recordings(folder, deep=False).files:
            classes.append(folder.name)
        elif find_metadata(folder) or list_recordings(folder).files:
            splits[folder.name] = folder
        else:
            raise ValueError(
                f"The folder {str(folder)!r} has no clips. Remove it, or put the clips of a class into it."
            )
    if splits and classes:
        raise ValueError(
            f"{str(data_dir)!r} mixes splits {sorted(splits)} and classes {classes}. Move the classes into a split, or "
            "describe each split in a metadata.csv."
        )
    if not splits and not classes:
        raise ValueError(
            f"{str(data_dir)!r} has no sub-folders with clips. Put the clips of each class into its own sub-folder, or "
            "list them with their labels in a metadata.csv."
        )
    return splits or {"train": data_dir}


def read_described(folder: Path, audio_column: str, label_column: str | None, labelled: bool) -> Split:
    """Read a folder with a metadata file. Recordings that it does not name are left out."""
    file = find_metadata(folder)
    columns = read_manifest(file, folder, audio_column, label_column, labelled)
    listing, named = Listing(), set(map(os.path.normpath, columns["audio"]))
    for path in map(Path, columns["audio"]):
        if path.exists():
            listing.files.append(path)
        else:
            listing.leave_out(MISSING, path)
    found = list_recordings(folder)
    for path in found.files:
        if os.path.normpath(path) not in named:
            listing.leave_out(UNLISTED.format(file.name), path)
    for reason, paths in found.left_out.items():
        for path in paths:
            if path != file:
                listing.leave_out(reason, path)
    return Split(columns, listing, folder)


def read_levels(folder: Path, levels: list[str] | None, root: Path) -> Split:
    """Read nested sub-folders whose names are values of the columns `levels`; `None` reads files at any depth.

    Args:
        folder: The folder of a split.
        levels: Names of the columns.
        root: The folder of the data.

    Raises:
        ValueError: If a folder of the last level has no clips, or only folders of clips.
    """
    if levels is None:
        listing = list_recordings(folder, root=root)
        return Split({"audio": [str(file) for file in listing.files]}, listing, folder)
    listing, rows = Listing(), [((), folder)]
    for _ in levels:
        for _, parent in rows:
            listing.extend(list_outside(parent, root))
        rows = [((*names, child.name), child) for names, parent in rows for child in sub_folders(parent, root)]
    columns: Columns = {name: [] for name in ("audio", *levels)}
    for names, parent in rows:
        found = list_recordings(parent, root=root)
        if not found.files:
            raise ValueError(
                f"The folder {str(parent)!r} has no clips. Remove it, or put the clips of a class into it."
            )
        if all(file.parent != parent for file in found.files):
            raise ValueError(
                f"The folder {str(parent)!r} has no clips itself, but its sub-folders have. Name each level of folders "
                f"below {str(folder)!r}, such as --folder_columns speaker label."
            )
        listing.extend(found)
        columns["audio"] += map(str, found.files)
        for level, name in zip(levels, names):
            columns[level] += [name] * len(found.files)
    return Split(columns, listing, folder)


def list_outside(folder: Path, root: Path) -> Listing:
    """List what is beside the folders in a folder, all of which is left out."""
    listing = list_recordings(folder, deep=False, root=root)
    found, listing.files = listing.files, []
    for file in found:
        listing.leave_out(OUTSIDE, file)
    return listing


def apply_split_lists(splits: dict[str, Split], data_dir: Path, split_lists: dict[str, str]) -> dict[str, Split]:
    """Move the clips that text files list into their own splits. Without a list of `train`, the rest is `train`."""
    if list(splits) != ["train"]:
        raise ValueError(
            f"--split_lists divides the clips of one folder, but {str(data_dir)!r} has splits already: "
            f"{', '.join(splits)}. Leave it out."
        )
    train, listing = splits["train"], splits["train"].listing
    index = {str(Path(path).relative_to(data_dir)): row for row, path in enumerate(train.columns["audio"])}
    chosen: dict[str, list[int]] = {}
    for split, name in split_lists.items():
        file = resolve_inside(data_dir, name, "--split_lists")
        if not file.is_file():
            raise FileNotFoundError(f"There is no list {str(file)!r} for the split {split!r}.")
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
        missing = [name for name in names if str(Path(name)) not in index]
        if missing:
            raise ValueError(
                f"{str(file)!r} lists {len(missing)} files that are not in {str(data_dir)!r}: {missing[0]!r} first."
            )
        chosen[split] = list(dict.fromkeys(index[str(Path(name))] for name in names))
    listed = {row for rows in chosen.values() for row in rows}
    rest = [row for row in range(len(index)) if row not in listed]
    own = next((split for split in chosen if known_name(split) == "train"), None)
    if own is None:
        chosen["train"] = rest
    else:
        for row in rest:
            listing.leave_out("in no list", Path(train.columns["audio"][row]))
    divided = {}
    for split, rows in chosen.items():
        columns = {column: [values[row] for row in rows] for column, values in train.columns.items()}
        left_out = listing.left_out if split == (own or "train") else {}
        divided[split] = Split(columns, Listing([Path(path) for path in columns["audio"]], left_out), train.folder)
    return divided
