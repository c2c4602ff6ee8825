import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, IterableDatasetDict
from transformers import AutoModelForAudioClassification, EarlyStoppingCallback, Wav2Vec2FeatureExtractor
from transformers.trainer_utils import EvalPrediction

from modeling_asm.training.data.clips import ClipDataset, ClipStream
from modeling_asm.training.data.decoding import size_of
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.frontend import Frontend
from modeling_asm.training.run import (
    as_inputs,
    choose_reported,
    describe_clips,
    divide,
    hears_whole_clips,
    make_trainer,
    prepare_stream,
    run_once,
)
from modeling_asm.training.run_folder import checkpoints


@pytest.fixture
def files(tones) -> Dataset:
    """The 40 tones, by label, not decoded."""
    return load_audio_dataset(DataArguments(str(tones)))["train"]


def names_of(clips) -> list[str]:
    """Return the label and the file of each clip, such as `"high/00.wav"`."""
    return ["/".join(Path(row["audio"]["path"]).parts[-2:]) for row in clips]


@pytest.fixture
def make_stream(tones, tmp_path):
    """Stream a published folder that has some of the tones in each split: so many of each label."""

    def call(**splits: int) -> IterableDatasetDict:
        folder = tmp_path / "-".join(splits)
        for split, number in splits.items():
            for label in ("high", "low"):
                (folder / split / label).mkdir(parents=True, exist_ok=True)
                for file in sorted((tones / label).iterdir())[:number]:
                    shutil.copy(file, folder / split / label)
        return load_audio_dataset(DataArguments(dataset_name=str(folder), streaming=True))

    return call


def test_a_regression_is_reported_with_one_output(make_arguments, config, tmp_path):
    config.problem_type = "regression"
    config.save_pretrained(tmp_path / "several")
    args = make_arguments({"evaluate_only": True}, model={"model_name_or_path": str(tmp_path / "several")})
    clips = Dataset.from_dict({"audio": [{"path": "a.wav", "bytes": None}], "label": [0.5]})
    with pytest.raises(ValueError, match="'several' has 3 outputs, expected the one of a regression"):
        choose_reported(args, DatasetDict(test=clips))


def test_a_checkpoint_is_reported_on_one_split_with_its_own_classes(make_arguments, config, files, tmp_path):
    config.id2label = {0: "low", 1: "noise", 2: "high"}
    config.save_pretrained(tmp_path / "tuned")
    args = make_arguments({"evaluate_only": True}, model={"model_name_or_path": str(tmp_path / "tuned")})
    splits, name = divide(args, DatasetDict(takes=files), None)
    assert name == "takes"
    assert names_of(splits["test"]) == names_of(splits["train"]) == names_of(files)
    assert splits["test"].features["label"].names == ["low", "noise", "high"]
    assert splits["test"]["label"][:] == [2] * 20 + [0] * 20
    assert choose_reported(args, DatasetDict(train=files, test=files.select(range(5))))[0]["test"].num_rows == 5
    with pytest.raises(ValueError, match=r"The data has the splits morning, evening\. Choose one with --test_split\."):
        choose_reported(args, DatasetDict(morning=files, evening=files))
    strange = files.cast_column("label", ClassLabel(names=["high", "deep"]))
    with pytest.raises(ValueError, match=r"deep.*'tuned'|'tuned'.*deep"):
        choose_reported(args, DatasetDict(test=strange))


def test_clips_are_divided_by_the_seed_of_the_run(make_arguments, files):
    tests = []
    for seed in (1, 1, 2):
        splits, name = divide(make_arguments(split={"test_fraction": 0.25}, seed=seed), DatasetDict(train=files), None)
        assert name == "25% of train"
        tests.append(sorted(names_of(splits["test"])))
    assert tests[0] == tests[1] != tests[2]
    assert len(tests[0]) == 10


def test_a_stream_is_shuffled_by_the_seed_of_the_run(make_arguments, make_stream, files):
    """Within its buffer; `validation` is the dev split, if one is asked for; the first clips determine the model."""
    orders, stream = [], make_stream(train=20, validation=2, test=1)
    for seed in (1, 1, 2):
        args = make_arguments({"shuffle_buffer": 20}, max_steps=1, seed=seed)
        splits, clips, name = prepare_stream(args, stream)
        assert (name, list(splits)) == ("test", ["train", "test", "dev"])
        assert names_of(splits["test"]) == ["high/00.wav", "low/00.wav"]
        assert names_of(splits["dev"]) == ["high/00.wav", "high/01.wav", "low/00.wav", "low/01.wav"]
        assert names_of(clips) == names_of(splits["train"])
        assert clips.features["label"] == files.features["label"]
        assert set(clips.column_names) >= {"seconds"} and "waveform" not in clips.column_names
        orders.append(names_of(splits["train"]))
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == names_of(files) != orders[0]
    assert "high" in orders[0][0]  # drawn from the first 20
    splits, *_ = prepare_stream(make_arguments(split={"dev_fraction": 0}, max_steps=1), stream)
    assert list(splits) == ["train", "test"]
    splits, _, name = prepare_stream(make_arguments(split={"test_split": "validation"}, max_steps=1), stream)
    assert (name, list(splits)) == ("validation", ["train", "test"])


