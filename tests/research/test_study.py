"""The study, on two kinds of tone by two speakers: that it runs to its tables, goes on, and tells wrong plans."""

import csv
import json
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import yaml
from PIL import Image

from modeling_asm import ASMFeatureExtractor
from modeling_asm.training.arguments import parse_arguments
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.loading import DataArguments
from modeling_asm.training.data.splits import SplitArguments
from modeling_asm.training.models import ModelArguments, make_config
from modeling_asm.training.training_arguments import AudioTrainingArguments


pytestmark = [pytest.mark.slow, pytest.mark.long]


PLAN = {
    "recipe": {"num_train_epochs": 1, "dev_fraction": 0, "seconds": 0.3, "resamples": 0},
    "data": {"tones": {"test_split": "validation"}},
    "starts": {"random": {"pictures": "pictures", "epochs": 0}},
    "variants": {
        "ast": {
            "model_type": "audio-spectrogram-transformer",
            "config_overrides": {
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 16,
                "num_mel_bins": 24,
                "patch_size": 8,
            },
        },
        "asm": {"config_overrides": {"hidden_size": 16, "num_hidden_layers": 1}},
        "luma": {"start": "random", "rgb_to_mono": "luma", "geometry": {"num_mel_bins": 24, "max_length": 28}},
    },
    "seeds": [1, 2],
    "comparisons": {
        "models": {"title": "A Mixer and a Transformer", "data": ["tones"], "variants": ["ast", "asm"]},
        "starts": {"title": "Starts", "data": ["tones"], "variants": ["luma"]},
    },
}


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        folder = tmp_path / "data" / "tones" / split
        folder.mkdir(parents=True)
        rows = [("file_name", "label")]
        for index in range(8):
            clip = np.sin(np.arange(4800) / (40, 3)[index % 2]) + 0.01 * rng.standard_normal(4800)
            soundfile.write(folder / f"{index}.wav", 0.5 * clip, 16000)
            rows.append((f"{index}.wav", ("low", "high")[index % 2]))
        with open(folder / "metadata.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
    return tmp_path / "data"


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """The plan's file, and the pictures that it names, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("black", "white"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), name).save(tmp_path / "pictures" / name / "1.png")
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    return tmp_path / "plan.yaml"


@pytest.fixture
def script(repository):
    return runpy.run_path(str(repository / "research" / "study.py"))


def test_from_a_plan_to_its_tables(run, data, plan, tmp_path):
    folders = ("--results", tmp_path / "results", "--work_dir", tmp_path / "work")
    arguments = (plan, "--data_dir", data, *folders, "--rounds", 1, "--jobs", 2)
    outcome = run("study.py", *arguments, "--only", "models")
    assert outcome.error is None
    runs = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "results" / "runs").glob("*.json")}
    assert set(runs) == {f"{variant}-tones-{seed}" for variant in ("ast", "asm") for seed in (1, 2)}
    assert runs["ast-tones-1"]["model"]["architecture"] == "ASTForAudioClassification"
    assert runs["asm-tones-2"]["training"]["seed"] == 2
    assert str(tmp_path) not in json.dumps(runs)
    costs = json.loads((tmp_path / "results" / "cost.json").read_text())["costs"]
    assert costs["asm-tones"]["parameters"] == runs["asm-tones-1"]["model"]["parameters"]
    shapes = {cost["shape"] for cost in costs.values()}
    assert len(shapes) == 2
    for cost in costs.values():
        assert all(cost[name] > 0 for name in ("million_multiply_adds", "training_step_mb"))
        for name in ("forward_ms", "training_step_ms"):
            low, high = cost[f"{name}_quartiles"]
            assert 0 < low <= cost[name] <= high
    tables = (tmp_path / "results" / "tables.md").read_text()
    assert "### A Mixer and a Transformer" in tables and "### Starts" not in tables
    assert (tmp_path / "results" / "accuracy.png").stat().st_size > 1000

    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "results" / "runs").glob("*.json")}
    outcome = run("study.py", *arguments)  # goes on with the other comparison
    assert outcome.error is None
    assert "luma-tones-2: " in outcome.stdout and "asm-tones-1: " not in outcome.stdout
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())
    luma = json.loads((tmp_path / "results" / "runs" / "luma-tones-1.json").read_text())
    assert luma["model"]["config"]["hidden_size"] == 64
    assert "### Starts" in (tmp_path / "results" / "tables.md").read_text()

    plan.write_text(yaml.safe_dump({**PLAN, "recipe": {**PLAN["recipe"], "learning_rate": 0.1}}))
    outcome = run("study.py", *arguments)
    assert "from other settings than the plan's" in outcome.error


def test_costs_are_measured_again_where_a_shape_is_new(run, script, tmp_path):
    """A variant of a shape that was measured has its cost; another width of the same name has not."""
    config = {"model_type": "audio-spectrogram-mixer", "hidden_size": 8, "num_hidden_layers": 1, "max_length": 32}

    def run(variant, **changes):
        arguments = {"variant": variant, "data": "tones", "arguments": {}}
        return {"run": arguments, "model": {"config": config | changes}, "data": {"labels": ["a", "b"]}}

    def costs(*runs):
        script["update_costs"](list(runs), tmp_path / "cost.json", 1)
        return json.loads((tmp_path / "cost.json").read_text())["costs"]

    first = costs(run("asm"))
    both = costs(run("asm"), run("twin"))
    assert both == {"asm-tones": first["asm-tones"], "twin-tones": first["asm-tones"]}
    wider = costs(run("asm", hidden_size=16))
    assert set(wider) == {"asm-tones"}
    assert wider["asm-tones"]["parameters"] > first["asm-tones"]["parameters"]


def test_a_run_that_fails_is_named(run, data, plan, tmp_path):
    changed = {**PLAN, "data": {"tones": {"test_split": "nowhere"}}, "seeds": [1]}
    plan.write_text(yaml.safe_dump(changed))
    folders = ("--results", tmp_path / "results", "--work_dir", tmp_path / "work")
    outcome = run("study.py", plan, "--data_dir", data, *folders, "--only", "models")
    assert "asm-tones-1 failed: asm-train: There is no split 'nowhere'" in outcome.error
    outcome = run("study.py", plan, *folders, "--only", "models")
    assert "asm-tones-1: pass the folder of the data sets with --data_dir." in outcome.error


def test_a_start_that_cannot_be_made_stops_its_own_runs_alone(run, data, plan, tmp_path):
    changed = {**PLAN, "starts": {"random": {"source": str(tmp_path / "nowhere.safetensors")}}, "seeds": [1]}
    changed["comparisons"] = {"all": {"title": "All", "data": ["tones"], "variants": ["luma", "asm"]}}
    plan.write_text(yaml.safe_dump(changed))
    folders = ("--results", tmp_path / "results", "--work_dir", tmp_path / "work")
    outcome = run("study.py", plan, "--data_dir", data, *folders, "--rounds", 1)
    assert "luma-tones-1 failed: " in outcome.error
    assert "| asm | " in (tmp_path / "results" / "tables.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": [1]}, "must have the parts recipe, data"),
        ({"comparisons": {"a": {"title": "A", "data": ["tones"], "variants": ["cnn"]}}}, "'cnn'.*the plan's variants"),
        ({"comparisons": {"a": {"title": "A", "data": ["bells"], "variants": ["asm"]}}}, "'bells'.*the plan's data"),
        ({"comparisons": {"a": {"data": ["tones"], "variants": ["asm"]}}}, "'a' must have a title, data and variants"),
        ({"variants": {**PLAN["variants"], "luma": {"start": "random"}}}, "'luma' must have both a start and its rgb"),
        ({"starts": {}}, "Variant 'luma' starts from 'random'"),
        ({"starts": {"random": {"source": "timm/mixer", "epochs": 1}}}, "'random' has 'epochs'; one with a source"),
    ],
    ids=["parts", "variant", "data", "title", "projection", "start", "source"],
)
def test_a_plan_that_names_what_is_not_there(script, plan, change, message):
    plan.write_text(yaml.safe_dump({**PLAN, **change}))
    with pytest.raises(ValueError, match=message):
        script["read_plan"](plan)


def test_plans_and_comparisons_that_are_not_there(run, plan, tmp_path):
    assert "There is no plan" in run("study.py", tmp_path / "missing.yaml").error
    folders = ("--results", tmp_path / "results")
    assert "There is no comparison 'sizes'" in run("study.py", plan, "--only", "sizes", *folders).error
    assert "There are no results" in run("study.py", plan, "--report_only", *folders).error


def test_the_interval_is_students(script):
    """Source: the table of t, 4.3027 for two degrees of freedom and 95 %."""
    values = [0.8, 0.9, 1.0]
    assert script["interval"](values) == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert script["interval"]([0.5]) == float("inf")


def test_only_a_difference_beyond_its_interval_is_bold(script):
    assert script["format_mean"]([0.10, 0.11, 0.12], signed=True).startswith("**+0.110 ± ")
    assert script["format_mean"]([0.10, -0.11, 0.12], signed=True).startswith("+0.037 ± ")
    assert script["format_mean"]([0.10, 0.11], signed=True) == "+0.105 ± 0.064"  # two seeds say too little
    assert script["format_mean"]([0.1], signed=True) == "+0.100 (one seed)"


def test_seeds_that_agree_have_no_interval(script):
    """Fractions of clips differ in their last bits where the counts do not."""
    differences = [30 / 55 - 28 / 55, 40 / 55 - 38 / 55, 14 / 55 - 12 / 55]
    assert len(set(differences)) > 1
    assert script["format_mean"](differences, signed=True) == "+0.036 (all seeds)"


def test_differences_that_are_left_by_holms_method(script):
    """Of three tests, the least p is compared with 5 % / 3, the next with 5 % / 2; after the first failure none counts.

    Source: Student's t with two degrees of freedom, p = 1 - t / sqrt(t**2 + 2).
    """
    small, large = [0.10, 0.11, 0.12], [0.10, 0.14, 0.12]  # t of 19.1 and 10.4: p of .0027 and .0091
    differences = {"a": small, "b": large, "c": [0.1, -0.1, 0.2], "d": [0.1, 0.1]}
    assert script["format_differences"](differences).endswith("2 are left: a (p = 0.0027), b (p = 0.0091).")
    differences |= {name: [0.1, -0.1, 0.2] for name in "efghij"}  # .0027 < .05 / 9, .0091 > .05 / 8
    assert script["format_differences"](differences).endswith("1 are left: a (p = 0.0027).")
    assert "none is left; the least p is 0.0091, of b." in script["format_differences"](differences | {"a": [0.1]})
    assert script["format_differences"]({}).endswith(", 0 are left.")


def test_differences_are_those_of_the_same_seed(script, tmp_path):
    """Whatever the order of the runs, and with what is missing left out."""
    runs = script["list_runs"](PLAN | {"seeds": [1, 2, 3]})
    scores = {"ast": {1: 0.5, 2: 0.7, 3: 0.6}, "asm": {3: 0.71, 1: 0.6, 2: 0.79}, "luma": {2: 0.4}}
    (tmp_path / "runs").mkdir()
    for variant, values in scores.items():
        for seed, accuracy in values.items():
            name = f"{variant}-tones-{seed}"
            result = {"run": runs[name], "data": {"clips": {"test": 100}}, "metrics": {"accuracy": accuracy}}
            result["training"] = {"seconds": 360}
            (tmp_path / "runs" / f"{name}.json").write_text(json.dumps(result))
    comparisons = {"all": {"title": "All", "data": ["tones"], "variants": ["ast", "asm", "luma"]}}
    plan = PLAN | {"seeds": [1, 2, 3], "comparisons": {**PLAN["comparisons"], **comparisons}}
    tables = script["format_tables"](plan, tmp_path)
    # asm minus ast twice, here and in the first comparison, has a t of 17.3, and p = .0033; luma has one seed
    left = "asm minus ast on tones (p = 0.0033)"
    assert f"Of 1 differences with 3 seeds or more, taken together (Holm's method, 5 %), 1 are left: {left}." in tables
    assert tables.endswith("\n\n7 trainings, 0.7 hours of one thread in all.\n")
    rows = {row.split(" | ")[0]: row for row in tables.split("### All")[1].splitlines()}
    assert "| tones (100 clips) | minus ast |" in rows["| variant (tones)"]
    assert rows["| ast"].endswith("| 0.600 ± 0.248 |  |")
    assert rows["| asm"].endswith("| **+0.100 ± 0.025** |")  # .10, .09 and .11; t is 4.303
    assert rows["| luma"].endswith("| 0.400 (one seed) | -0.300 (one seed) |")


def test_the_plans_are_whole(repository, script, tmp_path):
    for path in sorted((repository / "plans").glob("*.yaml")):
        plan = script["read_plan"](path)
        runs = script["list_runs"](plan)
        assert len(plan["seeds"]) >= 3
        assert {run["variant"] for run in runs.values()} == set(plan["variants"])
        for run in runs.values():  # each argument is train.py's, and each field the config's
            known = {key: value for key, value in run["arguments"].items() if key not in script["OF_STARTS"]}
            (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**known, "output_dir": "run", "use_cpu": True}))
            classes = (ModelArguments, DataArguments, SplitArguments, AudioTrainingArguments, Augmentation)
            model_arguments, *_ = parse_arguments(*classes, argv=[str(tmp_path / "recipe.yaml")])
            make_config(model_arguments, ASMFeatureExtractor(max_length=98), {})


def test_committed_results_are_the_plans(repository, script):
    """Each result belongs to a run of its plan with these settings, and tables are made from them."""
    for path in sorted((repository / "plans").glob("*.yaml")):
        results = repository / "research" / "results" / "study" / path.stem
        runs = script["list_runs"](script["read_plan"](path))
        for file in (results / "runs").glob("*.json"):
            assert json.loads(file.read_text())["run"] == runs[file.stem]
        if (results / "tables.md").exists():
            assert (results / "tables.md").read_text() == script["format_tables"](script["read_plan"](path), results)


def test_what_a_step_keeps(script):
    """A linear map keeps its input: 32 clips of 20 by 50, in bf16, which it multiplies; its weights do not count."""

    class Flat(torch.nn.Module):
        config = SimpleNamespace(max_length=20, num_mel_bins=50)

        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(50, 1)

        def forward(self, inputs):
            return SimpleNamespace(logits=self.linear(inputs)[..., 0])

    products = 32 * 20 * 50 * 2 / 1e6
    assert products <= script["measure_activations"](Flat(), True) < 1.2 * products
    assert 2 * products <= script["measure_activations"](Flat(), False) < 2.4 * products  # float32


def test_other_settings_of_a_start_are_other_runs(script):
    """What a run started from is among its settings, with a start of its own for each seed."""
    runs = script["list_runs"](PLAN)
    assert runs["luma-tones-1"]["arguments"]["start"] == {"pictures": "pictures", "epochs": 0, "seed": 1}
    assert runs["luma-tones-2"]["arguments"]["start"] == {"pictures": "pictures", "epochs": 0, "seed": 2}
    changed = script["list_runs"]({**PLAN, "starts": {"random": {"pictures": "pictures", "epochs": 1}}})
    assert changed["luma-tones-1"] != runs["luma-tones-1"] and changed["asm-tones-1"] == runs["asm-tones-1"]
    assert script["digest"](changed["luma-tones-1"]) != script["digest"](runs["luma-tones-1"])


def test_what_a_killed_start_left_does_not_count(script, tmp_path):
    target = tmp_path / "start"
    (tmp_path / "unfinished-start").mkdir()
    (tmp_path / "unfinished-start" / "half").touch()
    make = "import pathlib, sys; path = pathlib.Path(sys.argv[1]); path.mkdir(); assert path.name == 'start'"
    script["make_whole"](target, ["-c", make, "{}"], {})
    assert target.is_dir() and not list(target.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["start"]
    script["make_whole"](target, ["-c", "raise SystemExit(1)", "{}"], {})  # it is there: nothing is run
