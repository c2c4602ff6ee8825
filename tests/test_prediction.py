import csv
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

from modeling_asm import (
    ASMFeatureExtractor,
    ASMForAudioClassification,
    ResidualCNNConfig,
    ResidualCNNForAudioClassification,
)
from modeling_asm.audio import load_audio
from modeling_asm.prediction import (
    SECONDS,
    ClipReader,
    PredictArguments,
    choose_split,
    digest_model,
    finish_clip,
    predict,
    write_block,
)
from modeling_asm.training.data.loading import DataArguments
from modeling_asm.training.frontend import Frontend


def test_a_split_is_chosen_or_the_only_one():
    one = DatasetDict(train=Dataset.from_dict({"x": [1]}))
    assert choose_split(one, None, "clips") is one["train"]
    with pytest.raises(ValueError, match=r"There is no split 'test'\. The data has: train"):
        choose_split(one, "test", "clips")
    two = DatasetDict(train=one["train"], test=one["train"])
    with pytest.raises(ValueError, match=r"'clips' has the splits train, test\. Choose one with --split"):
        choose_split(two, None, "clips")
    two["test"] = Dataset.from_dict({"x": [2]})
    assert choose_split(two, "test", "clips") is two["test"]
    with pytest.raises(ValueError, match=r"There is no split 'dev'\. The data has: train, test\."):
        choose_split(two, "dev", "clips")


@pytest.mark.parametrize(
    ("problem_type", "expected"),
    [("multi_label_classification", [0.5, 0.5, 0.5]), (None, [1 / 3] * 3), ("regression", [0.0] * 3)],
)
def test_scores_of_a_clip(config, problem_type, expected):
    config.problem_type = problem_type
    clip = {"row": 0, "file": "a.wav", "error": None}
    row = finish_clip(clip, [[0.0] * 3, [0.0] * 3], config, ["bird", "cat", "dog"])
    assert row["scores"] == pytest.approx(expected)


def test_scores_that_are_not_finite_are_an_error(config):
    row = finish_clip({"file": "a.wav", "error": None}, [[math.nan] * 3], config, ["a", "b", "c"])
    assert row.keys() == {"file", "error", "label", "score", "scores"}
    assert row["label"] is row["score"] is row["scores"] is None
    assert "The scores of 'a.wav' are not finite" in row["error"]


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


def test_a_window_that_the_model_does_not_take(checkpoint, tones, tmp_path, caplog):
    args = PredictArguments(str(checkpoint), str(tmp_path / "out"), seconds=3.0, num_workers=0, use_cpu=True)
    predict(args, DataArguments(str(tones)))
    assert "--seconds 3 has no effect: the window of 'checkpoint' has 0.17 s." in caplog.text


def test_other_weights_another_digest(model, feature_extractor):
    before = digest_model(model, feature_extractor)
    assert before == digest_model(model, feature_extractor)
    torch.nn.init.ones_(model.classifier.bias)
    assert before != digest_model(model, feature_extractor)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id2label", {0: "cat", 1: "bird", 2: "dog"}),
        ("problem_type", "multi_label_classification"),
        ("window_overlap", 0.25),
        ("window_aggregation", "max"),
    ],
)
def test_what_decides_the_answers_is_in_the_digest(model, feature_extractor, field, value):
    before = digest_model(model, feature_extractor)
    assert len(before) == 16
    assert getattr(model.config, field) != value
    setattr(model.config, field, value)
    assert digest_model(model, feature_extractor) != before


def test_another_feature_extraction_another_digest(model, feature_extractor):
    before = digest_model(model, feature_extractor)
    feature_extractor.mean += 1
    assert digest_model(model, feature_extractor) != before


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


