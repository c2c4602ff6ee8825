"""What `import modeling_asm` registers, and what travels with a checkpoint to machines that do not have it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from strangers import EVERY_AUTO_CLASS, PRINT, TRAVELLING, run_without_package
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoProcessor,
    pipeline,
)

import modeling_asm
from modeling_asm import ASMConfig, ASMFeatureExtractor, ASMForAudioClassification, ASMForPreTraining, ASMModel


pytestmark = pytest.mark.slow


WAVEFORM = np.sin(np.arange(4000) / 20).astype(np.float32)


def check(answer: dict, checkpoint):
    feature_extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    inputs = feature_extractor(WAVEFORM, sampling_rate=16000, return_tensors="pt")
    cut = feature_extractor(WAVEFORM, sampling_rate=16000, return_tensors="pt", truncation=True)
    base = AutoModel.from_pretrained(checkpoint).eval()(**cut).pooler_output
    head = AutoModelForAudioClassification.from_pretrained(checkpoint).eval()(**inputs).logits
    assert (answer["config"], answer["feature_extractor"]) == ("ASMConfig", "ASMFeatureExtractor")
    torch.testing.assert_close(torch.tensor(answer["base"]), base)
    torch.testing.assert_close(torch.tensor(answer["head"]), head)
    scores = {score["label"]: score["score"] for score in answer["scores"]}
    expected = dict(zip(["bird", "cat", "dog"], head.softmax(1)[0].tolist()))
    assert scores == pytest.approx(expected, abs=1e-5)


def test_the_import_registers_every_class(checkpoint):
    assert type(AutoConfig.from_pretrained(checkpoint)) is ASMConfig
    assert type(AutoFeatureExtractor.from_pretrained(checkpoint)) is ASMFeatureExtractor
    assert type(AutoModel.from_pretrained(checkpoint)) is ASMModel
    assert type(AutoModelForAudioClassification.from_pretrained(checkpoint)) is ASMForAudioClassification
    config = AutoConfig.for_model("audio-spectrogram-mixer", num_hidden_layers=1, max_length=16)
    assert type(AutoModelForAudioClassification.from_config(config)) is ASMForAudioClassification


def test_the_installed_package_wins_over_the_checkpoints_code(checkpoint):
    model = AutoModelForAudioClassification.from_pretrained(checkpoint, trust_remote_code=True)
    assert type(model) is ASMForAudioClassification


def test_pipeline(checkpoint):
    classifier = pipeline("audio-classification", model=str(checkpoint))
    scores = classifier(WAVEFORM, top_k=2)
    assert len(scores) == 2
    assert {"label", "score"} == set(scores[0])
    assert [result[0] for result in classifier([WAVEFORM, WAVEFORM], top_k=1)] == scores[:1] * 2
    assert classifier({"raw": WAVEFORM, "sampling_rate": 16000}, top_k=2) == scores
    with pytest.raises(ValueError, match="single channel"):
        classifier(np.stack([WAVEFORM, WAVEFORM]))


@pytest.mark.parametrize(
    ("problem_type", "function"), [("multi_label_classification", torch.sigmoid), (None, lambda x: x.softmax(-1))]
)
@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.23"), reason="older pipelines do not look at the problem type"
)
def test_pipeline_uses_sigmoid_for_several_labels(model, feature_extractor, problem_type, function):
    model.config.problem_type = problem_type
    classifier = pipeline("audio-classification", model=model, feature_extractor=feature_extractor)
    inputs = feature_extractor(WAVEFORM, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = sorted(function(model(**inputs).logits[0]).tolist(), reverse=True)
    assert [score["score"] for score in classifier(WAVEFORM, top_k=3)] == pytest.approx(expected, abs=1e-5)


def test_a_checkpoint_names_its_code(checkpoint):
    auto_map = json.loads((checkpoint / "config.json").read_text())["auto_map"]
    assert auto_map == {
        "AutoConfig": "configuration_asm.ASMConfig",
        "AutoModel": "modeling_asm.ASMModel",
        "AutoModelForAudioClassification": "modeling_asm.ASMForAudioClassification",
    }
    preprocessor = json.loads((checkpoint / "preprocessor_config.json").read_text())
    assert preprocessor["auto_map"] == {"AutoFeatureExtractor": "feature_extraction_asm.ASMFeatureExtractor"}
    assert {file.stem for file in checkpoint.glob("*.py")} == set(TRAVELLING)


def test_a_checkpoint_loads_where_the_package_is_missing(checkpoint, tmp_path):
    check(run_without_package(EVERY_AUTO_CLASS + PRINT, checkpoint, tmp_path), checkpoint)


@pytest.mark.parametrize("saved", ["head", "base"])
def test_and_again_after_it_was_loaded_and_saved_there(checkpoint, tmp_path, saved):
    """The code travels on from a process that only had the code of the checkpoint."""
    save = """
