import itertools
import math
from dataclasses import asdict

import numpy as np
import pytest
import soundfile
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from torch.utils.data import DataLoader
from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor

from modeling_asm import ASMFeatureExtractor
from modeling_asm.audio import AudioFileError, load_audio
from modeling_asm.fbank import fbank
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.clips import (
    ClipDataset,
    ClipRows,
    ClipStream,
    ClipTransform,
    collate_clips,
    measure_features,
)
from modeling_asm.training.data.decoding import decode_audio
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.frontend import Frontend


@pytest.fixture
def dataset(tones) -> Dataset:
    return load_audio_dataset(DataArguments(str(tones)))["train"]


def inputs(dataset, feature_extractor, augmentation=None, smoothing=0.0, **arguments):
    transform = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features, augmentation, smoothing)
    return ClipDataset(decode_audio(dataset, 16000)[0], transform, **arguments)


def test_kept_and_decoded_anew_are_alike(dataset, feature_extractor):
    transform = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features)
    kept, anew = (ClipDataset(decode_audio(dataset, 16000, keep=keep)[0], transform) for keep in (True, False))
    torch.testing.assert_close(kept[7]["input_values"], anew[7]["input_values"], rtol=0, atol=0)


def test_mean_and_standard_deviation_are_those_of_all_frames(dataset):
    dataset = dataset.select([0, 25])
    frames = [fbank(torch.from_numpy(load_audio(audio["path"]))[None])[0] for audio in dataset["audio"]]
    values = torch.cat(frames).double()
    for keep in (True, False):
        mean, std = measure_features(decode_audio(dataset, 16000, keep=keep)[0], ASMFeatureExtractor())
        assert mean == pytest.approx(values.mean().item(), abs=1e-4)
        assert std == pytest.approx(values.std(correction=0).item(), abs=1e-4)


def test_silence_has_no_deviation(tones, dataset):
    for file in tones.glob("*/*.wav"):
        soundfile.write(file, np.zeros(800), 16000)
    with pytest.raises(ValueError, match="digital silence"):
        measure_features(decode_audio(dataset, 16000)[0], ASMFeatureExtractor())


def test_inputs_for_evaluation(dataset, tones, feature_extractor):
    rows = inputs(dataset, feature_extractor).__getitems__([0, 30])  # what a DataLoader calls
    waveform = load_audio(str(tones / "low" / "10.wav"))
    expected = feature_extractor(waveform, sampling_rate=16000, return_tensors="pt", truncation=True).input_values[0]
    torch.testing.assert_close(rows["input_values"][1], expected, atol=1e-5, rtol=0)
    assert rows["labels"].tolist() == [0, 1]
    assert rows["index"].tolist() == [0, 30]


def test_soft_labels(dataset, feature_extractor):
    rows = inputs(dataset, feature_extractor, Augmentation(mixup=0.0), 0.2).__getitems__([0, 30])
    torch.testing.assert_close(rows["labels"], torch.tensor([[0.9, 0.1], [0.1, 0.9]]))
    torch.testing.assert_close(inputs(dataset, feature_extractor, None, 0.2)[0]["labels"], torch.tensor([0.9, 0.1]))
    mixed = inputs(dataset, feature_extractor, Augmentation(mixup=1.0)).__getitems__(list(range(0, 40, 2)))
    labels = mixed["labels"]
    torch.testing.assert_close(labels.sum(1), torch.ones(20))
    assert ((labels > 0.01) & (labels < 0.99)).any()


def test_several_labels_and_numbers(feature_extractor):
    features = Features({"label": List(ClassLabel(names=["a", "b", "c"]))})
    targets = ClipTransform(Frontend(feature_extractor, 0.1), features).targets([[0, 2], [], [1]])
    assert targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    smooth = ClipTransform(Frontend(feature_extractor, 0.1), features, label_smoothing=0.2).targets([[1]])
    torch.testing.assert_close(smooth, torch.tensor([[0.1, 0.9, 0.1]]))
    numbers = ClipTransform(Frontend(feature_extractor, 0.1), Features({"label": Value("float32")})).targets([0.5, 2.0])
    assert numbers.tolist() == [0.5, 2.0]


def test_draws_depend_on_seed_epoch_and_rows_alone(dataset, feature_extractor):
    first = inputs(dataset, feature_extractor, Augmentation(), seed=1)
    batch = first.__getitems__([3, 20])
    torch.manual_seed(99)
    first.__getitems__([5])
    again = first.__getitems__([3, 20])
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    first.set_epoch(1)
    assert not torch.equal(first.__getitems__([3, 20])["input_values"], batch["input_values"])
    other = inputs(dataset, feature_extractor, Augmentation(), seed=2)
    assert not torch.equal(other.__getitems__([3, 20])["input_values"], batch["input_values"])


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(dataset, feature_extractor, num_workers):
    clips = inputs(dataset, feature_extractor, Augmentation())
    options = {"batch_size": 16, "collate_fn": collate_clips}
    plain, parallel = (
        [batch["input_values"] for batch in DataLoader(clips, num_workers=workers, **options)]
        for workers in (0, num_workers)
    )
    assert all(torch.equal(*pair) for pair in zip(plain, parallel))