def test_bad_audio_in_a_stream(make_arguments, make_stream, tones):
    (tones / "high" / "00.wav").write_bytes(b"RIFF")
    stream = make_stream(train=20, test=1)
    _, clips, _ = prepare_stream(make_arguments({"on_bad_audio": "skip"}, max_steps=1), stream)
    assert len(clips) == 39
    with pytest.raises(ValueError, match=r"00\.wav"):
        prepare_stream(make_arguments(max_steps=1), stream)


def test_splits_that_a_stream_lacks(make_arguments, make_stream):
    with pytest.raises(ValueError, match=r"There is no split 'test'\. The data has: train\."):
        prepare_stream(make_arguments(max_steps=1), make_stream(train=1))
    with pytest.raises(ValueError, match=r"There is no split 'train'\. The data has: test\."):
        prepare_stream(make_arguments(max_steps=1), make_stream(test=1))
    stream = make_stream(train=1, test=1)
    with pytest.raises(ValueError, match=r"There is no split 'takes'\. The data has: train, test\."):
        prepare_stream(make_arguments(split={"train_split": "takes"}, max_steps=1), stream)
    stream["train"] = stream["train"].take(0)
    with pytest.raises(ValueError, match=r"The split 'train' of 'clips' has no clips\."):
        prepare_stream(make_arguments(max_steps=1), stream)


def test_what_a_trainer_is_made_of(make_arguments, clips):
    """Augmentation, smoothed labels and class weights are for training; the other splits are as they are."""
    options = {"class_balance": "weights", "early_stopping_patience": 2, "label_smoothing_factor": 0.1}
    args = make_arguments({"augment": True}, **options)
    unequal = clips.select(range(10, 40))  # 10 high, 20 low
    trainer, inputs = make_trainer(args, DatasetDict(train=unequal, dev=clips, test=clips), unequal)
    assert trainer.train_dataset is inputs["train"]
    assert trainer.eval_dataset is inputs["dev"]
    assert trainer.processing_class is inputs["test"].transform.frontend.feature_extractor
    train, test = inputs["train"].transform, inputs["test"].transform
    assert (train.augmentation, train.label_smoothing) == (args.augmentation, 0.1)
    assert (test.augmentation, test.label_smoothing) == (None, 0.0)
    assert (trainer.args.eval_strategy, trainer.args.load_best_model_at_end) == ("epoch", True)
    assert trainer.class_weights.tolist() == pytest.approx([1.5, 0.75])
    (stopping,) = [item for item in trainer.callback_handler.callbacks if isinstance(item, EarlyStoppingCallback)]
    assert stopping.early_stopping_patience == 2
    assert "accuracy" in trainer.compute_metrics(EvalPrediction(np.eye(2), np.arange(2)))
    plain, inputs = make_trainer(make_arguments({"augment": False}), DatasetDict(train=clips, test=clips), clips)
    assert plain.class_weights is None
    assert plain.teachers == []
    assert inputs["train"].transform.augmentation is None
    assert (plain.args.eval_strategy, plain.args.load_best_model_at_end) == ("no", False)
    assert not [item for item in plain.callback_handler.callbacks if isinstance(item, EarlyStoppingCallback)]
    with pytest.raises(ValueError, match=r"^--early_stopping_patience needs a dev split: use --dev_fraction 0\.1\.$"):
        make_trainer(make_arguments(**options), DatasetDict(train=clips, test=clips), clips)


