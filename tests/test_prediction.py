import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from datasets import Dataset, DatasetDict

from modeling_asm import ASMFeatureExtractor, ResidualCNNConfig, ResidualCNNForAudioClassification
from modeling_asm.prediction import PredictArguments, choose_split, digest_model, finish_clip, predict, write_block
from modeling_asm.training.data.loading import DataArguments


def test_a_split_is_chosen_or_the_only_one():
    one = DatasetDict(train=Dataset.from_dict({"x": [1]}))
    assert choose_split(one, None, "clips") is one["train"]
    with pytest.raises(ValueError, match=r"There is no split 'test'\. The data has: train"):
        choose_split(one, "test", "clips")
    two = DatasetDict(train=one["train"], test=one["train"])
    with pytest.raises(ValueError, match=r"has the splits train, test\. Choose one with --split"):
        choose_split(two, None, "clips")


@pytest.mark.parametrize(
    ("problem_type", "expected"),
    [("multi_label_classification", [0.5, 0.5, 0.5]), (None, [1 / 3] * 3), ("regression", [0.0] * 3)],
)
def test_scores_of_a_clip(config, problem_type, expected):
    config.problem_type = problem_type
    clip = {"row": 0, "file": "a.wav", "error": None}
    row = finish_clip(clip, [torch.zeros(3), torch.zeros(3)], config, ["bird", "cat", "dog"])
    assert row["scores"] == pytest.approx(expected)


def test_scores_that_are_not_finite_are_an_error(config):
    row = finish_clip({"file": "a.wav", "error": None}, [torch.full((3,), torch.nan)], config, ["a", "b", "c"])
    assert row["label"] is None and "The scores of 'a.wav' are not finite" in row["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "--batch_size must be at least 1, got 0"),
        ({"rows_per_file": 0}, "--rows_per_file must be at least 1, got 0"),
        ({"num_workers": -1}, "--num_workers must be at least 0, got -1"),
        ({"seconds": 0.0}, r"--seconds must be above 0, got 0\.0"),
    ],
)
def test_impossible_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        PredictArguments("model", "out", **arguments)


def test_a_window_that_the_model_does_not_take(checkpoint, tones, tmp_path):
    args = PredictArguments(str(checkpoint), str(tmp_path / "out"), seconds=3.0, num_workers=0, use_cpu=True)
    with pytest.raises(ValueError, match="--seconds 3 would have no effect: the window of 'checkpoint' has"):
        predict(args, DataArguments(str(tones)))


def test_other_weights_another_digest(model, feature_extractor):
    before = digest_model(model, feature_extractor)
    assert before == digest_model(model, feature_extractor)
    torch.nn.init.ones_(model.classifier.bias)
    assert before != digest_model(model, feature_extractor)


def test_a_block_is_there_as_a_whole(tmp_path):
    write_block(tmp_path, 3, [{"row": 0, "file": "a", "label": "x", "score": 1.0, "scores": [1.0], "error": None}])
    assert [file.name for file in tmp_path.iterdir()] == ["rows-000003.parquet"]


def test_a_model_without_windows_gets_the_beginning_of_a_long_clip(tmp_path):
    """The residual CNN, with ASM's feature extractor: a clip of three windows has the scores of its first one."""
    network = ResidualCNNForAudioClassification(ResidualCNNConfig(hidden_sizes=(4,), depths=(1,), num_labels=3)).eval()
    network.save_pretrained(tmp_path / "cnn")
    extractor = ASMFeatureExtractor(num_mel_bins=64, max_length=98)
    extractor.save_pretrained(tmp_path / "cnn")
    samples = 0.1 * np.random.default_rng(0).standard_normal(48000).astype(np.float32)
    (tmp_path / "clips").mkdir()
    soundfile.write(tmp_path / "clips" / "long.wav", samples, 16000, subtype="FLOAT")
    args = PredictArguments(str(tmp_path / "cnn"), str(tmp_path / "out"), num_workers=0, use_cpu=True)
    predict(args, DataArguments(data_dir=str(tmp_path / "clips")))
    (row,) = pq.read_table(tmp_path / "out" / "rows-000000.parquet").to_pylist()
    inputs = extractor(samples, sampling_rate=16000, return_tensors="pt", truncation=True)
    with torch.no_grad():
        expected = network(inputs["input_values"]).logits.softmax(-1)[0].tolist()
    assert row["scores"] == pytest.approx(expected, abs=1e-5)
