import math
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, List
from hypothesis import given
from hypothesis import strategies as st

from modeling_asm.training.data.splits import (
    SplitArguments,
    check_classes,
    choose_splits,
    choose_test,
    column_as_text,
    describe_further,
    describe_groups,
    describe_use,
    fold_names,
    hold_out,
    occurring,
    split_groups,
)


def split(speakers, labels=None, folds=None):
    columns = {
        "audio": [{"path": f"{index}.wav", "bytes": None} for index in range(len(speakers))],
        "speaker": speakers,
    }
    columns["label"] = labels or [index % 2 for index in range(len(speakers))]
    columns["fold"] = folds or [index % 3 + 1 for index in range(len(speakers))]
    return Dataset.from_dict(columns).cast_column("label", ClassLabel(names=["no", "yes"]))


@pytest.fixture
def dataset():
    return DatasetDict(
        train=split(["ann", "ann", "bob", "bob", "", "eve", "eve", "fay"]), test=split(["zoe", "zoe"], folds=[10, 2])
    )


def test_hold_out_pools_the_splits(dataset):
    train, test = hold_out(dataset, "speaker", ["bob", "zoe"])
    assert set(test["speaker"]) == {"bob", "zoe"}
    assert set(train["speaker"]) == {"ann", "eve", "fay", ""}
    assert len(train) + len(test) == 10
    with pytest.raises(ValueError, match=r"Column 'speaker' does not contain tim\. It has: ann"):
        hold_out(dataset, "speaker", ["tim"])
    with pytest.raises(ValueError, match="nothing is left to train on"):
        hold_out(dataset, "label", ["0", "1"])
    with pytest.raises(ValueError, match=r"no column 'kit'.*speaker"):
        hold_out(dataset, "kit", ["tim"])


def test_folds_are_numbers_where_they_look_so(dataset):
    assert fold_names(dataset, "fold") == ["1", "2", "3", "10"]
    train, test = hold_out(dataset, "fold", ["10"])
    assert (len(train), len(test)) == (9, 1)
    with pytest.raises(ValueError, match=r"Column 'speaker' has 1 values \['zoe'\], expected at least two folds"):
        fold_names(DatasetDict(test=dataset["test"]), "speaker")


@pytest.mark.parametrize("fraction", [0.1, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_together(dataset, fraction, seed):
    rest, part = split_groups(dataset["train"], fraction, "speaker", seed)
    assert len(rest) + len(part) == 8
    assert len(part) > 0 < len(rest)
    assert not (set(rest["speaker"]) & set(part["speaker"])) - {""}
    again, _ = split_groups(dataset["train"], fraction, "speaker", seed)
    assert again["audio"][:] == rest["audio"][:]


def test_one_group_cannot_be_split(dataset):
    with pytest.raises(ValueError, match="50% of 2 clips in 1 groups leaves nothing of some class"):
        split_groups(dataset["test"], 0.5, "speaker", 0)


@pytest.mark.parametrize(
    ("arguments", "sizes", "name"),
    [
        ({}, {"test": 2, "dev": 1, "train": 7}, "test"),
        ({"dev_fraction": 0}, {"test": 2, "train": 8}, "test"),
        ({"hold_out": "speaker=ann, eve", "dev_fraction": 0}, {"test": 4, "train": 6}, "rows with speaker ann or eve"),
        ({"test_split": "test", "dev_fraction": 0.25}, {"test": 2, "dev": 2, "train": 6}, "test"),
    ],
)
def test_splits(dataset, arguments, sizes, name):
    splits, test_name = choose_splits(dataset, SplitArguments(**arguments), seed=1)
    assert {split: len(rows) for split, rows in splits.items()} == sizes
    assert test_name == name


def test_a_part_of_train_where_there_is_no_test(dataset):
    splits, name = choose_splits(DatasetDict(train=dataset["train"]), SplitArguments(test_fraction=0.25), seed=0)
    assert {split: len(rows) for split, rows in splits.items()} == {"test": 2, "dev": 1, "train": 5}
    assert name == "25% of train"


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ({}, {"test": 2, "dev": 1, "train": 10}),
        ({"hold_out": "speaker=ann,eve", "group_column": "speaker"}, {"test": 4, "dev": 2, "train": 7}),
    ],
)
def test_further_clips_are_all_trained_on(dataset, arguments, sizes):
    further = split(["kim", "joe", ""])
    args = SplitArguments(**arguments, train_also=["more/voices"])
    splits, _ = choose_splits(dataset, args, seed=1, further=further)
    assert {name: len(rows) for name, rows in splits.items()} == sizes
    assert splits["train"]["speaker"][-3:] == ["kim", "joe", ""]
    assert describe_further(further, args) == {"train_also": {"names": ["voices"], "clips": 3}}
    assert describe_further(None, SplitArguments()) == {}


