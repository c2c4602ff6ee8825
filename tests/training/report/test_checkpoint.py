import json

import numpy as np
import pytest

from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.frontend import Frontend
from modeling_asm.training.report.checkpoint import write_checkpoint
from modeling_asm.training.run_folder import CheckpointError


@pytest.fixture
def results(config, feature_extractor) -> dict:
    data = {"name": "tones", "test_split": "test", "clips": {"test": 3}, "labels": ["bird", "cat", "dog"]}
    model = {"architecture": "ASMForAudioClassification", "tags": ["mlp-mixer"], "parameters": 1, "window_seconds": 1.0}
    model |= {"feature_extractor": feature_extractor.to_dict(), "config": {}, "fine_tuned_from": "one"}
    described = {"command": "asm-train", "data": data, "model": model, "training": None, "metrics": {"accuracy": 1.0}}
    return described | {"environment": describe_environment()}


def write(folder, model, feature_extractor, results):
    model.config.problem_type = "single_label_classification"
    outputs = (np.array([0, 1, 2]), np.eye(3), [{"loss": 1.0, "epoch": 1.0, "step": 1}])
    write_checkpoint(folder, results, model, Frontend(feature_extractor, 1.0), *outputs)


def test_everything_is_there(model, feature_extractor, results, tmp_path):
    write(tmp_path, model, feature_extractor, results)
    names = {file.name for file in tmp_path.iterdir()}
    assert {"model.safetensors", "config.json", "preprocessor_config.json", "README.md", "LICENSE"} <= names
    assert {"modeling_asm.py", "mixing.py", "confusion_matrix.png", "per_class.csv", "learning_curves.csv"} <= names
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert not [name for name in names if name.startswith("unfinished")]


def test_what_fails_leaves_the_folder_as_it_was(model, feature_extractor, results, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(type(feature_extractor), "save_pretrained", full)
    with pytest.raises(CheckpointError, match=r"Cannot save the model: No space left.*free some space"):
        write(tmp_path, model, feature_extractor, results)
    assert [file.name for file in tmp_path.iterdir()] == ["unfinished-model"]
