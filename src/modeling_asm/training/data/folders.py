"""Labelled audio on disk: folders, metadata files and manifests, read as plain columns. No audio is decoded."""

import csv
import json
import mimetypes
from pathlib import Path


METADATA = ("metadata.csv", "metadata.jsonl")
LABEL_COLUMNS = ("label", "labels")  # default names of the label column
OWN_COLUMNS = ("audio", "label", "waveform", "seconds")  # reserved names of columns

Columns = dict[str, list]


def read_folder(
    data_dir: str | Path,
    audio_column: str = "file_name",
    label_column: str | None = None,
    folder_columns: list[str] | None = None,
    split_lists: dict[str, str] | None = None,
    labelled: bool = True,
) -> dict[str, Columns]:
    """Read an `audiofolder`: one sub-folder per split, or a single folder, which becomes `train`.

    A split has either a metadata file (`metadata.csv` or `metadata.jsonl`) or one sub-folder per class, in which every
    file is a clip. Hidden files, text files and images are ignored.

    Args:
        data_dir: The folder.
        audio_column: Column of the metadata with the names of the files, relative to the split.
        label_column: Column of the metadata, or of `folder_columns`, with the classes; by default `label` or `labels`.
        folder_columns: Meaning of each level of sub-folders, such as `["speaker", "label"]`; by default `["label"]`.
            If it is given, no sub-folder is a split.
        split_lists: For each split, a text file in `data_dir` that lists its clips, one path per line. Clips that are
            in no list belong to `train`.
        labelled: Whether the clips have labels. Without labels, and if no sub-folder has metadata, all files at any
            depth are clips of `train`.

    Returns:
        For each split its columns: `audio` (paths), `label` and the others of the metadata.

    Raises:
        FileNotFoundError: If there is no such folder or list.
        ValueError: If the metadata lacks a column or a value or names a file outside the folder, or if splits and
            classes are mixed.
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
        splits = {"train": read_manifest(find_metadata(data_dir), data_dir, audio_column, label_column, labelled)}
    elif folder_columns and labelled:
        columns = read_levels(data_dir, folder_columns)
        label = find_label_column(folder_columns, label_column, "--folder_columns")
        splits = {"train": columns | {"label": columns[label]}}
    elif not labelled and not any(find_metadata(child) for child in visible(data_dir) if child.is_dir()):
        splits = {"train": read_levels(data_dir, None)}
    else:
        splits = {}
        for name, folder in find_splits(data_dir).items():
            file = find_metadata(folder)
            if file is None and audio_column != "file_name":
                raise ValueError(
                    f"There is no column {audio_column!r}: in {str(folder)!r}, the files in the sub-folders are the "
                    "clips. Omit --audio_column, or write a metadata.csv with that column."
                )
            if file is None and label_column not in (None, "label"):
                raise ValueError(
                    f"There is no column {label_column!r}: in {str(folder)!r}, the sub-folders are the labels. Omit "
                    "--label_column, or write a metadata.csv with that column."
                )
            splits[name] = (
                read_levels(folder, ["label"] if labelled else None)
                if file is None
                else read_manifest(file, folder, audio_column, label_column, labelled)
            )
    return apply_split_lists(splits, data_dir, split_lists) if split_lists else splits


def find_metadata(folder: Path) -> Path | None:
    """Return the metadata file of a folder, if there is one."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def find_splits(data_dir: Path) -> dict[str, Path]:
    """Return the sub-folders that are splits, by name; or the folder itself, as `train`, if they are classes."""
    folders = [child for child in visible(data_dir) if child.is_dir()]
    splits = {
        folder.name: folder
        for folder in folders
        if find_metadata(folder) or any(audio_files(child) for child in visible(folder) if child.is_dir())
    }
    classes = [folder.name for folder in folders if folder.name not in splits and audio_files(folder)]
    if splits and classes:
        raise ValueError(
            f"{str(data_dir)!r} mixes splits {sorted(splits)} and classes {classes}. Move the classes into a split."
        )
    for folder in folders:
        if folder.name not in (*splits, *classes):
            raise ValueError(
                f"The folder {str(folder)!r} has no clips. Remove it, or put the clips of a class into it."
            )
    if not splits and not classes:
        raise ValueError(
            f"{str(data_dir)!r} has no sub-folders with clips. Put the clips of each class into its own sub-folder, or "
            "list them with their labels in a metadata.csv."
        )
    return splits or {"train": data_dir}


