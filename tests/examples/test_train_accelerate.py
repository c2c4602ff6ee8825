"""`examples/train_accelerate.py`, in one process and in two."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file
from transformers import pipeline

from modeling_asm.audio import load_audio


pytestmark = pytest.mark.slow


BASE = ("--num_train_epochs", 3, "--use_cpu", "--batch_size", 8, "--test_fraction", 0.325, "--dev_fraction", 0.1)
NEW = ("--from", "scratch")


def test_from_a_folder_to_a_label(run, tones, tmp_path):
    arguments = ("--data_dir", tones, "--output_dir", tmp_path / "model", *NEW, *BASE, "--num_train_epochs", 12)
    outcome = run("train_accelerate.py", *arguments)
    assert outcome.error is None
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    assert results["metrics"]["accuracy"] >= 0.9
    assert results["data"]["clips"] == {"train": 24, "dev": 3, "test": 13}
    assert "epoch 12, step 36, loss " in outcome.stdout
    assert "multiply-adds" not in (tmp_path / "model" / "README.md").read_text()  # not measured
    assert (tmp_path / "model" / "confusion_matrix.png").exists()
    assert str(tmp_path) not in json.dumps(results)
    classifier = pipeline("audio-classification", model=str(tmp_path / "model"))
    assert classifier(load_audio(tones / "low" / "00.wav"))[0]["label"] == "low"

    curves, time = (tmp_path / "model" / name for name in ("learning_curves.csv", "model.safetensors"))
    assert len(curves.read_text().splitlines()) == 13
    time = time.stat().st_mtime_ns
    again = run("train_accelerate.py", *arguments)
    assert again.error is None
    for text in (again.stdout, outcome.stdout):
        assert text.startswith("train: 40 files found, 40 used\n")
    summary = outcome.stdout[outcome.stdout.index("tested on") :].strip()
    assert again.stdout.partition("\n")[2].strip() == summary
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == time
    (tones / "low" / "new.wav").write_bytes((tones / "low" / "00.wav").read_bytes())
    assert "other settings (the clips have changed" in run("train_accelerate.py", *arguments).error


def test_two_processes_train_what_one_does(run, launch, tones, tmp_path):
    """Up to the rounding of a mean in two parts, which Adam makes larger where a gradient is almost nothing.

    No clip counts twice: neither of the 15 that are reported nor of the 22 that train, in batches of 8.
    """
    base = (
        "--data_dir",
        tones,
        *BASE,
        "--test_fraction",
        0.375,
        "--augment",
        False,
        "--drop_path_rate",
        0,
        "--learning_rate",
        1e-4,
    )
    one = run("train_accelerate.py", *base, "--output_dir", tmp_path / "one")
    assert one.error is None
    two = launch("train_accelerate.py", *base, "--output_dir", tmp_path / "two")
    assert two.returncode == 0, two.stderr
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")]
    assert [result["training"]["processes"] for result in results] == [1, 2]
    assert [sum(map(sum, result["confusion_matrix"])) for result in results] == [15, 15]
    assert results[0]["metrics"] == results[1]["metrics"]
    losses = [[line for line in text.splitlines() if line.startswith("epoch")] for text in (one.stdout, two.stdout)]
    assert losses[0] == losses[1]  # to four decimals
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=5e-4, rtol=1e-3)


def test_an_interrupted_run_ends_as_a_whole_one(run, tones, tmp_path, monkeypatch):
    """Stopped in its second epoch; test_survival.py has processes that are killed."""
    base = ("--data_dir", tones, *NEW, *BASE)
    assert run("train_accelerate.py", *base, "--output_dir", tmp_path / "whole").error is None
    folder = tmp_path / "cut"
    steps = []

    def stop_at_the_fifth(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    original = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        run("train_accelerate.py", *base, "--output_dir", folder)
    monkeypatch.setattr(torch.optim.AdamW, "step", original)
    assert [state.name for state in folder.glob("state-*")] == ["state-1"]
    again = run("train_accelerate.py", *base, "--output_dir", folder)
    assert "Continuing after epoch 1." in again.stdout
    whole, ended = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], ended[name]) for name in whole)
    curves = [(tmp_path / name / "learning_curves.csv").read_text() for name in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_refusals(run, launch, tones, tmp_path):
    nothing = run("train_accelerate.py", "--output_dir", tmp_path / "a", "--use_cpu")
    assert "Got no data" in nothing.error
    base = ("--dataset_name", "ann/tones", "--output_dir", tmp_path / "a", "--use_cpu")
    assert "takes neither --streaming nor --train_also" in run("train_accelerate.py", *base, "--streaming").error
    uneven = launch(
        "train_accelerate.py", "--data_dir", tones, "--output_dir", tmp_path / "b", *BASE, "--batch_size", 7
    )
    assert "--batch_size 7 must be a multiple of the 2 processes" in uneven.stderr


@pytest.mark.parametrize("name", ["train", "train_accelerate.py"])
def test_processes_that_would_each_train_alone(launch, tones, tmp_path, name):
    """Where there is no GPU, `accelerate launch` leaves it to the script to say that processors do the work.

    Old versions of it do so themselves, and both processes work together.
    """
    outcome = launch(name, "--data_dir", tones, "--output_dir", tmp_path / "a", "--num_train_epochs", 1)
    if outcome.returncode == 0:
        assert json.loads((tmp_path / "a" / "results.json").read_text())["training"]["processes"] == 2
    else:
        assert "2 processes were launched, but each would work alone" in outcome.stderr
        assert not (tmp_path / "a" / "run.json").exists()


def test_an_unreadable_file_stops(run, tones, tmp_path):
    (tones / "low" / "05.wav").write_text("not audio")
    assert "05.wav" in run("train_accelerate.py", "--data_dir", tones, "--output_dir", tmp_path / "a", *BASE).error


def test_a_loss_that_is_no_number(run, tones, tmp_path):
    arguments = (
        "--data_dir",
        tones,
        "--output_dir",
        tmp_path / "a",
        *NEW,
        *BASE,
        "--learning_rate",
        1e30,
        "--warmup",
        0,
    )
    outcome = run("train_accelerate.py", *arguments)
    assert "The loss is nan at step" in outcome.error
    assert "in a batch of 8 clips: " in outcome.error
    assert ".wav" in outcome.error


CONFIGS = sorted((Path(__file__).parents[2] / "examples" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_config_files_are_accelerates(file):
    config = load_config_from_file(str(file))
    written = yaml.safe_load(file.read_text())
    assert config.distributed_type == written["distributed_type"]
    assert config.num_processes == written["num_processes"]
    if file.stem == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
        assert config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"] == "ASMLayer"


def test_there_is_a_config_for_each_setting():
    assert {file.stem for file in CONFIGS} == {"one_gpu", "ddp", "fsdp2", "multi_machine", "two_cpus"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_in_mixed_precision(run, tones, tmp_path):
    arguments = (
        "--data_dir",
        tones,
        "--output_dir",
        tmp_path / "a",
        "--num_train_epochs",
        2,
        "--mixed_precision",
        "bf16",
    )
    assert run("train_accelerate.py", *arguments).error is None


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("script", ["train", "train_accelerate.py"])
@pytest.mark.parametrize("config", ["ddp", "fsdp2"])
def test_several_gpus(words_of, repository, tones, tmp_path, script, config):
    file = repository / "examples" / "accelerate" / f"{config}.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file), "--num_processes", "2"]
    command += [*words_of(script), "--data_dir", str(tones), "--num_train_epochs", "1"]
    process = subprocess.run(
        [*command, "--output_dir", str(tmp_path / "a")], capture_output=True, text=True, timeout=600
    )
    assert process.returncode == 0, process.stderr


def test_a_frozen_encoder_stays_as_it_was(run, tones, stemmed, feature_extractor, tmp_path):
    """With its running statistics; the classifier alone learns."""
    stemmed.save_pretrained(tmp_path / "pretrained")
    feature_extractor.save_pretrained(tmp_path / "pretrained")
    arguments = ("--data_dir", tones, "--output_dir", tmp_path / "model", *BASE, "--freeze_encoder")
    assert run("train_accelerate.py", *arguments, "--model_name_or_path", tmp_path / "pretrained").error is None
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("pretrained", "model"))
    moved = {name for name in after if before[name].shape != after[name].shape or not before[name].equal(after[name])}
    assert moved == {"classifier.weight", "classifier.bias"}


def test_what_this_loop_cannot_do(run, tones, tmp_path):
    arguments = ("--data_dir", tones, "--output_dir", tmp_path / "a", *BASE, "--tune", "head")
    assert run("train_accelerate.py", *arguments).error.endswith("Use asm-train for --tune head.")
