import json
import shutil
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict
from hub import TOKEN, Repository
from safetensors.torch import load_file

from modeling_asm.training.experiments import (
    check_arguments,
    check_streamable,
    count_by_steps,
    plan_runs,
    run_experiment,
)


@pytest.fixture
def dataset() -> DatasetDict:
    rows = {"label": [0, 1] * 4, "fold": [1, 1, 2, 2, 10, 10, 2, 2]}
    return DatasetDict(train=Dataset.from_dict(rows).cast_column("label", ClassLabel(names=["a", "b"])))


def test_a_run_for_each_seed_and_fold(make_arguments, dataset, tmp_path):
    runs = plan_runs(make_arguments({"seeds": [1, 2], "cross_validate": True}, {"fold_column": "fold"}), dataset)
    folders = [str(Path(run.training.output_dir).relative_to(tmp_path / "run")) for run in runs]
    assert folders == [f"seed-{seed}/fold-{fold}" for seed in (1, 2) for fold in (1, 2, 10)]
    assert [run.split.hold_out for run in runs][:3] == ["fold=1", "fold=2", "fold=10"]
    assert [run.training.seed for run in runs] == [1, 1, 1, 2, 2, 2]
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (settings["seeds"], settings["folds"]) == ([1, 2], ["1", "2", "10"])
    (tmp_path / "run" / "seed-1" / "fold-1").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"other settings .*seeds \[1, 2\] -> \[1, 3\]"):
        plan_runs(make_arguments({"seeds": [1, 3], "cross_validate": True}, {"fold_column": "fold"}), dataset)
    two = plan_runs(make_arguments({"seeds": [1, 2]}, output_dir=str(tmp_path / "two")), dataset)
    assert [Path(run.training.output_dir).name for run in two] == ["seed-1", "seed-2"]
    assert (tmp_path / "two" / "run.json").is_file()
    (alone,) = plan_runs(make_arguments(output_dir=str(tmp_path / "alone")), dataset)
    assert alone.training.output_dir == str(tmp_path / "alone")
    assert not (tmp_path / "alone").exists()  # the run itself opens it
    with pytest.raises(ValueError, match=r"^--cross_validate needs the column with the folds, .*: --fold_column\.$"):
        plan_runs(make_arguments({"cross_validate": True}), dataset)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"experiment": {"evaluate_only": True}}, "--evaluate_only needs the checkpoint"),
        ({"resume_from_checkpoint": "x"}, "Omit --resume_from_checkpoint: the same command continues"),
        (
            {"experiment": {"cross_validate": True}, "teachers": ["x"]},
            "Omit --teachers: --evaluate_only trains nothing",
        ),
        ({"teacher_share": 0.5}, r"--teacher_share 0\.5 would have no effect without --teachers"),
        (
            {"split": {"fold_column": "fold"}},
            r"--fold_column fold would have no effect: add --cross_validate, or .* with --hold_out fold=\.\.\.",
        ),
        (
            {"experiment": {"cross_validate": True}, "split": {"fold_column": "fold", "hold_out": "speaker=ann"}},
            "--cross_validate holds out each fold in turn. Omit --hold_out speaker=ann",
        ),
        (
            {"split": {"hold_out": "fold=1", "test_split": "validation"}},
            "--test_split would have no effect: --hold_out divides all clips",
        ),
        (
            {"experiment": {"cross_validate": True}, "split": {"fold_column": "fold", "train_split": "all"}},
            "--train_split would have no effect: --cross_validate divides all clips",
        ),
        (
            {"split": {"hold_out": "fold=1", "test_fraction": 0.4}},
            "--test_fraction would have no effect: --hold_out divides all clips",
        ),
    ],
    ids=str,
)
def test_arguments_that_contradict_each_other(make_arguments, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_arguments(make_arguments(**arguments))


def test_a_recipe_may_name_the_folds_and_the_one_to_hold_out(make_arguments):
    """With `--cross_validate`, each is held out; without it, the one."""
    split = {"fold_column": "fold", "hold_out": "fold=1"}
    for cross_validate in (False, True):
        check_arguments(make_arguments({"cross_validate": cross_validate}, split))


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"split": {"group_column": "speaker"}}, "--group_column"),
        ({"split": {"test_fraction": 0.4}}, "--test_fraction"),
        ({"split": {"hold_out": "fold=1"}}, "--hold_out"),
        ({"split": {"train_also": ["more"]}}, "--train_also"),
        ({"experiment": {"cross_validate": True}}, "--cross_validate"),
        ({"experiment": {"evaluate_only": True}}, "--evaluate_only"),
        ({"class_balance": "sampling"}, "--class_balance sampling"),
    ],
    ids=str,
)
def test_a_stream_is_not_divided(make_arguments, arguments, option):
    with pytest.raises(ValueError, match=f"^{option} needs the whole data set. It cannot be combined with --streaming"):
        check_streamable(make_arguments(**arguments, max_steps=10))