def visible(folder: Path) -> list[Path]:
    """Return the sorted content of a folder, without the hidden files of operating systems."""
    return sorted(child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX")))


def audio_files(folder: Path) -> list[Path]:
    """Return the visible files directly in a folder, without text files and images."""
    return [child for child in visible(folder) if child.is_file() and not is_note(child)]


def is_note(file: Path) -> bool:
    """Return whether a file is a text or an image, judging by its name."""
    kind = mimetypes.guess_type(file.name)[0] or ""
    return kind.startswith(("text/", "image/")) or kind in ("application/json", "application/pdf")


def read_levels(folder: Path, levels: list[str] | None) -> Columns:
    """Read nested sub-folders whose names are values of the columns `levels`; `None` reads files at any depth."""
    if levels is None:
        return {"audio": [str(file) for file in walk(folder)]}
    rows = [((), folder)]
    for _ in levels:
        rows = [((*names, child.name), child) for names, parent in rows for child in visible(parent) if child.is_dir()]
    for _, parent in rows:
        if not audio_files(parent):
            raise ValueError(
                f"The folder {str(parent)!r} has no clips. Remove it, or put the clips of a class into it."
            )
    clips = [(names, str(file)) for names, parent in rows for file in audio_files(parent)]
    return {"audio": [file for _, file in clips]} | {
        level: [names[index] for names, _ in clips] for index, level in enumerate(levels)
    }


def walk(folder: Path) -> list[Path]:
    """Return all visible files below a folder, without text files and images."""
    deeper = [file for child in visible(folder) if child.is_dir() for file in walk(child)]
    return sorted([*audio_files(folder), *deeper])


def apply_split_lists(splits: dict[str, Columns], data_dir: Path, split_lists: dict[str, str]) -> dict[str, Columns]:
    """Move the clips that text files list from `train` into their own splits."""
    train = splits.pop("train")
    index = {str(Path(path).relative_to(data_dir)): row for row, path in enumerate(train["audio"])}
    chosen: dict[str, list[int]] = {}
    for split, name in split_lists.items():
        file = resolve_inside(data_dir, name, "--split_lists")
        if not file.is_file():
            raise FileNotFoundError(f"There is no list {str(file)!r} for the split {split!r}.")
        names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        missing = [name for name in names if str(Path(name)) not in index]
        if missing:
            raise ValueError(
                f"{str(file)!r} lists {len(missing)} files that are not in {str(data_dir)!r}: {missing[0]!r} first."
            )
        chosen[split] = [index[str(Path(name))] for name in names]
    listed = {row for rows in chosen.values() for row in rows}
    chosen["train"] = [row for row in range(len(train["audio"])) if row not in listed]
    return splits | {
        split: {column: [values[row] for row in rows] for column, values in train.items()}
        for split, rows in chosen.items()
    }


def read_manifest(
    file: str | Path,
    data_dir: str | Path | None = None,
    audio_column: str = "file_name",
    label_column: str | None = None,
    labelled: bool = True,
) -> Columns:
    """Read a CSV or JSON-lines file with one row per clip.

    Args:
        file: The file, `.csv` or `.jsonl`.
        data_dir: Folder that the names of the clips are relative to and must stay in; by default the file's own.
        audio_column: Column with the names of the files.
        label_column: Column with the labels; by default `label` or `labels`.
        labelled: Whether the clips need labels.

    Returns:
        Columns as [`read_folder`] returns them; those of a CSV file are text.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"There is no manifest {str(file)!r}.")
    data_dir = Path(data_dir) if data_dir is not None else file.parent
    rows, found = read_rows(file)
    if audio_column not in found:
        raise ValueError(
            f"{str(file)!r} has no column {audio_column!r}. It has: {', '.join(found) or 'none'}. Rename a column, or "
            "set --audio_column to the one with the files."
        )
    label_column = find_label_column(found, label_column, str(file)) if labelled else None
    for line, row in enumerate(rows, start=2 if file.suffix == ".csv" else 1):
        for column in (audio_column, label_column) if labelled else (audio_column,):
            if row.get(column) in (None, "", []):
                raise ValueError(f"{str(file)!r} has no {column!r} in row {line}. Add it, or remove the row.")
    others = [name for name in found if name not in (*OWN_COLUMNS, audio_column, label_column)]
    columns = {"audio": [str(resolve_inside(data_dir, str(row[audio_column]), str(file))) for row in rows]}
    if labelled:
        columns["label"] = [row[label_column] for row in rows]
    return columns | {name: [row.get(name) for row in rows] for name in others}


def read_rows(file: Path) -> tuple[list[dict], list[str]]:
    """Return the rows of a CSV or JSON-lines file, and the names of its columns."""
    try:
        return parse_rows(file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(file)!r} is not UTF-8: {error}. Save it as UTF-8.") from error


def parse_rows(file: Path) -> tuple[list[dict], list[str]]:
    if file.suffix == ".csv":
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="", strict=True)
            try:
                found = list(reader.fieldnames or [])
                check_unique(found, file)
                return list(reader), found
            except csv.Error as error:
                raise ValueError(f"{str(file)!r} is not valid CSV after row {reader.line_num}: {error}.") from error
    if file.suffix not in (".jsonl", ".json"):
        raise ValueError(f"{str(file)!r} is not a manifest: its name must end in .csv or .jsonl.")

    def unique(pairs: list[tuple]) -> dict:
        check_unique([name for name, _ in pairs], file)
        return dict(pairs)

    rows = []
    for line, text in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            rows.append(json.loads(text, object_pairs_hook=unique))
        except json.JSONDecodeError as error:
            raise ValueError(f"{str(file)!r} has no JSON object in row {line}: {error}.") from error
        if not isinstance(rows[-1], dict):
            raise ValueError(f"{str(file)!r} has no JSON object in row {line}: {text.strip()}.")
    return rows, list(dict.fromkeys(name for row in rows for name in row))


def check_unique(columns: list[str], file: Path):
    """Raise `ValueError` if two columns have the same name, since one would silently replace the other."""
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ValueError(f"{str(file)!r} has two columns {twice[0]!r}. Rename or remove one of them.")


def find_label_column(columns: list[str], label_column: str | None, source: str) -> str:
    """Return the column with the labels: the given one, or else `label` or `labels`."""
    candidates = [label_column] if label_column else list(LABEL_COLUMNS)
    found = [name for name in candidates if name in columns]
    if len(found) == 2:
        raise ValueError(f"{source!r} has two label columns, 'label' and 'labels'. Choose one with --label_column.")
    if not found:
        raise ValueError(
            f"{source!r} has no column {candidates[0]!r}. It has: {', '.join(columns) or 'none'}. Rename a column, or "
            "set --label_column to the one with the classes."
        )
    return found[0]


def resolve_inside(folder: Path, file_name: str, source: str) -> Path:
    """Join a folder and a name from a file, and check that the result stays in the folder."""
    path = folder / file_name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{source!r} names {file_name!r}, which is outside its folder. Only files inside are read.")
    return path
