import json
import shutil

import pytest
from files import touch, write_csv
from recordings import noise, write

from modeling_asm.training.data import folders


def read_folder(*arguments, **options) -> dict:
    """The columns of each split."""
    return {name: split.columns for name, split in folders.read_folder(*arguments, **options).items()}


def test_a_sub_folder_a_class(tmp_path):
    touch(tmp_path, "high/1.wav", "high/2 é.flac", "low/天气.ogg", "low/.hidden", "__MACOSX/low/._1.wav")
    splits = read_folder(tmp_path)
    assert list(splits) == ["train"]
    assert splits["train"]["label"] == ["high", "high", "low"]
    assert [path.split("/")[-1] for path in splits["train"]["audio"]] == ["1.wav", "2 é.flac", "天气.ogg"]


def test_a_sub_folder_a_split(tmp_path):
    touch(tmp_path, "train/cat/1.wav", "train/dog/1.wav", "test/cat/2.wav")
    splits = read_folder(tmp_path)
    assert {name: len(columns["audio"]) for name, columns in splits.items()} == {"train": 2, "test": 1}


def test_splits_beside_classes(tmp_path):
    touch(tmp_path, "train/cat/1.wav", "dog/1.wav")
    with pytest.raises(ValueError, match=r"mixes splits \['train'\] and classes \['dog'\]"):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata(tmp_path, name):
    rows = [("file_name", "label", "speaker"), ("a/1.wav", "yes", "ann"), ("2.wav", "no", "")]
    (tmp_path / "train").mkdir()
    if name.endswith("csv"):
        write_csv(tmp_path / "train" / name, *rows)
    else:
        lines = [json.dumps(dict(zip(rows[0], row)), ensure_ascii=False) for row in rows[1:]]
        (tmp_path / "train" / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = read_folder(tmp_path)["train"]
    assert columns["label"] == ["yes", "no"]
    assert columns["speaker"] == ["ann", ""]
    assert columns["audio"] == [str(tmp_path / "train" / "a/1.wav"), str(tmp_path / "train" / "2.wav")]


def test_levels_of_folders(tmp_path):
    """The layout of CASIA: speaker, emotion, file."""
    touch(tmp_path, "ann/angry/1.wav", "ann/happy/1.wav", "bob/angry/2.wav")
    columns = read_folder(tmp_path, folder_columns=["speaker", "label"])["train"]
    assert list(zip(columns["speaker"], columns["label"])) == [("ann", "angry"), ("ann", "happy"), ("bob", "angry")]


def test_official_lists(tmp_path):
    """The layout of Speech Commands: a folder a word, and lists of the clips to validate and to test on."""
    touch(tmp_path, "yes/1.wav", "yes/2.wav", "no/1.wav", "no/2.wav", "_background_noise_/hum.wav")
    (tmp_path / "testing_list.txt").write_text("yes/2.wav\nno/2.wav\n")
    (tmp_path / "validation_list.txt").write_text("no/1.wav\n")
    lists = {"validation": "validation_list.txt", "test": "testing_list.txt"}
    splits = read_folder(tmp_path, split_lists=lists)
    assert {name: columns["label"] for name, columns in splits.items()} == {
        "validation": ["no"],
        "test": ["yes", "no"],
        "train": ["_background_noise_", "yes"],
    }
    (tmp_path / "testing_list.txt").write_text("yes/9.wav\n")
    with pytest.raises(ValueError, match=r"lists 1 files that are not in .*'yes/9.wav' first"):
        read_folder(tmp_path, split_lists=lists)
    with pytest.raises(FileNotFoundError, match=r"no list .*nowhere\.txt' for the split 'test'"):
        read_folder(tmp_path, split_lists={"test": "nowhere.txt"})
    with pytest.raises(ValueError, match="which is outside '"):
        read_folder(tmp_path, split_lists={"test": "../../etc/passwd"})


def test_without_labels_all_files_are_clips(tmp_path):
    touch(tmp_path, "1.wav", "a/2.wav", "a/b/3.wav", "a/.DS_Store")
    assert len(read_folder(tmp_path, labelled=False)["train"]["audio"]) == 3


def test_splits_without_labels(tmp_path):
    touch(tmp_path, "train/1.wav", "test/deep/2.wav", "notes.txt")
    splits = read_folder(tmp_path, labelled=False)
    assert {name: len(columns["audio"]) for name, columns in splits.items()} == {"test": 1, "train": 1}
    touch(tmp_path, "other/3.wav")  # folders, some of which happen to have names of splits
    assert len(read_folder(tmp_path, labelled=False)["train"]["audio"]) == 3
    shutil.rmtree(tmp_path / "other")
    write_csv(tmp_path / "train" / "metadata.csv", ["file_name"], ["1.wav"])
    splits = read_folder(tmp_path, labelled=False)
    assert {name: [path.split("/")[-1] for path in columns["audio"]] for name, columns in splits.items()} == {
        "test": ["2.wav"],
        "train": ["1.wav"],
    }


@pytest.mark.parametrize("empty", ["mid", "test/high", "train/mid"])
def test_a_folder_without_clips(tmp_path, empty):
    touch(tmp_path, *(["high/1.wav", "low/1.wav"] if empty == "mid" else ["train/high/1.wav", "train/low/1.wav"]))
    (tmp_path / empty).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"The folder '.*(mid|test)' has no clips. Remove it, or put"):
        read_folder(tmp_path)