def test_a_stream_ends_after_a_number_of_steps(make_arguments):
    """Logging, evaluation and saving are by steps, too, unless they are off."""
    check_streamable(make_arguments(max_steps=1))
    with pytest.raises(ValueError, match=r"^A stream has no length: use --max_steps instead of a number of epochs\.$"):
        check_streamable(make_arguments())
    off = {"save_strategy": "no", "load_best_model_at_end": False}
    for steps, saved, expected in ((100, 40, 40), (30, 40, 30)):
        training = make_arguments(max_steps=steps, save_steps=saved, **off).training
        count_by_steps(training)
        assert (training.logging_strategy, training.eval_strategy, training.save_strategy) == ("steps", "steps", "no")
        assert (training.logging_steps, training.eval_steps) == (expected, expected)


TINY = {"config_overrides": "{hidden_size: 16, num_hidden_layers: 1, tokens_mlp_dim: 8, channels_mlp_dim: 16}"}
QUICK = {"num_train_epochs": 1, "per_device_train_batch_size": 8, "disable_tqdm": True}
ROUGH = {"measure_cost": False, "resamples": 5}


@pytest.fixture
def make_experiment(make_arguments, tones):
    """Make the arguments of a short experiment with the tones and a tiny model."""

    def call(experiment=None, model=None, data=None, **arguments):
        data = data or {"data_dir": str(tones)}
        return make_arguments({**ROUGH, **(experiment or {})}, model=model or TINY, data=data, **QUICK | arguments)

    return call


def test_an_experiment(make_experiment, tones, tmp_path, capsys):
    """From clips to a model with its results; a file that cannot be read is left out, and told."""
    (tones / "low" / "05.wav").write_bytes(b"RIFF")
    experiment = {"on_bad_audio": "skip", "licence": "cc0-1.0", "credit": "Sines.", "augment": False}
    experiment["results_file"] = str(tmp_path / "else" / "where.json")
    args = make_experiment(experiment, seed=3, average_last=1)
    results = run_experiment(args, "asm-train --data_dir tones")
    assert results["command"] == "asm-train --data_dir tones"
    assert results["data"]["name"] == "tones"
    assert results["data"]["test_split"] == "20% of train"
    assert results["data"]["clips"] == {"train": 28, "test": 8, "dev": 3}
    assert results["data"]["labels"] == ["high", "low"]
    assert (results["data"]["licence"], results["data"]["credit"]) == ("cc0-1.0", "Sines.")
    assert "05.wav" in str(results["data"]["skipped_files"])
    assert results["training"]["seed"] == 3
    assert results["training"]["steps"] == 4
    assert results["training"]["batch_size"] == 8
    assert results["training"]["processes"] == 1
    assert results["training"]["kept"] == "the last checkpoint"
    assert results["training"]["augmentation"] is None
    assert results["training"]["freeze_encoder"] is False
    assert results["training"]["seconds"] >= 0
    assert "accuracy_low" in results["metrics"]
    assert sum(map(sum, results["confusion_matrix"])) == 8
    assert "cost" not in results
    folder = tmp_path / "run"
    saved = json.loads((folder / "results.json").read_text())
    assert saved == json.loads((tmp_path / "else" / "where.json").read_text())
    assert saved["metrics"] == results["metrics"]
    assert {"README.md", "config.json", "model.safetensors", "worst_clips.csv"} <= {
        file.name for file in folder.iterdir()
    }
    assert "Sines." in (folder / "README.md").read_text()
    capsys.readouterr()
    again = run_experiment(make_experiment(experiment, seed=3, average_last=1), "asm-train")
    assert f"The run in {str(folder)!r} is finished: nothing is trained again." in capsys.readouterr().out
    assert again["metrics"] == results["metrics"]
    with pytest.raises(ValueError, match="other settings"):
        run_experiment(make_experiment(experiment, seed=4, average_last=1), "asm-train")


def test_seeds_and_folds_are_reported_together(make_experiment, tones, tmp_path):
    rows = [f"{label}/{index:02d}.wav,{label},take {index % 2}" for label in ("low", "high") for index in range(8)]
    (tones / "metadata.csv").write_text("\n".join(["file_name,label,take", *rows]))
    split = {"fold_column": "take", "dev_fraction": 0}
    args = make_experiment({"seeds": [1, 2], "cross_validate": True}, split=split)
    results = run_experiment(args, "asm-train")
    assert len(results["runs"]) == 4
    folders = sorted(str(path.parent.relative_to(tmp_path / "run")) for path in tmp_path.glob("run/*/*/results.json"))
    assert folders == [f"seed-{seed}/take-take {fold}" for seed in (1, 2) for fold in (0, 1)]
    first = json.loads((tmp_path / "run" / "seed-1" / "take-take 0" / "results.json").read_text())
    assert first["data"]["test_split"] == "rows with take take 0"
    assert first["data"]["clips"] == {"train": 8, "test": 8}
    assert first["training"]["kept"] == "the last epoch"
    assert len(first["repeats"]["seeds"]) == 2
    assert results["mean"]["accuracy"] == pytest.approx(
        sum(run["metrics"]["accuracy"] for run in results["runs"]) / 4, abs=1e-3
    )


