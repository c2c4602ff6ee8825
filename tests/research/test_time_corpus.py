import hashlib
import io
import json

import numpy as np
import pytest
import soundfile
import yaml
from deb_files import write_deb

from modeling_asm.training.distillation.pool import PoolWriter


def wav(samples: np.ndarray) -> bytes:
    output = io.BytesIO()
    soundfile.write(output, samples, 16000, format="WAV")
    return output.getvalue()


@pytest.fixture
def package_list(tmp_path):
    """A package of three noises of two seconds, and the list that it is in."""
    rng = np.random.default_rng(0)
    files = {f"usr/share/game/{name}.wav": wav(rng.uniform(-0.1, 0.1, 32000)) for name in "abc"}
    files["usr/share/doc/game/copyright"] = b"no copyright file that a program could read"
    path = tmp_path / "game_1_all.deb"
    write_deb(path, files)
    row = {"name": "game", "version": "1", "licence": "MIT", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (tmp_path / "list.yaml").write_text(yaml.safe_dump([row]))
    return tmp_path / "list.yaml"


@pytest.fixture
def recipe(student, teacher_folder, tmp_path):
    """A tiny student of a tiny classifier that was never trained, and a pool of 30 sources."""
    teachers = {"tiny": {"type": "classifier", "checkpoint": "elsewhere"}}
    settings = {"teachers": teachers, "mixtures": {"general": {"number": 99999}}, "model": student}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    writer, rng = PoolWriter(tmp_path / "pool"), np.random.default_rng(0)
    for name in map(str, range(30)):
        samples = rng.integers(-3000, 3000, 32000).astype(np.int16)
        writer.add(samples, name=name, sha256=name, source=name, version="", licence="CC0", kind="effects")
    writer.close()
    return tmp_path / "tiny.yaml"


@pytest.mark.slow
def test_what_was_made_and_how_long_it_took(run, recipe, package_list, tmp_path):
    teachers = json.dumps({"tiny": {"checkpoint": str(tmp_path / "teacher")}})
    arguments = (recipe, "--debs", tmp_path, "--list", package_list, "--pool", tmp_path / "pool", "--shards", 1)
    arguments += ("--teachers", teachers, "--output", tmp_path / "speed.json", "--packages")
    outcome = run("time_corpus.py", *arguments, "game")
    assert outcome.error is None
    results = json.loads((tmp_path / "speed.json").read_text())
    assert results["corpus"]["hours"] == pytest.approx(6 / 3600, abs=1e-3)
    assert results["bank"]["mixtures"] == 2 * 512  # to learn from, and for the validation
    assert min(results[part]["seconds"] for part in ("corpus", "bank")) > 0
    speed = 1024 / results["bank"]["seconds"]
    assert f"{speed:.0f} mixtures a second" in outcome.stdout
    assert run("time_corpus.py", *arguments, "toy").error == "'toy' is not in list.yaml."