def test_notes_and_pictures_are_no_clips(tmp_path):
    touch(tmp_path, "high/1.wav", "high/notes.txt", "low/1.xyz", "low/cover.png", "low/take.json", "high/2")
    for name in ("low/7.c", "low/8"):  # judged by what is in them
        (tmp_path / name).write_bytes(write(noise()))
    assert [path.split("/", -1)[-1] for path in read_folder(tmp_path)["train"]["audio"]] == ["1.wav", "7.c", "8"]
    assert len(read_folder(tmp_path, labelled=False)["train"]["audio"]) == 3


def test_a_folder_without_classes(tmp_path):
    touch(tmp_path, "1.wav", "2.wav")
    with pytest.raises(ValueError, match=r"has no sub-folders with clips. Put the clips of each class into"):
        read_folder(tmp_path)


def test_a_label_column_where_folders_are_the_labels(tmp_path):
    touch(tmp_path, "high/1.wav", "low/1.wav")
    with pytest.raises(ValueError, match=r"There is no column 'species': in .* the sub-folders are the labels"):
        read_folder(tmp_path, label_column="species")


def described(folder, **options) -> dict[str, str]:
    """What is said about each split."""
    return {name: split.listing.describe(folder) for name, split in folders.read_folder(folder, **options).items()}


def test_every_file_of_a_class_is_used_or_told(tmp_path):
    """Sub-folders of a class belong to it; they used to be dropped."""
    touch(tmp_path, "dog/1.wav", "dog/day 2/2.wav", "dog/day 2/deep/3.wav", "cat/1.wav", "cat/Thumbs.db", "0.wav")
    (tmp_path / "cat" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "cat" / "loop").symlink_to(tmp_path / "cat")
    columns = read_folder(tmp_path)["train"]
    assert sorted(zip(columns["label"], (path[len(str(tmp_path)) + 1 :] for path in columns["audio"]))) == [
        ("cat", "cat/1.wav"),
        ("dog", "dog/1.wav"),
        ("dog", "dog/day 2/2.wav"),
        ("dog", "dog/day 2/deep/3.wav"),
    ]
    assert described(tmp_path) == {
        "train": "7 files found, 4 used; left out: 1 outside the folders ('0.wav'), 1 not known as recordings "
        "('cat/Thumbs.db'), 1 broken links ('cat/gone.wav'), 1 links to a folder of the same data ('cat/loop')"
    }


def test_classes_that_have_only_folders(tmp_path):
    touch(tmp_path, "train/ann/yes/1.wav", "train/ann/no/1.wav", "train/bob/yes/1.wav")
    message = (
        r"The folder '.*ann' has no clips itself, but its sub-folders have.*such as --folder_columns speaker label"
    )
    with pytest.raises(ValueError, match=message):
        read_folder(tmp_path)
    columns = read_folder(tmp_path / "train", folder_columns=["speaker", "label"])["train"]
    assert columns["speaker"] == ["ann", "ann", "bob"]


