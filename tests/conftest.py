"""What the tests share: no network, small models, and recordings where `ASM_DATA` names a folder of them."""

import os
import tempfile


os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ.update(HF_DATASETS_CACHE=tempfile.mkdtemp(prefix="modeling_asm-tests-"))

import importlib
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from hypothesis import HealthCheck, settings
from processes import run_python
from safetensors.torch import load_file
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    set_seed,
)

from modeling_asm import ASMConfig, ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.training.data.decoding import decode_audio
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset


settings.register_profile(
    "asm", deadline=None, derandomize=True, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("asm")


def pytest_sessionfinish():
    """Decoded clips of the tests do not stay behind."""
    shutil.rmtree(os.environ["HF_DATASETS_CACHE"], ignore_errors=True)


REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "research"))  # as for a script in that folder, which may import its neighbours


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same random state."""
    set_seed(0)


@pytest.fixture(autouse=True)
def precision():
    """Every test starts in float32: accelerate keeps the precision of a process's last training for what follows it."""
    AcceleratorState._reset_state()


@pytest.fixture
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def config() -> ASMConfig:
    """Three classes, 12 tokens, two layers: milliseconds a forward pass."""
    return ASMConfig(
        hidden_size=16,
        num_hidden_layers=2,
        tokens_mlp_dim=8,
        channels_mlp_dim=32,
        patch_size=(8, 4),
        frequency_stride=8,
        time_stride=4,
        max_length=16,
        num_mel_bins=24,
        id2label={0: "bird", 1: "cat", 2: "dog"},
        label2id={"bird": 0, "cat": 1, "dog": 2},
    )


@pytest.fixture
def model(config) -> ASMForAudioClassification:
    return ASMForAudioClassification(config).eval()


@pytest.fixture
def feature_extractor(config) -> ASMFeatureExtractor:
    return ASMFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length, mean=-8.0, std=4.0)


@pytest.fixture
def checkpoint(model, feature_extractor, tmp_path) -> Path:
    """A folder as `save_pretrained` of model and feature extractor leave it."""
    model.save_pretrained(tmp_path / "checkpoint")
    feature_extractor.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def stemmed(config) -> ASMForAudioClassification:
    """Two convolutions in front of the patches."""
    config.stem_channels = (3, 5)
    return ASMForAudioClassification(config)


@pytest.fixture
def input_values(config) -> torch.Tensor:
    return torch.randn(4, config.max_length, config.num_mel_bins)


@pytest.fixture(scope="session")
def mixer_golden() -> dict[str, torch.Tensor]:
    """What `assets/make_mixer_golden.py` wrote of timm's Mixers."""
    return load_file(REPOSITORY / "tests" / "assets" / "mixer.safetensors")


@pytest.fixture
def mixer_weights(mixer_golden) -> dict[str, torch.Tensor]:
    """A tiny random Mixer of timm's: 16 tokens, width 8, two layers, five classes."""
    prefix = "tiny.weights."
    return {name.removeprefix(prefix): value for name, value in mixer_golden.items() if name.startswith(prefix)}


@pytest.fixture(scope="session")
def shared_tones(tmp_path_factory) -> Path:
    """An audiofolder of two classes, low and high, with 20 short tones in noise each: 8 kHz, stereo. Not to change."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("shared") / "tones"
    for label, frequency in (("high", 1500), ("low", 300)):
        (folder / label).mkdir(parents=True)
        for index in range(20):
            time = np.arange(1600) / 8000
            tone = 0.3 * np.sin(2 * np.pi * frequency * rng.uniform(0.9, 1.1) * time)
            samples = tone[:, None] + 0.02 * rng.standard_normal((1600, 2))
            soundfile.write(folder / label / f"{index:02d}.wav", samples, 8000)
    return folder


@pytest.fixture
def tones(shared_tones, tmp_path) -> Path:
    """A copy of `shared_tones`, as new files: a folder of an earlier test may have had the same name."""
    return shutil.copytree(shared_tones, tmp_path / "tones", copy_function=shutil.copyfile)


class Outcome(NamedTuple):
    """What a command printed, and its error message, or `None`."""

    stdout: str
    error: str | None


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., Outcome]:
    """Run a command (`"train"` is `asm-train`), or a script of examples or research, in this process."""

    def call(name: str, *arguments) -> Outcome:
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr(sys, "argv", [name, *words])
        capsys.readouterr()
        try:
            if name.endswith(".py"):
                runpy.run_path(str(script_path(name)), run_name="__main__")
                status = 0
            else:
                status = importlib.import_module(f"modeling_asm.commands.{name}").main(words)
        except SystemExit as stop:
            status = stop.code
        printed = capsys.readouterr()
        error = status if isinstance(status, str) else printed.err if status else None
        return Outcome(printed.out, error)

    return call


def script_path(name: str) -> Path:
    """Return a script of `examples` or `research`."""
    return next(path for folder in ("examples", "research") if (path := REPOSITORY / folder / name).is_file())


def command_words(name: str) -> list[str]:
    """Return what follows `python` to run a command or a script."""
    return [str(script_path(name))] if name.endswith(".py") else ["-m", f"modeling_asm.commands.{name}"]


@pytest.fixture
def words_of() -> Callable[[str], list[str]]:
    """See [`command_words`]."""
    return command_words


@pytest.fixture
def launch() -> Callable[..., subprocess.CompletedProcess]:
    """Run a command or a script in two processes that talk over gloo, by `accelerate launch`."""
    accelerate = ("-m", "accelerate.commands.launch", "--config_file")
    config = str(REPOSITORY / "examples" / "accelerate" / "two_cpus.yaml")

    def call(name: str, *arguments) -> subprocess.CompletedProcess:
        words = [*accelerate, config, "--main_process_port", "0", *command_words(name), *arguments]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
        return run_python(*words, environment=environment, check=False)

    return call


@pytest.fixture
def clips(tones) -> Dataset:
    """The tones, decoded."""
    return decode_audio(load_audio_dataset(DataArguments(str(tones)))["train"], 16000)[0]


@pytest.fixture
def ast(tmp_path) -> Path:
    """A tiny AST of three classes, as a checkpoint."""
    config = ASTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_length=32)
    config.num_labels = 3
    ASTForAudioClassification(config).save_pretrained(tmp_path / "ast")
    ASTFeatureExtractor(max_length=32).save_pretrained(tmp_path / "ast")
    return tmp_path / "ast"


@pytest.fixture
def wav2vec2(tmp_path) -> Path:
    """A tiny wav2vec2 of two classes, as a checkpoint."""
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
    )
    Wav2Vec2ForSequenceClassification(config).save_pretrained(tmp_path / "wav2vec2")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "wav2vec2")
    return tmp_path / "wav2vec2"


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded data sets that the environment variable `ASM_DATA` names."""
    if not os.environ.get("ASM_DATA"):
        pytest.skip("set ASM_DATA to a folder with the recorded data sets")
    return Path(os.environ["ASM_DATA"])
