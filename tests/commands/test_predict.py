"""`asm-predict` on tones: what is written, what is not lost, what continues after a kill."""

import csv
import json
import shutil
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from datasets import load_dataset
from processes import Python, run_python
from transformers import pipeline

from modeling_asm.audio import load_audio


pytestmark = pytest.mark.slow


def read(folder) -> list[dict]:
    return [row for file in sorted(folder.glob("rows-*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_scores_are_the_pipelines(run, tones, checkpoint, tmp_path):
    (tones / "low" / "05.wav").write_text("not audio")
    arguments = ("--model", checkpoint, "--data_dir", tones, "--output_dir", tmp_path / "out", "--use_cpu")
    outcome = run("predict", *arguments, "--rows_per_file", 7, "--batch_size", 3, "--num_workers", 2)
    assert outcome.error is None
    rows = read(tmp_path / "out")
    assert [row["row"] for row in rows] == list(range(40))
    assert len(list((tmp_path / "out").glob("rows-*.parquet"))) == 6
    described = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (described["rows"], described["errors"], described["labels"]) == (40, 1, ["bird", "cat", "dog"])
    classifier = pipeline("audio-classification", model=str(checkpoint))
    for row in (rows[0], rows[39]):
        expected = {score["label"]: score["score"] for score in classifier(load_audio(row["file"]))}
        assert dict(zip(described["labels"], row["scores"])) == pytest.approx(expected, abs=1e-5)
        assert row["label"] == max(expected, key=expected.get)
        assert row["score"] == pytest.approx(max(expected.values()), abs=1e-5)
    bad = next(row for row in rows if row["error"])
    assert bad["file"].endswith("low/05.wav")
    assert (bad["label"], bad["scores"]) == (None, None)
    with open(tmp_path / "out" / "errors.csv", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [(row["row"], row["file"]) for row in listed] == [(str(bad["row"]), bad["file"])]
    assert "Cannot decode" in listed[0]["error"]
    assert "40 rows in 6 files, 1 of them unreadable" in outcome.stdout
    assert "clips/s" in outcome.stdout

    shards = str(tmp_path / "out" / "rows-*.parquet")  # as the README reads them
    table = load_dataset("parquet", data_files=shards, split="train").to_pandas()
    assert table["row"].tolist() == list(range(40))

    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("rows-*.parquet")}
    again = run("predict", *arguments, "--rows_per_file", 7)
    assert again.error is None
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("rows-*.parquet")} == before
    other = run("predict", *arguments, "--rows_per_file", 8)
    assert "other settings (rows_per_file 7 -> 8)" in other.error


@pytest.mark.long
def test_two_processes_share_the_work(launch, tones, checkpoint, tmp_path):
    process = launch(
        "predict",
        *("--model", checkpoint, "--data_dir", tones, "--output_dir", tmp_path / "out", "--rows_per_file", 3),
        "--use_cpu",
    )
    assert process.returncode == 0, process.stderr
    assert [row["row"] for row in read(tmp_path / "out")] == list(range(40))
    assert "Classifying, 1 of 2 processes: 100%" in process.stderr


@pytest.mark.parametrize("moment", [1, 9])
def test_a_killed_run_goes_on_without_losing_or_doubling_a_row(tones, checkpoint, tmp_path, moment):
    """`kill -9` as soon as so many files are there."""
    words = ["-m", "modeling_asm.commands.predict", "--model", checkpoint, "--data_dir", tones, "--use_cpu"]
    words += ["--output_dir", tmp_path / "out", "--rows_per_file", 3, "--batch_size", 2]
    process = Python(*words)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob("rows-*.parquet"))) < moment and process.returncode is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait()
    done = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("rows-*.parquet")}
    assert len(done) >= moment
    run_python(*words)
    assert [row["row"] for row in read(tmp_path / "out")] == list(range(40))
    again = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("rows-*.parquet")}
    assert {name: again[name] for name in done} == done


