"""Heads against scikit-learn's own pipeline, and what cannot be fitted."""

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from modeling_asm.training.linear_heads import DEFAULT_STRENGTH, STRENGTHS, fit_linear_head, grouped_folds


SINGLE, MULTI = "single_label_classification", "multi_label_classification"


def blobs(classes: int, clips: int, size: int = 6, spread: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian clouds around random centres, with scales from 1 to 1000 and an offset."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), clips)
    rows = 3 * rng.standard_normal((classes, size))[labels] + spread * rng.standard_normal((len(labels), size))
    return rows * np.logspace(0, 3, size) + 100, labels


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_classes_as_scikit_learns_pipeline(classes):
    rows, labels = blobs(classes, 12)
    classifier = nn.Linear(6, classes).double()
    strength = fit_linear_head(classifier, rows, labels, SINGLE)
    assert strength in STRENGTHS
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300)).fit(rows, labels)
    scores = classifier(torch.from_numpy(rows)).softmax(1).detach().numpy()
    np.testing.assert_allclose(scores, pipeline.predict_proba(rows), atol=1e-6)


def test_one_clip_of_each_class():
    rows, labels = blobs(4, 1, spread=0.1)
    classifier = nn.Linear(6, 4)
    fit_linear_head(classifier, rows, labels, SINGLE)
    others, _ = blobs(4, 1, spread=0.1)
    assert classifier(torch.from_numpy(others).float()).argmax(1).tolist() == labels.tolist()


def test_labels_are_independent_and_rare_ones_have_their_share():
    rows, classes = blobs(2, 40)
    targets = np.stack([classes, 1 - classes, np.zeros(80), np.ones(80), np.eye(80)[0]], axis=1).astype(int)
    classifier = nn.Linear(6, 5).double()
    fit_linear_head(classifier, rows, targets, MULTI)
    scores = classifier(torch.from_numpy(rows)).sigmoid().detach().numpy()
    assert ((scores[:, :2] > 0.5) == targets[:, :2]).all()
    assert scores[:, 2].max() < 0.01
    assert scores[:, 3].min() > 0.99
    assert scores[:, 4].max() < 0.5


def test_numbers():
    rows, _ = blobs(3, 20)
    numbers = rows @ np.array([1.0, 0.1, 0.01, 0, 0, 0]) + 5
    regressor = nn.Linear(6, 1).double()
    strength = fit_linear_head(regressor, rows, numbers, "regression")
    expected = make_pipeline(StandardScaler(), Ridge(alpha=1 / strength)).fit(rows, numbers).predict(rows)
    np.testing.assert_allclose(regressor(torch.from_numpy(rows))[:, 0].detach(), expected, rtol=1e-6)


def test_a_number_that_never_changes_gets_no_weight():
    rows, labels = blobs(3, 10)
    rows[:, 2] = 7.0
    classifier = nn.Linear(6, 3).double()
    fit_linear_head(classifier, rows, labels, SINGLE)
    assert (classifier.weight[:, 2] == 0).all()
    assert torch.isfinite(classifier.bias).all()


@pytest.mark.parametrize(
    ("rows", "labels", "classes", "message"),
    [
        (
            np.ones((1, 6)),
            np.array([0]),
            2,
            "At least two training clips are needed, better two of each class. Add some.",
        ),
        (np.random.default_rng(0).random((4, 6)), np.zeros(4, int), 1, "All training clips are of one class"),
        (
            np.random.default_rng(0).random((4, 6)),
            np.array([0, 0, 2, 2]),
            3,
            r"1 of 3 classes have no training clip, such as 1\. Add",
        ),
        (np.ones((4, 6)), np.array([0, 0, 1, 1]), 2, "All training clips sound the same to the encoder"),
    ],
    ids=["one clip", "one class", "a class without clips", "equal clips"],
)
def test_what_cannot_be_fitted(rows, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        fit_linear_head(nn.Linear(6, classes), rows, labels, SINGLE)


def test_classes_count_alike_if_they_are_balanced():
    rows, labels = blobs(2, 60, spread=6.0)
    kept = np.r_[0:60, 60:66]  # ten times as many of the first
    counts = []
    for balanced in (False, True):
        classifier = nn.Linear(6, 2).double()
        fit_linear_head(classifier, rows[kept], labels[kept], SINGLE, balanced)
        counts.append(int((classifier(torch.from_numpy(rows)).argmax(1) == 1).sum()))
    assert counts[1] > counts[0] + 10


def test_a_strength_that_is_given_is_not_chosen():
    rows, labels = blobs(3, 12)
    assert fit_linear_head(nn.Linear(6, 3), rows, labels, SINGLE, strengths=(0.5,)) == 0.5


def test_cross_validation_keeps_groups_together():
    """Each clip of a group is the same up to noise: only whole groups show that hardly anything generalises."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 8)
    rows = rng.standard_normal((30, 40))[groups] + 0.01 * rng.standard_normal((240, 40))
    labels = rng.integers(0, 2, 30)[groups]
    strengths = {
        known: fit_linear_head(nn.Linear(40, 2), rows, labels, SINGLE, groups=groups.tolist() if known else None)
        for known in (False, True)
    }
    assert strengths == {False: max(STRENGTHS), True: min(STRENGTHS)}


def test_one_group_leaves_nothing_to_choose_with():
    rows, labels = blobs(3, 6)
    assert fit_linear_head(nn.Linear(6, 3), rows, labels, SINGLE, groups=["ann"] * 18) == DEFAULT_STRENGTH


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=2, max_size=40), st.integers(0, 5))
def test_grouped_folds(rows, seed):
    """They keep groups together; of one clip each, those of a class are spread: two folds differ by one at most."""
    labels, groups = map(list, zip(*rows, strict=True))
    number = min(3, len(set(groups)), max(np.bincount(labels)))
    assume(number > 1)
    folds = grouped_folds(labels, groups, number, True, seed)
    assert sorted(row for _, tested in folds for row in tested) == list(range(len(rows)))
    assert all(not {groups[row] for row in learned} & {groups[row] for row in tested} for learned, tested in folds)
    alone = grouped_folds(labels, range(len(rows)), number, True, seed)
    for label in set(labels):
        counts = [sum(labels[row] == label for row in tested) for _, tested in alone]
        assert max(counts) - min(counts) <= 1


@pytest.mark.skipif(Version(sklearn.__version__) < Version("1.8"), reason="its groups are mixed up")
@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("stratified", [False, True])
def test_grouped_folds_are_scikit_learns(stratified):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 20, 60)
    labels = (groups + rng.integers(0, 2, 60)) % 3
    kind = StratifiedGroupKFold if stratified else GroupKFold
    expected = list(kind(5, shuffle=True, random_state=7).split(labels, labels, groups))
    folds = grouped_folds(labels, [f"speaker {number:02}" for number in groups], 5, stratified, 7)
    assert [(*map(list, fold),) for fold in folds] == [(*map(list, fold),) for fold in expected]
