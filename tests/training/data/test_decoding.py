import numpy as np
import pytest
import soundfile
from datasets import Dataset, DatasetDict

from modeling_asm.audio import AudioFileError, load_audio
from modeling_asm.audio.files import open_file
from modeling_asm.training.data import decoding
from modeling_asm.training.data.decoding import (
    NOTHING,
    cache_file,
    decode_audio,
    decode_splits,
    digest_of,
    fingerprint,
    read_stretch,
    size_of,
)
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset


@pytest.fixture
def dataset(tones) -> Dataset:
    return load_audio_dataset(DataArguments(str(tones)))["train"]


def test_decoded_once_and_kept(dataset, tones):
    decoded, problems = decode_audio(dataset, 16000)
    assert problems == []
    assert decoded["seconds"][:] == pytest.approx([0.2] * 40)
    np.testing.assert_array_equal(decoded[3]["waveform"], load_audio(tones / "high" / "03.wav"))
    name = cache_file(dataset, 16000)
    assert cache_file(dataset, 16000) == name
    assert cache_file(dataset, 8000) != name
    soundfile.write(tones / "high" / "03.wav", np.zeros(800), 16000)
    assert cache_file(dataset, 16000) != name  # a file that changed is decoded anew
    assert decode_audio(dataset, 16000)[0][3]["seconds"] == pytest.approx(0.05)


def test_several_processes_decode_alike(tones, dataset):
    alone = decode_audio(dataset.select(range(10)), 16000, keep=False)[0]
    many = Dataset.from_dict({"audio": list(dataset["audio"]) * 5})
    decoded = decode_audio(many, 16000, num_proc=2)[0]
    assert decoded["seconds"][:10] == alone["seconds"][:]
    assert len(decoded) == 200


def test_bytes_instead_of_files(tones):
    content = (tones / "low" / "00.wav").read_bytes()
    rows = [{"path": None, "bytes": content}, {"path": "named.wav", "bytes": b"RIFF"}]
    dataset = Dataset.from_dict({"audio": rows, "label": [0, 1]})
    good, problems = decode_audio(dataset, 16000, "skip")
    assert len(good) == 1
    assert "named.wav" in problems[0]
    np.testing.assert_array_equal(good[0]["waveform"], load_audio(tones / "low" / "00.wav"))


def test_an_unreadable_file_is_named_or_skipped(tones, dataset):
    (tones / "low" / "05.wav").write_bytes(b"RIFF and then nothing")
    with pytest.raises(AudioFileError, match=r"05\.wav.*--on_bad_audio skip"):
        decode_audio(dataset, 16000)
    good, problems = decode_audio(dataset, 16000, "skip")
    assert len(good) == 39
    assert len(problems) == 1
    assert "05.wav" in problems[0]


@pytest.mark.parametrize("processes", [None, 2])
def test_what_could_not_be_read_is_tried_again(tones, dataset, monkeypatch, processes):
    """After PyAV is installed, a disk is back, or rights are given, none of which changes the file."""
    many = Dataset.from_dict({"audio": list(dataset["audio"]) * 5})
    gone = str(tones / "low" / "05.wav")

    def refuse(path, name):
        if path == gone:
            raise AudioFileError(f"Cannot read {name}.")
        return open_file(path, name)

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "open_file", refuse)
        for _ in range(2):
            good, problems = decode_audio(many, 16000, "skip", num_proc=processes)
            assert (len(good), len(problems)) == (195, 5)
    good, problems = decode_audio(many, 16000, "skip", num_proc=processes)
    assert (len(good), problems) == (200, [])
    assert len(good[25]["waveform"]) == 3200


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is missing"), (b"", "is an empty file"), (b"no audio", "Cannot decode"), ("cut", "announces")],
    ids=["missing", "empty", "not-audio", "truncated"],
)
def test_what_a_row_of_a_manifest_may_name(tones, dataset, content, message):
    file = tones / "low" / "05.wav"
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(whole[:2000] if content == "cut" else content)
    with pytest.raises(AudioFileError, match=rf"05\.wav.*{message}|{message}.*05\.wav"):
        decode_audio(dataset, 16000)


