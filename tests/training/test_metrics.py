import warnings

import numpy as np
import pytest
from datasets import ClassLabel, Dataset
from evaluate import evaluator
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from modeling_asm.audio import load_audio
from modeling_asm.training.metrics import (
    R2,
    Accuracy,
    MacroF1,
    MeanAveragePrecision,
    MeanSquaredError,
    UnweightedAverageRecall,
    confusion_matrix,
    resamples,
)


# Class 0: 2 of 3 found, 1 wrong alarm; class 1: 1 of 2, 1 wrong alarm; class 2 never occurs.
PREDICTIONS, REFERENCES = [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (Accuracy(), 3 / 5),
        (MacroF1(), (2 / 3 + 1 / 2) / 2),
        (UnweightedAverageRecall(), (2 / 3 + 1 / 2) / 2),
    ],
)
def test_a_case_counted_by_hand(metric, expected):
    scores = metric.compute(predictions=PREDICTIONS, references=REFERENCES)
    assert scores[metric.score_name] == pytest.approx(expected)
    assert scores[f"{metric.score_name}_low"] <= expected <= scores[f"{metric.score_name}_high"]
    assert metric.compute(predictions=PREDICTIONS, references=REFERENCES, n_resamples=0) == {
        metric.score_name: pytest.approx(expected)
    }


def test_unweighted_recall_does_not_care_for_the_size_of_a_class():
    references = [0] * 90 + [1] * 10
    assert UnweightedAverageRecall().compute(predictions=[0] * 100, references=references)[
        "unweighted_average_recall"
    ] == pytest.approx(0.5)
    assert Accuracy().compute(predictions=[0] * 100, references=references)["accuracy"] == pytest.approx(0.9)


def test_mean_average_precision_by_hand():
    """Class 0: positives on ranks 1 and 3, (1/1 + 2/3) / 2; class 1: on rank 2, 1/2; class 2 has none, and is out."""
    scores = [[0.9, 0.1, 0.0], [0.8, 0.9, 0.0], [0.7, 0.5, 0.0]]
    references = [[1, 0, 0], [0, 0, 0], [1, 1, 0]]
    result = MeanAveragePrecision().compute(predictions=scores, references=references, n_resamples=20)
    assert result["mean_average_precision"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)


def test_regression_by_hand():
    arguments = {"predictions": [1.0, 2.0, 4.0], "references": [1.0, 2.0, 3.0], "n_resamples": 0}
    assert MeanSquaredError().compute(**arguments) == {"mean_squared_error": pytest.approx(1 / 3)}
    assert R2().compute(**arguments) == {"r2": pytest.approx(0.5)}


def test_the_interval_is_that_of_a_proportion():
    """Source: the normal approximation, .8 +- 1.96 sqrt(.8 .2 / 1000), which holds for a thousand clips."""
    rng = np.random.default_rng(0)
    references = np.zeros(1000, dtype=int)
    predictions = rng.permutation(np.repeat([0, 1], [800, 200]))
    scores = Accuracy().compute(predictions=predictions, references=references)
    assert scores["accuracy_low"] == pytest.approx(0.7752, abs=0.004)
    assert scores["accuracy_high"] == pytest.approx(0.8248, abs=0.004)
    assert scores == Accuracy().compute(predictions=predictions, references=references)  # a seed gives it again


def test_groups_widen_the_interval():
    """Ten speakers, of whom two are never understood: the clips are not independent."""
    groups = np.repeat(np.arange(10), 100)
    predictions = (groups < 2).astype(int)
    references = np.zeros(1000, dtype=int)
    clips = Accuracy().compute(predictions=predictions, references=references)
    speakers = Accuracy().compute(predictions=predictions, references=references, groups=groups)
    assert speakers["accuracy"] == clips["accuracy"] == 0.8
    assert speakers["accuracy_high"] - speakers["accuracy_low"] > 5 * (clips["accuracy_high"] - clips["accuracy_low"])


def test_whole_groups_are_drawn():
    groups = ["b", "a", "b", "c"]
    for rows in resamples(4, 50, groups):
        assert np.count_nonzero(rows == 0) == np.count_nonzero(rows == 2)


