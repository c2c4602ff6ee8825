"""`asm-train` as a user runs it, on tones."""

import csv
import io
import json
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file
from strangers import TRAVELLING
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, pipeline

from modeling_asm import ASMForAudioClassification
from modeling_asm.audio import load_audio
from modeling_asm.commands.classify import main as classify
from modeling_asm.commands.train import GROUPS
from modeling_asm.commands.train import main as train
from modeling_asm.training.arguments import ArgumentParser


pytestmark = pytest.mark.slow


QUICK = ("--num_train_epochs", 1, "--use_cpu", "--per_device_train_batch_size", 4)
ROUGH = ("--measure_cost", False, "--resamples", 10)
SPLIT = ("--test_fraction", 0.3, "--dev_fraction", 0.2)
NEW = ("--from", "scratch")


def results_of(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


def write_manifest(tones, header, *rows):
    with open(tones / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def all_tones() -> list[tuple[str, str]]:
    """Names and labels of the files of `tones`."""
    return [(f"{label}/{index:02d}.wav", label) for label in ("low", "high") for index in range(20)]


class Trained(NamedTuple):
    """A finished run of `asm-train`."""

    arguments: tuple
    tones: Path
    folder: Path
    curves: Path
    stdout: str


@pytest.fixture(scope="module")
def trained(shared_tones, tmp_path_factory) -> Trained:
    root, output = tmp_path_factory.mktemp("trained"), io.StringIO()
    tones = shutil.copytree(shared_tones, root / "tones")
    arguments = ("--data_dir", tones, "--output_dir", root / "model", *NEW, *QUICK, *SPLIT, "--num_train_epochs", 10)
    arguments += ("--seed", 44, "--save_total_limit", 2, "--report_to", "tensorboard")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        patch.setenv("TENSORBOARD_LOGGING_DIR", str(root / "curves"))
        assert train([str(argument) for argument in arguments]) == 0
    return Trained(arguments, tones, root / "model", root / "curves", output.getvalue())


def test_from_a_folder_to_a_label(trained, capsys):
    results = results_of(trained.folder)
    assert results["metrics"]["accuracy"] >= 0.9
    assert f"{results['metrics']['accuracy']:.3f} (95% interval" in trained.stdout
    assert "only 60 steps, from random weights" in trained.stdout
    assert results["data"]["clips"] == {"train": 22, "dev": 6, "test": 12}
    assert results["cost"]["ratio"] > 1
    classifier = pipeline("audio-classification", model=str(trained.folder))
    assert classifier(load_audio(trained.tones / "low" / "00.wav"))[0]["label"] == "low"
    clips = (trained.tones / "low" / "01.wav", trained.tones / "nowhere.wav", trained.tones / "high" / "02.wav")
    capsys.readouterr()
    assert classify(["--model", str(trained.folder), *map(str, clips)]) == 1
    assert [line.split("  ")[1].split()[0] for line in capsys.readouterr().out.splitlines()] == ["low", "high"]


def test_the_files_of_a_run(trained):
    """A checkpoint with its code, its card and its tables, and the private path of the data in none of them."""
    names = {file.name for file in trained.folder.iterdir()}
    tables = ("confusion_matrix", "per_class", "learning_curves", "worst_clips")
    expected = {"model.safetensors", "config.json", "preprocessor_config.json", "README.md", "LICENSE"}
    expected |= {f"{name}.py" for name in TRAVELLING}
    expected |= {f"{name}.{end}" for name in tables for end in ("csv", "png")}
    assert expected <= names
    assert not [name for name in names if name.startswith("unfinished")]
    for name in ("results.json", "README.md", "run.json", "worst_clips.csv"):
        assert str(trained.tones.parent) not in (trained.folder / name).read_text(), name
    assert list(trained.curves.rglob("events.out.tfevents.*"))


def test_the_best_epoch_is_kept(trained):
    last = max(trained.folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    state = json.loads((last / "trainer_state.json").read_text())
    losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
    assert len(losses) == 10  # evaluated each epoch
    assert state["best_metric"] == min(losses)
    best, kept = (
        load_file(path / "model.safetensors")
        for path in (trained.folder / state["best_model_checkpoint"], trained.folder)
    )
    assert all((best[name] == kept[name]).all() for name in kept)


def test_a_finished_run_is_not_repeated(run, trained):
    written = (trained.folder / "model.safetensors").stat().st_mtime_ns
    assert run("train", *trained.arguments).error is None
    assert (trained.folder / "model.safetensors").stat().st_mtime_ns == written


def test_another_run_in_the_same_folder(run, trained):
    other = run("train", *trained.arguments, "--learning_rate", 0.5)
    assert "holds a run with other settings (learning_rate 0.001 -> 0.5), and nothing is overwritten" in other.error
    assert results_of(trained.folder)["training"]["learning_rate"] == 0.001
    new = trained.tones / "low" / "new.wav"
    new.write_bytes((trained.tones / "low" / "00.wav").read_bytes())
    try:  # the split would be another, with clips in test that it trained on
        assert "other settings (the clips have changed" in run("train", *trained.arguments).error
    finally:
        new.unlink()


def test_fine_tuning_keeps_the_statistics_of_a_checkpoint(run, trained, tones, tmp_path):
    tuned = ("--data_dir", tones, "--output_dir", tmp_path / "tuned", "--model_name_or_path", trained.folder)
    assert run("train", *tuned, *QUICK, *SPLIT, *ROUGH, "--augment", False).error is None
    before, after = results_of(trained.folder), results_of(tmp_path / "tuned")
    assert after["model"]["feature_extractor"]["mean"] == before["model"]["feature_extractor"]["mean"]
    assert after["training"]["augmentation"] is None
    assert after["model"]["fine_tuned_from"] == "model"
    assert after["model"]["base_model"] is None


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_evaluation_alone(run, tones, checkpoint, tmp_path):
    base = ("--evaluate_only", "--model_name_or_path", checkpoint, "--data_dir", tones, "--use_cpu", *ROUGH)
    unknown = run("train", *base, "--output_dir", tmp_path / "a")
    assert "'high', but the checkpoint 'checkpoint' does not. It has: bird, cat, dog" in unknown.error
    (tones / "high").rename(tones / "dog")
    (tones / "low").rename(tones / "cat")
    weights = (checkpoint / "model.safetensors").read_bytes()
    rows = [(f"{label}/{index:02d}.wav", label, index % 10) for label in ("dog", "cat") for index in range(20)]
    write_manifest(tones, ("file_name", "label", "speaker"), *rows)
    outcome = run("train", *base, "--output_dir", tmp_path / "b", "--group_column", "speaker")
    assert outcome.error is None
    results = results_of(tmp_path / "b")
    assert "apart" not in results["data"]  # nobody knows what the checkpoint has heard
    assert results["data"]["labels"] == ["bird", "cat", "dog"]
    assert results["training"] is None
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == weights
    trained = run("train", *base[1:], "--output_dir", tmp_path / "b", "--group_column", "speaker")
    assert "other settings (evaluate_only True -> False)" in trained.error
    missing = run("train", "--evaluate_only", "--data_dir", tones, "--output_dir", tmp_path / "c")
    assert "--evaluate_only needs the checkpoint" in missing.error


def test_a_regression_is_evaluated_with_its_own_weights(run, tones, config, feature_extractor, tmp_path):
    """And not with new ones, which each seed would draw otherwise."""
    config.num_labels, config.problem_type = 1, "regression"
    ASMForAudioClassification(config).save_pretrained(tmp_path / "level")
    feature_extractor.save_pretrained(tmp_path / "level")
    weights = (tmp_path / "level" / "model.safetensors").read_bytes()
    write_manifest(tones, ("file_name", "label"), *[(f"low/{row:02d}.wav", row / 4) for row in range(9)])
    errors = set()
    for seed in (1, 2):
        arguments = ("--evaluate_only", "--model_name_or_path", tmp_path / "level", "--data_dir", tones, "--use_cpu")
        assert run("train", *arguments, *ROUGH, "--seed", seed, "--output_dir", tmp_path / f"{seed}").error is None
        errors.add(results_of(tmp_path / f"{seed}")["metrics"]["mean_squared_error"])
        assert (tmp_path / f"{seed}" / "model.safetensors").read_bytes() == weights
    assert len(errors) == 1


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_all_folds_and_seeds(run, tones, tmp_path):
    rows = [(name, label, f"take {index % 2}") for index, (name, label) in enumerate(all_tones())]
    write_manifest(tones, ("file_name", "label", "take"), *rows)
    base = ("--data_dir", tones, "--output_dir", tmp_path / "cv", *NEW, *QUICK, *ROUGH, "--dev_fraction", 0)
    base += ("--fold_column", "take")
    outcome = run("train", *base, "--cross_validate", "--seeds", 1, 2, "--results_file", tmp_path / "new" / "r.json")
    assert outcome.error is None
    results = results_of(tmp_path / "cv")
    assert results == json.loads((tmp_path / "new" / "r.json").read_text())
    assert [(run["seed"], run["test_split"]) for run in results["runs"]] == [
        (seed, f"rows with take take {fold}") for seed in (1, 2) for fold in range(2)
    ]
    scores = torch.tensor([run["metrics"]["accuracy"] for run in results["runs"]], dtype=torch.float64)
    assert results["mean"]["accuracy"] == pytest.approx(scores.mean().item())
    assert results["std"]["accuracy"] == pytest.approx(scores.std().item())
    assert {run["clips"]["test"] for run in results["runs"]} == {20}
    assert "mean and deviation of 4" in outcome.stdout
    assert "the first of 4 runs (seeds 1, 2)" in (tmp_path / "cv" / "seed-1" / "take-take 0" / "README.md").read_text()
    plain = run("train", *base[:-2])
    assert "other settings (" in plain.error
    assert "seeds [1, 2] -> None" in plain.error
    assert results_of(tmp_path / "cv") == results
    alone = run("train", "--data_dir", tones, "--output_dir", tmp_path / "x", "--cross_validate")
    assert "--cross_validate needs the column" in alone.error


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("kind", ["several", "numbers"])
def test_other_problems(run, tones, tmp_path, kind):
    labels = {"several": ("low|quiet", "high"), "numbers": ("0.25", "2.5")}[kind]
    rows = [(name, labels[label == "high"]) for name, label in all_tones()]
    write_manifest(tones, ("file_name", "label"), *rows)
    arguments = ("--data_dir", tones, "--output_dir", tmp_path / kind, *NEW, *QUICK, *SPLIT)
    arguments += ("--num_train_epochs", 6, *ROUGH)
    extra = ("--label_separator", "|", "--class_balance", "weights") if kind == "several" else ()
    outcome = run("train", *arguments, *extra)
    assert outcome.error is None
    results = results_of(tmp_path / kind)
    if kind == "several":
        assert results["data"]["labels"] == ["high", "low", "quiet"]
        assert results["metrics"]["mean_average_precision"] > 0.6
        assert results["model"]["config"]["problem_type"] == "multi_label_classification"
    else:
        assert results["metrics"]["mean_squared_error"] < 3
        assert results["model"]["config"]["problem_type"] == "regression"
        balanced = run("train", *arguments, *extra, "--class_balance", "weights", "--output_dir", tmp_path / "x")
        assert "needs classes, and a regression has none" in balanced.error
    assert "All results:" in outcome.stdout
    assert f"Classify a recording: asm-classify --model {tmp_path / kind} FILE" in outcome.stdout


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_ast_trains_through_the_same_script(run, tones, tmp_path):
    config = ASTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_length=32)
    ASTForAudioClassification(config).save_pretrained(tmp_path / "ast")
    ASTFeatureExtractor(max_length=32).save_pretrained(tmp_path / "ast")
    arguments = (
        "--data_dir",
        tones,
        "--output_dir",
        tmp_path / "tuned",
        "--model_name_or_path",
        tmp_path / "ast",
        *ROUGH,
    )
    outcome = run(
        "train", *arguments, *QUICK, *SPLIT, "--layer_decay", 0.7, "--freeze_encoder", "--class_balance", "sampling"
    )
    assert outcome.error is None
    results = results_of(tmp_path / "tuned")
    assert results["model"]["architecture"] == "ASTForAudioClassification"
    card = (tmp_path / "tuned" / "README.md").read_text()
    assert "`ASTForAudioClassification`" in card
    assert "with a frozen encoder" in card


def test_refusals(run, tones, tmp_path):
    base = ("--data_dir", tones, "--use_cpu", "--output_dir", tmp_path / "new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for arguments, message in (
        (("--test_split", "validation"), "There is no split 'validation'"),
        (("--hold_out", "speaker=ann"), "There is no column 'speaker'"),
        (("--test_split", "train"), "clips that the model trains on"),
        (("--output_dir", tmp_path / "full"), "already holds files, and nothing is overwritten"),
        (("--model_name_or_path", "some-model", "--size", "small"), "--size would have no effect"),
        (("--manifest", tones / "nowhere.csv"), "There is no manifest"),
        (("--test_fraction", 2), "--test_fraction is 2.0"),
    ):
        outcome = run("train", *base, *arguments)
        assert outcome.error is not None, arguments
        assert message in outcome.error
    missing = tmp_path / "missing"
    for label, split in (("low", "train"), ("high", "test"), ("low", "test")):
        (missing / split / label).mkdir(parents=True, exist_ok=True)
        (missing / split / label / "0.wav").write_bytes((tones / label / "00.wav").read_bytes())
    outcome = run("train", "--data_dir", missing, "--output_dir", tmp_path / "m", "--dev_fraction", 0)
    assert "Class 'high' is in the test split (test), but train has no clip of it" in outcome.error


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_an_unreadable_file_stops_or_is_skipped(run, tones, tmp_path):
    (tones / "low" / "05.wav").write_text("not audio")
    base = ("--data_dir", tones, "--output_dir", tmp_path / "model", *NEW, *QUICK, *SPLIT, *ROUGH)
    stopped = run("train", *base)
    assert "05.wav" in stopped.error
    assert "--on_bad_audio skip" in stopped.error
    skipped = run("train", *base, "--on_bad_audio", "skip")
    assert skipped.error is None
    assert "Skipped 1 unreadable files" in skipped.stdout
    skipped_files = results_of(tmp_path / "model")["data"]["skipped_files"]
    assert len(skipped_files) == 1
    assert "'low/05.wav'" in skipped_files[0]


def test_a_loss_that_is_no_number(run, tones, tmp_path):
    base = ("--data_dir", tones, "--output_dir", tmp_path / "model", *NEW, *QUICK, *SPLIT, *ROUGH)
    outcome = run("train", *base, "--learning_rate", 1e38, "--warmup_steps", 0, "--max_grad_norm", 0)
    assert "The loss is nan at step " in outcome.error
    assert "in a batch of 4 clips: " in outcome.error
    assert ".wav" in outcome.error


def test_help(run):
    """Nothing is left without an explanation."""
    outcome = run("train", "--help")
    assert outcome.error is None
    for argument in ("--hold_out", "--time_shift", "--num_train_epochs", "--cross_validate", "--layer_decay"):
        assert argument in outcome.stdout
    assert not [action.dest for action in ArgumentParser(GROUPS)._actions if not action.help]


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.long
def test_two_processes_train_what_one_does(run, launch, tones, tmp_path):
    """Same loss, metrics and weights, up to the rounding of a mean in two parts.

    No clip counts twice: not of the 15 that are reported, the 3 that choose, nor the 22 that train, in batches of 8.
    """
    base = ("--data_dir", tones, "--use_cpu", "--num_train_epochs", 2, "--augment", False, "--drop_path_rate", 0)
    base += ("--test_fraction", 0.375, "--dev_fraction", 0.1, "--optim", "sgd", "--learning_rate", 0.01, *ROUGH)
    base += ("--class_balance", "sampling")  # other clips in each epoch, the same ones in each process
    one = run("train", *base, "--output_dir", tmp_path / "one", "--per_device_train_batch_size", 8)
    assert one.error is None
    two = launch("train", *base, "--output_dir", tmp_path / "two", "--per_device_train_batch_size", 4)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("All results:") == 1
    first, second = results_of(tmp_path / "one"), results_of(tmp_path / "two")
    assert first["data"]["clips"] == second["data"]["clips"] == {"train": 22, "dev": 3, "test": 15}
    assert sum(map(sum, second["confusion_matrix"])) == 15
    assert (first["training"]["processes"], second["training"]["processes"]) == (1, 2)
    assert first["training"]["batch_size"] == second["training"]["batch_size"] == 8
    assert first["metrics"] == second["metrics"]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-5, rtol=1e-4)
    curves = [list(csv.DictReader((tmp_path / name / "learning_curves.csv").open())) for name in ("one", "two")]
    for row, other in zip(*curves, strict=True):
        assert float(row["loss"]) == pytest.approx(float(other["loss"]), abs=1e-5)
        assert row["eval_accuracy"] == other["eval_accuracy"]
        assert float(row["eval_loss"]) == pytest.approx(float(other["eval_loss"]), abs=1e-5)


def test_what_a_stream_cannot_do(run, tones, tmp_path):
    rows = {"audio": [str(tones / name) for name, _ in all_tones()], "label": [label for _, label in all_tones()]}
    splits = DatasetDict(train=Dataset.from_dict(rows), test=Dataset.from_dict(rows))
    for name, split in splits.items():
        split.to_parquet(tmp_path / "parquet" / f"{name}.parquet")
    base = ("--dataset_name", tmp_path / "parquet", "--streaming", "--output_dir", tmp_path / "a", *NEW, *QUICK)
    base += ("--labels", "high", "low")
    for arguments, message in (
        (("--hold_out", "speaker=ann"), "--hold_out needs the whole data set. It cannot be combined with --streaming."),
        (("--class_balance", "sampling"), "--class_balance sampling needs the whole data set"),
        ((), "use --max_steps"),
        (("--train_also", tones), "--train_also needs the whole data set"),
        (("--max_steps", 2, "--test_split", "train"), "clips that the model trains on"),
        (("--max_steps", 2, "--train_split", "all"), "There is no split 'all'"),
    ):
        assert message in run("train", *base, *arguments).error


def test_a_checkpoint_of_another_rate_hears_it(run, tones, checkpoint, feature_extractor, tmp_path):
    """Kept samples and those that are decoded anew are the same, at 8 kHz."""
    feature_extractor.sampling_rate = 8000
    feature_extractor.save_pretrained(checkpoint)
    base = ("--data_dir", tones, "--model_name_or_path", checkpoint, *QUICK, *SPLIT, "--resamples", 0)
    assert run("train", *base, "--output_dir", tmp_path / "kept").error is None
    anew = run("train", *base, "--output_dir", tmp_path / "anew", "--keep_audio", False, *ROUGH)
    assert anew.error is None
    kept, anew = (load_file(tmp_path / name / "model.safetensors") for name in ("kept", "anew"))
    assert all(torch.equal(kept[name], anew[name]) for name in kept)
    assert results_of(tmp_path / "kept")["cost"]["ratio"] > 0


def test_a_finished_run_is_told_its_licence_later_and_nothing_else(run, tones, tmp_path):
    base = ("--data_dir", tones, "--output_dir", tmp_path / "a", *NEW, *QUICK, *SPLIT, *ROUGH)
    assert run("train", *base, "--hub_token", "hf_secret").error is None
    assert "hf_secret" not in "".join(file.read_text() for file in (tmp_path / "a").glob("[!.]*.[jm][sd]*"))
    weights = (tmp_path / "a" / "model.safetensors").read_bytes()
    told = run("train", *base, "--licence", "cc-by-4.0", "--credit", "Ann")
    assert told.error is None
    assert "is finished: nothing is trained again" in told.stdout
    assert run("train", *base, "--report_to", "tensorboard", "--logging_steps", 7).error is None
    card = (tmp_path / "a" / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert "Ann" in card
    assert results_of(tmp_path / "a")["data"]["licence"] == "cc-by-4.0"
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == weights
    for arguments, change in (
        (("--adam_beta2", 0.5), "adam_beta2 0.999 -> 0.5"),
        (("--lr_scheduler_kwargs", '{"num_cycles": 3}'), "lr_scheduler_kwargs None -> {'num_cycles': 3}"),
    ):
        assert f"other settings ({change})" in run("train", *base, *arguments).error


def test_arguments_that_do_not_go_together(run, tones, tmp_path):
    base = ("--data_dir", tones, "--output_dir", tmp_path / "a", *QUICK)
    assert "Set --output_dir to the folder" in run("train", "--data_dir", tones).error
    for arguments, message in (
        (("--resume_from_checkpoint", "/nowhere"), "the same command continues from the last checkpoint by itself"),
        (
            ("--evaluate_only", "--model_name_or_path", tones, "--train_also", tones),
            "Omit --train_also: --evaluate_only trains nothing",
        ),
        (
            ("--evaluate_only", "--model_name_or_path", tones, "--tune", "head"),
            "Omit --tune: --evaluate_only trains nothing",
        ),
        (("--dev_fraction", 0, "--early_stopping_patience", 3), "needs a dev split: use --dev_fract"),
        (
            ("--average_last", 2, "--save_strategy", "no", "--load_best_model_at_end", "false"),
            "--average_last 2 needs checkpoints. Omit --save_strategy no",
        ),
    ):
        assert message in run("train", *base, *arguments).error


def test_speakers_that_changed_places(run, tones, tmp_path):
    """An unfinished run does not go on where other clips would be tested than before."""
    base = ("--data_dir", tones, "--output_dir", tmp_path / "a", *QUICK, *SPLIT, *ROUGH, "--group_column", "speaker")
    rows = [(*clip, f"speaker {number % 10}") for number, clip in enumerate(all_tones())]
    write_manifest(tones, ("file_name", "label", "speaker"), *rows)
    assert run("train", *base).error is None
    assert results_of(tmp_path / "a")["data"]["apart"] == {"column": "speaker", "groups": 3}
    assert "from 3 values of `speaker` that are not in the training data" in (tmp_path / "a" / "README.md").read_text()
    (tmp_path / "a" / "results.json").unlink()
    write_manifest(tones, ("file_name", "label", "speaker"), *[(*row[:2], f"{row[2]}0") for row in rows])
    assert "other settings (the clips have changed" in run("train", *base).error


def test_clips_of_a_stream_that_cannot_be_read_are_in_the_results(run, tones, tmp_path):
    rows = [
        {"audio": {"path": name, "bytes": (tones / name).read_bytes()}, "label": label} for name, label in all_tones()
    ]
    clips = Dataset.from_list(rows).shuffle(seed=0)
    damaged = clips.select(range(28, 40)).map(
        lambda row, index: row if index else row | {"audio": {"path": "bad.wav", "bytes": b"RIFF"}}, with_indices=True
    )
    for name, part in (("train", clips.select(range(28))), ("test", damaged)):
        part.to_parquet(tmp_path / "parquet" / f"{name}.parquet")
    base = ("--dataset_name", tmp_path / "parquet", "--streaming", "--max_steps", 2, "--on_bad_audio", "skip")
    outcome = run("train", *base, "--labels", "high", "low", *NEW, *QUICK, *ROUGH, "--output_dir", tmp_path / "model")
    assert outcome.error is None
    data = results_of(tmp_path / "model")["data"]
    assert data["skipped_files"] == ["1 clips of test, which cannot be read"]
    assert data["clips"]["test"] == 11


def test_a_stream_that_is_interrupted(run, tones, tmp_path, monkeypatch):
    """In its third pass: 28 clips, 15 steps of 5; the weights are those of an undisturbed run."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)  # or it waits after each pass
    rows = [
        {"audio": {"path": name, "bytes": (tones / name).read_bytes()}, "label": label} for name, label in all_tones()
    ]
    clips = Dataset.from_list(rows).shuffle(seed=0)
    for name, part in (("train", clips.select(range(28))), ("test", clips.select(range(28, 40)))):
        part.to_parquet(tmp_path / "parquet" / f"{name}.parquet")
    base = ("--dataset_name", tmp_path / "parquet", "--streaming", "--labels", "high", "low", "--max_steps", 15)
    base += (*NEW, "--use_cpu", "--per_device_train_batch_size", 5, "--save_steps", 4, *ROUGH)
    assert run("train", *base, "--output_dir", tmp_path / "whole").error is None
    steps = []

    def stop_at_the_fourteenth(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 14:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    original = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", stop_at_the_fourteenth)
    with pytest.raises(KeyboardInterrupt):
        run("train", *base, "--output_dir", tmp_path / "cut")
    monkeypatch.setattr(torch.optim.AdamW, "step", original)
    assert [path.name for path in (tmp_path / "cut").glob("checkpoint-*")] == ["checkpoint-12"]
    again = run("train", *base, "--output_dir", tmp_path / "cut")
    assert again.error is None
    assert "Continuing from checkpoint-12." in again.stdout
    whole, ended = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], ended[name]) for name in whole)
    wild = ("--learning_rate", 1e38, "--warmup_steps", 0, "--max_grad_norm", 0)
    lost = run("train", *base, "--output_dir", tmp_path / "lost", *wild)
    assert re.search(r"The loss is nan at step \d+, in a batch of 5 clips: (\w+/\d+\.wav(, |\.)){5}", lost.error)


def test_clips_of_another_folder_are_trained_on_too(run, tones, tmp_path):
    """They are no part of what is cut off to report, are told, and are other settings."""
    base = ("train", "--data_dir", tones, *QUICK, *ROUGH, "--test_fraction", 0.3, "--dev_fraction", 0)
    base += ("--output_dir", tmp_path / "more")
    shutil.copytree(tones, tmp_path / "others")
    assert " of --train_also and " in run(*base, "--train_also", tmp_path / "others").error
    for file in (tmp_path / "others").glob("*/*.wav"):
        samples, rate = soundfile.read(file)
        soundfile.write(file, 0.5 * samples, rate)
    assert run(*base, "--train_also", tmp_path / "others").error is None
    results = (tmp_path / "more" / "results.json").read_text()
    assert json.loads(results)["data"]["clips"] == {"train": 28 + 40, "test": 12}
    assert json.loads(results)["data"]["train_also"] == {"names": ["others"], "clips": 40}
    assert ", including 40 of others, none of which was tested on" in (tmp_path / "more" / "README.md").read_text()
    assert str(tmp_path) not in results
    assert "other settings (train_also ['others'] -> None" in run(*base).error


def test_a_cnn_teaches_a_mixer(run, tones, tmp_path):
    """Both hear the same clips; the results name the teacher, without its folder."""
    common = ("--data_dir", tones, *QUICK, *ROUGH, "--test_fraction", 0.3, "--dev_fraction", 0)
    cnn = ("--model_type", "residual-cnn", "--config_overrides", "{num_mel_bins: 40, hidden_sizes: [4], depths: [1]}")
    assert run("train", *common, *cnn, "--output_dir", tmp_path / "cnn").error is None
    taught = (*common, *NEW, "--teachers", tmp_path / "cnn", "--teacher_share", 0.5, "--average_last", 5)
    outcome = run("train", *taught, "--output_dir", tmp_path / "asm")
    assert outcome.error is None
    training = results_of(tmp_path / "asm")["training"]
    assert (training["teachers"], training["teacher_share"]) == (["cnn"], 0.5)
    assert training["kept"] == "the last checkpoint"  # there is one epoch
    assert "50% of the target is the mean score of `cnn`" in (tmp_path / "asm" / "README.md").read_text()
    assert str(tmp_path) not in (tmp_path / "asm" / "results.json").read_text()
    refused = (*common, *NEW, "--teachers", tmp_path / "cnn", "--output_dir", tmp_path / "other")
    outcome = run("train", *refused, "--fold_column", "label", "--cross_validate")
    assert "Omit --teachers" in outcome.error


def test_every_file_is_told_and_every_split_used(run, tones, tmp_path):
    """Splits under other names, files that are no sound, broken links, copies and a class of one clip."""
    data = tmp_path / "data"
    for name, numbers in (("train", range(14)), ("dev", range(14, 17)), ("eval", range(17, 20)), ("more", range(1))):
        for label in ("high", "low"):
            (data / name / label).mkdir(parents=True)
            for number in numbers:
                shutil.copy(tones / label / f"{number:02}.wav", data / name / label)
    shutil.copy(tones / "low" / "13.wav", data / "more" / "low" / "other.wav")
    (data / "train" / "mid").mkdir()
    shutil.move(data / "train" / "low" / "00.wav", data / "train" / "mid" / "only.wav")
    (data / "train" / "low" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (data / "train" / "low" / "take.TextGrid").write_text('File type = "ooTextFile"')
    (data / "train" / "low" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    outcome = run("train", "--data_dir", data, "--output_dir", tmp_path / "model", *QUICK, *ROUGH)
    assert outcome.error is None
    for line in (
        "dev: 6 files found, 6 used",
        "train: 31 files found, 28 used; left out: 2 not known as recordings ('train/low/Thumbs.db', "
        "'train/low/take.TextGrid'), 1 broken links ('train/low/gone.wav')",
        "28 clips to train on, 6 that choose the best epoch (validation), 6 that are reported (test).",
        "Neither trained on nor reported: more (3 clips). Classes with a single clip, which is trained on and never "
        "reported: mid.",
    ):
        assert line in outcome.stdout
    assert results_of(tmp_path / "model")["data"]["clips"] == {"train": 28, "dev": 6, "test": 6}
    shutil.copy(data / "train" / "low" / "05.wav", data / "dev" / "low" / "copy.wav")
    doubled = run("train", "--data_dir", data, "--output_dir", tmp_path / "again", *QUICK, *ROUGH)
    assert "1 recordings are in two splits, so the score would not measure new ones: " in doubled.error
    assert "05.wav' of train" in doubled.error
    assert "copy.wav' of dev" in doubled.error


def test_one_channel_of_every_clip(run, tones, tmp_path):
    """The other one holds the sound of the other class, and the mean of both nothing that tells them apart."""
    data = tmp_path / "stereo"
    for label, other in (("high", "low"), ("low", "high")):
        (data / label).mkdir(parents=True)
        for number in range(20):
            pair = [load_audio(tones / name / f"{number:02}.wav") for name in (label, other)]
            soundfile.write(data / label / f"{number:02}.wav", np.stack(pair, 1), 16000)
    arguments = ("--data_dir", data, "--output_dir", tmp_path / "model", *QUICK, *SPLIT, *ROUGH, "--channel", 0)
    for keep in ("true", "false"):
        assert run("train", *arguments, "--keep_audio", keep, "--output_dir", tmp_path / keep).error is None
    kept, anew = (results_of(tmp_path / keep)["metrics"] for keep in ("true", "false"))
    assert kept["loss"] == pytest.approx(anew["loss"], abs=1e-4) if "loss" in kept else kept == anew
    assert "has 2 channels, numbered from 0, and none is 2" in run("train", *arguments[:-1], 2).error
