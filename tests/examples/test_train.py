"""`examples/train.py` as a user runs it, on tones."""

import csv
import importlib.util
import json
import os
import subprocess
import sys

from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification, pipeline

from modeling_asm.audio import load_audio


def run(repository, script, *arguments, launcher=()):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *launcher, str(repository / "examples" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def train(repository, data_dir, output_dir, *arguments, launcher=()):
    return run(
        repository,
        "train.py",
        *("--data_dir", data_dir, "--output_dir", output_dir, "--num_train_epochs", 8, "--use_cpu"),
        *("--per_device_train_batch_size", 4, "--test_fraction", 0.3, "--dev_fraction", 0.2, *arguments),
        launcher=launcher,
    )


def test_from_a_folder_to_a_label(repository, tones, tmp_path):
    process = train(repository, tones, tmp_path / "model", "--save_total_limit", 2)
    assert process.returncode == 0, process.stderr
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    assert results["metrics"]["accuracy"] >= 0.9
    assert f"Accuracy {results['metrics']['accuracy']:.3f}" in process.stdout
    first_output = process.stdout
    assert results["data"]["clips"] == {"train": 22, "dev": 6, "test": 12}
    assert results["data"]["test_split"] == "30% of train"
    assert str(tmp_path) not in json.dumps(results)
    files = {file.name for file in (tmp_path / "model").iterdir()}
    assert {
        "model.safetensors",
        "config.json",
        "preprocessor_config.json",
        "README.md",
        "confusion_matrix.png",
    } <= files
    assert str(tmp_path) not in (tmp_path / "model" / "README.md").read_text()

    last = max((tmp_path / "model").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    state = json.loads((last / "trainer_state.json").read_text())
    scores = [entry["eval_accuracy"] for entry in state["log_history"] if "eval_accuracy" in entry]
    assert len(scores) == 8  # evaluated each epoch
    assert state["best_metric"] == max(scores)
    best = load_file(os.path.join(state["best_model_checkpoint"], "model.safetensors"))
    kept = load_file(tmp_path / "model" / "model.safetensors")
    assert all((best[name] == kept[name]).all() for name in kept)

    classifier = pipeline("audio-classification", model=str(tmp_path / "model"))
    assert classifier(load_audio(tones / "low" / "00.wav"))[0]["label"] == "low"
    files = (tones / "low" / "01.wav", tones / "nowhere.wav", tones / "high" / "02.wav")
    process = run(repository, "classify.py", tmp_path / "model", *files)
    assert process.returncode == 1
    assert "nowhere.wav' is not there" in process.stderr
    assert [line.split(": ")[1].split()[0] for line in process.stdout.splitlines()] == ["low", "high"]

    again = train(repository, tones, tmp_path / "model")
    assert again.returncode != 0
    assert "holds a checkpoint already" in again.stderr
    assert "--resume_from_checkpoint true" in again.stderr

    tuned = train(repository, tones, tmp_path / "tuned", "--model_name_or_path", tmp_path / "model", "--augment", False)
    assert tuned.returncode == 0, tuned.stderr
    tuned_results = json.loads((tmp_path / "tuned" / "results.json").read_text())
    assert tuned_results["model"]["feature_extractor"]["mean"] == results["model"]["feature_extractor"]["mean"]
    assert tuned_results["training"]["augmentation"] is None
    assert "steps only" not in tuned.stdout
    assert "steps only, from random weights" in first_output  # 48 steps


def test_an_interrupted_run_goes_on_and_ends_alike(repository, tones, tmp_path):
    """Stopped after two of eight epochs and resumed, the weights are those of the run that was not stopped."""
    common = ("--save_total_limit", 9, "--load_best_model_at_end", False, "--data_seed", 3)
    assert train(repository, tones, tmp_path / "whole", *common).returncode == 0
    cut = train(repository, tones, tmp_path / "cut", *common)
    assert cut.returncode == 0, cut.stderr
    folder = tmp_path / "cut"
    for file in folder.iterdir():
        if file.is_file():
            file.unlink()
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for checkpoint in checkpoints[2:]:
        checkpoint.rename(tmp_path / checkpoint.name)
    resumed = train(repository, tones, folder, *common, "--resume_from_checkpoint", "true")
    assert resumed.returncode == 0, resumed.stderr
    whole, ended = load_file(tmp_path / "whole" / "model.safetensors"), load_file(folder / "model.safetensors")
    assert all((whole[name] == ended[name]).all() for name in whole)


def test_held_out_groups_without_a_dev_split(repository, tones, tmp_path):
    """The arguments of the studies in examples/results, on tones with a column of takes."""
    rows = [("file_name", "label", "take")]
    rows += [
        (f"{label}/{index:02d}.wav", label, f"take {index % 4}") for label in ("low", "high") for index in range(20)
    ]
    with open(tones / "metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    process = train(
        repository,
        tones,
        tmp_path / "model",
        *("--hold_out", "take=take 1, take 3", "--dev_fraction", 0, "--num_train_epochs", 1, "--padding", "mean"),
        *("--size", "small", "--hidden_act", "acon_c", "--results_file", tmp_path / "new" / "results.json"),
    )
    assert process.returncode == 0, process.stderr
    results = json.loads((tmp_path / "new" / "results.json").read_text())
    assert results["data"]["clips"] == {"test": 20, "train": 20}
    assert results["data"]["test_split"] == "rows with take take 1 or take 3"
    assert results["model"]["feature_extractor"]["padding_value"] == 0.0
    assert results["model"]["config"]["hidden_act"] == "acon_c"
    assert results["model"]["config"]["num_hidden_layers"] == 10
    assert str(tmp_path) not in json.dumps(results)


def test_refusals(repository, tones, tmp_path):
    missing = train(repository, tones, tmp_path / "new", "--resume_from_checkpoint", "true")
    assert "There is no checkpoint" in missing.stderr
    split = train(repository, tones, tmp_path / "new", "--test_split", "validation")
    assert "There is no split 'validation'" in split.stderr
    held = train(repository, tones, tmp_path / "new", "--hold_out", "speaker=ann")
    assert "There is no column 'speaker'" in held.stderr
    seen = train(repository, tones, tmp_path / "new", "--test_split", "train")
    assert "clips that the model trains on" in seen.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    full = train(repository, tones, tmp_path / "full", "--resume_from_checkpoint", "false")
    assert "holds files already, and nothing is overwritten" in full.stderr
    both = train(repository, tones, tmp_path / "new", "--model_name_or_path", "some-model", "--size", "small")
    assert "--size would have no effect" in both.stderr
    refused = (missing, split, held, seen, full, both)
    assert all(process.returncode for process in refused)
    assert not any("Traceback" in process.stderr for process in refused)


def test_help(repository):
    process = run(repository, "train.py", "--help")
    assert process.returncode == 0, process.stderr
    for argument in ("--hold_out", "--time_shift", "--num_train_epochs"):
        assert argument in process.stdout


def test_the_recorded_command_keeps_flags_and_names_but_no_paths(repository, tmp_path):
    spec = importlib.util.spec_from_file_location("train", repository / "examples" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    command = module.describe_command(
        [
            f"--data_dir={tmp_path}/tones",
            "--output_dir",
            f"{tmp_path}/out",
            "--credit",
            "see https://example.org/a",
            "--bf16",
        ]
    )
    expected = "python examples/train.py --data_dir=tones --output_dir out --credit 'see https://example.org/a' --bf16"
    assert command == expected


def test_an_unreadable_file_stops_or_is_skipped(repository, tones, tmp_path):
    (tones / "low" / "05.wav").write_text("not audio")
    stopped = train(repository, tones, tmp_path / "model")
    assert stopped.returncode != 0
    assert "05.wav" in stopped.stderr
    assert "--on_bad_audio skip" in stopped.stderr
    skipped = train(repository, tones, tmp_path / "model", "--on_bad_audio", "skip", "--num_train_epochs", 1)
    assert skipped.returncode == 0, skipped.stderr
    assert "Skipped 1 unreadable files" in skipped.stdout
    assert "05.wav" in skipped.stdout
    skipped_files = json.loads((tmp_path / "model" / "results.json").read_text())["data"]["skipped_files"]
    assert len(skipped_files) == 1
    assert "'low/05.wav'" in skipped_files[0]


def test_two_processes(repository, tones, tmp_path):
    """`accelerate launch` runs the script unchanged."""
    launcher = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1")
    launcher += ("--mixed_precision", "no", "--dynamo_backend", "no")
    process = train(repository, tones, tmp_path / "model", launcher=launcher)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("Accuracy ") == 1
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    assert model.config.id2label == {0: "high", 1: "low"}
