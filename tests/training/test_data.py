import csv
import math

import numpy as np
import pytest
import soundfile
import torch

from modeling_asm import ASMFeatureExtractor
from modeling_asm.audio import AudioFileError, load_audio
from modeling_asm.fbank import fbank
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data import (
    check_audio,
    hold_out,
    load_audio_folder,
    make_transform,
    measure_features,
    split_groups,
)


@pytest.fixture
def with_metadata(tmp_path):
    """Two splits with metadata.csv: six clips of three speakers, and two of a fourth; labels look like numbers."""
    for split, speakers in (("train", ["ann", "ann", "bob", "bob", "", "eve"]), ("test", ["zoe", "zoe"])):
        (tmp_path / split / "audio").mkdir(parents=True)
        rows = [("file_name", "label", "speaker", "室")]
        for index, speaker in enumerate(speakers):
            name = f"audio/{index} é.wav"
            soundfile.write(tmp_path / split / name, 0.1 * np.random.default_rng(index).standard_normal(800), 16000)
            rows.append((name, str(index % 2), speaker, "xy"[index % 2]))
        with open(tmp_path / split / "metadata.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    return tmp_path


def rewrite(folder, header, *rows):
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def test_a_sub_folder_a_class(tones):
    dataset = load_audio_folder(tones)
    assert {name: len(split) for name, split in dataset.items()} == {"train": 40}
    assert dataset["train"].features["label"].names == ["high", "low"]
    assert dataset["train"][0]["label"] == 0
    assert dataset["train"][0]["audio"]["path"].endswith("high/00.wav")


def test_a_sub_folder_a_split(tones, tmp_path):
    (tmp_path / "data").mkdir()
    tones.rename(tmp_path / "data" / "validation")
    assert list(load_audio_folder(tmp_path / "data")) == ["validation"]


def test_metadata(with_metadata):
    dataset = load_audio_folder(with_metadata)
    assert {name: len(split) for name, split in dataset.items()} == {"train": 6, "test": 2}
    assert dataset["train"].features["label"].names == ["0", "1"]
    assert dataset["train"]["speaker"][:] == ["ann", "ann", "bob", "bob", "", "eve"]
    assert load_audio_folder(with_metadata / "test")["train"].num_rows == 2


def test_another_label_column(with_metadata):
    dataset = load_audio_folder(with_metadata, label_column="室")
    assert dataset["test"].features["label"].names == ["x", "y"]


def test_what_operating_systems_leave_behind(tones):
    for name in ("__MACOSX/low/._1.wav", "low/.DS_Store", ".cache/low/1.wav"):
        (tones / name).parent.mkdir(parents=True, exist_ok=True)
        (tones / name).write_text("not audio")
    assert len(load_audio_folder(tones)["train"]) == 40


def test_no_file_of_a_class_vanishes(tones):
    (tones / "other").mkdir()
    (tones / "other" / "1.m4a").write_text("a format that cannot be decoded")
    dataset = load_audio_folder(tones)["train"]
    assert dataset.features["label"].names == ["high", "low", "other"]
    with pytest.raises(AudioFileError, match=r"1\.m4a"):
        check_audio(dataset)


def test_splits_beside_classes(tones):
    (tones / "train").mkdir()
    (tones / "high").rename(tones / "train" / "high")
    with pytest.raises(ValueError, match=r"splits \['train'\] beside classes \['low'\]"):
        load_audio_folder(tones)


@pytest.mark.parametrize(("row", "column"), [(("audio/0 é.wav", ""), "label"), (("", "a"), "file_name"), ((), "label")])
def test_metadata_with_a_gap_names_the_row(with_metadata, row, column):
    rewrite(with_metadata / "train", ("file_name", "label"), ("audio/1 é.wav", "b"), row or ("audio/0 é.wav",))
    with pytest.raises(ValueError, match=rf"metadata\.csv' has no '{column}' in row 3"):
        load_audio_folder(with_metadata)


def test_a_column_of_ones_own_named_seconds(with_metadata):
    rewrite(with_metadata / "train", ("file_name", "label", "seconds"), ("audio/0 é.wav", "a", "7"))
    good, _ = check_audio(load_audio_folder(with_metadata)["train"])
    assert good["seconds"][:] == [0.05]


@pytest.mark.parametrize(
    ("header", "label_column", "words"),
    [
        (("file", "label"), "label", ["'file_name'", "file, label"]),
        (("file_name", "class"), "label", ["'label'", "file_name, class", "--label_column"]),
        (("file_name", "label"), "species", ["'species'", "file_name, label"]),
    ],
)
def test_metadata_without_a_needed_column_lists_what_is_there(with_metadata, header, label_column, words):
    rewrite(with_metadata / "train", header, ("audio/0 é.wav", "a"))
    with pytest.raises(ValueError) as error:
        load_audio_folder(with_metadata, label_column)
    for word in (*words, "metadata.csv"):
        assert word in str(error.value)


def test_metadata_cannot_leave_its_folder(with_metadata):
    rewrite(with_metadata / "train", ("file_name", "label"), ("../test/audio/0 é.wav", "a"))
    with pytest.raises(ValueError, match=r"'\.\./test/audio/0 é\.wav'.*outside its folder"):
        load_audio_folder(with_metadata)


def test_metadata_that_names_a_missing_file(with_metadata):
    rewrite(with_metadata / "train", ("file_name", "label"), ("nowhere.wav", "a"), ("audio/0 é.wav", "b"))
    dataset = load_audio_folder(with_metadata)["train"]
    with pytest.raises(AudioFileError, match=r"nowhere\.wav"):
        check_audio(dataset)
    assert len(check_audio(dataset, "skip")[0]) == 1


def test_folders_without_classes(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data folder"):
        load_audio_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="0 labels"):
        load_audio_folder(tmp_path)


def test_hold_out_pools_the_splits(with_metadata):
    dataset = hold_out(load_audio_folder(with_metadata), "speaker", ["bob", "zoe"])
    assert set(dataset["test"]["speaker"]) == {"bob", "zoe"}
    assert set(dataset["train"]["speaker"]) == {"ann", "eve", ""}
    assert dataset["train"].num_rows + dataset["test"].num_rows == 8
    with pytest.raises(ValueError, match=r"\['tim'\].*'speaker'.*'ann'"):
        hold_out(load_audio_folder(with_metadata), "speaker", ["tim"])
    with pytest.raises(ValueError, match="nothing is left to train on"):
        hold_out(load_audio_folder(with_metadata), "室", ["x", "y"])
    with pytest.raises(ValueError, match=r"no column 'kit'.*speaker"):
        hold_out(load_audio_folder(with_metadata), "kit", ["tim"])


@pytest.mark.parametrize("fraction", [0.1, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_together(with_metadata, fraction, seed):
    dataset = load_audio_folder(with_metadata)["train"]
    rest, part = split_groups(dataset, fraction, "speaker", seed)
    assert len(rest) + len(part) == 6
    assert len(part) > 0 < len(rest)
    assert not (set(rest["speaker"]) & set(part["speaker"])) - {""}
    again, _ = split_groups(dataset, fraction, "speaker", seed)
    assert again["audio"][:] == rest["audio"][:]


def test_without_groups_the_share_is_met(tones):
    rest, part = split_groups(load_audio_folder(tones)["train"], 0.25, None, 0)
    assert (len(rest), len(part)) == (30, 10)


def test_one_group_cannot_be_split(with_metadata):
    dataset = load_audio_folder(with_metadata)["test"]
    with pytest.raises(ValueError, match="50% of 2 clips in 1 groups leave nothing"):
        split_groups(dataset, 0.5, "speaker", 0)


def test_an_unreadable_file_is_named_or_skipped(tones):
    (tones / "low" / "05.wav").write_bytes(b"RIFF and then nothing")
    dataset = load_audio_folder(tones)["train"]
    with pytest.raises(AudioFileError, match=r"05\.wav.*--on_bad_audio skip"):
        check_audio(dataset)
    good, problems = check_audio(dataset, "skip")
    assert len(good) == 39
    assert len(problems) == 1
    assert "05.wav" in problems[0]
    assert good["seconds"][:] == pytest.approx([0.2] * 39)


def test_a_folder_of_unreadable_files(tones):
    for file in tones.glob("*/*.wav"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="None of 40 audio files can be read"):
        check_audio(load_audio_folder(tones)["train"], "skip")


def test_mean_and_standard_deviation_are_those_of_all_frames(tones):
    dataset = load_audio_folder(tones)["train"].select([0, 25])
    frames = [fbank(torch.from_numpy(load_audio(audio["path"]))[None])[0] for audio in dataset["audio"]]
    values = torch.cat(frames).double()
    mean, std = measure_features(dataset, ASMFeatureExtractor())
    assert mean == pytest.approx(values.mean().item(), abs=1e-4)
    assert std == pytest.approx(values.std(correction=0).item(), abs=1e-4)


def test_silence_has_no_deviation(tones):
    for file in tones.glob("*/*.wav"):
        soundfile.write(file, np.zeros(800), 16000)
    with pytest.raises(ValueError, match="digital silence"):
        measure_features(load_audio_folder(tones)["train"], ASMFeatureExtractor())


def test_transform_for_evaluation(tones, feature_extractor):
    dataset = load_audio_folder(tones)["train"].with_transform(make_transform(feature_extractor, 2))
    rows = dataset.__getitems__([0, 30])  # what a DataLoader calls
    waveform = load_audio(str(tones / "low" / "10.wav"))
    expected = feature_extractor(waveform, sampling_rate=16000, return_tensors="pt").input_values[0]
    torch.testing.assert_close(rows[1]["input_values"], expected, atol=1e-5, rtol=0)
    assert [int(row["labels"]) for row in rows] == [0, 1]


def test_transform_for_training(tones, feature_extractor):
    transform = make_transform(feature_extractor, 2, Augmentation(mixup=0.0), label_smoothing=0.2)
    dataset = load_audio_folder(tones)["train"].with_transform(transform)
    rows = dataset.__getitems__([0, 30])
    torch.testing.assert_close(torch.stack([row["labels"] for row in rows]), torch.tensor([[0.9, 0.1], [0.1, 0.9]]))
    assert not torch.equal(dataset[0]["input_values"], dataset[0]["input_values"])
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(dataset[0]["input_values"])
    assert torch.equal(*draws)
    mixed = load_audio_folder(tones)["train"].with_transform(make_transform(feature_extractor, 2, Augmentation()))
    labels = torch.stack([row["labels"] for row in mixed.__getitems__(list(range(0, 40, 2)))])
    torch.testing.assert_close(labels.sum(1), torch.ones(20))
    assert ((labels > 0.01) & (labels < 0.99)).any()


def test_label_smoothing_without_augmentation(tones, feature_extractor):
    dataset = load_audio_folder(tones)["train"].with_transform(make_transform(feature_extractor, 2, None, 0.2))
    torch.testing.assert_close(dataset[0]["labels"], torch.tensor([0.9, 0.1]))


def test_padding_of_the_transform_is_the_extractors(tones):
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=50, padding_value=math.pi)
    row = load_audio_folder(tones)["train"].with_transform(make_transform(extractor, 2))[0]
    assert (row["input_values"][18:] == torch.tensor(math.pi)).all()
