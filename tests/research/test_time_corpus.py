import json

import numpy as np
import pytest
import yaml

from modeling_asm.training.distillation.pool import FINISHED_FILE, PoolWriter, append_line


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
    for name, seconds in (("game", 40.0), ("speech", 20.5)):
        append_line(tmp_path / "pool" / FINISHED_FILE, {"name": name, "seconds": seconds})
    return tmp_path / "tiny.yaml"


@pytest.mark.slow
@pytest.mark.long
def test_how_long_both_took(run, recipe, tmp_path):
    teachers = json.dumps({"tiny": {"checkpoint": str(tmp_path / "teacher")}})
    arguments = ("--pool", tmp_path / "pool", "--shards", 1, "--teachers", teachers)
    outcome = run("time_corpus.py", recipe, *arguments, "--output", tmp_path / "speed.json")
    assert outcome.error is None
    results = json.loads((tmp_path / "speed.json").read_text())
    assert results["corpus"] == {"hours": round(30 / 3600, 3), "sources": 2, "seconds": 60.5}
    assert results["bank"]["mixtures"] == 2 * 512  # to learn from, and for the validation
    speed = 1024 / results["bank"]["seconds"]
    assert f"0.0 hours of audio in 1 minutes, {speed:.0f} mixtures a second" in outcome.stdout