def test_a_manifest_and_refusals(run, tones, checkpoint, tmp_path):
    (tones / "list.csv").write_text("file_name\nhigh/00.wav\nlow/00.wav\n")
    base = ("--model", checkpoint, "--use_cpu", "--num_workers", 0)
    assert run("predict", *base, "--manifest", tones / "list.csv", "--output_dir", tmp_path / "a").error is None
    assert [row["file"][-11:] for row in read(tmp_path / "a")] == ["high/00.wav", "/low/00.wav"]
    (tones / "list.csv").write_text("file_name\n../../etc/passwd\n")
    outside = run("predict", *base, "--manifest", tones / "list.csv", "--output_dir", tmp_path / "b")
    assert "which is outside '" in outside.error
    split = run("predict", *base, "--data_dir", tones, "--split", "test", "--output_dir", tmp_path / "c")
    assert "There is no split 'test'. The data has: train" in split.error


def test_other_clips_of_the_same_name_and_number(run, tones, checkpoint, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copytree(tones, tmp_path / "other" / "tones")
    for folder in (tmp_path / "other" / "tones").iterdir():
        for file in folder.iterdir():
            soundfile.write(file, np.zeros(800), 16000)
    base = ("--model", checkpoint, "--use_cpu", "--num_workers", 0, "--output_dir", tmp_path / "out")
    assert run("predict", *base, "--data_dir", tones).error is None
    assert "other settings" in run("predict", *base, "--data_dir", tmp_path / "other" / "tones").error


def test_the_splits_that_train_reads(run, tones, checkpoint, tmp_path):
    """Folders of splits with a metadata.csv each: one is chosen, and its metadata is no clip."""
    for label in ("high", "low"):
        names = "\n".join(f"{index:02d}.wav" for index in range(20))
        (tones / label / "metadata.csv").write_text(f"file_name\n{names}\n")
    base = ("--model", checkpoint, "--use_cpu", "--num_workers", 0, "--data_dir", tones)
    both = run("predict", *base, "--output_dir", tmp_path / "a")
    assert "has the splits high, low. Choose one with --split" in both.error
    assert run("predict", *base, "--output_dir", tmp_path / "b", "--split", "low").error is None
    assert [row["error"] for row in read(tmp_path / "b")] == [None] * 20


def test_another_model_of_the_same_name(run, tones, checkpoint, model, tmp_path):
    base = ("--model", checkpoint, "--use_cpu", "--data_dir", tones, "--output_dir", tmp_path / "out")
    assert run("predict", *base).error is None
    torch.nn.init.ones_(model.classifier.weight)
    model.save_pretrained(checkpoint)
    assert "other settings (model " in run("predict", *base).error


def test_a_model_that_is_not_there(run, tones, tmp_path):
    outcome = run("predict", "--model", tmp_path / "nowhere", "--data_dir", tones, "--output_dir", tmp_path)
    assert "nowhere" in outcome.error


def test_clips_that_are_hardly_there(run, tones, checkpoint, model, tmp_path):
    """One sample, of which resampling leaves none; and samples so large that the scores are no numbers."""
    soundfile.write(tones / "low" / "05.wav", np.full(1, 0.1), 48000)
    soundfile.write(tones / "low" / "06.wav", np.random.default_rng(0).standard_normal(1600) * 1e30, 8000, "DOUBLE")
    model.half().save_pretrained(checkpoint)  # computes in single precision nevertheless
    base = ("--model", checkpoint, "--use_cpu", "--data_dir", tones, "--output_dir", tmp_path / "out")
    assert run("predict", *base).error is None
    errors = {row["file"][-6:]: row["error"] for row in read(tmp_path / "out") if row["error"]}
    assert "too short" in errors["05.wav"]
    assert "The scores of" in errors["06.wav"]
    assert len(errors) == 2


def test_another_way_to_sum_up_is_another_run(run, tones, checkpoint, model, tmp_path):
    base = ("--model", checkpoint, "--use_cpu", "--data_dir", tones, "--output_dir", tmp_path / "out")
    assert run("predict", *base).error is None
    model.config.window_aggregation = "max"
    model.save_pretrained(checkpoint)
    assert "other settings (model " in run("predict", *base).error


def test_a_model_without_a_head(run, tones, checkpoint, model, tmp_path):
    model.audio_spectrogram_mixer.save_pretrained(checkpoint)
    arguments = ("--model", checkpoint, "--use_cpu", "--data_dir", tones, "--output_dir", tmp_path / "out")
    assert "is not a trained classifier: it has no weights for classifier" in run("predict", *arguments).error
