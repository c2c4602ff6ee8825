"""Folders and tables that tests make."""

import csv

import numpy as np
import soundfile


def touch(folder, *names):
    """Write files that promise a recording by their names only."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not decoded here")


def write_csv(file, *rows):
    """Write a table."""
    with open(file, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)


def write_tones(folder, splits: tuple[str, ...], columns: dict[str, list[str]], clips: int = 24):
    """Write splits of low and high tones, in turns; other columns repeat their values."""
    rng = np.random.default_rng(0)
    for split in splits:
        (folder / split).mkdir(parents=True)
        with open(folder / split / "metadata.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("file_name", "label", *columns))
            for number in range(clips):
                wave = 0.3 * np.sin(2 * np.pi * (300, 3000)[number % 2] * np.arange(4000) / 16000 + rng.uniform(0, 6))
                soundfile.write(folder / split / f"{number}.wav", wave, 16000)
                label = ("low", "high")[number % 2]
                writer.writerow((f"{number}.wav", label, *(row[number // 2 % len(row)] for row in columns.values())))
