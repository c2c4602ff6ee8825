"""The two studies of other lengths, on tones: that they run to their tables, not what they find."""

import csv
import json

import numpy as np
import pytest
import soundfile


@pytest.fixture
def data(tmp_path):
    """Two splits of two kinds of tone, by two speakers each."""
    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        folder = tmp_path / "tones" / split
        folder.mkdir(parents=True)
        rows = [("file_name", "label", "speaker")]
        for index in range(8):
            clip = np.sin(np.arange(4000) / (40, 3)[index % 2]) + 0.01 * rng.standard_normal(4000)
            soundfile.write(folder / f"{index}.wav", 0.5 * clip, 16000)
            rows.append((f"{index}.wav", ("low", "high")[index % 2], f"speaker{index // 4}"))
        with open(folder / "metadata.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
    return tmp_path / "tones"


def test_resizing(run, data, checkpoint, tmp_path):
    arguments = [data, "--model", checkpoint, "--seconds", 0.3, "--seeds", 1, "--output", tmp_path / "out.json"]
    outcome = run("compare_resizing.py", *arguments)
    assert outcome.error is None
    results = json.loads((tmp_path / "out.json").read_text())
    assert results["clips"] == {"train": 8, "validation": 8}
    starts = ["resized", "stretched", "ignore_mismatched_sizes", "random"]
    assert [(row["start"], row["max_length"]) for row in results["windows"]] == [(start, 28) for start in starts]
    assert outcome.stdout.count("| 0.3 s | ") == 4


def test_padding(run, data, tmp_path):
    arguments = [data, "--group_columns", "speaker", "--epochs", 1, "--seeds", 1, "--output", tmp_path / "out.json"]
    outcome = run("compare_padding.py", *arguments)
    assert outcome.error is None
    table = json.loads((tmp_path / "out.json").read_text())["accuracy"]["tones"]
    assert list(table) == ["zero", "mean", "silence", "repeat", "reflect"]
    assert all(len(accuracies) == 3 for runs in table.values() for accuracies in runs)
    assert "| reflect | " in outcome.stdout


def test_padding_goes_on(run, data, tmp_path):
    arguments = [data, "--group_columns", "speaker", "--epochs", 1, "--seeds", 1, "--output", tmp_path / "out.json"]
    whole = run("compare_padding.py", *arguments).stdout
    results = json.loads((tmp_path / "out.json").read_text())
    results["accuracy"]["tones"]["silence"] = []
    (tmp_path / "out.json").write_text(json.dumps(results))
    rest = run("compare_padding.py", *arguments).stdout
    assert [line for line in rest.splitlines() if line.startswith("tones")] == [
        line for line in whole.splitlines() if line.startswith("tones 1 silence")
    ]
    assert whole.endswith(rest[rest.index("| padding") :])
    more = [*arguments[:7], 2, *arguments[7:]]
    assert run("compare_padding.py", *more).error is None
    table = json.loads((tmp_path / "out.json").read_text())["accuracy"]["tones"]
    assert all(len(runs) == 2 for runs in table.values())
    other = run("compare_padding.py", *arguments)  # those of the file have more seeds
    assert "out.json is from other arguments: choose another --output" in other.error


def test_as_many_columns_as_folders(run, data, tmp_path):
    arguments = [data, data, "--group_columns", "speaker", "--epochs", 1, "--output", tmp_path / "out.json"]
    assert "Give as many --group_columns and --epochs as folders." in run("compare_padding.py", *arguments).error
