"""Generate a labelled set of drum sounds offline: single hits of the percussion in General MIDI sound fonts.

    apt-get install --no-install-recommends libfluidsynth3 fluid-soundfont-gm timgm6mb-soundfont
    python research/make_drum_sounds.py /usr/share/sounds/sf2/FluidR3_GM.sf2 /usr/share/sounds/sf2/TimGM6mb.sf2 \\
        --output_dir midi_drums

Eleven classes, from General MIDI's percussion key map; every drum kit of every font, at three velocities, without exact
duplicates. The audio is 48 kHz mono without reverb, at most two seconds long.
"""

import argparse
import csv
import os
import shutil
from pathlib import Path

import fluidsynth
import numpy as np
import soundfile
from tqdm.auto import tqdm


# The percussion key map of General MIDI 1 (https://midi.org/general-midi), and Sticks and Shaker of Roland's extension.
KINDS = {
    "clap": (39,),
    "cowbell": (56, 67, 68),  # agogos, too
    "crash": (49, 52, 55, 57),  # Chinese and splash cymbals, too
    "handdrum": (60, 61, 62, 63, 64),
    "hihat": (42, 44, 46),
    "kick": (35, 36),
    "ride": (51, 53, 59),
    "shaker": (54, 82),  # tambourine, too; maracas and cabasa are too like closed hi-hats
    "snare": (38, 40),
    "stick": (31, 37),
    "tom": (41, 43, 45, 47, 48, 50),
}
DRUM_CHANNEL, DRUM_BANK, PRESETS = 9, 128, 128
VELOCITIES = (60, 95, 127)
# 48 kHz, for FluidSynth repeats its dither after 48,000 samples: the same sound then gives the same samples again.
SAMPLING_RATE, SECONDS = 48_000, 2
SILENCE = 1e-3  # of full scale


class Player:
    """FluidSynth with one sound font, as a function from hits to samples."""

    def __init__(self, sound_font: Path):
        self.synth = fluidsynth.Synth(samplerate=float(SAMPLING_RATE), gain=1.0)
        for effect in ("reverb", "chorus"):
            self.synth.setting(f"synth.{effect}.active", 0)
        self.font = self.synth.sfload(str(sound_font))
        if self.font < 0:
            raise SystemExit(f"{str(sound_font)!r} is not there or no sound font (.sf2, .sf3).")

    def kits(self) -> dict[int, str]:
        """Return the names of the presets of the percussion bank."""
        names = {preset: self.synth.sfpreset_name(self.font, DRUM_BANK, preset) for preset in range(PRESETS)}
        return {preset: name for preset, name in names.items() if name}

    def hit(self, preset: int, key: int, velocity: int) -> np.ndarray:
        """Return float32 samples until the sound is gone; none where the kit has nothing on that key."""
        return self.play(DRUM_CHANNEL, DRUM_BANK, preset, key, velocity)

    def play(self, channel: int, bank: int, preset: int, key: int, velocity: int) -> np.ndarray:
        """Return float32 samples of a note until it is gone; none where there is nothing on that key."""
        self.synth.system_reset()
        self.synth.program_select(channel, self.font, bank, preset)
        self.synth.noteon(channel, key, velocity)
        stereo = self.synth.get_samples(SAMPLING_RATE * SECONDS).reshape(-1, 2)
        samples = stereo.astype(np.float32).mean(axis=1) / 2**15
        heard = np.flatnonzero(np.abs(samples) > SILENCE)
        return samples[: heard[-1] + 1] if len(heard) else samples[:0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sound_fonts", nargs="+", type=Path, help="General MIDI sound fonts.")
    parser.add_argument("--output_dir", required=True, type=Path, help="Folder to make; it must not be there yet.")
    parser.add_argument("--leave_out", default=[], nargs="+", help="Kits whose names have one of these in them: 808.")
    args = parser.parse_args()

    if args.output_dir.exists():
        raise SystemExit(f"{str(args.output_dir)!r} is there already, and nothing is overwritten.")
    players = {path.stem: Player(path) for path in args.sound_fonts}
    if len(players) < len(args.sound_fonts):
        raise SystemExit("Two sound fonts have the same name, which their clips would have, too: rename one.")
    unfinished = args.output_dir.with_name(f"unfinished-{args.output_dir.name}")
    shutil.rmtree(unfinished, ignore_errors=True)  # what a killed run left
    folder, rows, known = unfinished / "train", [], set()
    folder.mkdir(parents=True)
    for font, player in players.items():
        for preset, kit in tqdm(player.kits().items(), desc=f"Playing {font}", unit="kit"):
            if any(text in kit for text in args.leave_out):
                continue
            for kind, key, velocity in [(k, key, v) for k, keys in KINDS.items() for key in keys for v in VELOCITIES]:
                samples = player.hit(preset, key, velocity)
                if len(samples) and (sound := (kind, samples.tobytes())) not in known:
                    known.add(sound)
                    name = f"{font}_{preset}_{key}_{velocity}.flac"
                    soundfile.write(folder / name, samples, SAMPLING_RATE)
                    rows.append((name, kind, f"{font} {kit}", font))
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file_name", "label", "kit", "author"), *rows])
    os.replace(unfinished, args.output_dir)


if __name__ == "__main__":
    main()