def test_a_trainer_with_a_teacher(make_arguments, clips):
    """It has the weights of its folder."""
    teacher, _ = make_trainer(make_arguments(), DatasetDict(train=clips, test=clips), clips)
    folder = teacher.args.output_dir
    teacher.save_model(folder)
    args = make_arguments(teachers=[folder])
    trainer, _ = make_trainer(args, DatasetDict(train=clips, test=clips), clips)
    (loaded,) = trainer.teachers
    assert all(torch.equal(value, teacher.model.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_numbers_are_not_smoothed(make_arguments, clips):
    numbers = clips.remove_columns("label").add_column("label", [index / 40 for index in range(40)])
    args = make_arguments(label_smoothing_factor=0.1)
    _, inputs = make_trainer(args, DatasetDict(train=numbers, test=numbers), numbers)
    assert args.training.label_smoothing_factor == inputs["train"].transform.label_smoothing == 0.0


def test_a_run_that_goes_on(make_arguments, clips, capsys, tmp_path):
    """From its last checkpoint, and its time is then not told: it would be that of a part."""
    rough = {"measure_cost": False, "resamples": 0}
    args = make_arguments(rough, num_train_epochs=2, save_total_limit=2, load_best_model_at_end=False)
    dataset = DatasetDict(train=clips.select([*range(20), *range(25, 40)]), test=clips.select(range(20, 25)))
    first = run_once(args, dataset, None, [], "asm-train")
    assert first["training"]["seconds"] is not None
    saved, last = checkpoints(tmp_path / "run")
    assert "Continuing" not in capsys.readouterr().out
    (tmp_path / "run" / "results.json").unlink()
    shutil.rmtree(last)
    written = (saved / "model.safetensors").stat().st_mtime_ns
    again = run_once(args, dataset, None, [], "asm-train")
    assert f"Continuing from {saved.name}.\n" in capsys.readouterr().out
    assert again["training"]["seconds"] is None
    assert again["metrics"] == first["metrics"]
    assert (saved / "model.safetensors").stat().st_mtime_ns == written
    assert last.is_dir()
    assert run_once(args, dataset, None, [], "asm-train") == again
    assert "is finished: nothing is trained again" in capsys.readouterr().out


def test_training_clips_alone_are_balanced_and_endless(make_arguments, files):
    args = make_arguments({"on_bad_audio": "skip"}, class_balance="sampling", seed=5, per_device_train_batch_size=3)
    for train in (True, False):
        drawn = as_inputs(files.add_column("waveform", [[0.0]] * 40), None, args, train)
        assert isinstance(drawn, ClipDataset)
        assert (drawn.probabilities is not None, drawn.seed) == (train, 5)
        stream = as_inputs(files.to_iterable_dataset(), None, args, train)
        assert isinstance(stream, ClipStream)
        assert (stream.endless, stream.on_bad_audio, stream.seed, stream.batch_size) == (train, "skip", 5, 3)
    args = make_arguments(class_balance="weights")
    assert as_inputs(files.add_column("waveform", [[0.0]] * 40), None, args, True).probabilities is None


def test_the_first_clips_of_a_stream_are_not_more_than_fit(make_arguments, make_stream, monkeypatch):
    """They are kept as they are encoded, and long recordings would fill the memory."""
    stream, args = make_stream(train=20, test=20), make_arguments({"shuffle_buffer": 1})
    assert len(prepare_stream(args, stream)[1]) == 40
    monkeypatch.setattr("modeling_asm.training.run.STREAMED_BYTES", 5 * size_of(next(iter(stream["train"]))["audio"]))
    assert len(prepare_stream(args, stream)[1]) == 6


def test_what_is_said_about_the_clips(make_arguments, clips, capsys):
    splits = DatasetDict(train=clips.select(range(10, 30)), test=clips.select(range(5)))
    for seconds, words in (
        (0.1, "5 clips of test are longer than the model's window of 0.10 s, and their start is"),
        (1, ""),
    ):
        frontend = Frontend(Wav2Vec2FeatureExtractor(), seconds)
        describe_clips(make_arguments(), DatasetDict(splits), splits, "test", frontend)
        told = capsys.readouterr().out
        assert told.startswith("20 clips to train on, 5 that are reported (test).\n")
        assert words in told
        assert ("longer" in told) == bool(words)


def test_who_hears_whole_clips(make_arguments, checkpoint, clips):
    model = AutoModelForAudioClassification.from_pretrained(checkpoint)
    head, every = make_arguments(model={"tune": "head"}), make_arguments(model={"tune": "all"})
    assert hears_whole_clips(head, model, clips)
    assert not hears_whole_clips(every, model, clips)
    evaluated = make_arguments({"evaluate_only": True}, model={"model_name_or_path": str(checkpoint)})
    assert not hears_whole_clips(evaluated, model, clips)
    model.config.window_aggregation = "logits"  # as a fitted classifier leaves it
    assert hears_whole_clips(evaluated, model, clips)
    assert not hears_whole_clips(evaluated, model, clips.to_iterable_dataset())
