import argparse
import json
import sys

import pytest
import soundfile


@pytest.fixture
def drums(tones, tmp_path):
    """Ten clips of each class to draw from, and ten to test on."""
    for number, file in enumerate(sorted(tones.glob("*/*.wav"))):
        split = "validation" if number % 2 else "train"
        folder = tmp_path / "data" / "drum_sounds" / split / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        samples, rate = soundfile.read(file)
        soundfile.write(folder / file.name, samples, rate)
    return tmp_path / "data"


@pytest.mark.slow
def test_a_part_of_the_curves(run, drums, tmp_path):
    arguments = ("--data_dir", drums, "--sets", "drum_sounds", "--starts", "frozen", "--shots", "1", "5")
    arguments += ("--output", tmp_path / "starts.json")
    assert run("compare_starts.py", *arguments, "--draws", 1).error is None
    outcome = run("compare_starts.py", *arguments, "--draws", 2)
    assert outcome.error is None
    assert "drum_sounds 5 frozen 0" not in outcome.stdout  # it went on
    cells = json.loads((tmp_path / "starts.json").read_text())["accuracy"]["drum_sounds"]
    assert set(cells["5"]["frozen"]) == {"0", "1"}
    assert cells["5"]["frozen"]["1"]["accuracy"] >= 0.9
    assert "| drum_sounds | 5 | " in outcome.stdout


def test_draws_are_of_each_class_and_repeat(repository):
    sys.path.append(str(repository / "research"))
    from compare_starts import divide, draw_clips, fewest_clips
    from evaluate_encoder import Task

    clips = [{"file_name": str(number), "label": "ab"[number % 2], "value": str(number % 5)} for number in range(20)]
    drawn = draw_clips(clips, ("3",), "3", 1)
    assert drawn == draw_clips(clips, ("3",), "3", 1)
    assert drawn != draw_clips(clips, ("3",), "3", 2)
    assert sorted(clip["label"] for clip in drawn if clip["split"] == "train") == ["a"] * 3 + ["b"] * 3
    assert [clip["file_name"] for clip in drawn if clip["split"] == "test"] == ["3", "8", "13", "18"]
    every = draw_clips(clips, ("3", "4"), "all", 0)
    assert sorted(clip["file_name"] for clip in every) == sorted(map(str, range(20)))
    assert {clip["value"] for clip in every if clip["split"] == "test"} == {"3", "4"}
    assert fewest_clips(clips, ("3", "4")) == 6
    assert [tested for _, tested in divide(clips, Task("folds", "fold"))] == [("0",), ("1",), ("2",), ("3",), ("4",)]
    assert [tested for _, tested in divide(clips, Task("speakers", "speaker", ("3", "4")))] == [("3", "4")]


def test_inside_what_is_tested_is_never_seen(repository):
    sys.path.append(str(repository / "research"))
    from compare_starts import divide_inside, draw_clips, shots_of
    from evaluate_encoder import Task

    clips = [{"file_name": str(number), "label": "ab"[number % 2], "value": str(number % 3)} for number in range(18)]
    tests = divide_inside(clips, Task("folds", "fold"))
    assert [tested for _, tested in tests] == [("1",), ("0",), ("0",), ("2",), ("2",), ("1",)]  # all are tested soon
    for (some, tested), left_out in zip(tests, "012012"):
        drawn = draw_clips(some, tested, "2", 0)
        assert left_out not in {clip["value"] for clip in drawn}
        assert {clip["value"] for clip in drawn if clip["split"] == "test"} == set(tested)
    tests = divide_inside(clips, Task("speakers", "speaker", ("2",)))
    assert [tested for _, tested in tests] == [("0",), ("1",)]
    assert all(clip["value"] != "2" for some, _ in tests for clip in some)
    with pytest.raises(ValueError, match="two has no folds or speakers among the clips that are not tested"):
        divide_inside(clips, Task("two", test=("1", "2")))
    with pytest.raises(argparse.ArgumentTypeError, match="'0' is neither a positive number of clips nor 'all'"):
        shots_of("0")


def test_intervals_are_over_clips_or_draws(repository):
    sys.path.append(str(repository / "research"))
    from compare_starts import over_clips, over_draws

    cells = {"0": {"accuracy": 0.5, "tested": 300}, "1": {"accuracy": 0.9, "tested": 100}}
    assert over_clips(cells) == "0.600 (0.551 to 0.647)"  # Wilson, 240 of 400
    assert over_draws(cells) == "0.700 ± 2.541"  # 12.706 * 0.2
    assert over_clips({}) == over_draws({}) == "-"