def test_a_folder_of_unreadable_files(tones, dataset):
    for file in tones.glob("*/*.wav"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="None of the 40 audio files can be read"):
        decode_audio(dataset, 16000, "skip")


def test_the_columns_that_stay(dataset):
    decoded, _ = decode_audio(DatasetDict(train=dataset)["train"], 16000)
    assert decoded.column_names == ["audio", "label", "seconds", "waveform"]


def test_a_fingerprint_tells_other_clips_and_labels(dataset, tones):
    known = fingerprint(DatasetDict(train=dataset))
    assert fingerprint(DatasetDict(train=load_audio_dataset(DataArguments(str(tones)))["train"])) == known
    assert fingerprint(DatasetDict(test=dataset)) != known
    assert fingerprint(DatasetDict(train=dataset.select(range(39)))) != known
    labels = [1 - label for label in dataset["label"]]
    other = dataset.remove_columns("label").add_column("label", labels, feature=dataset.features["label"])
    assert fingerprint(DatasetDict(train=other)) != known
    soundfile.write(tones / "high" / "03.wav", np.zeros(800), 16000)
    assert fingerprint(DatasetDict(train=dataset)) != known


def test_a_fingerprint_tells_other_speakers_and_contents(dataset, tones):
    speakers = dataset.add_column("speaker", ["ann", "bob"] * 20)
    swapped = dataset.add_column("speaker", ["bob", "ann"] * 20)
    assert fingerprint(DatasetDict(train=speakers)) != fingerprint(DatasetDict(train=swapped))
    known = [fingerprint(DatasetDict(train=dataset)), fingerprint(DatasetDict(train=dataset), contents=False)]
    soundfile.write(tones / "high" / "03.wav", np.zeros((1600, 2)), 8000)  # of the same size
    assert fingerprint(DatasetDict(train=dataset)) != known[0]
    assert fingerprint(DatasetDict(train=dataset), contents=False) == known[1]


def test_what_is_left_out_of_all_splits_is_told(tones, dataset, capsys):
    for name in ("05", "06"):
        (tones / "low" / f"{name}.wav").write_bytes(b"")
    splits = DatasetDict(train=dataset.select(range(26)), test=dataset.select(range(26, 40)))
    decoded, further, problems = decode_splits(splits, None, 16000, "skip", keep=False)
    assert further is None
    assert {name: len(split) for name, split in decoded.items()} == {"train": 25, "test": 13}
    assert capsys.readouterr().out == f"Skipped 2 unreadable files:\n  {problems[0]}\n  {problems[1]}\n"


def test_additional_clips_are_decoded_like_the_splits(tones, dataset, capsys):
    splits, further = DatasetDict(test=dataset.select(range(4))), dataset.select(range(4, 10))
    decoded, added, problems = decode_splits(splits, further, 16000)
    assert (list(decoded), problems, capsys.readouterr().out) == (["test"], [], "")
    assert added["label"][:] == further["label"][:]
    np.testing.assert_array_equal(added[1]["waveform"], load_audio(tones / "high" / "05.wav"))
    (tones / "high" / "05.wav").write_bytes(b"")
    with pytest.raises(AudioFileError, match=r"05\.wav.* is an empty file.*--on_bad_audio skip"):
        decode_splits(splits, further, 16000)
    with pytest.raises(ValueError, match="None of the 1 audio files"):
        decode_splits(DatasetDict(test=further.select([1])), None, 16000, "skip")


@pytest.mark.parametrize("contents", [True, False])
def test_a_fingerprint_tells_additional_clips_and_contents_without_a_file(dataset, tones, contents):
    def of_bytes(*audios: bytes | None) -> str:
        rows = [{"path": None, "bytes": audio} for audio in audios]
        return fingerprint(DatasetDict(train=Dataset.from_dict({"audio": rows})), contents=contents)

    low, high = ((tones / name / "00.wav").read_bytes() for name in ("low", "high"))
    assert len(of_bytes(low)) == 16
    assert len({of_bytes(low), of_bytes(high), of_bytes(low, high), of_bytes(high, low), of_bytes(None)}) == 5
    splits = DatasetDict(train=dataset)
    alone, added = (fingerprint(splits, further, contents) for further in (None, dataset.select([0])))
    assert alone != added != fingerprint(splits, dataset.select([1]), contents)


