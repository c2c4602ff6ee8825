"""A classifier that is fitted to a frozen encoder, by the same command as any training."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from modeling_asm.audio import load_audio


COMMON = ("--use_cpu", "--measure_cost", False, "--disable_tqdm", True)


def test_the_head_is_fitted_and_the_encoder_stays(run, tones, checkpoint, tmp_path):
    arguments = ("--data_dir", tones, "--model_name_or_path", checkpoint, "--tune", "head", *COMMON)
    outcome = run("train", *arguments, "--output_dir", tmp_path / "model")
    assert outcome.error is None
    assert "Fitted a linear classifier to" in outcome.stdout
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, tmp_path / "model"))
    changed = {name for name, value in before.items() if name not in after or not torch.equal(value, after[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    assert results["metrics"]["accuracy"] >= 0.9
    assert (results["training"]["tune"], results["training"]["steps"]) == ("head", 0)
    assert results["training"]["augmentation"] is None
    card = (tmp_path / "model" / "README.md").read_text()
    assert "fitted in" in card
    assert "Optimisation" not in card
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "model")
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    inputs = extractor(load_audio(tones / "low" / "00.wav"), sampling_rate=16000, return_tensors="pt")
    assert model.config.id2label[model(**inputs).logits.argmax().item()] == "low"


def test_a_new_model_has_nothing_to_fit_to(run, tones, tmp_path):
    outcome = run("train", "--data_dir", tones, "--output_dir", tmp_path / "model", "--tune", "head", *COMMON)
    assert outcome.error == "asm-train: --tune head needs a trained encoder: --model_name_or_path."


def test_a_classifier_of_several_layers(run, tones, ast, tmp_path):
    arguments = ("--data_dir", tones, "--model_name_or_path", ast, "--tune", "head", *COMMON)
    error = run("train", *arguments, "--output_dir", tmp_path / "model").error
    assert "--tune head fits a classifier of one linear layer, but ASTForAudioClassification has ASTMLPHead" in error


@pytest.mark.slow
def test_two_processes_fit_the_same_head(launch, run, tones, checkpoint, tmp_path):
    arguments = ("--data_dir", tones, "--model_name_or_path", checkpoint, "--tune", "head", *COMMON)
    arguments += ("--per_device_eval_batch_size", 4)  # several batches for each process
    assert run("train", *arguments, "--output_dir", tmp_path / "one").error is None
    assert launch("train", *arguments, "--output_dir", tmp_path / "two").returncode == 0
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    torch.testing.assert_close(one["classifier.weight"], two["classifier.weight"], atol=1e-5, rtol=1e-4)
