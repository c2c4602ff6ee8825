import numpy as np

from modeling_asm.training.plots import plot_confusion_matrix


def test_a_picture_is_written(tmp_path):
    path = tmp_path / "confusion_matrix.png"
    plot_confusion_matrix(np.array([[3, 1], [0, 2]]), ["cat", "dog"], path)
    assert path.read_bytes().startswith(b"\x89PNG")
    width, height = (int.from_bytes(path.read_bytes()[start : start + 4], "big") for start in (16, 20))
    assert width > 200 < height
