import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForAudioClassification

from modeling_asm.general import find_encoder
from modeling_asm.training.teachers.efficientat import EfficientAT
from modeling_asm.training.teachers.load import load_classifier, load_teachers, read_labels


@pytest.fixture
def mn04(tmp_path) -> dict:
    """The settings of an mn04 with random weights, and 527 names."""
    save_file(EfficientAT().state_dict(), tmp_path / "mn04.safetensors")
    rows = "".join(f'{index},/m/{index},"Sound, no. {index}"\n' for index in range(527))
    (tmp_path / "labels.csv").write_text(f"index,mid,display_name\n{rows}")
    return {
        "type": "efficientat",
        "weights": str(tmp_path / "mn04.safetensors"),
        "labels": str(tmp_path / "labels.csv"),
    }


def test_mn04(mn04):
    (teacher,) = load_teachers({"mn04": {**mn04, "loss_weights": {"logits": 2.0}}})
    assert teacher.id2label[3] == "Sound, no. 3"
    outputs = teacher(np.random.default_rng(0).uniform(-1, 1, (2, 16000)).astype(np.float32), 16000)
    assert outputs["mn04.logits"].shape == (2, 527)
    assert outputs["mn04.embeddings"].shape == (2, 4, 384)  # each .32 s
    assert [(target.hop, target.labels) for target in teacher.targets] == [(0.0, True), (0.32, False)]


def test_weights_of_another_network(mn04, tmp_path):
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "mn04.safetensors")
    with pytest.raises(ValueError, match="The teacher 'mn04': its file has the weights of another network than mn04"):
        load_teachers({"mn04": mn04})
    (tmp_path / "mn04.safetensors").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        load_teachers({"mn04": mn04})


def test_a_classifier(checkpoint):
    settings = {"type": "classifier", "checkpoint": str(checkpoint), "problem_type": "single_label_classification"}
    (teacher,) = load_teachers({"own": settings})
    assert teacher.id2label == {0: "bird", 1: "cat", 2: "dog"}
    assert [(target.name, target.size) for target in teacher.targets] == [("own.logits", 3), ("own.embeddings", 16)]


def test_a_classifier_that_does_not_say_whether_its_labels_exclude_each_other(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    config.pop("problem_type", None)
    (checkpoint / "config.json").write_text(json.dumps(config))
    settings = {"type": "classifier", "checkpoint": str(checkpoint)}
    with pytest.raises(ValueError, match=r"does not say whether its labels exclude each other. Set `problem_type` of"):
        load_teachers({"tiny": settings})
    (teacher,) = load_teachers({"tiny": {**settings, "problem_type": "multi_label_classification"}})
    assert teacher.problem_type == "multi_label_classification"


def test_a_classifier_is_known_by_its_weights(checkpoint, tmp_path):
    """Wherever they come from: a name of the package stands for its folder."""
    name = "asm-mini-general"
    assert load_classifier("a", name).digest == load_classifier("a", find_encoder(name)).digest
    model = AutoModelForAudioClassification.from_pretrained(checkpoint)
    digests = set()
    for scale in (1.0, 1.0, 2.0):
        with torch.no_grad():
            model.classifier.weight.mul_(scale)
        model.save_pretrained(checkpoint)
        digests.add(load_classifier("a", str(checkpoint), problem_type="single_label_classification").digest)
    assert len(digests) == 2


def test_other_weights_have_another_digest(mn04, tmp_path):
    (first,) = load_teachers({"mn04": mn04})
    save_file(EfficientAT().state_dict(), tmp_path / "other.safetensors")
    (second,) = load_teachers({"mn04": {**mn04, "weights": str(tmp_path / "other.safetensors")}})
    assert first.digest != second.digest
    assert json.dumps(first.describe()) != json.dumps(second.describe())


def test_an_unknown_type_or_setting(mn04):
    with pytest.raises(
        ValueError, match=r"The teacher 'x' has the type 'magic', expected one of \['classifier', 'effi"
    ):
        load_teachers({"x": {"type": "magic"}})
    with pytest.raises(
        ValueError, match=r"The teacher 'mn04' has no setting 'stride'; efficientat has \['labels', 'wei"
    ):
        load_teachers({"mn04": {**mn04, "stride": 2}})
    with pytest.raises(ValueError, match=r"The teacher 'mn04' needs the setting 'checkpoint'"):
        load_teachers({"mn04": {"type": "classifier"}})


def test_a_file_that_is_missing(mn04):
    with pytest.raises(FileNotFoundError, match=r"nothing.safetensors"):
        load_teachers({"mn04": {**mn04, "weights": "nothing.safetensors"}})


def test_labels_without_names(tmp_path):
    (tmp_path / "labels.csv").write_text("index,name\n0,dog\n")
    with pytest.raises(ValueError, match="has no column 'display_name'"):
        read_labels(str(tmp_path / "labels.csv"))
