import json
import sys

import numpy as np
import pytest
import soundfile
import yaml
from transformers import AutoModelForPreTraining

from modeling_asm.training.distillation.pool import AudioPool, PoolWriter


@pytest.fixture
def pool_folder(tmp_path):
    """Tones of 30 sources and noises of 10."""
    writer, rng = PoolWriter(tmp_path / "pool"), np.random.default_rng(0)
    for number in range(40):
        kind, size = ("effects", "music")[number % 4 > 0], 32000
        tone = np.sin(2 * np.pi * rng.uniform(100, 4000) * np.arange(size) / 32000)
        wave = rng.standard_normal(size) if kind == "effects" else tone
        samples = np.clip(3000 * wave, -(2**15), 2**15 - 1).astype(np.int16)
        name = f"source {number}"
        writer.add(samples, name=name, sha256=name, source=name, version="", licence="CC0", kind=kind)
    writer.close()
    return tmp_path / "pool"


@pytest.fixture
def recipe(student, teacher_folder, tmp_path):
    """A tiny student of a tiny classifier that was never trained."""
    teachers = {"tiny": {"type": "classifier", "checkpoint": str(teacher_folder)}}
    settings = {"teachers": teachers, "mixtures": {"general": {"number": 9999}}, "model": student}
    settings |= {"learning_rate": 1e-3, "warmup_steps": 10, "per_device_train_batch_size": 32}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "tiny.yaml"


@pytest.fixture
def data_dir(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        for label in ("tom", "snare"):
            (tmp_path / "data" / "drum_sounds" / split / label).mkdir(parents=True)
            for number in range(8):
                tone = np.sin(2 * np.pi * 200 * np.arange(8000) / 16000 + rng.uniform(0, 6))
                wave = tone if label == "tom" else rng.standard_normal(8000)
                soundfile.write(tmp_path / "data" / "drum_sounds" / split / label / f"{number}.wav", 0.1 * wave, 16000)
    return tmp_path / "data"


@pytest.mark.slow
@pytest.mark.long
def test_arms_and_seeds(run, recipe, pool_folder, data_dir, tmp_path):
    arguments = (recipe, "--pool", pool_folder, "--bank", tmp_path / "bank", "--work_dir", tmp_path / "work")
    arguments += ("--data_dir", data_dir, "--output", tmp_path / "ablation.json", "--mixtures", 512, "--seeds", 1)
    assert run("ablate_encoder.py", *arguments, "--max_steps", 20, "--arms", "all").error is None
    outcome = run("ablate_encoder.py", *arguments, "--max_steps", 20, "--arms", "all", "without effects")
    assert outcome.error is None
    assert "all 0" not in outcome.stdout and "without effects 0" in outcome.stdout  # it went on
    arms = json.loads((tmp_path / "ablation.json").read_text())["arms"]
    assert {name: set(cells) for name, cells in arms.items()} == {"all": {"0"}, "without effects": {"0"}}
    assert all(0.5 <= cells["0"]["drum_sounds"] <= 1 for cells in arms.values())
    assert (tmp_path / "work" / "bank_without_effects" / "general" / "train" / "00000.safetensors").is_file()
    outcome = run("ablate_encoder.py", *arguments, "--max_steps", 20, "--seeds", 2, "--arms", "masked prediction alone")
    assert "takes as long as 'all' with the same seed: measure that first." in outcome.error
    masked = ("masked prediction alone", "masked prediction for 1/2 of the time, then all")
    assert run("ablate_encoder.py", *arguments, "--max_steps", 20, "--arms", *masked).error is None
    arms = json.loads((tmp_path / "ablation.json").read_text())["arms"]
    assert all(arms[name]["0"]["seconds"] > 0 for name in ("all", *masked))
    assert json.loads((tmp_path / "work" / "run" / "results.json").read_text())["model"]["start"] == "masked"
    assert AutoModelForPreTraining.from_pretrained(tmp_path / "work" / "masked").config.hidden_size == 16
    outcome = run("ablate_encoder.py", *arguments, "--max_steps", 10)
    assert "has results of another scale, recipe or pool. Write to another file." in outcome.error


def test_some_of_the_hours(repository, pool_folder, tmp_path):
    sys.path.append(str(repository / "research"))
    from ablate_encoder import thin

    thin(pool_folder, tmp_path / "thin", 1 / 4)
    thinned, whole = AudioPool(tmp_path / "thin"), {row.name for row in AudioPool(pool_folder).recordings}
    assert len(thinned.recordings) == 10
    assert {row.name for row in thinned.recordings} < whole


def test_arms_are_compared_seed_by_seed(repository):
    sys.path.append(str(repository / "research"))
    from ablate_encoder import format_results

    cells = {"0": {"casia": 0.4, "drum_sounds": 0.6}, "1": {"casia": 0.6, "drum_sounds": 0.6}}
    other = {seed: {"casia": cell["casia"] - 0.1, "drum_sounds": 0.6, "seconds": 9.0} for seed, cell in cells.items()}
    assert format_results({"arms": {"token MLP": other, "all": cells}}).splitlines() == [
        "| arm | casia | drum_sounds | difference |",
        "| --- | --- | --- | --- |",
        "| all | 0.500 | 0.600 | - |",
        "| token MLP | 0.400 | 0.600 | -0.100 ± 0.000 |",
    ]
