import csv
import json

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForAudioClassification

from modeling_asm import ASMForAudioClassification
from modeling_asm.training.distillation.arguments import DistillationArguments, DistillationTrainingArguments
from modeling_asm.training.distillation.encoder import stages_of, state_licence, write_credits, write_encoder
from modeling_asm.training.distillation.pool import AudioPool
from modeling_asm.training.distillation.student import Statistics, Student
from modeling_asm.training.run_folder import CheckpointError
from modeling_asm.training.teachers.targets import Target, Teacher


@pytest.fixture
def written(config, feature_extractor, pool_folder, tmp_path):
    """Write a student of one teacher; return its model as it was, and the results."""
    target = Target("loud.logits", 3, labels=True)
    model = ASMForAudioClassification(config).eval()
    model.config.problem_type = "multi_label_classification"
    statistics = Statistics(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 2.0]))
    student = Student(model, [target], {"loud.logits": statistics}, {}, 0.01, target, 1.0).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    args = DistillationArguments(pool=str(pool_folder), bank="bank", teachers="{loud: {type: classifier}}",
                                 licence="cc-by-sa-4.0")  # fmt: skip
    training_args = DistillationTrainingArguments(output_dir=str(tmp_path / "encoder"))
    teacher = Teacher("loud", "0", 16000, (target,), None, "Our ears, trained on thunder. Licence: CC0.")
    run = {"command": "asm-distil", "metrics": {"loss": 0.5, "loud.logits": 0.25}, "log": [{"step": 1}]}
    (tmp_path / "encoder").mkdir()
    results = write_encoder(tmp_path / "encoder", run, args, training_args, student, [teacher], feature_extractor)
    return before, results


def test_its_model_is_the_students(written, tmp_path):
    before, _ = written
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "encoder")
    assert set(model.state_dict()) == set(before)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_card_names_teachers_audio_and_limits(written, tmp_path):
    card = ModelCard.load(tmp_path / "encoder" / "README.md")
    assert card.data.license == "cc-by-sa-4.0"
    assert card.data.pipeline_tag == "audio-classification"
    for text in (
        "Our ears, trained on thunder",
        "| music | 8 | 1 | 0.01 |",
        "| loud.logits | 0.250 |",
        "must not be used",
    ):
        assert text in card.text


def test_what_is_in_the_folder(written, tmp_path):
    names = {path.name for path in (tmp_path / "encoder").iterdir()}
    assert {
        "model.safetensors",
        "config.json",
        "preprocessor_config.json",
        "corpus.csv",
        "log.json",
        "LICENSE",
    } <= names
    assert {"modeling_asm.py", "README.md", "results.json"} <= names
    assert json.loads((tmp_path / "encoder" / "results.json").read_text()) == written[1]


def test_credits(pool_folder, tmp_path):
    write_credits(tmp_path / "corpus.csv", AudioPool(pool_folder).recordings)
    with open(tmp_path / "corpus.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["licence"], row["recordings"], row["minutes"]) for row in rows] == [
        ("beeps", "CC0", "8", "0.0"),
        ("noises", "CC0", "8", "0.4"),
        ("tones", "CC0", "8", "0.4"),
    ]


def test_a_folder_that_cannot_be_written(written, config, feature_extractor, pool_folder, tmp_path, monkeypatch):
    target = Target("loud.logits", 3, labels=True)
    statistics = Statistics(torch.zeros(3), torch.ones(3))
    config.problem_type = "multi_label_classification"
    student = Student(ASMForAudioClassification(config), [target], {"loud.logits": statistics}, {}, 0.01, target, 1.0)
    args = DistillationArguments(pool=str(pool_folder), bank="bank", teachers="{loud: {type: classifier}}",
                                 licence="cc-by-sa-4.0")  # fmt: skip
    training_args = DistillationTrainingArguments(output_dir=str(tmp_path / "file"))
    (tmp_path / "file").write_text("a file")
    with pytest.raises(CheckpointError, match="Cannot save the model"):
        write_encoder(
            tmp_path / "file",
            {"command": "", "metrics": {}, "log": []},
            args,
            training_args,
            student,
            [],
            feature_extractor,
        )


def test_licence_and_credit_can_be_stated_later(written, tmp_path):
    folder = tmp_path / "encoder"
    args = DistillationArguments(pool="pool", bank="bank", teachers="{loud: {type: classifier}}", licence="cc0-1.0",
                                 credit="Thunder by Zeus.")  # fmt: skip
    results = state_licence(folder, written[1], args)
    assert (results["data"]["licence"], results["data"]["credit"]) == ("cc0-1.0", "Thunder by Zeus.")
    assert json.loads((folder / "results.json").read_text()) == results
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "cc0-1.0"
    assert "Thunder by Zeus." in card.text
    args = DistillationArguments(pool="pool", bank="bank", teachers="{loud: {type: classifier}}", credit="Zeus.")
    results = state_licence(folder, results, args, "ann/thunder")
    assert (results["data"]["licence"], results["data"]["credit"]) == ("cc0-1.0", "Zeus.")  # what is not said stays
    assert '"ann/thunder"' in (folder / "README.md").read_text()


@pytest.mark.parametrize("training", [None, {"max_steps": -1, "num_train_epochs": 3, "learning_rate": 0.1}])
def test_a_start_that_asm_train_wrote(checkpoint, training):
    """Its results have no mixtures and, of a model that was only evaluated, no training."""
    (checkpoint / "results.json").write_text(json.dumps({"data": {"name": "tones"}, "training": training}))
    stage = stages_of(str(checkpoint))[0]
    assert (stage["name"], stage["mixtures"]) == (checkpoint.name, None)
