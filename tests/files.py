"""Folders and tables that tests make."""

import csv


def touch(folder, *names):
    """Write files that promise a recording by their names only."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not decoded here")


def write_csv(file, *rows):
    """Write a table."""
    with open(file, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
