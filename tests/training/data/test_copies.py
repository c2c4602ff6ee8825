import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from modeling_asm.training.data.copies import check_copies, describe_copies, find_copies


@pytest.fixture
def clips(tmp_path) -> Dataset:
    """Six files of equal length, of two classes in turn."""
    for index in range(6):
        (tmp_path / f"{index}.wav").write_bytes(bytes([index]) * 10)
    audio = [{"path": str(tmp_path / f"{index}.wav"), "bytes": None} for index in range(6)]
    labels = Dataset.from_dict({"audio": audio, "label": [0, 1] * 3})
    return labels.cast_column("label", ClassLabel(names=["no", "yes"]))


def copy(tmp_path, source: int, target: int):
    (tmp_path / f"{target}.wav").write_bytes((tmp_path / f"{source}.wav").read_bytes())


def test_no_copies(clips):
    splits = DatasetDict(train=clips.select(range(3)), test=clips.select(range(3, 6)))
    assert find_copies(splits) == {}
    assert describe_copies(splits) == []
    check_copies(splits)


def test_copies_are_found_across_splits(clips, tmp_path):
    for target in (2, 4):
        copy(tmp_path, 0, target)
    splits = DatasetDict(train=clips.select(range(3)), test=clips.select(range(3, 6)))
    assert set(find_copies(splits)) == {("train", 0), ("train", 2), ("test", 1)}
    assert len(set(find_copies(splits).values())) == 1
    assert describe_copies(splits) == ["Files that are copies of others: 2."]
    with pytest.raises(ValueError, match=r"^1 recordings are in two splits.*4\.wav' of test and '.*0\.wav' of train"):
        check_copies(splits)


def test_copies_that_contradict_each_other_are_named(clips, tmp_path):
    copy(tmp_path, 0, 3)
    lines = describe_copies(DatasetDict(train=clips))
    assert lines[0] == "Files that are copies of others: 1."
    assert lines[1].startswith("Some copies have different labels, such as '")
    assert lines[1].endswith(f"0.wav' and '{tmp_path}/3.wav'.")


def test_only_files_of_equal_size_are_read(clips, tmp_path, monkeypatch):
    for index in range(6):
        (tmp_path / f"{index}.wav").write_bytes(bytes(index + 1))
    monkeypatch.setattr("modeling_asm.training.data.copies.digest_of", None)
    assert find_copies(DatasetDict(train=clips)) == {}