@pytest.mark.parametrize("arguments", [{"hold_out": "speaker=ann"}, {"group_column": "speaker", "test_split": "test"}])
def test_no_further_clip_of_a_group_that_is_reported(dataset, arguments):
    further = split(["kim", "ann", "zoe"])
    with pytest.raises(
        ValueError, match=r"speaker '(ann|zoe)' has clips in both test and train_also.*Remove these clips from"
    ):
        choose_splits(dataset, SplitArguments(**arguments), seed=0, further=further)
    further = further.remove_columns("speaker")  # of these nothing is known
    choose_splits(dataset, SplitArguments(**arguments), seed=0, further=further)


def test_no_further_clip_is_a_reported_one(dataset, tmp_path):
    for name, sound in (("0.wav", b"a"), ("1.wav", b"b"), ("other.wav", b"b")):
        (tmp_path / name).write_bytes(sound)

    def clips(*names):
        audio = [{"path": str(tmp_path / name), "bytes": None} for name in names]
        return split(["kim"] * len(names)).remove_columns("audio").add_column("audio", audio)

    splits = DatasetDict(train=clips("0.wav", "0.wav"), test=clips("1.wav"))
    choose_splits(splits, SplitArguments(dev_fraction=0), 0, clips("0.wav"))
    with pytest.raises(
        ValueError, match=r"1 recordings are in two splits.*other\.wav' of --train_also and '.*1\.wav' of test"
    ):
        choose_splits(splits, SplitArguments(dev_fraction=0), 0, clips("0.wav", "other.wav"))


