import numpy as np
import pytest

from modeling_asm.training.report.plots import plot_bars, plot_clips, plot_confusion_matrix, plot_learning_curves


def size(path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return tuple(int.from_bytes(content[start : start + 4], "big") for start in (16, 20))


def test_confusion_matrix(tmp_path):
    plot_confusion_matrix(np.array([[3, 1], [0, 2]]), ["cat", "dog"], tmp_path / "a.png")
    assert min(size(tmp_path / "a.png")) > 200


@pytest.mark.parametrize("scores", [{"recall": np.array([1.0, 0.5])}, {"a": np.zeros(2), "b": np.array([np.nan, 1])}])
def test_bars(tmp_path, scores):
    plot_bars(scores, ["cat", "dog"], tmp_path / "a.png")
    assert size(tmp_path / "a.png")[0] == 600


@pytest.mark.parametrize("log", [[], [{"epoch": 1, "loss": 2.0}, {"epoch": 1, "eval_loss": 1.0, "eval_accuracy": 0.5}]])
def test_learning_curves(tmp_path, log):
    plot_learning_curves(log, tmp_path / "a.png")
    assert size(tmp_path / "a.png") == (900, 350)


@pytest.mark.parametrize("number", [1, 5])
def test_clips(tmp_path, number):
    waveforms = [np.random.default_rng(index).standard_normal(100 + 4000 * index) for index in range(number)]
    plot_clips([w.astype(np.float32) for w in waveforms], 16000, ["a title"] * number, tmp_path / "a.png")
    assert size(tmp_path / "a.png")[0] == 960


def test_titles_keep_their_signs(tmp_path):
    """A dollar is no formula."""
    plot_clips([np.zeros(800, np.float32)], 16000, ["$5 and _x_^2$"], tmp_path / "a.png")
    plot_bars({"recall": np.ones(2)}, ["$a", "b$^{"], tmp_path / "b.png")
    assert size(tmp_path / "b.png")
