import time

import numpy as np
import soundfile


def test_a_file_in_real_time(run, checkpoint, tmp_path):
    soundfile.write(tmp_path / "sound.wav", np.sin(np.arange(8000) / 20), 16000)
    start = time.monotonic()
    outcome = run("stream.py", checkpoint, "--file", tmp_path / "sound.wav", "--threshold", 0, "--hop", 0.1)
    assert outcome.error is None
    assert time.monotonic() - start >= 0.5
    assert [line.split()[0] for line in outcome.stdout.splitlines()] == ["0.17", "0.28", "0.38", "0.47", "0.49"]


def test_a_bad_file(run, checkpoint):
    assert "is missing" in run("stream.py", checkpoint, "--file", "nowhere.wav").error


def test_a_model_that_is_a_file(run, tmp_path):
    (tmp_path / "model.onnx").touch()
    outcome = run("stream.py", tmp_path / "model.onnx", "--file", "nowhere.wav")
    assert "model.onnx' is a file, expected the folder of a checkpoint" in outcome.error