def test_a_validation_split_chooses_the_epoch(dataset):
    dataset["validation"] = split(["kim"] * 4)
    splits, _ = choose_splits(dataset, SplitArguments(), seed=0)
    assert {split: len(rows) for split, rows in splits.items()} == {"test": 2, "dev": 4, "train": 8}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test_split": "train"}, "clips that the model trains on"),
        ({"test_split": "validation"}, "There is no split 'validation'. The data has: train, test"),
        ({"train_split": "balanced"}, "There is no split 'balanced'"),
        ({"hold_out": "speaker"}, "--hold_out is 'speaker', expected COLUMN=VALUE"),
    ],
)
def test_refusals(dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_splits(dataset, SplitArguments(**arguments), seed=0)


def test_impossible_shares():
    with pytest.raises(ValueError, match=r"--test_fraction is 1\.5"):
        SplitArguments(test_fraction=1.5)


def test_a_fold_with_a_class_missing():
    splits = DatasetDict(train=split(["ann"] * 3, [0, 0, 0]), test=split(["bob"] * 2, [0, 1]))
    with pytest.raises(ValueError, match=r"Class 'yes' is in the test split \(fold 3\), but train has no clip of it"):
        check_classes(splits, "fold 3")


def test_a_group_on_two_sides(dataset):
    dataset["test"] = split(["zoe", "bob", ""])
    choose_splits(dataset, SplitArguments(), seed=0)
    with pytest.raises(ValueError, match=r"speaker 'bob' has clips in both test and train.*--hold_out speaker="):
        choose_splits(dataset, SplitArguments(group_column="speaker", dev_fraction=0), seed=0)


def test_groups_that_are_not_in_train(dataset):
    """Clips without a speaker are of no group."""
    clips = split(["zoe", "zoe", "tim", ""])
    described = describe_groups(clips, SplitArguments(group_column="speaker"))
    assert described == {"apart": {"column": "speaker", "groups": 2}}
    described = describe_groups(clips, SplitArguments(hold_out="fold=1,3"))
    assert described["apart"]["column"] == "fold"
    assert describe_groups(clips, SplitArguments()) == {}


@pytest.mark.parametrize("seed", range(5))
def test_no_speaker_is_on_two_sides_of_any_split(seed):
    """Neither of train and test nor of train and the clips that choose the epoch."""
    speakers = [name for name in "abcdefghij" for _ in range(4)]
    data = DatasetDict(train=split(speakers))
    args = SplitArguments(group_column="speaker", dev_fraction=0.2, test_fraction=0.2)
    splits, _ = choose_splits(data, args, seed)
    sides = [set(splits[name]["speaker"]) for name in ("train", "dev", "test")]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 10
    assert sum(len(part) for part in splits.values()) == 40


@pytest.mark.parametrize("arguments", [{"test_fraction": 0.0}, {"test_fraction": 1.0}, {"dev_fraction": 1.0}])
def test_fractions_at_their_limits(arguments):
    with pytest.raises(ValueError, match="the first must be above 0, the second at least 0, and both below 1"):
        SplitArguments(**arguments)


def test_without_dev_clips_a_validation_split_is_not_used(dataset):
    dataset["validation"] = dataset["test"]
    splits, _ = choose_splits(dataset, SplitArguments(dev_fraction=0.0), 0)
    assert set(splits) == {"train", "test"}


def test_a_validation_split_is_reported_where_there_is_no_test(dataset):
    data = DatasetDict(train=dataset["train"], validation=dataset["test"])
    splits, name = choose_splits(data, SplitArguments(), 0)
    assert (name, set(splits["test"]["speaker"])) == ("validation", {"zoe"})


def test_values_may_hold_an_equals_sign():
    data = DatasetDict(train=split(["a=1", "b", "b", "b"]))
    _, test, name = choose_test(data, SplitArguments(hold_out="speaker=a=1"))
    assert (test["speaker"], name) == (["a=1"], "rows with speaker a=1")


def test_folds_of_names_and_numbers():
    data = DatasetDict(train=split(["10", "b", "9", "a", "", "None"]))
    assert fold_names(data, "speaker") == ["9", "10", "a", "b"]
    assert fold_names(DatasetDict(train=split(["2", "1"])), "speaker") == ["1", "2"]


def test_clips_without_a_group_are_groups_of_their_own():
    data = split([None, None, None, None, "ann", "ann"])
    assert column_as_text(data, "speaker") == ["", "", "", "", "ann", "ann"]
    rest, part = split_groups(data, 0.34, "speaker", 1)
    assert len(part) == 2 and len(rest) == 4


@pytest.mark.parametrize("seed", range(6))
def test_the_seed_chooses_the_part(seed):
    data = split([str(index) for index in range(40)])
    parts = [set(split_groups(data, 0.25, "speaker", number)[1]["speaker"]) for number in (seed, seed, seed + 1)]
    assert parts[0] == parts[1] != parts[2]
    assert len(parts[0]) == 10


def test_a_class_of_the_dev_split_is_missing_in_train():
    few = DatasetDict(train=split(["a"] * 3, [0, 0, 0]), test=split(["b"], [0]), dev=split(["c"], [1]))
    with pytest.raises(ValueError, match=r"Class 'yes' is in the dev split \(clips that choose the best epoch\), but"):
        check_classes(few, "test")


def test_a_regression_has_no_classes_to_miss():
    numbers = [Dataset.from_dict({"label": values}) for values in ([0.5, 1.5], [7.5])]
    check_classes(DatasetDict(train=numbers[0], test=numbers[1]), "test")


def test_several_labels_of_a_clip_all_occur():
    labels = Dataset.from_dict({"label": [[0, 1], []]}).cast_column("label", List(ClassLabel(names=["a", "b"])))
    assert occurring(labels) == {0, 1}


def test_fractions_without_effect(dataset):
    """Which the data decides: it has a test split, and perhaps one that chooses the epoch."""
    with pytest.raises(ValueError, match="--test_fraction would have no effect: test is reported"):
        choose_splits(dataset, SplitArguments(test_fraction=0.3), 0)
    dataset["validation"] = dataset["test"]
    with pytest.raises(ValueError, match="--dev_fraction would have no effect: the split 'validation' chooses"):
        choose_splits(dataset, SplitArguments(dev_fraction=0.3), 0)
    assert set(choose_splits(dataset, SplitArguments(dev_fraction=0), 0)[0]) == {"train", "test"}


def of_classes(sizes, folder=None) -> Dataset:
    """Clips of classes with these numbers of clips; with files in a folder, no two of which are alike."""
    labels = [index for index, size in enumerate(sizes) for _ in range(size)]
    paths = [f"{index}.wav" for index in range(len(labels))]
    if folder is not None:
        paths = [str(folder / path) for path in paths]
        for index, path in enumerate(paths):
            Path(path).write_bytes(b"%05d" % index)
    columns = {"audio": [{"path": path, "bytes": None} for path in paths], "label": labels}
    return Dataset.from_dict(columns).cast_column("label", ClassLabel(names=[f"c{i}" for i in range(len(sizes))]))


@pytest.mark.parametrize("seed", range(20))
def test_fifty_classes_of_three_clips(seed):
    splits, _ = choose_splits(DatasetDict(train=of_classes([3] * 50)), SplitArguments(), seed)
    assert {name: len(part) for name, part in splits.items()} == {"test": 30, "dev": 12, "train": 108}
    assert occurring(splits["train"]) == set(range(50))


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=12).filter(lambda sizes: max(sizes) > 1),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 5),
)
def test_a_part_has_its_share_of_each_class(sizes, fraction, seed):
    """Up to one clip; every class keeps one."""
    rest, part = split_groups(of_classes(sizes), fraction, None, seed)
    taken, kept = ([split["label"][:].count(index) for index in range(len(sizes))] for split in (part, rest))
    assert min(kept) >= 1
    assert len(part) == pytest.approx(max(fraction * sum(sizes), 1), abs=len(sizes) / 2 + 1)
    for size, number in zip(sizes, taken):
        assert math.floor(fraction * size) - 1 <= number <= max(math.ceil(fraction * size), 1)


