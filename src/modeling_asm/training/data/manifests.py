"""Labelled audio in manifests: CSV and JSON-lines files with one row per clip, read as plain columns."""

import collections
import csv
import json
import os
from pathlib import Path


LABEL_COLUMNS = ("label", "labels")  # default names of the label column
OWN_COLUMNS = ("audio", "label", "waveform", "seconds")  # reserved names of columns

Columns = dict[str, list]


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
        The columns `audio` (paths), `label` and the others; those of a CSV file are text.
    """
    file = Path(file)
    if file.is_fifo():
        raise ValueError(f"The manifest {str(file)!r} is a pipe, which cannot be read twice. Write it to a file first.")
    if not file.is_file():
        raise FileNotFoundError(f"There is no manifest {str(file)!r}.")
    data_dir = Path(data_dir) if data_dir is not None else file.parent
    rows, lines, found = read_rows(file)
    if audio_column not in found:
        raise ValueError(
            f"{str(file)!r} has no column {audio_column!r}. It has: {', '.join(found) or 'none'}. Rename a column, or "
            "set --audio_column to the one with the files."
        )
    label_column = find_label_column(found, label_column, str(file)) if labelled else None
    for line, row in zip(lines, rows):
        for column in (audio_column, label_column) if labelled else (audio_column,):
            if row.get(column) is None or not str(row[column]).strip():
                raise ValueError(f"{str(file)!r} has no {column!r} in line {line}. Add it, or remove the line.")
    others = [name for name in found if name not in (*OWN_COLUMNS, audio_column, label_column)]
    columns = {"audio": [str(resolve_inside(data_dir, str(row[audio_column]), str(file))) for row in rows]}
    counts = collections.Counter(map(os.path.normpath, columns["audio"]))
    if twice := [path for path, number in counts.items() if number > 1]:
        raise ValueError(
            f"{str(file)!r} names {len(twice)} files more than once, {os.path.relpath(twice[0], data_dir)!r} first. "
            "Keep one row of each; several labels may stand in one row, with --label_separator."
        )
    if labelled:
        columns["label"] = [row[label_column] for row in rows]
    return columns | {name: [row.get(name) for row in rows] for name in others}


def read_rows(file: Path) -> tuple[list[dict], list[int], list[str]]:
    """Return the rows of a CSV or JSON-lines file, the line in which each ends, and the names of the columns."""
    try:
        return parse_rows(file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(file)!r} is not UTF-8: {error}. Save it as UTF-8.") from error


def parse_rows(file: Path) -> tuple[list[dict], list[int], list[str]]:
    rows, lines = [], []
    if file.suffix == ".csv":
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="", strict=True)
            try:
                reader.fieldnames = found = [name.strip() for name in reader.fieldnames or []]
                check_separator(found, file)
                check_unique(found, file)
                for row in reader:
                    if None in row:
                        raise ValueError(
                            f"{str(file)!r} has {len(found) + len(row[None])} values in line {reader.line_num}, and "
                            f"{len(found)} columns. Put a value that has a comma in quotation marks."
                        )
                    rows.append(row)
                    lines.append(reader.line_num)
                return rows, lines, found
            except csv.Error as error:
                raise ValueError(f"{str(file)!r} is not valid CSV after line {reader.line_num}: {error}.") from error
    if file.suffix not in (".jsonl", ".json"):
        raise ValueError(f"{str(file)!r} is not a manifest: its name must end in .csv or .jsonl.")

    def unique(pairs: list[tuple]) -> dict:
        check_unique([name for name, _ in pairs], file)
        return dict(pairs)

    for line, text in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not text.strip():
            continue
        try:
            rows.append(json.loads(text, object_pairs_hook=unique))
        except json.JSONDecodeError as error:
            raise ValueError(f"{str(file)!r} has no JSON object in line {line}: {error}.") from error
        if not isinstance(rows[-1], dict):
            raise ValueError(f"{str(file)!r} has no JSON object in line {line}: {text.strip()}.")
        lines.append(line)
    return rows, lines, list(dict.fromkeys(name for row in rows for name in row))


def check_separator(columns: list[str], file: Path):
    """Raise `ValueError` if the columns of a CSV file are not separated by commas."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and separator in columns[0]:
            raise ValueError(
                f"The columns of {str(file)!r} are separated by {name}, expected commas. Save it with commas."
            )


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
    """Join a folder and a name from a file, and check that the result stays in the folder.

    A link in it may lead elsewhere, as those of the cache of huggingface_hub do.
    """
    path = folder / file_name
    slashes = file_name.replace("\\", "/")
    if slashes != file_name and not path.exists():
        raise ValueError(f"{source!r} names {file_name!r}, a path of Windows. Write it with slashes: {slashes!r}.")
    inside = Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
    if not inside and not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"{source!r} names {file_name!r}, which is outside {str(folder)!r}. Only files in that folder are read."
        )
    return path
