"""Runs that are killed, and disks that fill up: the same command again ends with the weights of an undisturbed run.

The processes, the signals and the full disk are real. `ASM_KILLS` sets how many random moments are tried.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification

from modeling_asm.training.runs import checkpoints


KILLS = int(os.environ.get("ASM_KILLS", "1"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The tones of conftest.py, for all tests of this file."""
    folder, rng = tmp_path_factory.mktemp("data") / "tones", np.random.default_rng(0)
    for label, frequency in (("high", 1500), ("low", 300)):
        (folder / label).mkdir(parents=True)
        for index in range(20):
            tone = 0.3 * np.sin(2 * np.pi * frequency * rng.uniform(0.9, 1.1) * np.arange(1600) / 8000)
            soundfile.write(folder / label / f"{index:02d}.wav", tone + 0.02 * rng.standard_normal(1600), 8000)
    return folder


def command(repository, data, folder, script="train.py") -> list[str]:
    words = [sys.executable, str(repository / "examples" / script), "--data_dir", str(data), "--use_cpu"]
    words += ["--output_dir", str(folder), "--num_train_epochs", "4", "--test_fraction", "0.3", "--dev_fraction", "0.2"]
    if script == "train.py":
        words += ["--per_device_train_batch_size", "4", "--save_strategy", "steps", "--save_steps", "4"]
        words += ["--eval_strategy", "steps", "--eval_steps", "4", "--measure_cost", "false", "--resamples", "0"]
    return words + ["--batch_size", "4"] * (script != "train.py")


def start(words: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finish(words: list[str]) -> str:
    process = start(words)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module", params=["train.py", "train_accelerate.py"])
def whole(request, tmp_path_factory, data):
    """An undisturbed run: its script, weights, scores and seconds."""
    repository, folder = Path(__file__).parents[2], tmp_path_factory.mktemp("whole") / "run"
    begin = time.monotonic()
    finish(command(repository, data, folder, request.param))
    seconds = time.monotonic() - begin
    return request.param, load_file(folder / "model.safetensors"), metrics(folder), seconds


def metrics(folder) -> dict:
    return json.loads((folder / "results.json").read_text())["metrics"]


def check_nothing_half_written(folder: Path):
    """Whatever has a proper name loads."""
    for checkpoint in checkpoints(folder):
        AutoModelForAudioClassification.from_pretrained(checkpoint)
        assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] > 0
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            assert (checkpoint / name).stat().st_size > 0
    if (folder / "model.safetensors").exists():
        AutoModelForAudioClassification.from_pretrained(folder)


def kill_and_repeat(repository, data, folder, whole, *moments):
    """Kill the run at each moment, as soon as `moment(folder, seconds)`; then let it end, and compare."""
    script, weights, scores, _ = whole
    words = command(repository, data, folder, script)
    for ready in moments:
        process, begin = start(words), time.monotonic()
        while process.poll() is None and not ready(folder, time.monotonic() - begin):
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        check_nothing_half_written(folder)
    finish(words)
    ended = load_file(folder / "model.safetensors")
    assert all(torch.equal(weights[name], ended[name]) for name in weights)
    assert metrics(folder) == scores
    assert not list(folder.glob("unfinished-*"))


MOMENTS = {
    "at-the-first-checkpoint": lambda folder, _: checkpoints(folder) or list(folder.glob("state-*")),
    "while-saving": lambda folder, _: list(folder.glob("unfinished-*/*/*")) or list(folder.glob("unfinished-state/*")),
    "while-saving-again": lambda folder, _: bool(
        (checkpoints(folder) or list(folder.glob("state-*")))
        and (list(folder.glob("unfinished-*/*/optimizer.pt")) or list(folder.glob("unfinished-state/optimizer*")))
    ),
    "while-deleting": lambda folder, _: list(folder.glob("unfinished-deleted*")),
    "at-the-end": lambda folder, _: list(folder.glob("unfinished-model/*")) or (folder / "model.safetensors").exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at(repository, data, tmp_path, whole, moment):
    kill_and_repeat(repository, data, tmp_path / "run", whole, MOMENTS[moment])


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_random_moments_twice(repository, data, tmp_path, whole, number):
    draw = random.Random(f"{number} {whole[0]}")
    first, second = (draw.uniform(0.3, 1.0) * whole[3] for _ in range(2))
    moments = [lambda _, seconds: seconds > first, lambda _, seconds: seconds > second]
    kill_and_repeat(repository, data, tmp_path / "run", whole, *moments)


def can_mount() -> bool:
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs a file system of its own size, by `unshare` and tmpfs")
def test_a_full_disk(repository, data, tmp_path):
    """A real disk of few megabytes: one checkpoint fits, the second does not; then there is room, and it goes on."""
    folder = tmp_path / "disk" / "run"
    folder.parent.mkdir()
    words = command(repository, data, folder)
    script = """
mount -t tmpfs -o size=11m none "$1" || exit 99
shift
"$@"
status=$?
cp -r "$DISK" "$COPY"
exit $status
"""
    environment = {**os.environ, "DISK": str(folder), "COPY": str(tmp_path / "copy"), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(folder.parent), *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert process.returncode == 1, process.stdout + process.stderr
    message = process.stderr.strip().splitlines()[-1]
    assert "Cannot save checkpoint-8" in message
    assert "Checkpoint-4 is whole: make room, and run the same command again" in message
    check_nothing_half_written(tmp_path / "copy")
    assert [path.name for path in checkpoints(tmp_path / "copy")] == ["checkpoint-4"]
    shutil.copytree(tmp_path / "copy", folder)
    finish(words)
    assert (folder / "results.json").exists()