def test_confusion_matrix_has_true_classes_as_rows():
    counts = confusion_matrix([0, 2, 2], [0, 1, 2], num_labels=4)
    assert counts.shape == (4, 4)
    assert (np.argwhere(counts) == [[0, 0], [1, 2], [2, 2]]).all()


@pytest.mark.parametrize("given", ["model", "folder"])
def test_evaluates_own_evaluator_takes_metrics_and_model(model, feature_extractor, tones, tmp_path, given):
    """`evaluate.evaluator("audio-classification")`, unpatched, with samples in a column.

    It makes the pipeline itself. Given one, evaluate 0.4.6 asks transformers for `TFPreTrainedModel`, which 5.x lacks.
    """
    model.config.id2label, model.config.label2id = {0: "high", 1: "low", 2: "else"}, {"high": 0, "low": 1, "else": 2}
    files = sorted(tones.glob("*/*.wav"))[::8]
    rows = {"audio": [load_audio(file) for file in files], "label": [int(file.parent.name == "low") for file in files]}
    data = Dataset.from_dict(rows).cast_column("label", ClassLabel(names=["high", "low"])).with_format("numpy")
    model.save_pretrained(tmp_path / "model")
    scores = evaluator("audio-classification").compute(
        model if given == "model" else str(tmp_path / "model"),
        feature_extractor=feature_extractor,
        data=data,
        metric=Accuracy(),
        input_column="audio",
        label_mapping={"high": 0, "low": 1, "else": 2},
    )
    assert 0 <= scores["accuracy_low"] <= scores["accuracy"] <= scores["accuracy_high"] <= 1
    assert scores["samples_per_second"] > 0


@given(st.integers(0, 1000), st.booleans())
def test_average_precision_of_draws_is_scikit_learns(seed, ties):
    """The sorting is done once; each draw must give what sorting it anew gives."""
    rng, metric = np.random.default_rng(seed), MeanAveragePrecision()
    scores = rng.normal(size=(30, 4)).round(0 if ties else 12)
    references = (rng.random((30, 4)) < [0.5, 0.2, 0.03, 0.0]).astype(float)
    draws = [rng.integers(0, 30, 30) for _ in range(5)]
    expected = [metric.score(scores[rows], references[rows]) for rows in draws]
    np.testing.assert_allclose(metric.draw_scores(scores, references, iter(draws)), expected)


def test_errors_count_by_their_squares():
    """Source: scikit-learn, on errors of either sign and other sizes than 1, and on numbers close to each other."""
    rng = np.random.default_rng(0)
    for scale in (0.1, 5.0):
        predictions, references = (scale * rng.standard_normal(9) for _ in range(2))
        arguments = {"predictions": predictions, "references": references, "n_resamples": 0}
        expected = sklearn_metrics.mean_squared_error(references, predictions)
        assert MeanSquaredError().compute(**arguments)["mean_squared_error"] == pytest.approx(expected, rel=1e-4)
        expected = sklearn_metrics.r2_score(references, predictions)
        assert R2().compute(**arguments)["r2"] == pytest.approx(expected, rel=1e-4)