def test_recordings_that_the_metadata_does_not_name(tmp_path):
    touch(tmp_path, "1.wav", "2.wav", "deep/3.wav", "notes.txt")
    write_csv(tmp_path / "metadata.csv", ("file_name", "label"), ("1.wav", "dog"))
    assert described(tmp_path) == {
        "train": "4 files found, 1 used; left out: 2 not in metadata.csv ('2.wav', 'deep/3.wav'), "
        "1 not known as recordings ('notes.txt')"
    }


def test_rows_without_a_file_are_told(tmp_path):
    touch(tmp_path, "1.wav")
    write_csv(tmp_path / "metadata.csv", ("file_name", "label"), ("1.wav", "dog"), ("2.wav", "dog"))
    assert described(tmp_path) == {"train": "1 files found, 1 used; left out: 1 missing ('2.wav')"}


def test_what_is_told_of_lists(tmp_path):
    touch(tmp_path, "yes/1.wav", "yes/2.wav", "no/1.wav", "no/2.xyz")
    (tmp_path / "test.txt").write_text("yes/2.wav\n")
    assert described(tmp_path, split_lists={"test": "test.txt"}) == {
        "test": "1 files found, 1 used",
        "train": "4 files found, 2 used; left out: 2 not known as recordings ('test.txt', 'no/2.xyz')",
    }


def test_a_list_of_train_leaves_the_rest_out(tmp_path):
    touch(tmp_path, "yes/1.wav", "yes/2.wav", "no/1.wav", "no/2.wav")
    (tmp_path / "test.txt").write_text("yes/2.wav\n./yes/2.wav\n", encoding="utf-8-sig")
    (tmp_path / "train.txt").write_text("yes/1.wav\nno/1.wav\n")
    lists = {"test": "test.txt", "training": "train.txt"}
    assert described(tmp_path, split_lists=lists) == {
        "test": "1 files found, 1 used",
        "training": "5 files found, 2 used; left out: 2 not known as recordings ('test.txt', 'train.txt'), "
        "1 in no list ('no/2.wav')",
    }


@pytest.mark.parametrize("names", [("test", "train"), ("training",), ("test",)])
def test_lists_do_not_divide_what_is_divided(tmp_path, names):
    touch(tmp_path, *(f"{name}/{label}/1.wav" for name in names for label in ("yes", "no")))
    (tmp_path / "test.txt").write_text(f"{names[0]}/yes/1.wav\n")
    message = rf"--split_lists divides the clips of one folder, but .* has splits already: {names[0]}.*\. Leave it out"
    with pytest.raises(ValueError, match=message):
        read_folder(tmp_path, split_lists={"test": "test.txt"})


def test_links_between_classes_do_not_double_clips(tmp_path):
    touch(tmp_path, "a/1.wav", "b/2.wav", "c/3.wav")
    for name, target in (("a/x", "b"), ("b/y", "a"), ("c/z", "a")):
        (tmp_path / name).symlink_to(tmp_path / target)
    assert described(tmp_path) == {
        "train": "3 files found, 3 used; left out: 3 links to a folder of the same data ('a/x', 'b/y', 'c/z')"
    }


def test_what_is_beside_the_classes_is_told(tmp_path):
    touch(tmp_path, "train/a/1.wav", "train/b/1.wav", "train/0.wav", "train/notes.txt", "train/.hidden/x.wav")
    (tmp_path / "train" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    assert described(tmp_path)["train"] == (
        "5 files found, 2 used; left out: 1 hidden folders ('train/.hidden'), 1 broken links ('train/gone.wav'), "
        "1 not known as recordings ('train/notes.txt'), 1 outside the folders ('train/0.wav')"
    )


def test_metadata_may_write_paths_as_it_likes(tmp_path):
    touch(tmp_path, "deep/1.wav", "2.wav")
    write_csv(tmp_path / "metadata.csv", ("file_name", "label"), ("deep/../2.wav", "a"), ("./deep/1.wav", "b"))
    assert described(tmp_path) == {"train": "2 files found, 2 used"}


def test_a_split_is_told_apart_from_a_class_with_folders(tmp_path):
    touch(tmp_path, "dog/1.wav", "dog/more/2.wav", "cat/1.wav")
    assert read_folder(tmp_path)["train"]["label"] == ["cat", "dog", "dog"]
