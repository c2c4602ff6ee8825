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
from processes import Python
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification

from modeling_asm.training.run_folder import checkpoints


pytestmark = [pytest.mark.slow, pytest.mark.long]


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


def command(data, folder, script="train") -> list[str]:
    path = Path(__file__).parents[2] / "examples" / script
    program = [str(path)] if script.endswith(".py") else ["-m", f"modeling_asm.commands.{script}"]
    words = [*program, "--data_dir", str(data), "--size", "tiny", "--use_cpu"]
    words += ["--output_dir", str(folder), "--num_train_epochs", "4", "--test_fraction", "0.3", "--dev_fraction", "0.2"]
    if script == "train":
        words += ["--per_device_train_batch_size", "4", "--save_strategy", "steps", "--save_steps", "4"]
        words += ["--eval_strategy", "steps", "--eval_steps", "4", "--measure_cost", "false", "--resamples", "0"]
    return words + ["--batch_size", "4"] * (script != "train")


# Run a command that waits before each change to the folders of a run, so that a kill can meet it there.
SLOW_DISK = """
import sys, time
from processes import execute

def wait(event, arguments):
    if event in ("os.rename", "shutil.rmtree", "os.mkdir") and "unfinished-" in str(arguments):
        time.sleep(0.1)

sys.addaudithook(wait)
execute(sys.argv[1:])
"""


ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def start(words: list[str]) -> Python:
    return Python(*words, environment=ENVIRONMENT)


def finish(words: list[str]):
    done = start(words).wait()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", params=["train", "train_accelerate.py"])
def whole(request, tmp_path_factory, data):
    """An undisturbed run: its script, weights, scores and seconds."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    start(["-c", ""]).wait()  # the server that processes are forked from
    begin = time.monotonic()
    finish(command(data, folder, request.param))
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
    for state in folder.glob("state-*"):
        load_file(state / "model.safetensors")
        torch.load(state / "optimizer.bin", weights_only=True)
        assert json.loads((state / "log.json").read_text())[-1]["epoch"] == int(state.name.split("-")[1])
        assert list(state.glob("random_states_*"))
    if (folder / "model.safetensors").exists():
        AutoModelForAudioClassification.from_pretrained(folder)


def kill(words: list[str], folder: Path, ready) -> bool:
    """Run a command, kill it as soon as `ready(folder, seconds)`, and tell whether it was still there to be killed."""
    process, begin = start(words), time.monotonic()
    while process.returncode is None and not ready(folder, time.monotonic() - begin):
        time.sleep(0.0005)
    process.kill()
    done = process.wait()
    assert process.returncode in (0, -signal.SIGKILL), done.stderr
    check_nothing_half_written(folder)
    return process.returncode != 0


def end_and_compare(words: list[str], folder: Path, whole):
    """Let a run that was killed end, with a hash seed of its own, and compare it with the undisturbed one."""
    _, weights, scores, _ = whole
    process = subprocess.run([sys.executable, *words], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stdout + process.stderr
    ended = load_file(folder / "model.safetensors")
    assert all(torch.equal(weights[name], ended[name]) for name in weights)
    assert metrics(folder) == scores
    assert not list(folder.glob("unfinished-*"))


MOMENTS = {
    "while saving": lambda folder, _: list(folder.glob("unfinished-*/*/*")) or list(folder.glob("unfinished-state/*")),
    "at the first checkpoint": lambda folder, _: checkpoints(folder) or list(folder.glob("state-*")),
    "while saving again": lambda folder, _: bool(
        (checkpoints(folder) or list(folder.glob("state-*")))
        and (list(folder.glob("unfinished-*/*/optimizer.pt")) or list(folder.glob("unfinished-state/optimizer*")))
    ),
    "while deleting": lambda folder, _: list(folder.glob("unfinished-deleted*")),
    "at the end": lambda folder, _: list(folder.glob("unfinished-model/*")) or (folder / "model.safetensors").exists(),
}


def test_killed_at_each_of_its_moments(data, tmp_path, whole):
    """One run, which meets them in this order; what a kill leaves behind does not look like the next moment."""
    words = command(data, tmp_path / "run", whole[0])
    for moment, ready in MOMENTS.items():
        assert not ready(tmp_path / "run", 0), moment
        assert kill(["-c", SLOW_DISK, *words], tmp_path / "run", ready), moment
    end_and_compare(words, tmp_path / "run", whole)


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_random_moments_twice(data, tmp_path, whole, number):
    """The first kill must meet the run; what goes on afterwards is shorter, and may be over before the second."""
    draw = random.Random(f"{number} {whole[0]}")
    first, second = (draw.uniform(0.2, 0.9) * whole[3] for _ in range(2))
    for attempt in range(10):  # a machine that is faster now is tried again, a little earlier
        folder = tmp_path / f"run-{attempt}"
        words = command(data, folder, whole[0])
        if kill(words, folder, lambda _, seconds, moment=first * 0.9**attempt: seconds > moment):
            break
    else:
        pytest.fail("the run was never there to be killed")
    kill(words, folder, lambda _, seconds: seconds > second)
    end_and_compare(words, folder, whole)


def can_mount() -> bool:
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True).returncode == 0


needs_small_disk = pytest.mark.skipif(not can_mount(), reason="needs a file system of its own size, by tmpfs")


def run_on_small_disk(words: list[str], folder: Path, copy: Path, megabytes: float) -> str:
    """Run a command that fails for want of room, keep a copy of what it left, and return its last line."""
    mounted = """
mount -t tmpfs -o size="$SIZE" none "$1" || exit 99
shift
"$@"
status=$?
cp -r "$DISK" "$COPY"
exit $status
"""
    environment = {**ENVIRONMENT, "DISK": str(folder), "COPY": str(copy), "SIZE": f"{int(megabytes * 1024)}k"}
    folder.parent.mkdir(exist_ok=True)
    process = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted, "sh", str(folder.parent), sys.executable, *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert process.returncode == 1, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    check_nothing_half_written(copy)
    return process.stderr.strip().splitlines()[-1]


@needs_small_disk
@pytest.mark.parametrize(
    ("script", "failed", "kept"),
    [("train", "checkpoint-8", "checkpoint-4"), ("train_accelerate.py", "state-2", "state-1")],
)
def test_a_full_disk(data, tmp_path, script, failed, kept):
    """A real disk of few megabytes: one checkpoint fits, the second does not; then there is room, and it goes on."""
    folder = tmp_path / "disk" / "run"
    words = command(data, folder, script)
    message = run_on_small_disk(words, folder, tmp_path / "copy", 11)
    assert f"Cannot save {failed}" in message
    assert "What was saved before is complete: free some space, and run the same command again" in message
    assert [path.name for path in (tmp_path / "copy").glob("[cs]*-*")] == [kept]
    shutil.copytree(tmp_path / "copy", folder)
    finish(words)
    assert (folder / "results.json").exists()


@needs_small_disk
@pytest.mark.parametrize("script", ["train", "train_accelerate.py"])
def test_a_disk_that_is_full_at_the_end(data, tmp_path, script):
    """The only checkpoint fits; the model beside it does not."""
    folder = tmp_path / "disk" / "run"
    words = [*command(data, folder, script), "--num_train_epochs", "1"]
    words += ["--save_steps", "1000", "--eval_steps", "1000"] * (script == "train")
    assert "Cannot save the model" in run_on_small_disk(words, folder, tmp_path / "copy", 8)
    assert not (tmp_path / "copy" / "results.json").exists()
    shutil.copytree(tmp_path / "copy", folder)
    finish(words)
    assert (folder / "results.json").exists()