model_class = AutoModelForAudioClassification if SAVED == "head" else AutoModel
model_class.from_pretrained(folder, **trust).save_pretrained(folder + "-again")
feature_extractor.save_pretrained(folder + "-again")
"""
    first = run_without_package(f"SAVED = {saved!r}\n" + EVERY_AUTO_CLASS + save + PRINT, checkpoint, tmp_path)
    again = checkpoint.with_name(checkpoint.name + "-again")
    assert {file.name for file in again.glob("*.py")} == {file.name for file in checkpoint.glob("*.py")}
    second = run_without_package(EVERY_AUTO_CLASS + PRINT, again, tmp_path)
    torch.testing.assert_close(torch.tensor(second["base"]), torch.tensor(first["base"]))
    if saved == "head":
        check(second, checkpoint)


def test_and_after_it_was_loaded_and_saved_with_the_package(checkpoint, tmp_path):
    again = tmp_path / "again"
    AutoModelForAudioClassification.from_pretrained(checkpoint).save_pretrained(again)
    AutoFeatureExtractor.from_pretrained(checkpoint).save_pretrained(again)
    check(run_without_package(EVERY_AUTO_CLASS + PRINT, again, tmp_path), checkpoint)


def test_masked_prediction_travels_too(config, input_values, tmp_path):
    model = ASMForPreTraining(config).eval()
    model.save_pretrained(tmp_path / "masked")
    mask = torch.zeros(len(input_values), config.num_patches, dtype=torch.bool)
    mask[:, 2] = True
    torch.save((input_values, mask), tmp_path / "inputs.pt")
    code = """
import torch
from transformers import AutoModelForPreTraining
model = AutoModelForPreTraining.from_pretrained(folder, trust_remote_code=True)
loss = model.eval()(*torch.load(folder + "/../inputs.pt", weights_only=True)).loss
print(json.dumps({"class": type(model).__name__, "loss": loss.item()}))
"""
    answer = run_without_package(code, tmp_path / "masked", tmp_path)
    loss = model(input_values, mask).loss.item()
    assert answer == {"class": "ASMForPreTraining", "loss": pytest.approx(loss, rel=1e-5)}


def test_without_trust_the_code_is_not_run(checkpoint, tmp_path):
    code = """
from transformers import AutoModel
try:
    AutoModel.from_pretrained(folder, trust_remote_code=False)
except ValueError as error:
    print(json.dumps({"error": str(error)}))
"""
    assert "trust_remote_code" in run_without_package(code, checkpoint, tmp_path)["error"]


def test_version_is_the_installed_one():
    from importlib.metadata import version

    assert modeling_asm.__version__ == version("modeling_asm")


def test_the_import_costs_little(tmp_path):
    """Beside what any pipeline of transformers imports: a small share of the time, and no package that is optional."""
    code = """
import sys, torch
from transformers import AudioClassificationPipeline, PreTrainedModel, SequenceFeatureExtractor
from transformers.pipelines import PIPELINE_REGISTRY
before = set(sys.modules)
import modeling_asm
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""
    command = [sys.executable, "-X", "importtime", "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = [line.split("|") for line in process.stderr.splitlines() if line.startswith("import time:")]
    microseconds = {name.strip(): int(time) for _, time, name in lines if time.strip().isdigit()}
    total = sum(int(time.split(":")[1]) for time, _, name in lines if time.split(":")[1].strip().isdigit())
    assert microseconds["modeling_asm"] < 0.1 * total
    optional = {"onnx", "onnxruntime", "onnxscript", "matplotlib", "datasets", "evaluate", "sklearn", "captum"}
    assert not optional & set(process.stdout.split())


def test_auto_processor_returns_the_feature_extractor_without_asking(checkpoint, monkeypatch):
    """Where the package is imported, nothing of the checkpoint's code needs to be run."""
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail(f"asked: {prompt}"))
    processor = AutoProcessor.from_pretrained(checkpoint)
    assert type(processor) is ASMFeatureExtractor
    assert processor.to_dict() == AutoFeatureExtractor.from_pretrained(checkpoint).to_dict()