def test_evaluation_alone_changes_nothing(make_experiment, checkpoint, tones, tmp_path):
    (tones / "high").rename(tones / "dog")
    (tones / "low").rename(tones / "cat")
    experiment, model = {"evaluate_only": True}, {"model_name_or_path": str(checkpoint)}
    results = run_experiment(make_experiment(experiment, model), "asm-train")
    assert results["training"] is None
    assert results["data"]["clips"]["test"] == 40
    assert results["data"]["labels"] == ["bird", "cat", "dog"]
    assert results["model"]["fine_tuned_from"] == "checkpoint"
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all((weights[name] == value).all() for name, value in load_file(checkpoint / "model.safetensors").items())


def test_a_stream_is_trained_on_by_steps(make_experiment, tones, tmp_path):
    """A published folder with splits; its first clips determine the model."""
    for split, rows in (("train", range(12)), ("test", range(12, 20))):
        for label in ("high", "low"):
            (tmp_path / "published" / split / label).mkdir(parents=True)
            for row in rows:
                shutil.copy(tones / label / f"{row:02d}.wav", tmp_path / "published" / split / label)
    data = {"dataset_name": str(tmp_path / "published"), "streaming": True}
    results = run_experiment(make_experiment(data=data, max_steps=3), "asm-train")
    assert results["training"]["steps"] == 3
    assert results["data"]["clips"] == {"test": 16}
    assert results["model"]["window_seconds"] == pytest.approx(0.2, abs=0.02)
    with pytest.raises(ValueError, match="A stream has no length: use --max_steps instead of a number of epochs"):
        run_experiment(make_experiment(data=data, output_dir=str(tmp_path / "other")), "asm-train")
    data |= {"dataset_name": str(tones)}
    with pytest.raises(ValueError, match=r"There is no split 'test'\. The data has: train"):
        run_experiment(make_experiment(data=data, max_steps=3, output_dir=str(tmp_path / "third")), "asm-train")


def test_patience_needs_clips_to_evaluate_on(make_experiment):
    args = make_experiment(split={"dev_fraction": 0}, early_stopping_patience=2)
    with pytest.raises(ValueError, match="--early_stopping_patience needs a dev split: use --dev_fraction"):
        run_experiment(args, "asm-train")


def test_a_checkpoint_of_another_problem_is_not_evaluated(make_experiment, checkpoint, tones):
    (tones / "metadata.csv").write_text("file_name,label\n" + "".join(f"low/0{row}.wav,{row}.5\n" for row in range(5)))
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    args = make_experiment({"evaluate_only": True}, {"model_name_or_path": str(checkpoint)})
    message = "'checkpoint' was trained for 'multi_label_classification', but the labels of 'tones' are 'regression'"
    with pytest.raises(ValueError, match=f"{message}. Set --problem_type multi_label_classification, or evaluate"):
        run_experiment(args, "asm-train")


def test_further_clips_are_part_of_the_run(make_experiment, tones, tmp_path):
    """They are trained on and never reported; without them it is another run."""
    for label in ("high", "low"):
        (tmp_path / "more" / label).mkdir(parents=True)
        for file in sorted((tones / label).glob("1*.wav")):
            file.rename(tmp_path / "more" / label / file.name)
    results = run_experiment(make_experiment(split={"train_also": [str(tmp_path / "more")]}), "asm-train")
    assert results["data"]["clips"] == {"train": 14 + 20, "test": 4, "dev": 2}
    with pytest.raises(ValueError, match=r"other settings \(.*train_also.*clips "):
        run_experiment(make_experiment(), "asm-train")


def test_the_first_run_is_published(make_experiment, hub, tmp_path, capsys):
    """Under the name of its folder, if there is no other; results and cards know where it is."""
    experiment = {"seeds": [1, 2], "results_file": str(tmp_path / "a" / "b" / "all.json")}
    hub.repositories["models", "ann/run"] = Repository()
    arguments = {"push_to_hub": True, "hub_token": TOKEN, "hub_revision": "trial", "hub_private_repo": True}
    results = run_experiment(make_experiment(experiment, **arguments), "asm-train")
    assert "Published: ann/run\n" in capsys.readouterr().out
    files = hub.files("ann/run", revision="trial")
    first = tmp_path / "run" / "seed-1"
    assert files["model.safetensors"] == (first / "model.safetensors").read_bytes()
    assert '"ann/run"' in files["README.md"].decode()
    assert json.loads((tmp_path / "a" / "b" / "all.json").read_text()) == json.loads(
        (tmp_path / "run" / "results.json").read_text()
    )
    assert len(results["runs"]) == 2