def test_a_class_with_one_clip_stays_in_train():
    dataset = DatasetDict(train=of_classes([10, 1, 10, 1]))
    for seed in range(10):
        splits, name = choose_splits(dataset, SplitArguments(), seed)
        assert {1, 3} <= occurring(splits["train"])
        said = describe_use(dataset, splits, name, SplitArguments())
        assert said.endswith("Classes with a single clip, which is trained on and never reported: c1, c3.")


def test_what_each_split_is_used_for(dataset):
    dataset["validation"], dataset["extra"] = split(["kim"] * 4), split(["lou"] * 3)
    args = SplitArguments()
    splits, name = choose_splits(dataset, args, 0)
    assert describe_use(dataset, splits, name, args) == (
        "8 clips to train on, 4 that choose the best epoch (validation), 2 that are reported (test). "
        "Neither trained on nor reported: extra (3 clips)."
    )
    del dataset["test"], dataset["extra"]
    splits, name = choose_splits(dataset, args, 0)
    assert describe_use(dataset, splits, name, args) == (
        "7 clips to train on, 1 that choose the best epoch (10% of the rest), 4 that are reported (validation)."
    )


def test_copies_within_a_split_are_told(tmp_path):
    clips = of_classes([6, 6], tmp_path)
    (tmp_path / "1.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    splits, name = choose_splits(DatasetDict(train=clips), SplitArguments(), 0)
    assert "Files that are copies of others: 1." in describe_use(
        DatasetDict(train=clips), splits, name, SplitArguments()
    )


def test_empty_files_are_no_copies(tmp_path):
    clips = of_classes([4, 4], tmp_path)
    for name in ("0", "3"):
        (tmp_path / f"{name}.wav").write_bytes(b"")
    splits = DatasetDict(train=clips.select(range(1, 7)), test=clips.select([0, 7]))
    choose_splits(splits, SplitArguments(dev_fraction=0), 0)


def test_a_split_by_its_other_name(dataset):
    dataset["validation"] = split(["kim"] * 4)
    _, test, name = choose_test(dataset, SplitArguments(test_split="dev"))
    assert (len(test), name) == (4, "validation")
    with pytest.raises(ValueError, match="--test_split training would report the clips that the model trains on"):
        choose_test(dataset, SplitArguments(test_split="training"))


def test_folders_that_are_no_splits(dataset):
    with pytest.raises(
        ValueError, match=r"no split 'train'\. The data has: ann, bob\. .* --folder_columns speaker label"
    ):
        choose_splits(DatasetDict(ann=dataset["train"], bob=dataset["test"]), SplitArguments(), 0)


@pytest.mark.parametrize("kind", ["listed-twice", "copy", "bytes"])
def test_the_same_recording_on_both_sides(tmp_path, kind):
    clips = of_classes([4, 4], tmp_path)
    train, test = clips.select(range(1, 7)), clips.select([0, 7])
    if kind == "copy":
        (tmp_path / "0.wav").write_bytes((tmp_path / "3.wav").read_bytes())
    elif kind == "listed-twice":
        test = clips.select([3, 7])
    else:
        rows = [{"path": None, "bytes": (tmp_path / name).read_bytes()} for name in ("3.wav", "7.wav")]
        test = test.remove_columns("audio").add_column("audio", rows)
    splits = DatasetDict(train=train, test=test)
    with pytest.raises(
        ValueError,
        match=r"^1 recordings are in two splits, so the score would not measure new ones: .* and .*Remove them",
    ):
        choose_splits(splits, SplitArguments(dev_fraction=0), 0)


@pytest.mark.parametrize("seed", range(5))
def test_copies_stay_on_one_side(tmp_path, seed):
    clips = of_classes([6, 6], tmp_path)
    for name in ("1", "2", "7"):
        (tmp_path / f"{name}.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    splits, _ = choose_splits(DatasetDict(train=clips), SplitArguments(test_fraction=0.3), seed)
    assert sum(len(part) for part in splits.values()) == 12