def test_a_row_of_neither_file_nor_bytes(dataset):
    empty = Dataset.from_dict({"audio": [{"path": None, "bytes": None}]}).cast(dataset.select_columns("audio").features)
    with pytest.raises(AudioFileError, match="row 0"):
        decode_audio(empty, 16000)


@pytest.fixture
def brief(monkeypatch):
    """Clips of more than a tenth of a second count as long."""
    monkeypatch.setattr("modeling_asm.training.data.decoding.LONGEST_KEPT", 0.1)


@pytest.mark.parametrize("keep", [True, False])
def test_long_clips_are_decoded_to_their_end_and_not_kept(tones, dataset, brief, keep):
    soundfile.write(tones / "low" / "00.wav", np.full(1600, 0.5), 16000)
    decoded, _ = decode_audio(dataset.select([3, 20]), 16000, keep=keep)
    assert decoded["seconds"][:] == pytest.approx([0.2, 0.1])
    if keep:
        assert [len(waveform) for waveform in decoded["waveform"]] == [0, 1600]


def test_damage_at_the_end_of_a_long_clip_is_found(tones, dataset, brief):
    file = tones / "low" / "05.wav"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(AudioFileError, match=r"05\.wav' can be decoded up to 0\.20 s only"):
        decode_audio(dataset, 16000)


def test_a_stretch_is_the_same_from_the_cache_a_file_or_bytes(tones, dataset):
    path = str(tones / "high" / "03.wav")
    whole = load_audio(path)
    rows = [
        {"waveform": whole, "audio": None},
        {"waveform": NOTHING, "audio": {"path": path, "bytes": None}},
        {"audio": {"path": None, "bytes": (tones / "high" / "03.wav").read_bytes()}},
    ]
    for row in rows:
        np.testing.assert_array_equal(read_stretch(row, 1000, 500, 16000), whole[1000:1500])
        assert len(read_stretch(row, 3000, 500, 16000)) == 200


def test_one_channel(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (3000, 2))
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    clips = Dataset.from_dict({"audio": [{"path": str(tmp_path / "a.wav"), "bytes": None}], "label": [0]})
    for channel, expected in ((0, samples[:, 0]), (1, samples[:, 1]), (None, samples.mean(1))):
        decoded, _ = decode_audio(clips, 16000, channel=channel)
        np.testing.assert_allclose(decoded[0]["waveform"], expected, atol=1e-6)
    assert cache_file(clips, 16000, 0) != cache_file(clips, 16000)
    with pytest.raises(AudioFileError, match="has 2 channels, numbered from 0, and none is 2"):
        decode_audio(clips, 16000, channel=2)


def test_digests(tones):
    """Of a file and its content alike; nothing of a file that is not there."""
    path = tones / "high" / "03.wav"
    file, content = {"path": str(path), "bytes": None}, {"path": None, "bytes": path.read_bytes()}
    assert digest_of(file) == digest_of(content) != ""
    assert size_of(file) == size_of(content) == path.stat().st_size
    missing = {"path": str(tones / "none.wav"), "bytes": None}
    assert (digest_of(missing), size_of(missing)) == ("", -1)
    known = digest_of(file)
    soundfile.write(path, np.zeros(800), 16000)
    assert digest_of(file) != known


@pytest.mark.parametrize("keep", [True, False])
def test_channels_that_cancel_are_told_each_time(tmp_path, keep):
    """Also by a run that reads the cache."""
    left = np.random.default_rng(0).uniform(-0.5, 0.5, 3000)
    for name, right in (("crossed", -left), ("plain", left)):
        soundfile.write(tmp_path / f"{name}.wav", np.stack([left, right], 1), 16000, subtype="FLOAT")
    names = [str(tmp_path / f"{name}.wav") for name in ("plain", "crossed")]
    clips = Dataset.from_dict({"audio": [{"path": name, "bytes": None} for name in names], "label": [0, 1]})
    for _ in range(2):
        said = []
        decode_audio(clips, 16000, keep=keep, say=said.append)
        assert said == [f"1 clips, such as {names[1]!r}, have channels that cancel each other: use --channel 0"]
    decode_audio(clips, 16000, keep=keep, channel=0, say=said.append)
    assert len(said) == 1