NOTHING = dict.fromkeys(asdict(Augmentation()), 0) | {"noise": 100.0}


@pytest.mark.parametrize(
    ("name", "value"), [("gain", 10.0), ("equalizer", 6.0), ("frequency_mask", 8), ("time_mask", 8), ("mixup", 1.0)]
)
def test_what_is_augmented_reaches_the_model(dataset, name, value):
    """Waveforms, features and mixtures; with every strength at 0, clips shorter than a window are as in evaluation."""
    rows, extractor = list(range(0, 40, 3)), ASMFeatureExtractor(num_mel_bins=24, max_length=32)
    plain = inputs(dataset, extractor).__getitems__(rows)["input_values"]
    same = inputs(dataset, extractor, Augmentation(**NOTHING)).__getitems__(rows)
    assert set(same) == {"input_values", "labels", "index"}
    torch.testing.assert_close(same["input_values"], plain)
    augmented = inputs(dataset, extractor, Augmentation(**NOTHING | {name: value})).__getitems__(rows)
    assert not torch.allclose(augmented["input_values"], plain)


def test_masks_have_the_mean_of_the_features(dataset):
    """Which is 0 only if they are normalised."""
    rows = list(range(0, 40, 3))
    for normalised, mean in ((True, 0.0), (False, -3.25)):
        extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=32, do_normalize=normalised, mean=-3.25)
        clips = inputs(dataset, extractor, Augmentation(**NOTHING | {"time_mask": 8}))
        plain = inputs(dataset, extractor).__getitems__(rows)["input_values"]
        features = clips.__getitems__(rows)["input_values"]
        masked = features != plain
        assert masked.any()
        assert (features[masked] == mean).all()


def test_stacking_the_rows_of_a_stream():
    rows = [{"input_values": torch.ones(3, 2), "index": torch.tensor(index)} for index in (4, 5)]
    batch = collate_clips(rows)
    assert batch["input_values"].shape == (2, 3, 2)
    assert batch["index"].tolist() == [4, 5]
    assert collate_clips(batch) is batch


def test_only_what_is_needed_is_read(dataset, feature_extractor):
    """Samples in the cache, not the files; without a cache, the files."""
    transform = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features)
    kept, anew = (ClipDataset(decode_audio(dataset, 16000, keep=keep)[0], transform) for keep in (True, False))
    assert isinstance(kept.rows[0]["waveform"], np.ndarray)
    assert set(kept.rows[0]) == {"label", "seconds", "waveform"}
    assert anew.rows[0]["waveform"] is None
    assert anew.rows[0]["audio"]["path"].endswith("00.wav")
    for index in (0, 5, 39):
        assert torch.equal(kept[index]["input_values"], anew[index]["input_values"])


def test_names_of_clips_without_a_file(tones, feature_extractor):
    content = (tones / "low" / "00.wav").read_bytes()
    features = Features(
        {"audio": {"bytes": Value("binary"), "path": Value("string")}, "label": ClassLabel(names=["a"])}
    )
    columns = {"audio": [{"bytes": content, "path": None}] * 5, "label": [0] * 5}
    nameless = Dataset.from_dict(columns, features)
    clips = inputs(nameless, feature_extractor)
    assert clips.file_names([3, 1]) == ["row 3", "row 1"]
    stream = ClipStream(nameless.to_iterable_dataset(), clips.transform, 2, 0, "error")
    assert stream.file_names([3, 4]) == ["row 3", "row 4"]


def test_seeds_are_0_unless_set(dataset, feature_extractor):
    plain, same, other = (
        inputs(dataset, feature_extractor, Augmentation(), **options)[3]["input_values"]
        for options in ({}, {"seed": 0}, {"seed": 1})
    )
    assert torch.equal(plain, same)
    assert not torch.equal(plain, other)


def test_random_cuts_reach_both_ends(dataset, feature_extractor):
    """And a clip shorter than the window, or as long, is taken whole."""
    transform = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features, Augmentation(**NOTHING))
    size, rng = transform.frontend.window_samples, np.random.default_rng(0)
    ramp = np.arange(size + 2)

    def cut(waveform):
        return transform.cut({"waveform": waveform, "seconds": len(waveform) / 16000}, rng)

    assert {int(cut(ramp)[0]) for _ in range(50)} == {0, 1, 2}
    assert {int(cut(ramp[1:])[0]) for _ in range(50)} == {1, 2}
    for length in (size, size - 1, 1):
        assert len(cut(ramp[:length])) == length


