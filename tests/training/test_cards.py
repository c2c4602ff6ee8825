import json

import pytest
from huggingface_hub import ModelCard

from modeling_asm.training.cards import describe_environment, write_json, write_model_card


@pytest.fixture
def results():
    return {
        "command": "python examples/train.py --data_dir tones",
        "data": {
            "name": "tones",
            "test_split": "test",
            "clips": {"train": 80, "dev": 10, "test": 40},
            "labels": ["high", "low"],
            "licence": "cc-by-4.0",
            "credit": "Made of sines.",
        },
        "model": {
            "parameters": 12345,
            "window_seconds": 0.995,
            "feature_extractor": {"sampling_rate": 16000, "mean": -8.25, "std": 4.5},
        },
        "training": {
            "epochs": 3.0,
            "batch_size": 8,
            "optimizer": "adamw_torch",
            "schedule": "cosine",
            "learning_rate": 0.001,
            "weight_decay": 0.05,
            "label_smoothing": 0.1,
            "augmentation": {"gain": 6.0, "mixup": 0.3},
            "bf16": False,
            "seed": 42,
            "seconds": 12,
        },
        "metrics": {
            "accuracy": 0.925,
            "accuracy_low": 0.801,
            "accuracy_high": 0.974,
            "macro_f1": 0.9,
            "chance": 0.5,
        },
        "environment": describe_environment(),
    }


def test_front_matter_is_valid_and_tells_the_results(results, tmp_path, repository):
    write_model_card(tmp_path, repository / "model_cards" / "card_template.md", results)
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "audio-classification", "cc-by-4.0")
    scores = {result.metric_type: result.metric_value for result in data.eval_results}
    assert scores == {"accuracy": 0.925, "f1": 0.9}
    assert data.eval_results[0].dataset_name == "tones"
    assert data.base_model is None


def test_body_has_the_numbers_and_no_holes(results, tmp_path, repository):
    write_model_card(tmp_path, repository / "model_cards" / "card_template.md", results)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    for words in ("12,345 parameters", "0.925 | 0.801 to 0.974", "80 clips", "Made of sines.", "gain 6.0, mixup 0.3"):
        assert words in text
    assert "None" not in text
    assert "{" not in text.split("```bibtex")[0]


def test_what_is_not_known_is_left_out(results, tmp_path, repository):
    results["data"].update(licence=None, credit=None)
    results["training"].update(augmentation=None, optimizer=None, seconds=None)
    write_model_card(tmp_path, repository / "model_cards" / "card_template.md", results)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "None" not in text
    assert "icence" not in text
    assert "Augmentation" not in text
    assert "optimizer" not in text
    assert " s on " not in text


def test_environment_tells_versions_and_no_paths():
    environment = describe_environment()
    assert environment["transformers"].startswith("5.")
    assert environment["cores"] >= 1
    assert not any("/" in str(value) for value in environment.values())


def test_json_is_for_people_too(tmp_path):
    write_json({"name": "Käse", "counts": [1, 2]}, tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "Käse", "counts": [1, 2]}
    assert "Käse" in text
    assert text.endswith("}\n")
