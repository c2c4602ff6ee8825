"""The checkpoints in the repository: whole, small, usable as they are, and as good as their cards say."""

import json
import math
import re

import numpy as np
import pytest
import soundfile
import torch
import yaml
from huggingface_hub import ModelCard
from strangers import EVERY_AUTO_CLASS, PRINT, TRAVELLING, run_without_package
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, Trainer, TrainingArguments, pipeline

from modeling_asm import ASMStreamingClassifier
from modeling_asm.audio import load_audio
from modeling_asm.export import export
from modeling_asm.export.onnx_runtime import ASMOnnxClassifier
from modeling_asm.fbank import EPSILON
from modeling_asm.saliency import explain
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.data.splits import SplitArguments, choose_test
from modeling_asm.training.report.cards import write_model_card


pytestmark = pytest.mark.slow


SAFE = ".safetensors"
CHECKPOINTS = ["asm-small-keywords", "asm-mini-keywords", "asm-digits", "asm-drums"]


@pytest.fixture(params=CHECKPOINTS)
def folder(request, repository):
    return repository / "checkpoints" / request.param


def test_small_and_safe(folder):
    files = [file for file in folder.iterdir() if not file.name.startswith(".")]
    assert sum(file.stat().st_size for file in files) < 12_000_000
    assert {file.suffix for file in files if file.name != "LICENSE"} <= {".csv", ".json", ".md", ".png", ".py", SAFE}


def test_its_code_is_the_packages(folder, repository):
    assert {file.stem for file in folder.glob("*.py")} == set(TRAVELLING)
    for file in folder.glob("*.py"):
        assert file.read_text() == (repository / "src" / "modeling_asm" / file.name).read_text(), file.name


def test_the_card_tells_the_results(folder, repository):
    card, results = ModelCard.load(folder / "README.md"), json.loads((folder / "results.json").read_text())
    assert card.data.license == results["data"]["licence"]
    assert round(results["metrics"]["accuracy"], 4) in [result.metric_value for result in card.data.eval_results]
    assert f"| accuracy | {results['metrics']['accuracy']:.3f} |" in card.text
    if "repeats" in results:
        assert f"accuracy is {results['repeats']['mean']['accuracy']:.3f} on average" in card.text
    assert all(teacher in card.text for teacher in results["training"].get("teachers", []))
    assert results["data"]["credit"] in card.text
    assert (repository / "model_cards" / f"{folder.name}.md").read_text() == (folder / "README.md").read_text()


def test_the_card_is_the_templates(folder, repository, tmp_path):
    results = json.loads((folder / "results.json").read_text())
    write_model_card(tmp_path, results, folder.name)
    assert (tmp_path / "README.md").read_text() == (folder / "README.md").read_text()


def test_the_code_of_card_and_readme_runs(folder, repository, tmp_path, monkeypatch, capsys):
    """On half a second of noise, 44.1 kHz stereo, from a folder that has what they name."""
    samples = 0.1 * np.random.default_rng(0).standard_normal((22050, 2))
    soundfile.write(tmp_path / "recording.wav", samples, 44100)
    (tmp_path / folder.name).symlink_to(folder)
    (tmp_path / "checkpoints").symlink_to(folder.parent)
    monkeypatch.chdir(tmp_path)
    for document in (folder / "README.md", repository / "README.md"):
        blocks = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)
        for code in [block for block in blocks if "recording.wav" in block and ".onnx" not in block]:
            exec(code, {})  # our own documents
            assert ("_silence_" if "keywords" in code else "'label': ") in capsys.readouterr().out


def test_pipeline_without_the_hub(folder):
    results = json.loads((folder / "results.json").read_text())
    classifier = pipeline("audio-classification", model=str(folder))
    scores = classifier(torch.zeros(16000).numpy(), top_k=20)
    assert {score["label"] for score in scores} == set(results["data"]["labels"])
    assert scores[0]["label"] == "_silence_" or "_silence_" not in results["data"]["labels"]


def test_pipeline_without_the_package(folder, tmp_path):
    answer = run_without_package(EVERY_AUTO_CLASS + PRINT, folder, tmp_path)
    assert len(answer["scores"]) == 3


def test_the_accuracy_of_the_card_is_measured_again(folder, recordings, repository):
    """Source: results.json, on the clips that its recipe reports."""
    results = json.loads((folder / "results.json").read_text())
    recipe = yaml.safe_load((repository / re.search(r"recipes/\w+\.yaml", results["command"]).group()).read_text())
    split = SplitArguments(**{key: recipe[key] for key in ("hold_out", "test_split") if key in recipe})
    dataset = load_audio_dataset(DataArguments(str(recordings / results["data"]["name"])))
    _, dataset, name = choose_test(dataset, split)
    assert name == results["data"]["test_split"]
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    feature_extractor = AutoFeatureExtractor.from_pretrained(folder)
    clips = [load_audio(audio["path"]) for audio in dataset["audio"]]
    with torch.no_grad():
        inputs = feature_extractor(clips, sampling_rate=16000, return_tensors="pt", truncation=True)
        predictions = model(**inputs).logits.argmax(1)
    names = dataset.features["label"].names
    assert [model.config.id2label[index] for index in range(len(names))] == names
    accuracy = (predictions == torch.tensor(dataset["label"][:])).float().mean().item()
    assert accuracy == pytest.approx(results["metrics"]["accuracy"], abs=0.004)  # two clips: bf16 rounds elsewhere