def test_evaluation_draws_nothing(dataset, feature_extractor):
    clips = inputs(dataset, feature_extractor)
    before = clips.__getitems__([1, 2])
    clips.set_epoch(5)
    assert torch.equal(before["input_values"], clips.__getitems__([1, 2])["input_values"])


def test_balanced_drawing_evens_out_the_classes(dataset, feature_extractor):
    rare = dataset.select([*range(20), 20, 21])  # 20 high, 2 low
    clips = inputs(rare, feature_extractor, balanced=True)
    shares = []
    for epoch in range(20):
        clips.set_epoch(epoch)
        shares.append(np.mean([rare[int(index)]["label"] for index in clips.order]))
    assert np.mean(shares) == pytest.approx(0.5, abs=0.08)
    row = clips[4]
    assert int(row["index"]) == clips.order[4]
    assert int(row["labels"]) == rare[int(row["index"])]["label"]


def test_long_clips_are_cut_at_random_for_training_only(tones, feature_extractor):
    ramp = np.linspace(0.001, 1, 40000)
    for label in ("high", "low"):
        soundfile.write(tones / label / "00.wav", ramp, 16000, subtype="FLOAT")
    dataset = load_audio_dataset(DataArguments(str(tones)))["train"]
    transform = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features, Augmentation(speed=0.1))
    waveform, rng = load_audio(tones / "high" / "00.wav"), np.random.default_rng(0)
    row = {"waveform": waveform, "seconds": 2.5}
    cuts = [transform.cut(row, rng) for _ in range(50)]
    size = feature_extractor.nb_max_samples
    assert {cut.shape[0] for cut in cuts} == {math.ceil(1.1 * size)}
    starts = [cut[0].item() for cut in cuts]
    assert min(starts) < 0.1
    assert max(starts) > 0.8
    evaluation = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features)
    np.testing.assert_array_equal(evaluation.cut(row, rng), waveform[:size])


@pytest.mark.parametrize("extractor", [ASTFeatureExtractor(max_length=32), Wav2Vec2FeatureExtractor()])
@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_other_models_inputs(dataset, extractor):
    shape = (32, 128) if isinstance(extractor, ASTFeatureExtractor) else (1600,)
    for augmentation in (None, Augmentation()):
        rows = inputs(dataset, extractor, augmentation).__getitems__([0, 25])
        assert rows["input_values"].shape == (2, *shape)
        assert torch.isfinite(rows["input_values"]).all()


def test_padding_is_the_extractors(dataset):
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=50, padding_value=math.pi)
    assert (inputs(dataset, extractor)[0]["input_values"][18:] == torch.tensor(math.pi)).all()


def test_a_stream_gives_what_the_data_set_gives(tones, dataset, feature_extractor):
    plain = [dict(row, audio={"path": row["audio"]["path"], "bytes": None}) for row in dataset]
    stream = Dataset.from_list(plain).to_iterable_dataset()
    transform = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features)
    rows = list(ClipStream(stream, transform, 16, 0, "error"))
    whole = ClipDataset(decode_audio(dataset, 16000)[0], transform)
    assert len(rows) == 40
    assert [int(row["index"]) for row in rows] == list(range(40))
    torch.testing.assert_close(rows[33]["input_values"], whole[33]["input_values"], atol=1e-5, rtol=0)
    (tones / "low" / "05.wav").write_text("not audio")
    with pytest.raises(AudioFileError, match="--on_bad_audio skip"):
        list(ClipStream(stream, transform, 16, 0, "error"))


@pytest.mark.parametrize("workers", [0, 2])
def test_clips_of_a_stream_that_cannot_be_read_are_told_and_counted(tones, dataset, feature_extractor, workers, caplog):
    for name in ("05", "11"):
        (tones / "low" / f"{name}.wav").write_text("not audio")
    transform = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features)
    stream = ClipStream(dataset.to_iterable_dataset(), transform, 16, 0, "skip")
    good = list(DataLoader(stream, batch_size=None, num_workers=workers))
    assert sorted(int(row["index"]) for row in good) == [row for row in range(40) if row not in (25, 31)]
    assert stream.skipped.value == 2
    if workers == 0:
        assert [message for message in caplog.messages if message.startswith("Skipped: Cannot decode")]


