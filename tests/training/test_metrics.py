import numpy as np
import pytest

from modeling_asm.training.metrics import ClassificationMetric, confusion_matrix, wilson_interval


def test_metric_of_a_case_counted_by_hand():
    """Class 0: 2 of 3 found, 1 wrong alarm; class 1: 1 of 2, 1 wrong alarm; class 2 never occurs."""
    scores = ClassificationMetric().compute(predictions=[0, 0, 1, 1, 0], references=[0, 0, 0, 1, 1])
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_macro_f1_leaves_out_classes_that_never_occur():
    assert ClassificationMetric().compute(predictions=[0, 5], references=[0, 5])["macro_f1"] == 1.0


def test_wilson_interval():
    """Source: Newcombe 1998, table I, method 3: 81 of 263 gives .2553 to .3662; 0 of 20 gives .0 to .1611."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_confusion_matrix_has_true_classes_as_rows():
    counts = confusion_matrix([0, 2, 2], [0, 1, 2], num_labels=4)
    assert counts.shape == (4, 4)
    assert (np.argwhere(counts) == [[0, 0], [1, 2], [2, 2]]).all()
