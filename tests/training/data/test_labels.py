import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDatasetDict, List, Value

from modeling_asm.training.data.labels import (
    align_labels,
    balancing_probabilities,
    count_classes,
    encode_alike,
    encode_labels,
)
from modeling_asm.training.tasks import TASKS, label_names, task_of


SINGLE, MULTI, REGRESSION = TASKS


def clips_of(labels) -> Dataset:
    return Dataset.from_dict({"audio": [str(row) for row in range(len(labels))], "label": labels})


def encode(*splits, feature=None, **arguments):
    """Encode splits of labels."""
    dataset = DatasetDict({f"split {number}": clips_of(labels) for number, labels in enumerate(splits)})
    if feature is not None:
        dataset = dataset.cast_column("label", feature)
    return encode_labels(dataset, "tones", **arguments)


def test_text_becomes_classes_of_all_splits():
    dataset = encode(["dog", "cat"], ["bird"])
    assert label_names(dataset["split 0"].features) == ["bird", "cat", "dog"]
    assert [dataset["split 0"]["label"][:], dataset["split 1"]["label"][:]] == [[2, 1], [0]]
    assert task_of(dataset["split 0"].features).problem_type == SINGLE


def test_whole_numbers_are_names_of_classes():
    assert label_names(encode([3, 1, 3])["split 0"].features) == ["1", "3"]


def test_class_labels_keep_their_order():
    dataset = encode([1, 0], feature=ClassLabel(names=["yes", "no"]))
    assert label_names(dataset["split 0"].features) == ["yes", "no"]
    assert dataset["split 0"]["label"][:] == [1, 0]


def test_fractions_are_a_regression():
    dataset = encode([0.5, 2.25])
    assert task_of(dataset["split 0"].features).problem_type == REGRESSION
    assert dataset["split 0"]["label"][:] == [0.5, 2.25]
    assert label_names(dataset["split 0"].features) == ["value"]


def test_a_regression_of_text():
    assert encode(["1.5", "2"], problem_type=REGRESSION)["split 0"]["label"][:] == [1.5, 2.0]
    with pytest.raises(ValueError, match="A regression needs numbers, but the labels of 'tones' are not"):
        encode(["loud", "2"], problem_type=REGRESSION)


def test_lists_are_several_labels():
    dataset = encode([["dog", "cat"], [], ["dog"]])
    assert dataset["split 0"]["label"][:] == [[0, 1], [], [1]]
    assert task_of(dataset["split 0"].features).problem_type == MULTI
    assert label_names(dataset["split 0"].features) == ["cat", "dog"]


def test_joined_labels():
    dataset = encode(["dog; cat", "", "dog"], separator=";")
    assert dataset["split 0"]["label"][:] == [[0, 1], [], [1]]
    with pytest.raises(ValueError, match="Use --label_separator"):
        encode(["dog; cat"], problem_type=MULTI)


def test_chosen_classes_and_the_rest():
    chosen = encode(["dog", "cat", "bird"], labels=["cat", "dog"])
    assert chosen["split 0"]["label"][:] == [1, 0]
    rest = encode(["dog", "cat", "bird"], labels=["cat", "other"], other_label="other")
    assert rest["split 0"]["label"][:] == [1, 0, 1]
    several = encode([["dog", "bird"], ["cat"]], labels=["cat", "dog"])
    assert several["split 0"]["label"][:] == [[1], [0]]
    with pytest.raises(ValueError, match=r"--other_label 'rest' must be one of --labels\. They are: cat, dog"):
        encode(["dog", "cat"], labels=["cat", "dog"], other_label="rest")


def test_too_few_classes():
    with pytest.raises(ValueError, match=r"'tones' has the labels: dog\. A classifier needs at least two"):
        encode(["dog", "dog"])


