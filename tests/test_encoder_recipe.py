"""A general encoder in small: from generated audio to a corpus, a bank, an encoder, and a classifier of its embeddings.

The commands of the guide, with the real recipe, fewer mixtures and steps, and teachers that know nothing.
"""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import save_file
from speech_files import write_speech_files

from modeling_asm import ASMConfig, ASMForAudioClassification
from modeling_asm.general import find_encoder
from modeling_asm.training.teachers.efficientat import EfficientAT


def generate(folder, rng, count: int):
    """Melodies of random notes, of four seconds."""
    folder.mkdir()
    time = np.arange(3200) / 16000
    for number in range(count):
        notes = [np.sin(2 * np.pi * rng.uniform(100, 3000) * time) * np.exp(-6 * time) for _ in range(20)]
        soundfile.write(folder / f"{number}.wav", 0.4 * np.concatenate(notes), 16000)


@pytest.mark.parametrize("name", ["general_small", "general_mini"])
def test_the_guides_corpus_has_the_kinds_of_the_recipes(repository, name):
    """So that the commands of the guide follow each other."""
    recipe = yaml.safe_load((repository / "recipes" / "encoders" / f"{name}.yaml").read_text())
    guide = (repository / "docs" / "guides" / "general.md").read_text()
    packages = yaml.safe_load((repository / "research" / "corpus" / "packages.yaml").read_text())
    corpus = repository / "research" / "corpus"
    kinds = {"music", "speech", "effects", *re.findall(r"--folder (\w+) CC", guide)}
    kinds |= {row.get("kind", "effects") for row in packages}
    kinds |= set(re.findall(r'Synthesiser\(\s*"\w[\w-]*", "(\w+)"', (corpus / "synthesis.py").read_text()))
    for part in recipe["mixtures"].values():
        assert set(part.get("kind_weights", {})) <= kinds


@pytest.mark.slow
@pytest.mark.long
def test_from_generated_audio_to_a_classifier(run, repository, tones, tmp_path):
    rng = np.random.default_rng(0)
    generate(tmp_path / "mine", rng, 20)
    generate(tmp_path / "theirs", rng, 2)
    corpus, bank, encoder = tmp_path / "corpus", tmp_path / "bank", tmp_path / "encoder"
    script = repository / "research" / "corpus" / "make_corpus.py"
    words = ["--output_dir", corpus, "--packages", "", "--folder", "effects", "CC0", tmp_path / "mine"]
    words += ["--folder", "music", "CC0", tmp_path / "theirs", "--synthesise", "textures", "0.02"]
    command = [sys.executable, str(script), *map(str, words)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert made.returncode == 0, made.stderr

    torch.manual_seed(0)
    save_file(EfficientAT().state_dict(), tmp_path / "mn04.safetensors")
    labels = ASMConfig.from_pretrained(find_encoder()).id2label
    lines = [f'{index},/m/{index},"{label}"' for index, label in labels.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["index,mid,display_name", *lines]))
    mn04 = {
        "type": "efficientat",
        "weights": str(tmp_path / "mn04.safetensors"),
        "labels": str(tmp_path / "labels.csv"),
    }
    speech = dict(zip(("melspectrogram", "embedding"), write_speech_files(tmp_path)))
    teachers = {"mn04": mn04, "speech": {"type": "speech_embedding", "stride": 2, **speech}}
    mixtures = {"general": {"number": 512}, "short": {"number": 512, "repeated": 0.7}}
    arguments = ("--pool", corpus, "--bank", bank, "--output_dir", encoder, "--max_steps", 8, "--use_cpu")
    arguments += (
        "--teachers",
        json.dumps(teachers),
        "--mixtures",
        json.dumps(mixtures),
        "--num_validation",
        512,
        "--per_device_train_batch_size",
        16,
    )
    distilled = run("distil", repository / "recipes" / "encoders" / "general_mini.yaml", *arguments)
    assert distilled.error is None
    assert "Validation losses: " in distilled.stdout
    results = json.loads((encoder / "results.json").read_text())
    assert results["data"]["hours"]["effects"]["recordings"] == 20
    assert results["model"]["parameters"] <= 500_000
    assert [teacher["name"] for teacher in results["teachers"]] == ["mn04", "speech"]
    assert {"mn04.labels", "speech.embeddings", "speech.embeddings_mean"} <= set(results["metrics"])
    assert "theirs" in (encoder / "corpus.csv").read_text()
    model = ASMForAudioClassification.from_pretrained(encoder)
    assert model.config.id2label == labels

    trained = run("train", tones, "--from", encoder, "--tune", "head", "--output_dir", tmp_path / "model", "--use_cpu")
    assert trained.error is None
    assert json.loads((tmp_path / "model" / "results.json").read_text())["metrics"]["accuracy"] >= 0.9
    heard = run("classify", tones / "low" / "00.wav", "--model", tmp_path / "model")
    assert heard.stdout.split()[1] == "low"
