import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict

from modeling_asm.training.data.loading import (
    DataArguments,
    load_audio_dataset,
    load_further_clips,
    name_splits,
    silent,
)
from modeling_asm.training.tasks import TASKS, label_names, task_of


SINGLE, MULTI, REGRESSION = TASKS


@pytest.fixture
def saved(tones, tmp_path):
    """The tones as `Dataset.save_to_disk` leaves them: the files' content in a column `sound`, classes in `pitch`."""
    files = sorted(tones.glob("*/*.wav"))
    rows = {
        "sound": [{"path": file.name, "bytes": file.read_bytes()} for file in files],
        "pitch": [file.parent.name for file in files],
        "label": [0] * len(files),
    }
    dataset = Dataset.from_dict(rows).cast_column("sound", Audio(decode=False))
    dataset = dataset.cast_column("pitch", ClassLabel(names=["low", "high"]))
    DatasetDict(train=dataset, test=dataset.select([0, 39])).save_to_disk(str(tmp_path / "saved"))
    dataset.save_to_disk(str(tmp_path / "alone"))
    return tmp_path / "saved"


def test_a_folder(tones):
    dataset = load_audio_dataset(DataArguments(data_dir=str(tones)))
    assert {name: len(split) for name, split in dataset.items()} == {"train": 40}
    assert label_names(dataset["train"].features) == ["high", "low"]
    assert dataset["train"][0]["audio"]["path"].endswith("high/00.wav")


def test_a_saved_data_set(saved):
    args = DataArguments(data_dir=str(saved), audio_column="sound", label_column="pitch")
    dataset = load_audio_dataset(args)
    assert {name: len(split) for name, split in dataset.items()} == {"train": 40, "test": 2}
    assert set(dataset["train"].column_names) == {"audio", "label"}
    assert label_names(dataset["train"].features) == ["low", "high"]
    assert dataset["test"]["label"][:] == [1, 0]
    alone = load_audio_dataset(DataArguments(str(saved.parent / "alone"), audio_column="sound", label_column="pitch"))
    assert {name: len(split) for name, split in alone.items()} == {"train": 40}
    with pytest.raises(ValueError, match=r"'saved' has no column 'audio'. It has: sound, pitch, label.*--audio_column"):
        load_audio_dataset(DataArguments(str(saved)))


def test_further_clips_have_the_form_of_the_data(saved, tones, tmp_path):
    """The saved data has the classes low and high in this order; folders have the alphabet's, or one class alone."""
    dataset = load_audio_dataset(DataArguments(str(saved), audio_column="sound", label_column="pitch"))
    assert load_further_clips([], dataset) is None
    (tmp_path / "more").mkdir()
    shutil.copytree(tones / "high", tmp_path / "more" / "high")
    further = load_further_clips([str(tones), str(tmp_path / "more")], dataset)
    assert further.features == dataset["train"].features
    assert len(further) == 60
    assert all(further["label"][:][index] == 1 for index in range(40, 60))
    assert {Path(row["audio"]["path"]).parent.name for row in further if row["label"] == 0} == {"low"}
    (tmp_path / "more" / "high").rename(tmp_path / "more" / "shrill")
    with pytest.raises(ValueError, match=r"more' has the label 'shrill', but the reported data does not"):
        load_further_clips([str(tmp_path / "more")], dataset)
    with pytest.raises(FileNotFoundError):
        load_further_clips([str(tones / "gone")], dataset)