def test_a_stream_gives_the_same():
    columns = {"audio": ["1.wav", "2.wav", "3.wav"], "label": ["dog", "cat", "bird"]}
    dataset = DatasetDict(train=Dataset.from_dict(columns))
    streamed = IterableDatasetDict({name: split.to_iterable_dataset() for name, split in dataset.items()})
    with pytest.raises(ValueError, match="List them with --labels"):
        encode_labels(streamed, "tones")
    for labels, other in ((["cat", "dog"], None), (["cat", "other"], "other")):
        whole = encode_labels(dataset, "tones", labels=labels, other_label=other)["train"]
        rows = list(encode_labels(streamed, "tones", labels=labels, other_label=other)["train"])
        assert [row["label"] for row in rows] == whole["label"][:]


def test_another_models_classes():
    dataset = encode(["dog", "cat"])["split 0"]
    aligned = align_labels(dataset, {0: "dog", 1: "bird", 2: "cat"}, "my-model")
    assert aligned["label"][:] == [0, 2]
    assert label_names(aligned.features) == ["dog", "bird", "cat"]
    with pytest.raises(ValueError, match=r"'cat', but the checkpoint 'my-model' does not. It has: dog, cow"):
        align_labels(dataset, {0: "dog", 1: "cow"}, "my-model")


def test_features_without_classes_are_numbers():
    assert task_of({"label": Value("float32")}).problem_type == REGRESSION
    assert task_of({"label": List(ClassLabel(names=["a", "b"]))}).problem_type == MULTI


@pytest.mark.parametrize(
    ("labels", "feature"),
    [([0, 1, -1], ClassLabel(names=["no", "yes"])), (["no", "yes", None], None), ([0.5, 1.0, None], None)],
)
def test_a_clip_without_a_label(labels, feature):
    with pytest.raises(ValueError, match=r"'split 1' of 'tones' has no label in row 2: (-1|None)\. Add it"):
        encode(labels[:2], labels, feature=feature)


def test_fractions_in_a_csv_file_are_numbers():
    dataset = encode(["0.5", "1", "2.25"])
    assert task_of(dataset["split 0"].features).problem_type == REGRESSION
    assert dataset["split 0"]["label"][:] == [0.5, 1.0, 2.25]
    assert task_of(encode(["1", "2"])["split 0"].features).problem_type == SINGLE
    assert task_of(encode(["0.5", "1"], labels=["0.5", "1"])["split 0"].features).problem_type == SINGLE
    assert task_of(encode(["0.5", "1"], problem_type=SINGLE)["split 0"].features).problem_type == SINGLE


@pytest.mark.parametrize("feature", [None, ClassLabel(names=["cat", "dog"])])
def test_a_chosen_class_that_nobody_has(feature):
    labels = ["cat", "dog"] if feature is None else [0, 1]
    with pytest.raises(ValueError, match=r"No clip of 'tones' has the label 'dgo'. They have: cat, dog"):
        encode(labels, feature=feature, labels=["cat", "dgo"])


NAMES = ClassLabel(names=["cat", "dog", "wolf"])


def labelled(labels: list, feature) -> Dataset:
    return Dataset.from_dict({"label": labels}, features=Features({"label": feature}))


def test_one_label_a_clip():
    dataset = labelled([0] * 20 + [1] * 2, ClassLabel(names=["cat", "dog"]))
    assert count_classes(dataset).tolist() == [20, 2]
    assert balancing_probabilities(dataset) == pytest.approx([1 / 40] * 20 + [1 / 4] * 2)


def test_several_labels_a_clip():
    """A clip is drawn for its rarest label."""
    dataset = labelled([[0], [0, 1], [0], [], [0]], List(NAMES))
    assert count_classes(dataset).tolist() == [4, 1, 0]
    assert balancing_probabilities(dataset) == pytest.approx([1 / 7, 4 / 7, 1 / 7, 0, 1 / 7])


@pytest.mark.parametrize("balance", [balancing_probabilities, count_classes])
def test_numbers_have_no_classes(balance):
    with pytest.raises(ValueError, match="needs classes, and a regression has none"):
        balance(labelled([0.5, 1.5], Value("float32")))


