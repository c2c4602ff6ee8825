"""The script that people copy, as it stands: from a folder to a checkpoint that loads."""

import re

import pytest
from transformers import pipeline

from modeling_asm.audio import load_audio


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("start", ["random", "checkpoint"])
def test_from_a_folder_to_a_label(run, tones, repository, tmp_path, start):
    """A checkpoint of other labels gets a new classifier."""
    given = [repository / "checkpoints" / "asm-mini-keywords"] if start == "checkpoint" else []
    outcome = run("train.py", tones, tmp_path / "model", *given)
    assert outcome.error is None
    accuracy = re.search(r"'accuracy': (\d\.\d+)", outcome.stdout)
    assert float(accuracy[1]) >= 0.9
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "preprocessor_config.json", "modeling_asm.py", "README.md"} <= names
    classifier = pipeline("audio-classification", model=str(tmp_path / "model"))
    assert classifier(load_audio(tones / "low" / "00.wav"))[0]["label"] == "low"


def test_without_arguments_it_says_which(run):
    assert run("train.py").error == "Usage: python examples/train.py RECORDINGS OUTPUT [CHECKPOINT]"