@pytest.mark.parametrize(
    ("labels", "further", "separator", "expected"),
    [
        (["a|b", "b|c"], ["c", "a | b"], "|", [[2], [0, 1]]),
        (["0.5", "2.5"], ["1.25", "3"], None, [1.25, 3.0]),
        (["1", "2"], ["2", "2"], None, [1, 1]),
    ],
)
def test_further_clips_of_other_problems(tones, tmp_path, labels, further, separator, expected):
    for name, values, take in (("data", labels, "ann"), ("more", further, 7)):
        (tmp_path / name).mkdir()
        for index in range(2):
            shutil.copy(tones / "low" / f"0{index}.wav", tmp_path / name)
        rows = [("file_name", "label", "speaker", "room")[: 4 if name == "more" else 3]]
        rows += [(f"0{index}.wav", value, take, "hall")[: len(rows[0])] for index, value in enumerate(values)]
        with open(tmp_path / name / "metadata.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
    dataset = load_audio_dataset(DataArguments(str(tmp_path / "data"), label_separator=separator))
    clips = load_further_clips([str(tmp_path / "more")], dataset, separator)
    assert clips["label"][:] == expected
    assert set(clips.column_names) == {"audio", "speaker", "label"}  # the data has no rooms
    assert clips["speaker"][:] == ["7", "7"]


def test_a_manifest_with_splits_and_several_labels(tones, tmp_path):
    rows = [
        {"file": f"high/{index:02d}.wav", "tags": ["high", "short"], "part": "train" if index else "test"}
        for index in range(4)
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    args = DataArguments(str(tones), str(tmp_path / "list.jsonl"), audio_column="file", label_column="tags")
    args.split_column = "part"
    dataset = load_audio_dataset(args)
    assert {name: len(split) for name, split in dataset.items()} == {"test": 1, "train": 3}
    assert task_of(dataset["train"].features).problem_type == MULTI
    args.split_column = "fold"
    with pytest.raises(ValueError, match=r"has no column 'fold'. It has: audio, label, part"):
        load_audio_dataset(args)


def test_a_manifest_of_text_with_separators(tones, tmp_path):
    with open(tones / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file_name", "label"), ("low/00.wav", "low|short"), ("high/00.wav", "high")])
    dataset = load_audio_dataset(DataArguments(manifest=str(tones / "list.csv"), label_separator="|"))
    assert dataset["train"]["label"][:] == [[1, 2], [0]]


def test_audio_without_labels(tones):
    soundfile.write(tones / "loose.wav", np.zeros(10), 16000)
    dataset = load_audio_dataset(DataArguments(str(tones)), labelled=False)
    assert len(dataset["train"]) == 41


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Got no data, expected one of --data_dir, --manifest .* and --dataset_name"),
        ({"data_dir": "a", "dataset_name": "b/c"}, "Got --data_dir, --dataset_name, expected one"),
        ({"data_dir": "nowhere"}, "no data folder 'nowhere'"),
        ({"manifest": "nowhere.csv"}, r"no manifest 'nowhere\.csv'"),
    ],
)
def test_no_data(arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_audio_dataset(DataArguments(**arguments))


def test_a_split_without_clips(tones, tmp_path):
    (tones / "metadata.csv").write_text("file_name,label\n")
    with pytest.raises(ValueError, match="The split 'train' of 'tones' has no clips"):
        load_audio_dataset(DataArguments(str(tones)))


def test_lists_that_are_no_pairs(tones):
    with pytest.raises(ValueError, match=r"--split_lists is 'list\.txt', expected SPLIT=FILE"):
        load_audio_dataset(DataArguments(str(tones), split_lists=["list.txt"]))


def test_names_without_paths(tones):
    assert DataArguments(data_dir=str(tones)).name == "tones"
    assert DataArguments(dataset_name="ann/tones").name == "ann/tones"


def test_a_folder_has_no_name_on_the_hub(tmp_path):
    assert DataArguments(dataset_name="ann/tones").hub_name == "ann/tones"
    local = DataArguments(dataset_name=str(tmp_path))
    assert (local.hub_name, local.name, local.root) == (None, tmp_path.name, None)
    assert DataArguments(manifest=str(tmp_path / "clips.csv")).root == tmp_path
    assert DataArguments(str(tmp_path), manifest="clips.csv").root == tmp_path


def test_a_split_without_clips_of_the_chosen_labels(tones):
    rows = ["low/00.wav,low,train", "high/00.wav,high,train", "low/01.wav,low,test"]
    (tones / "list.csv").write_text("\n".join(["file_name,label,split", *rows, "high/01.wav,mid,train"]))
    arguments = {"manifest": str(tones / "list.csv"), "split_column": "split"}
    assert len(load_audio_dataset(DataArguments(**arguments, labels=["high", "low"]))["test"]) == 1
    with pytest.raises(ValueError, match=r"The split 'test' of 'list\.csv' has no clips with the labels high mid"):
        load_audio_dataset(DataArguments(**arguments, labels=["high", "mid"]))


def test_a_column_of_several_types(tones):
    rows = [{"file_name": "low/00.wav", "label": "low", "take": 1}]
    rows += [{"file_name": "high/00.wav", "label": "high", "take": "x"}]
    (tones / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"The column 'take' of 'list\.jsonl' mixes types"):
        load_audio_dataset(DataArguments(manifest=str(tones / "list.jsonl")))


@pytest.fixture
def published(tones):
    """The tones as a data set with two configurations and several columns, as it is on the Hub."""
    configs = [{"config_name": name, "data_files": f"{name}.jsonl"} for name in ("deep", "loud")]
    (tones / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    for config in configs:
        kept = ("high", "low") if config["config_name"] == "loud" else ("low",)
        rows = [
            {"sound": {"path": f"{label}/{index:02d}.wav"}, "kind": label, "gain": gain}
            for label in kept
            for index, gain in enumerate((0.5, 1.5))
        ]
        (tones / config["data_files"]).write_text("\n".join(map(json.dumps, rows)))
    return DataArguments(dataset_name=str(tones), audio_column="sound", label_column="kind")


def test_a_published_data_set(published):
    """A configuration of it; `datasets` loads a local folder as it loads a repository."""
    published.dataset_config = "loud"
    dataset = load_audio_dataset(published)["train"]
    assert label_names(dataset.features) == ["high", "low"]
    assert [row["audio"]["path"] for row in dataset][2:] == ["low/00.wav", "low/01.wav"]
    published.label_column, published.problem_type = "gain", REGRESSION
    published.dataset_config = "deep"
    assert load_audio_dataset(published)["train"]["label"][:] == [0.5, 1.5]


def test_a_published_folder_as_a_stream(tones):
    """`datasets` names the files of a folder, which are read, but not decoded."""
    args = DataArguments(dataset_name=str(tones), streaming=True, label_column="label")
    dataset = load_audio_dataset(args)["train"]
    for row in dataset:
        path = Path(row["audio"]["path"])
        assert set(row) == {"audio", "label"}
        assert path.parent.name == label_names(dataset.features)[row["label"]]
        assert row["audio"]["bytes"] == path.read_bytes()


@pytest.mark.parametrize(
    ("source", "option", "message"),
    [
        ("folder", {"split_column": "part"}, "--split_column is for --manifest, .* with a folder of recordings"),
        ("folder", {"streaming": True}, "--streaming is for --dataset_name, and would have no effect with a folder"),
        ("folder", {"dataset_config": "en"}, "--dataset_config is for --dataset_name"),
        ("folder", {"dataset_revision": "v1"}, "--dataset_revision is for --dataset_name"),
        ("saved", {"folder_columns": ["label"]}, "--folder_columns is for a folder of .* with a saved data set"),
        ("manifest", {"split_lists": ["test=t.txt"]}, "--split_lists is for a folder of .* effect with --manifest"),
        ("hub", {"split_column": "part"}, "--split_column is for --manifest, .* effect with --dataset_name. Leave it"),
    ],
)
def test_options_without_effect(tones, saved, source, option, message):
    sources = {"data_dir": str(saved if source == "saved" else tones)}
    if source in ("manifest", "hub"):
        sources = {"manifest": "clips.csv"} if source == "manifest" else {"dataset_name": "ann/tones"}
    with pytest.raises(ValueError, match=message):
        load_audio_dataset(DataArguments(**sources, **option))


def test_a_data_set_script(tones):
    """The error of `datasets`, with what to use instead; other errors of its pass."""
    (tones / "tones.py").write_text("raise SystemExit")
    with pytest.raises(ValueError, match=r"tones' is a script, which .*--dataset_revision refs/convert/parquet"):
        load_audio_dataset(DataArguments(dataset_name=str(tones)))
    with pytest.raises(FileNotFoundError):
        load_audio_dataset(DataArguments(dataset_name=str(tones / "gone")))


def test_manifests_find_audio_from_the_data_folder(tones, tmp_path):
    """Elsewhere than the manifest; labels are only needed for training."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "all.csv").write_text("file_name\nlow/00.wav\n")
    args = DataArguments(str(tones), manifest=str(tmp_path / "lists" / "all.csv"))
    dataset = load_audio_dataset(args, labelled=False)["train"]
    assert Path(dataset[0]["audio"]["path"]).samefile(tones / "low" / "00.wav")
    with pytest.raises(ValueError, match="label"):
        load_audio_dataset(args)


def test_splits_from_lists_of_files(tones):
    """In files whose names may have an equals sign, and with what the levels of folders mean."""
    (tones / "test=1.txt").write_text("high/00.wav\nlow/00.wav\n")
    args = DataArguments(str(tones), split_lists=["test=" + str(tones / "test=1.txt")], folder_columns=["label"])
    assert {name: len(split) for name, split in load_audio_dataset(args).items()} == {"train": 38, "test": 2}
    args.split_lists = ["test", "dev=dev.txt"]
    with pytest.raises(ValueError, match=r"--split_lists is 'test dev=dev\.txt', expected SPLIT=FILE"):
        load_audio_dataset(args)
    by_speaker = load_audio_dataset(DataArguments(str(tones), folder_columns=["speaker"], label_column="speaker"))
    assert label_names(by_speaker["train"].features) == ["high", "low"]
    with pytest.raises(ValueError, match=r"'--folder_columns' has no column 'label'\. It has: speaker"):
        load_audio_dataset(DataArguments(str(tones), folder_columns=["speaker"]))
    (tones / "metadata.csv").write_text("file_name,label\nlow/00.wav,low\nhigh/00.wav,high\n")
    with pytest.raises(ValueError, match=r"metadata\.csv' describes the clips, so --folder_columns label would have"):
        load_audio_dataset(DataArguments(str(tones), folder_columns=["label"]))


def test_additional_clips_with_a_column_of_another_type(tones, tmp_path):
    for name, take in (("data", 1), ("more", "second")):
        (tmp_path / name).mkdir()
        shutil.copy(tones / "low" / "00.wav", tmp_path / name)
        shutil.copy(tones / "low" / "00.wav", tmp_path / name / "01.wav")
        rows = f"00.wav,low,{take}\n01.wav,high,{take}\n"
        (tmp_path / name / "list.jsonl").write_text(
            "\n".join(
                json.dumps({"file_name": f"0{index}.wav", "label": label, "take": take})
                for index, label in enumerate(("low", "high"))
            )
        )
        (tmp_path / name / "metadata.csv").write_text("file_name,label,take\n" + rows)
    dataset = load_audio_dataset(DataArguments(manifest=str(tmp_path / "data" / "list.jsonl")))
    with pytest.raises(ValueError, match=r"A column of '.*more' has another type than in the data: .*second"):
        load_further_clips([str(tmp_path / "more")], dataset)


def test_labels_that_do_not_fit_name_the_data(tones):
    with pytest.raises(ValueError, match="A regression needs numbers, but the labels of 'tones' are not"):
        load_audio_dataset(DataArguments(str(tones), problem_type=REGRESSION))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("label_column", "pitch"),
        ("label_separator", ";"),
        ("labels", ["high"]),
        ("problem_type", REGRESSION),
        ("folder_columns", ["label"]),
    ],
)
def test_options_of_labels_that_are_not_read(tones, option, value):
    with pytest.raises(ValueError, match=f"--{option} would have no effect: the labels of the clips are not read"):
        load_audio_dataset(DataArguments(str(tones), **{option: value}), labelled=False)


def test_a_column_of_files_that_folders_do_not_have(tones):
    with pytest.raises(ValueError, match=r"There is no column 'wav': in '.*tones', the files in the sub-folders are"):
        load_audio_dataset(DataArguments(str(tones), audio_column="wav"))


def test_other_names_of_splits(tones, tmp_path):
    """As an audiofolder of Hugging Face reads them."""
    for name in ("train", "val", "eval"):
        shutil.copytree(tones, tmp_path / "data" / name)
    dataset = load_audio_dataset(DataArguments(str(tmp_path / "data")))
    assert set(dataset) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train", "valid"], ["train", "validation"]),
        (["Training", "DEV", "Evaluation"], ["train", "validation", "test"]),
        (["train", "validation", "dev"], ["train", "validation", "dev"]),
        (["train", "dev", "val"], ["train", "validation", "val"]),
        (["Train", "Test", "VALIDATION"], ["train", "test", "validation"]),
        (["clean", "other"], ["clean", "other"]),
    ],
)
def test_a_split_takes_a_name_that_is_free(names, expected):
    dataset = DatasetDict({name: Dataset.from_dict({"number": [index]}) for index, name in enumerate(names)})
    renamed = name_splits(dataset)
    assert list(renamed) == expected
    assert [split["number"][0] for split in renamed.values()] == list(range(len(names)))


def test_a_line_about_each_split(tones, capsys):
    (tones / "low" / "desktop.ini").write_text("[x]")
    said = []
    load_audio_dataset(DataArguments(str(tones)), say=said.append)
    assert said == ["train: 41 files found, 40 used; left out: 1 not known as recordings ('low/desktop.ini')"]
    assert capsys.readouterr().out == ""
    load_audio_dataset(DataArguments(str(tones)))
    assert capsys.readouterr().out == said[0] + "\n"


def test_clips_of_other_labels_are_told(tones):
    shutil.copytree(tones / "low", tones / "mid")
    said = []
    load_audio_dataset(DataArguments(str(tones), labels=["high", "low"]), say=said.append)
    assert said[-1] == "train: 20 clips have none of --labels and are left out"


def test_a_line_about_a_manifest(tones, tmp_path):
    rows = [["file_name", "label", "split"], ["high/00.wav", "a", "train"], ["low/00.wav", "b", "train"]]
    with open(tmp_path / "clips.csv", "w", newline="") as file:
        csv.writer(file).writerows([*rows, ["low/01.wav", "b", "dev"]])
    said = []
    args = DataArguments(str(tones), manifest=str(tmp_path / "clips.csv"), split_column="split")
    assert set(load_audio_dataset(args, say=said.append)) == {"train", "validation"}
    name = repr(args.manifest)
    assert said == [f"train: 2 clips found in {name}, 2 used", f"dev: 1 clips found in {name}, 1 used"]


def test_a_column_that_could_divide_the_clips_is_told(tones, tmp_path):
    rows = [["file_name", "label", "split"], ["high/00.wav", "a", "train"], ["low/00.wav", "b", "test"]]
    for file in (tmp_path / "clips.csv", tones / "metadata.csv"):
        with open(file, "w", newline="") as stream:
            csv.writer(stream).writerows(rows)
    said = []
    assert set(load_audio_dataset(DataArguments(str(tones), str(tmp_path / "clips.csv")), say=said.append)) == {"train"}
    assert said[-1] == "The column 'split' does not divide the clips. To use it, add --split_column split."
    load_audio_dataset(DataArguments(str(tones)), say=said.append)
    assert "To use it, name the file: --manifest and --split_column." in said[-1]


def test_a_channel_has_a_number(tones):
    with pytest.raises(ValueError, match="--channel must be at least 0, got -2"):
        DataArguments(str(tones), channel=-2)


def test_a_line_about_a_saved_data_set(tones, tmp_path):
    load_audio_dataset(DataArguments(str(tones)), say=silent).save_to_disk(str(tmp_path / "saved"))
    said = []
    load_audio_dataset(DataArguments(str(tmp_path / "saved")), say=said.append)
    assert said == ["train: 40 clips found in 'saved', 40 used"]


@pytest.mark.parametrize("names", [["train"], ["train", "test"], ["test"]])
def test_what_lies_beside_splits_is_told(tones, tmp_path, names):
    for name in names:
        shutil.copytree(tones, tmp_path / "data" / name)
    shutil.copy(tones / "low" / "00.wav", tmp_path / "data" / "stray.wav")
    said = []
    load_audio_dataset(DataArguments(str(tmp_path / "data")), say=said.append)
    assert len(said) == len(names) + 1
    assert said[-1] == "Beside the splits: 1 files found, 0 used; left out: 1 outside the folders ('stray.wav')"


def test_what_lies_beside_classes_is_told_once(tones):
    shutil.copy(tones / "low" / "00.wav", tones / "stray.wav")
    (tones / "test.txt").write_text("low/00.wav\n")
    said = []
    load_audio_dataset(DataArguments(str(tones), split_lists=["test=test.txt"]), say=said.append)
    assert sum(line.count("stray.wav") for line in said) == 1


def test_a_name_that_is_not_utf8_is_named(tones):
    (tones / "low" / "00.wav").rename(os.fsdecode(os.fsencode(tones) + b"/low/b\xe4r.wav"))
    message = r"The name '.*/low/b\\udce4r\.wav' in the column 'audio' of '.*' is not UTF-8\. Rename it\."
    with pytest.raises(ValueError, match=message):
        load_audio_dataset(DataArguments(str(tones)))


def test_a_row_without_a_split(tones, tmp_path):
    rows = [
        {"file_name": "high/00.wav", "label": "a", "split": 1},
        {"file_name": "low/00.wav", "label": "b", "split": 1},
    ]
    file = tmp_path / "clips.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    args = DataArguments(str(tones), manifest=str(file), split_column="split")
    assert {name: len(split) for name, split in load_audio_dataset(args).items()} == {"1": 2}
    for gap in (None, " "):
        file.write_text("\n".join(json.dumps(row | {"split": value}) for row, value in zip(rows, ("train", gap))))
        with pytest.raises(ValueError, match=r"has no 'split' for clip 2\. Add it, or remove the clip"):
            load_audio_dataset(args)


def test_what_is_beside_the_splits_is_told(tones, tmp_path):
    shutil.copytree(tones, tmp_path / "data" / "train")
    shutil.copytree(tones / "low", tmp_path / "data" / "test" / "low")
    shutil.copy(tones / "low" / "00.wav", tmp_path / "data" / "stray.wav")
    said = []
    load_audio_dataset(DataArguments(str(tmp_path / "data")), say=said.append)
    assert said[-1] == "Beside the splits: 1 files found, 0 used; left out: 1 outside the folders ('stray.wav')"
