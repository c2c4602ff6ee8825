"""A pool of generated audio, and teachers that are quick."""

import numpy as np
import pytest

from modeling_asm.training.distillation.pool import AudioPool, PoolWriter
from modeling_asm.training.teachers.targets import Target, Teacher


KINDS = {"tones": "music", "noises": "effects", "beeps": "speech"}


@pytest.fixture(scope="session")
def pool_folder(tmp_path_factory):
    """Eight recordings of each of three sources: long tones and noises, and short beeps."""
    folder = tmp_path_factory.mktemp("pool")
    writer, rng = PoolWriter(folder), np.random.default_rng(0)
    for source, kind in KINDS.items():
        for number in range(8):
            size = 6400 if source == "beeps" else 96000
            time = np.arange(size) / 32000
            tone = np.sin(2 * np.pi * rng.uniform(100, 4000) * time)
            wave = rng.standard_normal(size) if source == "noises" else tone
            samples = np.clip(wave * rng.uniform(1000, 8000), -(2**15), 2**15 - 1).astype(np.int16)
            name = f"{source}/{number}"
            writer.add(samples, name=name, sha256=name, source=source, version="", licence="CC0", kind=kind)
    writer.close()
    return folder


@pytest.fixture
def pool(pool_folder) -> AudioPool:
    return AudioPool(pool_folder)


def loudness(waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether a sound is loud and whether its second half is, and the level of each tenth of a second."""
    steps = np.sqrt(
        np.square(waveforms[:, : waveforms.shape[1] // 1600 * 1600]).reshape(len(waveforms), -1, 1600).mean(2)
    )
    halves = np.stack([steps.mean(1), steps[:, steps.shape[1] // 2 :].mean(1)], axis=1)
    return np.log(halves + 1e-3), np.log(steps + 1e-3)[..., None]


@pytest.fixture
def teacher() -> Teacher:
    targets = (Target("loud.logits", 2, labels=True), Target("loud.steps", 1, 0.1, 0.05))
    return Teacher("loud", "1234", 16000, targets, loudness, "Our ears.", {0: "loud", 1: "loud later"})