def test_scores_that_are_not_defined_are_no_numbers():
    """The share of a variance that is 0, and the precision of classes that nobody has; not warnings either."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = {"predictions": [1.0, 2.0], "references": [3.0, 3.0], "n_resamples": 0}
        assert np.isnan(R2().compute(**constant)["r2"])
        nobody = {"predictions": [[0.5, 0.1]] * 2, "references": [[0, 0]] * 2, "n_resamples": 0}
        assert np.isnan(MeanAveragePrecision().compute(**nobody)["mean_average_precision"])


def test_a_class_that_is_never_right_has_an_f1_of_0():
    arguments = {"predictions": [0, 0, 2], "references": [0, 0, 1], "n_resamples": 0}
    assert MacroF1().compute(**arguments)["macro_f1"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("groups", [None, ["a", "b", "c", "a", "b", "c", "c", "b"]])
def test_the_interval_holds_the_middle_95_percent_of_the_draws(groups):
    predictions, references = np.array([0, 1, 1, 0, 1, 1, 0, 1]), np.array([0, 1, 0, 0, 1, 0, 1, 1])
    scores = Accuracy().compute(predictions=predictions, references=references, groups=groups)
    again = Accuracy().compute(predictions=predictions, references=references, groups=groups, n_resamples=1000, seed=0)
    assert scores == again
    draws = [np.mean(predictions[rows] == references[rows]) for rows in resamples(8, 1000, groups, seed=0)]
    assert (scores["accuracy_low"], scores["accuracy_high"]) == tuple(np.percentile(draws, [2.5, 97.5]))
    other = list(resamples(8, 1000, groups, seed=1))
    assert not all(map(np.array_equal, other, resamples(8, 1000, groups, seed=0)))
    assert set(np.concatenate(other)) == set(range(8))  # every clip is drawn
    assert len(list(resamples(8, 7, groups))) == 7


def test_metrics_describe_themselves_to_evaluate():
    for metric in (Accuracy(), MacroF1(), MeanAveragePrecision(), MeanSquaredError(), R2()):
        assert metric.description == metric._info().description != ""
        assert metric._info().inputs_description == type(metric).__doc__
        assert set(metric.features) == {"predictions", "references"}


def test_draws_and_seed_unless_set():
    """1000 resamples of seed 0; one is enough for an interval, and none gives none."""
    predictions, references = np.random.default_rng(0).normal(size=(2, 30))
    options = {"predictions": predictions, "references": references}
    default = MeanSquaredError().compute(**options)
    assert default == MeanSquaredError().compute(**options, n_resamples=1000, seed=0)
    assert default != MeanSquaredError().compute(**options, n_resamples=1000, seed=1)
    assert default != MeanSquaredError().compute(**options, n_resamples=1001, seed=0)
    one = MeanSquaredError().compute(**options, n_resamples=1)
    assert one["mean_squared_error_low"] == one["mean_squared_error_high"]
    assert set(MeanSquaredError().compute(**options, n_resamples=0)) == {"mean_squared_error"}


def test_soft_references_of_several_labels_count_from_above_one_half():
    """So that a half, as label smoothing between two classes leaves it, is no hit."""
    scores, references = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.7]]), np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    options = {"predictions": scores, "references": references}
    hard = {"predictions": scores, "references": (references > 0.5).astype(float)}
    for n_resamples in (0, 20):
        expected = MeanAveragePrecision().compute(**hard, n_resamples=n_resamples)
        assert MeanAveragePrecision().compute(**options, n_resamples=n_resamples) == expected


@pytest.mark.parametrize("metric", [Accuracy(), MacroF1(), UnweightedAverageRecall()])
def test_scores_instead_of_classes(metric):
    """`evaluate` would truncate them to integers."""
    with pytest.raises(TypeError, match=f"`predictions` are float64, but {metric.score_name} takes class indices"):
        metric.compute(predictions=[0.9, 1.7], references=[0, 1])


def test_an_interval_of_clips_that_are_all_right():
    """Wilson's for n of n ends at 1 and starts at n / (n + 1.96^2); resamples would all be 1."""
    classes = np.array([0, 1] * 5)
    for metric in (Accuracy, MacroF1, UnweightedAverageRecall):
        result = metric().compute(predictions=classes, references=classes, n_resamples=20)
        low, high = (result[f"{metric.score_name}_{end}"] for end in ("low", "high"))
        assert low == pytest.approx(10 / (10 + 1.959964**2)) and high == pytest.approx(1)
    wrong = Accuracy().compute(predictions=1 - classes, references=classes, n_resamples=20)
    assert wrong["accuracy_high"] == pytest.approx(1.959964**2 / (10 + 1.959964**2))
    pairs = Accuracy().compute(
        predictions=classes, references=classes, n_resamples=20, groups=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    )
    assert pairs["accuracy_low"] == pytest.approx(5 / (5 + 1.959964**2))
