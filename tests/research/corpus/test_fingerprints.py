import numpy as np
import pytest
import soxr
from fingerprints import FingerprintIndex, find_pairs


def sound(seed: int, seconds: float = 4.0) -> np.ndarray:
    """A melody of decaying harmonics over noise, at 8 kHz."""
    rng = np.random.default_rng(seed)
    wave = 0.01 * rng.standard_normal(round(8000 * seconds))
    for start in np.arange(0, seconds, 0.2):
        time = np.arange(0, 0.2, 1 / 8000)
        pitch, place = rng.uniform(150, 900), round(8000 * start)
        note = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 4)) * np.exp(-8 * time)
        wave[place : place + len(time)] += note[: len(wave) - place]
    return wave.astype(np.float32)


@pytest.fixture(scope="module")
def index() -> FingerprintIndex:
    return FingerprintIndex({f"sound {seed}": find_pairs(sound(seed)) for seed in range(20)})


def codec(wave: np.ndarray) -> np.ndarray:
    """Another rate, and back."""
    return soxr.resample(soxr.resample(wave, 8000, 5512), 5512, 8000)


@pytest.mark.parametrize(
    "change",
    [
        lambda wave: wave,
        lambda wave: 0.1 * wave,
        lambda wave: np.concatenate([np.zeros(3210, np.float32), wave]),
        lambda wave: wave[8000:24000],
        lambda wave: wave + 0.005 * np.random.default_rng(9).standard_normal(len(wave)),
        lambda wave: np.round(wave * 127) / 127,
        codec,
        lambda wave: np.concatenate([sound(77), wave]),
    ],
    ids=["same", "quieter", "later", "part", "noise", "8 bit", "rate", "in a longer one"],
)
def test_the_same_sound_is_found(index, change):
    match = index.find(find_pairs(change(sound(7))))
    assert match.name == "sound 7"
    assert match.is_same


def test_other_sounds_are_not():
    index = FingerprintIndex({f"sound {seed}": find_pairs(sound(seed)) for seed in range(20)})
    assert not any(index.find(find_pairs(sound(seed))).is_same for seed in range(100, 130))


def test_a_long_recording_by_chance_does_not_hide_a_short_one_that_is_there():
    """Nine pairs of a long recording are nothing, eight of a short one are much of it."""
    short = np.array([[code, 10] for code in range(30)])
    long = np.array([[code, 10] for code in range(100, 1100)])
    heard = np.array([[code, 4] for code in (*range(8), *range(100, 109), *range(5000, 5200))])
    match = FingerprintIndex({"short": short, "long": long}).find(heard)
    assert (match.name, match.pairs, match.is_same) == ("short", 8, True)


def test_nothing_to_compare(index):
    silence = find_pairs(np.zeros(8000, np.float32))
    assert silence.shape == (0, 2)
    assert not index.find(silence).is_same
    assert not FingerprintIndex({}).find(find_pairs(sound(1))).is_same
    assert find_pairs(sound(1)[:100]).shape[1] == 2  # shorter than a window