def test_files_of_a_data_set_are_read_one_by_one(tones):
    """The content of all files of a batch would not fit into memory."""
    content = (tones / "low" / "00.wav").read_bytes()
    nameless = Dataset.from_dict({"audio": [{"bytes": content, "path": None}] * 5, "label": [0] * 5})
    decoded = decode_audio(nameless, 16000, keep=False)[0]
    clips, reached = ClipRows(decoded), []

    class Files:
        def __getitem__(self, index):
            reached.append(index)
            return nameless[index]

    clips.audio = Files()
    rows = clips.read([3, 1, 2])
    assert next(rows)["audio"]["bytes"] == content
    assert reached == [3]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_comes_once_however_many_workers(dataset, feature_extractor, workers):
    transform = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features, Augmentation())
    stream = ClipStream(dataset.to_iterable_dataset(), transform, 4, 0, "error")
    alone, shared = (list(DataLoader(stream, batch_size=4, num_workers=number)) for number in (0, workers))
    assert len(alone) == len(shared) == 10
    for one, other in zip(alone, shared):
        torch.testing.assert_close(one["input_values"], other["input_values"], rtol=0, atol=0)
        assert torch.equal(one["labels"], other["labels"])


def test_training_clips_of_a_stream_come_again_in_another_order(dataset, feature_extractor):
    """Batches are full over the end of a pass; whoever skips some finds the next as they would have been."""
    transform = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features, Augmentation())
    shuffled = dataset.to_iterable_dataset().shuffle(seed=0, buffer_size=40)
    stream = DataLoader(ClipStream(shuffled, transform, 16, 0, "error", endless=True), batch_size=16)
    batches = list(itertools.islice(stream, 6))
    assert [len(batch["labels"]) for batch in batches] == [16] * 6
    files = [row["audio"]["path"] for row in itertools.islice(stream.dataset.rows(), 80)]
    assert sorted(files[:40]) == sorted(files[40:])
    assert files[:40] != files[40:]
    once = ClipStream(shuffled, transform, 16, 0, "error")
    assert [row["audio"]["path"] for row in once.rows()] == files[:40]
    again = list(itertools.islice(stream, 6))
    for one, other in zip(batches, again):
        assert torch.equal(one["input_values"], other["input_values"])


def test_names_of_clips(dataset, feature_extractor):
    """An `index` leads back to its file, of a shuffled stream too, and in its second pass."""
    clips = inputs(dataset, feature_extractor)
    assert clips.file_names([3, 20]) == [dataset[row]["audio"]["path"] for row in (3, 20)]
    shuffled = dataset.to_iterable_dataset().shuffle(seed=0, buffer_size=40)
    stream = ClipStream(shuffled, clips.transform, 16, 0, "error", endless=True)
    for batch in itertools.islice(DataLoader(stream, batch_size=16), 4):
        files = stream.file_names(batch["index"].tolist())
        assert ["low" in file for file in files] == batch["labels"].bool().tolist()


def test_balanced_drawing_differs_from_epoch_to_epoch(dataset, feature_extractor):
    clips = inputs(dataset, feature_extractor, balanced=True)
    orders = []
    for epoch in (0, 1, 0):
        clips.set_epoch(epoch)
        orders.append(list(clips.order))
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kind", ["data set", "stream"])
def test_windows_of_long_clips_are_those_of_the_whole(dataset, feature_extractor, monkeypatch, kind, keep):
    """They are drawn from the file, and equal those of clips whose samples are kept."""
    transform = ClipTransform(Frontend(feature_extractor, 0.1), dataset.features, Augmentation(**NOTHING))

    def batch():
        if kind == "data set":
            return ClipDataset(decode_audio(dataset, 16000, keep=keep)[0], transform).__getitems__([3, 30, 7])
        return next(iter(ClipStream(dataset.to_iterable_dataset(), transform, 3, 0, "error")))

    kept = batch()
    monkeypatch.setattr("modeling_asm.training.data.decoding.LONGEST_KEPT", 0.1)
    monkeypatch.setattr("modeling_asm.training.data.decoding.cache_file", lambda *_: None)
    long = batch()
    assert torch.equal(kept["input_values"], long["input_values"])


def test_statistics_of_long_clips(dataset, monkeypatch):
    expected = measure_features(decode_audio(dataset, 16000)[0], ASMFeatureExtractor())
    monkeypatch.setattr("modeling_asm.training.data.decoding.LONGEST_KEPT", 0.1)
    monkeypatch.setattr("modeling_asm.training.data.decoding.cache_file", lambda *_: None)
    decoded = decode_audio(dataset, 16000)[0]
    assert not any(map(len, decoded["waveform"]))
    assert measure_features(decoded, ASMFeatureExtractor()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("keep", [True, False])
def test_statistics_of_one_channel(tmp_path, keep):
    """The second one: what is cached has no other channel any more."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (8000, 2)) * [1, 0.01]
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    clips = Dataset.from_dict({"audio": [{"path": str(tmp_path / "a.wav"), "bytes": None}], "label": [0]})
    measured = {
        channel: measure_features(
            decode_audio(clips, 16000, keep=keep, channel=channel)[0], ASMFeatureExtractor(), channel
        )
        for channel in (0, 1)
    }
    assert measured[0][0] - measured[1][0] == pytest.approx(2 * math.log(100), abs=0.2)  # energies: 40 dB
