import json
import sys

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from modeling_asm import ASMConfig
from modeling_asm.general import find_encoder
from modeling_asm.training.teachers.efficientat import EfficientAT


@pytest.fixture
def names(repository) -> dict:
    sys.path.append(str(repository / "research"))
    from label_by_name import NAMES

    return NAMES


def test_every_class_has_labels_of_its_own(names):
    known = set(ASMConfig.from_pretrained(find_encoder()).id2label.values())
    used = [label for labels in names.values() for label in labels]
    assert len(names) == 50
    assert set(used) <= known
    assert len(used) == len(set(used))


def test_scores_of_both(run, tmp_path):
    rng = np.random.default_rng(0)
    for label in ("dog", "rain"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(2):
            wave = 0.1 * rng.standard_normal(16000)
            soundfile.write(tmp_path / "data" / label / f"{number}.wav", wave, 16000)
    torch.manual_seed(0)
    save_file(EfficientAT().state_dict(), tmp_path / "mn04.safetensors")
    labels = ASMConfig.from_pretrained(find_encoder()).id2label
    lines = [f'{index},/m/{index},"{label}"' for index, label in labels.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["index,mid,display_name", *lines]))
    arguments = (
        "--data_dir",
        tmp_path / "data",
        "--models",
        find_encoder(),
        "--teacher",
        tmp_path / "mn04.safetensors",
    )
    arguments += ("--labels", tmp_path / "labels.csv", "--output", tmp_path / "out.json")
    assert run("label_by_name.py", *arguments).error is None
    accuracy = json.loads((tmp_path / "out.json").read_text())["accuracy"]
    assert set(accuracy) == {"asm-small-general", "mn04"}
    for scores in accuracy.values():
        assert 0 <= scores["low"] <= scores["accuracy"] <= scores["high"] <= 1
        assert scores["accuracy"] == pytest.approx(sum(scores["classes"].values()) / 2)
    assert accuracy["asm-small-general"]["classes"]["rain"] == 1.0  # white noise is more like rain than like a dog


def test_a_model_of_other_labels(run, tones, checkpoint, tmp_path):
    (tones / "low").rename(tones / "dog")
    (tones / "high").rename(tones / "rain")
    arguments = (
        "--data_dir",
        tones,
        "--models",
        checkpoint,
        "--teacher",
        "a",
        "--labels",
        "b",
        "--output",
        tmp_path / "o",
    )
    assert run("label_by_name.py", *arguments).error == (
        "checkpoint has no label 'Bark': it does not have AudioSet's labels."
    )
