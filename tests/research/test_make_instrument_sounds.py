import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile


FONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")  # Debian's timgm6mb-soundfont

pytest.importorskip("fluidsynth", reason="needs pyfluidsynth and the library of FluidSynth", exc_type=ImportError)


def make(repository, *arguments):
    command = [sys.executable, str(repository / "research" / "make_instrument_sounds.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(not FONT.exists(), reason="needs the sound font TimGM6mb")
def test_families_of_two_fonts(repository, tmp_path):
    shutil.copy(FONT, tmp_path / "other.sf2")
    arguments = ("--train", FONT, "--validation", tmp_path / "other.sf2", "--notes", 1)
    outcome = make(repository, *arguments, "--output_dir", tmp_path / "set")
    assert outcome.returncode == 0, outcome.stderr
    for split, font in (("train", "TimGM6mb"), ("validation", "other")):
        with open(tmp_path / "set" / split / "metadata.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["font"] for row in rows} == {font}
        assert len({row["label"] for row in rows}) == 16
        assert len(rows) > 200
        samples, rate = soundfile.read(tmp_path / "set" / split / rows[0]["file_name"])
        assert (rate, rows[0]["label"]) == (48000, "piano")
        assert 0.01 < len(samples) / rate <= 2
    again = make(repository, *arguments, "--output_dir", tmp_path / "set")
    assert "set' is there already, and nothing is overwritten." in again.stderr


def test_a_font_is_not_tested_on_itself(repository, tmp_path):
    fonts = ("--train", "a.sf2", "--validation", "far/a.sf2")
    outcome = make(repository, *fonts, "--output_dir", tmp_path / "set")
    assert "The sound font 'a' is to be trained on and tested. Name others." in outcome.stderr
