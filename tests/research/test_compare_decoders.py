import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from compare_decoders import DELAY, compare, compare_cuts, decode, format_results, level_of_difference, match
from make_recordings import Recording
from recordings import FOLDER, noise, read, write


RESULTS = json.loads((Path(__file__).resolve().parents[2] / "research" / "results" / "decoders.json").read_text())
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the program ffmpeg is not installed")


def test_no_file_of_the_results_is_heard_in_part():
    assert len(RESULTS["files"]) > 150
    assert [row["name"] for row in RESULTS["files"] if not row["right"]] == []
    assert [row["name"] for row in RESULTS["files"] if row["cuts"]["heard in part"]] == []
    assert {sum(row["cuts"].values()) for row in RESULTS["files"]} == {RESULTS["cuts"]}


def test_every_unusual_file_that_is_whole_is_read():
    refused = {row["format"] for row in RESULTS["files"] if row["result"] == "refused"}
    assert refused == {"float 64", "GSM 6.10", "AC-3", "True Audio", "G.722"}
    assert [row["name"] for row in RESULTS["files"] if row["result"] == "refused" and row["fault"]] == []


@pytest.mark.parametrize("shift", [-700, 0, 1105])
@pytest.mark.parametrize("decibels", [10, 60])
def test_the_level_of_a_difference_at_any_delay(shift, decibels):
    rng = np.random.default_rng(0)
    sound = rng.standard_normal(40_000)
    error = rng.standard_normal(40_000)
    error *= np.sqrt(np.square(sound).mean() / np.square(error).mean()) * 10 ** (-decibels / 20)
    shifted = np.roll(sound, shift)
    assert level_of_difference(shifted + error, sound) == pytest.approx(decibels, abs=0.5)
    assert level_of_difference(sound, sound) == 200


def test_sound_is_divided_like_its_reference():
    parts = [(np.arange(90), 16000)]
    assert [len(part) for part in match(parts, [np.zeros(30), np.zeros(60)])] == [30, 60]
    assert match([(1, 8000), (2, 16000)], [np.zeros(1), np.zeros(2)]) == [1, 2]


def test_sound_up_to_the_error():
    parts, error = decode(write(noise(4000))[:-100])
    assert [len(part) for part, _ in parts] == [3950]
    assert "its header announces 8000 bytes of samples, and 7900 are there" in error


@needs_ffmpeg
@pytest.mark.parametrize("name", ["oggenc.ogg", "lame_vbr.mp3", "ac3.ac3"])
def test_a_file_is_compared_with_ffmpeg(name):
    row = compare(FOLDER, Recording(name, "x", "x", "x", holds=(name,), refused=name == "ac3.ac3"))
    assert row["right"]
    assert row["result"] == ("refused" if name == "ac3.ac3" else "read")


@needs_ffmpeg
def test_a_file_that_is_heard_in_part_is_found_out(tmp_path):
    """The reference has a second part, which is missing in the file."""
    for name in ("oggenc.ogg", "ffmpeg.ogg"):
        (tmp_path / name).write_bytes(read(name))
    recording = Recording("oggenc.ogg", "Vorbis", "Ogg", "oggenc", holds=("oggenc.ogg", "ffmpeg.ogg"))
    assert not compare(tmp_path, recording)["right"]


@needs_ffmpeg
def test_cuts():
    assert compare_cuts(FOLDER / "oggenc.ogg", 5, False) == {"cuts": {"refused": 5, "read": 0, "heard in part": 0}}
    assert compare_cuts(FOLDER / "lame_vbr_bare.mp3", 5, False)["cuts"]["heard in part"] > 0  # were it not endless
    cuts = compare_cuts(FOLDER / "lame_vbr_bare.mp3", 5, True)["cuts"]
    assert cuts["heard in part"] == 0
    assert cuts["read"] > 0


def test_the_table_has_a_row_for_each_file():
    lines = format_results(RESULTS).splitlines()
    assert len(lines) == len(RESULTS["files"]) + 2
    assert {line.count(" | ") for line in lines[2:]} <= {6, 7}
    assert DELAY > 1152