def test_a_trainer_finds_the_same_accuracy_at_every_batch_size(recordings, repository, tmp_path):
    """One clip in nine lasts up to eight seconds, and the script keeps `input_values` alone, as most do.

    Padding that counted as sound would make silence of the clips beside a long one.
    """
    checkpoint, validation = (
        repository / "checkpoints" / "asm-small-keywords",
        recordings / "speech_commands/validation",
    )
    extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    model = AutoModelForAudioClassification.from_pretrained(checkpoint)
    files = sorted(validation.glob("[a-z]*/*.flac"))[::9]
    clips = [load_audio(file) for file in files]
    clips[::9] = [np.concatenate(clips[place : place + 8]) for place in range(0, len(clips), 9)]
    logits = {}
    for size in (1, 8, 32):
        rows = []
        for first in range(0, len(clips), size):  # what `Dataset.map(..., batched=True, batch_size=size)` calls
            features = extractor(clips[first : first + size], sampling_rate=16000, return_tensors="pt")
            rows += [{"input_values": row} for row in features["input_values"]]
        arguments = TrainingArguments(tmp_path, per_device_eval_batch_size=size, report_to="none", use_cpu=True)
        logits[size] = Trainer(model, arguments).predict(rows).predictions
    np.testing.assert_allclose(logits[8], logits[1], atol=1e-4)
    np.testing.assert_allclose(logits[32], logits[1], atol=1e-4)
    labels = np.array([model.config.label2id[file.parent.name] for file in files])
    short = np.arange(len(clips)) % 9 > 0
    assert np.mean(logits[32].argmax(1)[short] == labels[short]) > 0.85


@pytest.fixture(params=[("asm-small-general", 2_500_000), ("asm-mini-general", 500_000)], ids=lambda param: param[0])
def general(request, repository):
    """The folder of a general encoder, and how many parameters it may have."""
    return repository / "checkpoints" / request.param[0], request.param[1]


def test_a_general_encoder_is_small_and_credits_its_sources(general, repository):
    folder, parameters = general
    results = json.loads((folder / "results.json").read_text())
    assert results["model"]["parameters"] <= parameters
    assert sum(file.stat().st_size for file in folder.iterdir()) < 12_000_000
    assert {file.stem for file in folder.glob("*.py")} == set(TRAVELLING)
    card = ModelCard.load(folder / "README.md")
    assert all(teacher["credit"] in card.text for teacher in results["teachers"])
    assert (repository / "model_cards" / f"{folder.name}.md").read_text() == (folder / "README.md").read_text()
    sources = (folder / "corpus.csv").read_text()
    assert "CC-BY-SA-3.0" in sources
    for never in ("hydrogen", "environmental_sounds", "urban_sound", "casia", "spoken_digits", "drum_sounds"):
        assert never not in sources


def test_a_general_encoder_in_other_runtimes(general, tmp_path):
    """As ONNX, with 8-bit weights, for parts of a sound, and along a stream."""
    folder, _ = general
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    time = np.arange(96000) / 16000
    waveform = (0.3 * np.sin(2 * np.pi * 440 * time) * np.exp(-3 * (time % 1))).astype(np.float32)
    assert export(model, extractor, tmp_path / "encoder.onnx")["largest_difference"] < 1e-4
    export(model, extractor, tmp_path / "int8.onnx", waveforms=[waveform], int8=True)
    assert (tmp_path / "int8.onnx").stat().st_size < 0.6 * (tmp_path / "encoder.onnx").stat().st_size
    sound = {"array": waveform, "sampling_rate": 16000}
    expected = pipeline("audio-classification", model=model, feature_extractor=extractor)(sound, top_k=527)
    scores = {row["label"]: row["score"] for row in expected}
    for name, tolerance in (("encoder", 1e-4), ("int8", 0.01)):
        given = ASMOnnxClassifier(tmp_path / f"{name}.onnx")(sound, top_k=527)
        assert given[0]["label"] == expected[0]["label"]
        assert np.mean([abs(row["score"] - scores[row["label"]]) for row in given]) < tolerance

    features = extractor(waveform[: extractor.nb_max_samples], sampling_rate=16000, return_tensors="pt").input_values
    label = model.config.label2id[expected[0]["label"]]
    with torch.no_grad():
        silence = torch.full_like(features, (math.log(EPSILON) - extractor.mean) / (2 * extractor.std))
        difference = (model(features).logits - model(silence).logits)[0, label]
    attributions = explain(model, extractor, features, label)
    assert attributions.shape == features.shape[1:]
    assert attributions.sum().item() == pytest.approx(difference.item(), abs=0.1 * abs(difference.item()))

    stream = ASMStreamingClassifier(model, extractor, top_k=None)
    results = [*stream.push(waveform), *stream.finish()]
    assert len(results) >= 2
    assert len(results[0]["scores"]) == 527


def test_a_general_encoder_works_by_its_own_code(general):
    classifier = pipeline("audio-classification", model=str(general[0]))
    scores = classifier(0.1 * np.random.default_rng(0).standard_normal(80000), top_k=527)
    assert len(scores) == 527
    assert all(0 <= score["score"] <= 1 for score in scores)