def test_several_labels_are_renumbered_and_stay_several():
    dataset = encode([["dog"], ["cat", "dog"], []])["split 0"]
    aligned = align_labels(dataset, {1: "bird", 0: "dog", 2: "cat"}, "my-model")
    assert aligned["label"][:] == [[0], [2, 0], []]
    assert task_of(aligned.features).problem_type == MULTI
    assert label_names(aligned.features) == ["dog", "bird", "cat"]


def test_additional_clips_are_encoded_as_the_data():
    single, several = encode(["dog", "cat"])["split 0"].features, encode([["dog"], ["cat"]])["split 0"].features
    assert encode_alike(clips_of(["dog", "dog", "cat"]), single, "more")["label"][:] == [1, 1, 0]
    assert encode_alike(clips_of(["dog;cat", "cat", ""]), several, "more", ";")["label"][:] == [[0, 1], [0], []]
    numbers = encode_alike(clips_of(["0.5", "2"]), encode([0.5])["split 0"].features, "more")
    assert numbers["label"][:] == [0.5, 2.0]


@pytest.mark.parametrize(
    ("features", "labels", "separator", "message"),
    [
        (["dog", "cat"], ["dog", "cow"], None, r"'more' has the label 'cow', .* It has: cat, dog\. Remove the clips"),
        (["dog", "cat"], ["dog", "dog;cat"], ";", "'more' has a clip with the labels dog;cat, expected one. Remove it"),
        (["dog", "cat"], ["dog", None], None, "'all' of 'more' has no label in row 1: None. Add it"),
        ([0.5, 1.5], ["1", "dog"], None, "A regression needs numbers, but the labels of 'more' are not"),
    ],
    ids=["unknown", "several", "none", "text"],
)
def test_additional_clips_that_do_not_fit(features, labels, separator, message):
    with pytest.raises(ValueError, match=message):
        encode_alike(clips_of(labels), encode(features)["split 0"].features, "more", separator)


def test_balance_is_by_the_rarest_label():
    dataset = encode([["dog"], ["dog", "cat"], ["dog"], []])["split 0"]
    assert balancing_probabilities(dataset).tolist() == pytest.approx([0.2, 0.6, 0.2, 0])


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        ([0.5, 1.5], {"labels": ["0.5", "1.5"], "problem_type": REGRESSION}, "--labels and --other_label choose class"),
        ([0.5, 1.5], {"other_label": "x", "problem_type": REGRESSION}, "and a regression has none. Leave them out"),
        (["dog", "cat"], {"other_label": "dog"}, "--other_label is one of --labels, which lists .* Set both"),
        (["1.5", "nan"], {}, "The split 'split 0' of 'tones' has the label nan in row 1, expected a number"),
        ([1.5, float("inf")], {}, "has the label inf in row 1, expected a number. Correct it, or remove the clip"),
    ],
)
def test_options_and_values_of_labels_that_make_no_sense(labels, arguments, message):
    with pytest.raises(ValueError, match=message):
        encode(labels, **arguments)


def test_space_around_labels(caplog):
    splits = DatasetDict(train=Dataset.from_dict({"label": [" dog", "cat ", "dog"], "number": [0, 1, 2]}))
    encoded = encode_labels(splits, "pets")
    assert label_names(encoded["train"].features) == ["cat", "dog"]
    assert encoded["train"]["label"][:] == [1, 0, 1]
    assert "Labels of 'pets' are read without the space around them: ' dog', 'cat '." in caplog.text
    caplog.clear()
    named = splits["train"].cast_column("label", ClassLabel(names=[" dog", "cat ", "dog"]))
    assert encode_labels(DatasetDict(train=named), "pets")["train"]["label"][:] == [0, 1, 0]
    assert "' dog', 'cat '" in caplog.text
