"""The recipe of `make quickstart`, in the environment of the tests, with fewer clips."""

import subprocess
import sys

import pytest


pytestmark = pytest.mark.slow


@pytest.mark.long
def test_quickstart(repository, tmp_path):
    variables = [f"PYTHON={sys.executable}", f"INSTALLED={repository}/setup.cfg", f"BUILD={tmp_path}"]
    command = [
        "make",
        "--no-print-directory",
        "quickstart",
        *variables,
        "EPOCHS=2",
        "CLIPS=30",
        "--old-file",
        f"{repository}/setup.cfg",
    ]
    process = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert "always the most frequent class  0.100" in process.stdout
    assert process.stdout.splitlines()[-1].startswith(f"{tmp_path}/spoken_words/test/yes_000.wav  ")
    files = {file.name for file in (tmp_path / "quickstart").iterdir()}
    assert {"model.safetensors", "README.md", "confusion_matrix.png", "results.json"} <= files
