import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile


FONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")  # Debian's timgm6mb-soundfont

pytest.importorskip("fluidsynth", reason="needs pyfluidsynth and the library of FluidSynth", exc_type=ImportError)
needs_font = pytest.mark.skipif(not FONT.exists(), reason="needs the sound font TimGM6mb")


def make(repository, folder, *arguments):
    command = [sys.executable, str(repository / "research" / "make_drum_sounds.py"), *map(str, arguments)]
    return subprocess.run([*command, "--output_dir", str(folder)], capture_output=True, text=True, timeout=120)


@needs_font
def test_each_kind_of_each_kit_once(repository, tmp_path):
    kits = ("Room", "Power", "Electronic", "808", "Jazz", "Brush")
    for name in ("one", "two"):
        assert make(repository, tmp_path / name, FONT, "--leave_out", *kits).returncode == 0
    again = make(repository, tmp_path / "one", FONT)
    assert again.returncode == 1 and "one' is there already, and nothing is overwritten." in again.stderr
    twice = make(repository, tmp_path / "three", FONT, FONT)
    assert twice.returncode == 1 and "Two sound fonts have the same name" in twice.stderr
    with open(tmp_path / "one" / "train" / "metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["label"] for row in rows}) == 11
    assert {row["kit"] for row in rows} == {"TimGM6mb Standard", "TimGM6mb Orchestra"}
    assert {row["author"] for row in rows} == {"TimGM6mb"}
    sounds = {}
    for row in rows:
        samples, rate = soundfile.read(tmp_path / "one" / "train" / row["file_name"])
        assert rate == 48000
        assert 0.01 < len(samples) / rate <= 2
        assert np.abs(samples).max() > 1e-3
        sounds.setdefault(row["label"], set()).add(samples.tobytes())
        assert (samples == soundfile.read(tmp_path / "two" / "train" / row["file_name"])[0]).all()  # the same again
    assert sum(map(len, sounds.values())) == len(rows)  # none twice
    kick, hihat = (  # the share of the energy that lies above 4 kHz
        [high_share(tmp_path / "one" / "train" / row["file_name"]) for row in rows if row["label"] == label]
        for label in ("kick", "hihat")
    )
    assert max(kick) < min(hihat)


def high_share(file):
    samples, rate = soundfile.read(file)
    power = np.abs(np.fft.rfft(samples)) ** 2
    return power[np.fft.rfftfreq(len(samples), 1 / rate) > 4000].sum() / power.sum()


def test_what_is_no_sound_font(repository, tmp_path):
    (tmp_path / "notes.sf2").write_text("no sounds")
    outcome = make(repository, tmp_path / "drums", tmp_path / "notes.sf2")
    assert outcome.returncode == 1
    assert "notes.sf2' is not there or no sound font (.sf2, .sf3)." in outcome.stderr
    assert not (tmp_path / "drums").exists()  # the right command needs no other folder
