"""Generate a labelled set of instruments offline: single notes of the 16 families of General MIDI.

    apt-get install --no-install-recommends libfluidsynth3 fluid-soundfont-gm csound-soundfont
    python research/make_instrument_sounds.py --train /usr/share/sounds/sf2/FluidR3_GM.sf2 \\
        --validation /usr/share/sounds/sf2/sf_GMbank.sf2 --output_dir instrument_sounds

Each of the 128 instruments of a font plays some notes of its middle octaves, chosen at random, at two velocities. The
audio is 48 kHz mono without reverb, at most two seconds long.
"""

import argparse
import csv
import os
import shutil
from pathlib import Path

import numpy as np
import soundfile
from make_drum_sounds import SAMPLING_RATE, Player
from tqdm.auto import tqdm


# General MIDI 1 (https://midi.org/general-midi): eight instruments each, in this order.
FAMILIES = ("piano", "chromatic percussion", "organ", "guitar", "bass", "strings", "ensemble", "brass", "reed", "pipe",
            "synth lead", "synth pad", "synth effects", "ethnic", "percussive", "sound effects")  # fmt: skip
INSTRUMENTS = 8  # of a family
LOWEST, HIGHEST = 36, 84  # keys: two octaves around middle C
LOWER = {"bass": 12}  # semitones below that
VELOCITIES = (70, 110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", nargs="+", type=Path, required=True, help="General MIDI sound fonts to train on.")
    parser.add_argument("--validation", nargs="+", type=Path, required=True, help="Other sound fonts, to test on.")
    parser.add_argument("--output_dir", required=True, type=Path, help="Folder to make; it must not be there yet.")
    parser.add_argument("--notes", type=int, default=4, help="Notes of each instrument (default: %(default)s).")
    args = parser.parse_args()

    if args.output_dir.exists():
        raise SystemExit(f"{str(args.output_dir)!r} is there already, and nothing is overwritten.")
    if both := {path.stem for path in args.train} & {path.stem for path in args.validation}:
        raise SystemExit(f"The sound font {min(both)!r} is to be trained on and tested. Name others.")
    unfinished = args.output_dir.with_name(f"unfinished-{args.output_dir.name}")
    shutil.rmtree(unfinished, ignore_errors=True)  # what a killed run left
    for split, fonts in (("train", args.train), ("validation", args.validation)):
        write_split(unfinished / split, fonts, args.notes)
    os.replace(unfinished, args.output_dir)


def write_split(folder: Path, fonts: list[Path], notes: int):
    """Play the notes of some fonts into a folder, with a table of their families."""
    folder.mkdir(parents=True)
    rows, rng = [], np.random.default_rng(0)
    for path in fonts:
        player = Player(path)
        for preset in tqdm(range(INSTRUMENTS * len(FAMILIES)), desc=f"Playing {path.stem}", unit="instrument"):
            family = FAMILIES[preset // INSTRUMENTS]
            for key in rng.choice(np.arange(LOWEST, HIGHEST), notes, replace=False) - LOWER.get(family, 0):
                for velocity in VELOCITIES:
                    samples = player.play(0, 0, preset, int(key), velocity)
                    if len(samples):
                        name = f"{path.stem}_{preset}_{key}_{velocity}.flac"
                        soundfile.write(folder / name, samples, SAMPLING_RATE)
                        rows.append((name, family, path.stem))
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file_name", "label", "font"), *rows])


if __name__ == "__main__":
    main()