def rows_of(folder) -> list[dict]:
    return [row for file in sorted(folder.glob("rows-*.parquet")) for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def long_tones(tones):
    """The tones of one pitch: one of them of several windows, one that is no audio."""
    samples = 0.3 * np.sin(np.arange(16000) / 5)
    soundfile.write(tones / "low" / "03.wav", samples, 16000)
    (tones / "low" / "05.wav").write_bytes(b"RIFF")
    return tones / "low"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_rows_are_those_of_the_pipeline(checkpoint, long_tones, tmp_path, num_workers, capsys):
    """Of all clips in their order, whatever the blocks, batches and workers; errors and counts are told."""
    args = PredictArguments(str(checkpoint), str(tmp_path / "out"), batch_size=3, rows_per_file=7, use_cpu=True)
    args.num_workers = num_workers
    predict(args, DataArguments(str(long_tones)))
    files = sorted(long_tones.glob("*.wav"))
    rows = rows_of(tmp_path / "out")
    assert [row["row"] for row in rows] == list(range(20))
    assert [row["file"] for row in rows] == list(map(str, files))
    assert [path.name for path in sorted((tmp_path / "out").glob("rows-*"))] == [
        f"rows-00000{block}.parquet" for block in range(3)
    ]
    classifier = pipeline("asm-audio-classification", model=str(checkpoint))
    for row in rows:
        if row["row"] == 5:
            assert "05.wav" in row["error"]
            assert row["label"] is row["score"] is row["scores"] is None
            continue
        best, *_ = scores = classifier(row["file"], top_k=None)
        assert row["error"] is None
        assert (row["label"], row["score"]) == (best["label"], pytest.approx(best["score"], abs=1e-5))
        assert sorted(row["scores"]) == pytest.approx(sorted(score["score"] for score in scores), abs=1e-5)
    with open(tmp_path / "out" / "errors.csv", newline="") as file:
        assert list(csv.reader(file)) == [["row", "file", "error"], ["5", str(files[5]), rows[5]["error"]]]
    summary = json.loads((tmp_path / "out" / "predictions.json").read_text())
    labels = [row["label"] for row in rows]
    counts = {label: labels.count(label) for label in ("bird", "cat", "dog")}
    assert summary == {
        "model": "checkpoint",
        "data": "low",
        "labels": ["bird", "cat", "dog"],
        "rows": 20,
        "errors": 1,
        "clips_per_label": counts,
    }
    told = capsys.readouterr().out
    assert told.startswith("train: 20 files found, 20 used\n")
    assert "20 rows in 3 files, 1 of them unreadable (errors.csv)" in told
    table = [line.split() for line in told.splitlines()[2:]]
    assert table[0] == ["label", "clips"]
    assert [int(line[1]) for line in table[2:5]] == sorted(counts.values(), reverse=True)


def test_only_missing_blocks_are_classified_again(checkpoint, long_tones, tmp_path):
    args = PredictArguments(str(checkpoint), str(tmp_path / "out"), rows_per_file=6, num_workers=0, use_cpu=True)
    predict(args, DataArguments(str(long_tones)))
    whole = rows_of(tmp_path / "out")
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("rows-*")}
    (tmp_path / "out" / "rows-000001.parquet").unlink()
    (tmp_path / "out" / "unfinished-000001.parquet").write_bytes(b"half")
    predict(args, DataArguments(str(long_tones)))
    assert rows_of(tmp_path / "out") == whole
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("rows-*")}
    assert {name for name in written if again[name] != written[name]} == {"rows-000001.parquet"}
    assert not list((tmp_path / "out").glob("unfinished-*"))
    with pytest.raises(ValueError, match="other settings"):
        predict(
            PredictArguments(str(checkpoint), str(tmp_path / "out"), rows_per_file=5, use_cpu=True),
            DataArguments(str(long_tones)),
        )


def test_a_stream_gives_the_rows_of_the_data_set(checkpoint, tones, tmp_path):
    rows = []
    for name, source in {"whole": {"data_dir": str(tones)}, "stream": {"dataset_name": str(tones)}}.items():
        folder = tmp_path / name
        args = PredictArguments(str(checkpoint), str(folder), rows_per_file=16, num_workers=0, use_cpu=True)
        predict(args, DataArguments(**source, streaming=name == "stream"))
        rows.append([(row["row"], row["label"], row["scores"]) for row in rows_of(folder)])
    assert rows[0] == rows[1]
    assert len(rows[0]) == 40


