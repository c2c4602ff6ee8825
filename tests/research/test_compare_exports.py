import json

import numpy as np
import pytest
import soundfile


@pytest.mark.slow
def test_forms_of_a_checkpoint(run, checkpoint, tmp_path):
    for label in ("bird", "cat", "dog"):
        (tmp_path / "words" / "validation" / label).mkdir(parents=True)
        for index in range(3):
            noise = 0.1 * np.random.default_rng(index).standard_normal(2000 + 1000 * index)
            soundfile.write(tmp_path / "words" / "validation" / label / f"{index}.wav", noise, 16000)
    results = {"data": {"name": "words"}, "command": "train.py recipes/speech_commands_clips.yaml"}
    (checkpoint / "results.json").write_text(json.dumps(results))
    arguments = ("--checkpoints", checkpoint, "--data_dirs", tmp_path / "words", "--output", tmp_path / "out.json")
    outcome = run("compare_exports.py", *arguments)
    assert outcome.error is None
    rows = {row["form"]: row for row in json.loads((tmp_path / "out.json").read_text())["exports"]}
    assert {"float32", "bfloat16", "onnx float32", "onnx int8"} <= rows.keys()
    assert rows["float32"]["gain"] == 0
    assert rows["onnx float32"]["same_label"] == 1
    assert rows["onnx float32"]["largest_difference"] < 1e-4
    assert 0 < rows["onnx int8"]["largest_difference"] < 0.1
    for row in rows.values():
        assert row["clips"] == 9
        assert row["gain_interval"][0] <= row["gain"] <= row["gain_interval"][1]
        assert ("megabytes" in row) == row["form"].startswith(("onnx", "executorch"))
        assert f"| {row['form']} | {row.get('megabytes', '')} | {row['accuracy']:.4f} |" in outcome.stdout


def test_data_that_is_missing_is_named(run, checkpoint, tmp_path):
    (checkpoint / "results.json").write_text(json.dumps({"data": {"name": "words"}, "command": ""}))
    outcome = run("compare_exports.py", "--checkpoints", checkpoint, "--data_dirs", tmp_path / "sounds")
    assert outcome.error == "checkpoint reports on words: give its folder by --data_dirs."
