import json
import sys

import numpy as np
import pytest
import soundfile
from PIL import Image

from modeling_asm.commands.explain import main


@pytest.fixture
def sound(tmp_path):
    soundfile.write(tmp_path / "sound.wav", np.sin(np.arange(16000) / 20), 16000)
    return str(tmp_path / "sound.wav")


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_a_picture_from_the_command_line(checkpoint, sound, tmp_path, capsys, method):
    out = tmp_path / "out.png"
    arguments = ["--model", str(checkpoint), sound, "--plot", str(out), "--label", "dog", "--method", method]
    assert main([*arguments, "--start", "0.3"]) == 0
    assert capsys.readouterr().out.startswith("dog ")
    with Image.open(out) as picture:
        assert len(picture.convert("RGB").getcolors(10**6)) > 20


def test_what_is_wrong_is_one_line(checkpoint, sound, tmp_path, capsys, monkeypatch):
    arguments = ["--model", str(checkpoint), "--plot", str(tmp_path / "out.png")]
    assert main([*arguments, "nowhere.wav"]) == 2
    assert main([*arguments, sound, "--label", "horse"]) == 2
    assert main([*arguments, sound, "--start", "9"]) == 2
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    assert main([*arguments, sound]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    for line, words in zip(
        lines, ("is missing", "no label 'horse'. It has: bird, cat, dog.", "ends at 0.99 s", "captum")
    ):
        assert words in line


def test_a_checkpoint_in_bfloat16(checkpoint, model, sound, tmp_path):
    model.bfloat16().save_pretrained(checkpoint)
    assert main(["--model", str(checkpoint), "--plot", str(tmp_path / "out.png"), sound]) == 0


def test_label_ids_as_text(checkpoint, sound, tmp_path):
    """As transformers' example script for audio writes them."""
    config = json.loads((checkpoint / "config.json").read_text())
    config["label2id"] = {label: str(index) for label, index in config["label2id"].items()}
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert main(["--model", str(checkpoint), "--plot", str(tmp_path / "out.png"), sound, "--label", "cat"]) == 0


def test_the_score_is_a_probability(checkpoint, sound, tmp_path, capsys):
    """Not a logit, whatever transformers' pipeline does by default."""
    total = 0.0
    for label in ("bird", "cat", "dog"):
        arguments = ["--plot", str(tmp_path / "out.png"), sound, "--label", label, "--start", "0.3"]
        assert main(["--model", str(checkpoint), *arguments]) == 0
        total += float(capsys.readouterr().out.split()[1].rstrip(","))
    assert total == pytest.approx(1, abs=0.002)