@pytest.mark.parametrize(("processes", "workers"), [(1, 1), (2, 1), (1, 3), (2, 2), (3, 2)])
@pytest.mark.parametrize("streamed", [False, True])
def test_blocks_are_shared_without_gap_or_overlap(processes, workers, streamed):
    """Among processes and their workers; those that are done are left out."""
    clips, done = Dataset.from_dict({"row": range(95)}), {2, 3}
    args = PredictArguments("model", "out", rows_per_file=10)
    taken, numbers = [], []
    for process in range(processes):
        source = clips.to_iterable_dataset() if streamed else clips
        reader = ClipReader(source, None, None, args, (process, processes), done)
        mine = [(block, list(rows)) for worker in range(workers) for block, rows in reader.blocks(worker, workers)]
        assert reader.num_clips() == (None if streamed else sum(len(rows) for _, rows in mine))
        taken += mine
        numbers += [row["row"] for _, rows in mine for row in rows]
    assert sorted(block for block, _ in taken) == [0, 1, 4, 5, 6, 7, 8, 9]
    assert sorted(numbers) == [row for row in range(95) if row // 10 not in done]
    assert all(rows[0]["row"] == 10 * block for block, rows in taken)


def test_clips_without_a_file_are_named_by_their_rows(checkpoint, tones, tmp_path):
    contents = [(tones / "low" / f"0{row}.wav").read_bytes() for row in range(4)]
    dataset = Dataset.from_dict({"audio": [{"bytes": content, "path": None} for content in [*contents, b"no audio"]]})
    dataset.save_to_disk(str(tmp_path / "saved"))
    args = PredictArguments(str(checkpoint), str(tmp_path / "out"), rows_per_file=3, num_workers=0, use_cpu=True)
    predict(args, DataArguments(str(tmp_path / "saved")))
    rows = rows_of(tmp_path / "out")
    assert [row["file"] for row in rows] == [f"row {row}" for row in range(5)]
    assert [row["error"] is None for row in rows] == [True] * 4 + [False]


def test_a_run_is_continued_with_the_same_settings_alone(checkpoint, tones, tmp_path):
    """All that decides the rows is in its settings, and other clips are another run."""
    args = PredictArguments(str(checkpoint), str(tmp_path / "out"), rows_per_file=9, num_workers=0, use_cpu=True)
    predict(args, DataArguments(str(tones)))
    settings = json.loads((tmp_path / "out" / "run.json").read_text())
    model = AutoModelForAudioClassification.from_pretrained(checkpoint)
    assert settings["data_dir"] == str(tones)
    assert (settings["split"], settings["rows_per_file"], settings["mixed_precision"]) == (None, 9, "no")
    assert settings["model"] == digest_model(model, ASMFeatureExtractor.from_pretrained(checkpoint))
    assert settings["seconds"] == SECONDS  # which only models without a window of their own take
    (tones / "low" / "19.wav").unlink()
    with pytest.raises(ValueError, match=r"other settings \(the clips have changed"):
        predict(args, DataArguments(str(tones)))


def test_one_split_in_half_precision(checkpoint, tones, tmp_path):
    """The split that is named; and bfloat16 changes the scores a little, as rounding does."""
    splits = {"train": sorted((tones / "high").iterdir()), "test": sorted((tones / "low").iterdir())[:3]}
    audio = {name: [{"path": str(file), "bytes": None} for file in files] for name, files in splits.items()}
    dataset = DatasetDict({name: Dataset.from_dict({"audio": clips}) for name, clips in audio.items()})
    dataset.save_to_disk(str(tmp_path / "data"))
    scores = {}
    for precision in ("no", "bf16"):
        AcceleratorState._reset_state()  # or the second would have the precision of the first
        folder = tmp_path / precision
        args = PredictArguments(str(checkpoint), str(folder), split="test", mixed_precision=precision, num_workers=0)
        args.use_cpu = True
        predict(args, DataArguments(str(tmp_path / "data")))
        rows = rows_of(folder)
        assert [row["file"] for row in rows] == list(map(str, splits["test"]))
        scores[precision] = np.array([row["scores"] for row in rows])
    assert 0 < np.abs(scores["no"] - scores["bf16"]).max() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [None, 0.05])
def test_other_models_get_the_window_that_is_asked_for(wav2vec2, tones, tmp_path, seconds):
    args = PredictArguments(str(wav2vec2), str(tmp_path / "out"), seconds=seconds, num_workers=0, use_cpu=True)
    predict(args, DataArguments(str(tones / "low")))
    row = rows_of(tmp_path / "out")[0]
    samples = load_audio(row["file"], 16000)
    length = len(samples) if seconds is None else round(seconds * 16000)
    starts = range(0, len(samples) - length + 1, length)  # 0.5 s, of which no window is left over
    extractor = AutoFeatureExtractor.from_pretrained(wav2vec2)
    frontend = Frontend(extractor, seconds or SECONDS)
    model = AutoModelForAudioClassification.from_pretrained(wav2vec2).eval()
    with torch.no_grad():
        pieces = [torch.from_numpy(samples[start : start + length].copy()) for start in starts]
        expected = torch.cat([model(**frontend.extract([piece])).logits for piece in pieces]).softmax(-1).mean(0)
    assert row["scores"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_model_that_was_not_trained(checkpoint, tones, tmp_path):
    weights = load_file(checkpoint / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if name != "classifier.bias"},
        checkpoint / "model.safetensors",
        {"format": "pt"},
    )
    args = PredictArguments(str(checkpoint), str(tmp_path / "out"), num_workers=0, use_cpu=True)
    with pytest.raises(ValueError, match=r"checkpoint is not a trained classifier: .* no weights for classifier\.bias"):
        predict(args, DataArguments(str(tones)))


def test_the_ten_most_frequent_labels_are_printed(config, feature_extractor, tones, tmp_path, capsys):
    config.id2label = {index: f"label {index}" for index in range(12)}
    ASMForAudioClassification(config).save_pretrained(tmp_path / "many")
    feature_extractor.save_pretrained(tmp_path / "many")
    predict(
        PredictArguments(str(tmp_path / "many"), str(tmp_path / "out"), num_workers=0, use_cpu=True),
        DataArguments(str(tones)),
    )
    assert sum(line.strip().startswith("label ") for line in capsys.readouterr().out.splitlines()) == 10 + 1
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["clips_per_label"]) == 12
