import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_asm.training.cross_validation import divide_clips, is_cross_validated, score_folds
from modeling_asm.training.data.splits import FEW_CLIPS
from modeling_asm.training.run import divide


def clips_of(labels, speakers=None, several=False) -> Dataset:
    """Clips of different sizes, so that none is a copy."""
    feature = ClassLabel(names=["a", "b", "c"])
    features = Features({"audio": {"bytes": Value("binary")}, "label": List(feature) if several else feature})
    rows = {"audio": [{"bytes": b"x" * (number + 1)} for number in range(len(labels))], "label": labels}
    if speakers is not None:
        features["speaker"], rows["speaker"] = Value("string"), speakers
    return Dataset.from_dict(rows, features=features)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=30), st.integers(0, 5))
def test_each_clip_is_tested_once_by_what_knows_its_class(labels, seed):
    counts = np.bincount(labels, minlength=3)
    if counts.max() < 2:
        with pytest.raises(ValueError, match="No class has two clips, so that none could be tested"):
            divide_clips(clips_of(labels), None, seed)
        return
    folds = divide_clips(clips_of(labels), None, seed)
    tested = sorted(row for _, rows in folds for row in rows)
    assert tested == [row for row, label in enumerate(labels) if counts[label] > 1]
    for learned, rows in folds:
        assert sorted([*learned, *rows]) == list(range(len(labels)))
        assert {labels[row] for row in learned} == set(labels)


def test_five_clips_of_two_classes_are_learned_from_four_at_a_time():
    folds = divide_clips(clips_of([0, 1] * 5), None, 0)
    assert [(len(learned), len(tested)) for learned, tested in folds] == [(8, 2)] * 5


def test_a_speaker_is_never_divided():
    speakers = ["ann", "bob", "cem", "dan"] * 6
    clips = clips_of([0, 1, 0, 1] * 3 + [1, 0, 1, 0] * 3, speakers)
    for learned, tested in divide_clips(clips, "speaker", 0):
        assert not {speakers[row] for row in learned} & {speakers[row] for row in tested}
    with pytest.raises(ValueError, match="No class has two values of 'speaker'"):
        divide_clips(clips_of([0, 1], ["ann", "bob"]), "speaker", 0)


def test_the_only_speaker_of_a_class_is_not_tested(make_arguments):
    """Nobody else says it, so that nothing could be learned of it."""
    clips = clips_of([0, 0, 1, 1, 2, 2], ["ann", "bob", "ann", "bob", "cem", "cem"])
    args = make_arguments(model={"model_name_or_path": "general", "tune": "head"}, split={"group_column": "speaker"})
    splits, name = divide(args, DatasetDict(train=clips), None)
    assert (name, len(splits["train"]), sorted(splits["test"]["label"])) == ("cross-validation", 6, [0, 0, 1, 1])


def test_copies_are_never_divided():
    clips = clips_of([0, 0, 1, 1, 0, 1])
    twice = Dataset.from_dict({**clips[:], "audio": [clips[0]["audio"]] * 2 + clips["audio"][2:]}, clips.features)
    folds = divide_clips(twice, None, 0)
    assert all(len({0, 1} & set(tested.tolist())) in (0, 2) for _, tested in folds)


def test_several_labels():
    clips = clips_of([[0], [0, 1], [1], [], [0, 1], [0]], several=True)
    folds = divide_clips(clips, None, 0)
    assert sorted(row for _, tested in folds for row in tested) == list(range(6))


def test_logits_are_those_of_a_classifier_that_has_not_seen_the_clip():
    """A classifier that remembers the mean of what it was fitted to."""
    embeddings = np.arange(6.0)[:, None]
    folds = [(np.array([0, 1, 2, 5]), np.array([3, 4])), (np.array([3, 4, 5]), np.array([0, 1]))]

    def fit(classifier, rows):
        with torch.no_grad():
            classifier.weight.fill_(0)
            classifier.bias.fill_(embeddings[rows].mean())

    logits = score_folds(embeddings, folds, 1, fit)[:, 0]
    assert logits.tolist() == pytest.approx([4, 4, np.nan, 2, 2, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("arguments", "splits", "expected"),
    [
        ({}, ("train",), True),
        ({}, ("train", "test"), False),
        ({"split": {"test_fraction": 0.2}}, ("train",), False),
        ({"split": {"hold_out": "label=1"}}, ("train",), False),
    ],
)
def test_only_clips_of_which_none_were_set_aside(make_arguments, arguments, splits, expected):
    clips = clips_of([0, 1] * 5)
    args, dataset = make_arguments(**arguments), DatasetDict(dict.fromkeys(splits, clips))
    assert is_cross_validated(args, dataset, None, "head") is expected
    assert not is_cross_validated(args, dataset, None, "all")
    assert not is_cross_validated(args, dataset, clips, "head")


def test_many_clips_can_spare_some(make_arguments):
    for number, expected in ((FEW_CLIPS, True), (FEW_CLIPS + 1, False)):
        dataset = DatasetDict(train=clips_of([0] * number))
        assert is_cross_validated(make_arguments(), dataset, None, "head") is expected
