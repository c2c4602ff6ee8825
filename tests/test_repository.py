"""Documents that must stay true, and rules of the house."""

import ast
import json
import re
import runpy
import subprocess

import numpy as np
import pytest

from modeling_asm import ASM_SIZES, ASMConfig, ASMFeatureExtractor
from modeling_asm.feature_extraction_asm import PADDING_MODES
from modeling_asm.training.models import ModelArguments


TRAVELLING = ("configuration_asm.py", "fbank.py", "feature_extraction_asm.py", "modeling_asm.py")


RECIPES = ("speech_commands_clips", "spoken_digits", "spoken_digits_unseen_speakers", "drum_sounds")


def results_of(repository, name) -> dict:
    return json.loads((repository / "examples" / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", RECIPES)
def test_the_readme_quotes_the_recipes(repository, name):
    """Each figure of a row is in the recipe's results file."""
    results = results_of(repository, name)
    first, mean, std = results["runs"][0]["metrics"], results["mean"]["accuracy"], results["std"]["accuracy"]
    figures = [
        str(results["runs"][0]["clips"]["test"]),
        f"{results['model']['parameters']:,}",
        f"{mean:.3f} ± {std:.3f}",
        f"{first['accuracy']:.3f} ({first['accuracy_low']:.3f} to {first['accuracy_high']:.3f})",
        f"{first['chance']:.3f}",
    ]
    readme = (repository / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if f"results/{name}.json" in line)
    for figure in figures:
        assert figure in row
    assert [run["seed"] for run in results["runs"]] == [42, 43, 44]
    assert results["command"].startswith(f"python examples/train.py recipes/{name}.yaml ")


@pytest.mark.parametrize(
    "name",
    [
        "speech_commands_clips_cnn",
        "speech_commands_clips_distilled",
        "speech_commands_clips_distilled_mini",
        "spoken_digits_unseen_speakers_cnn",
        "spoken_digits_unseen_speakers_distilled",
        "drum_sounds_cnn",
        "drum_sounds_distilled",
    ],
)
def test_the_readme_quotes_the_mixers_and_their_teachers(repository, name):
    results = results_of(repository, name)
    if "runs" in results:
        assert [run["seed"] for run in results["runs"]] == [42, 43, 44]
        first, mean = results["runs"][0], f"{results['mean']['accuracy']:.3f} ± {results['std']['accuracy']:.3f}"
    else:
        first, mean = {"clips": results["data"]["clips"], "metrics": results["metrics"]}, "one seed"
        assert results["training"]["seed"] == 42
    metrics = first["metrics"]
    figures = [
        str(first["clips"]["test"]),
        f"{results['model']['parameters']:,}",
        f"{1000 * results['cost']['model']['gmacs']:.0f} M",
        mean,
        f"{metrics['accuracy']:.3f} ({metrics['accuracy_low']:.3f} to {metrics['accuracy_high']:.3f})",
    ]
    readme = (repository / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if f"results/{name}.json" in line)
    assert set(figures) <= {cell.strip() for cell in row.split("|")}
    assert results["command"].startswith(f"python examples/train.py recipes/{name}.yaml ")


@pytest.mark.parametrize("document", ["README.md", "examples/study/README.md"])
def test_documents_quote_the_tables_of_the_study(repository, document):
    """Every row of figures is one of the tables', and the report has all of them."""
    tables = (repository / "examples" / "study" / "small" / "tables.md").read_text(encoding="utf-8")
    text = (repository / document).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if " MB | " in line]
    assert len(rows) >= 2 and set(rows) <= set(tables.splitlines())
    if document != "README.md":
        assert tables.strip() in text


def test_the_readme_quotes_the_interval_over_speakers(repository):
    groups = results_of(repository, "speech_commands_clips")["runs"][0]["metrics"]["by_group"]
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert f"{groups['accuracy_low']:.3f} to {groups['accuracy_high']:.3f} ({groups['groups']} groups:" in readme


def test_the_readme_quotes_the_loading(repository):
    results, readme = results_of(repository, "loading"), (repository / "README.md").read_text(encoding="utf-8")
    for row in results["loading"]:
        low, high = row["range"]
        figures = f"| {row['samples']} | {row['workers']} | {row['clips_per_second']} ({low} to {high}) |"
        assert figures in readme
    speeds = {(row["samples"], row["workers"]): row["clips_per_second"] for row in results["loading"]}
    for workers in (0, 1, 2):  # what the default rests on
        assert speeds["kept", workers] > speeds["decoded in each epoch", workers]


def test_the_readme_quotes_the_benchmark(repository):
    """All tables that the script prints of the stages in the results."""
    results, readme = results_of(repository, "benchmark"), (repository / "README.md").read_text(encoding="utf-8")
    tables = runpy.run_path(str(repository / "examples" / "benchmark_report.py"))["format_results"](results)
    assert len(tables.splitlines()) > 2
    for table in tables.split("\n\n"):
        assert table in readme


def test_the_readmes_text_quotes_the_benchmark(repository):
    """Ratios outside the tables, each with its range."""
    results, readme = results_of(repository, "benchmark"), (repository / "README.md").read_text(encoding="utf-8")

    def quote(row: dict, pair: str) -> str:
        low, high = row["ratio_range"][pair]
        return f"{row['ratio'][pair]:.2f} ({low:.2f} to {high:.2f})"

    ahead, share = results["pipeline"]["rows"][-1], results["share"]["rows"][0]
    assert f"it took {quote(ahead, 'asm_read_ahead / asm')} of the time without it" in readme
    assert f"take {quote(share, 'extraction_and_augmentation / step')} of the time of a step" in readme
    assert f"(extraction alone {quote(share, 'extraction / step')})" in readme
    assert f"such a step takes but {share['milliseconds']['step'] / share['clips']:.0f} ms a clip" in readme
    short, long = (row["forward_gmacs_per_clip"] for row in results["train"]["rows"])
    short, long = (f"{row['ast'] / row['asm_stride_10']:.2f} times" for row in (short, long))
    assert f"AST has {short} the multiply-adds of ASM with its strides for clips of 1 s, and {long} for 10 s" in readme
    base, small = results["export"]["rows"][:2], results["export"]["rows"][2:]
    for rows, pair in (
        (base, "onnx / onnx_int8"),
        (small, "onnx / onnx_int8"),
        (base, "torchao_int8_compiled / onnx_int8"),
    ):
        assert " and ".join(quote(row, pair) for row in rows) in readme


def test_the_readme_quotes_the_exports(repository):
    """What the script prints of bfloat16 and int8; what it asks of all forms; and int8's least accuracy."""
    results, readme = results_of(repository, "exports"), (repository / "README.md").read_text(encoding="utf-8")
    table = runpy.run_path(str(repository / "examples" / "compare_exports.py"))["format_results"](results)
    rows = [row for row in table.splitlines() if " | bfloat16 | " in row or " | onnx int8 | " in row]
    assert len(rows) == 8
    for row in rows:
        assert row in readme
    for row in results["exports"]:
        if row["form"].endswith(" float32"):
            assert row["largest_difference"] < 1e-4
            assert row["same_label"] == 1
        if row["form"] == "bfloat16":
            assert row["same_label"] >= 0.995
        if row["form"] == "onnx int8" and row["data"] == "speech_commands":
            assert row["gain"] >= -0.005


@pytest.mark.parametrize(
    ("script", "name", "headings"),
    [("compare_padding", "padding", 1), ("compare_resizing", "resizing", 2), ("few_shot", "few_shot", 2)],
)
def test_the_readme_quotes_the_studies(repository, script, name, headings):
    """The rows of figures that the script prints, in their order; what stands before them is the README's own."""
    table = runpy.run_path(str(repository / "examples" / f"{script}.py"))["format_results"](
        results_of(repository, name)
    )
    rows = [" | ".join(row.split(" | ")[headings:]) for row in table.splitlines()[2:]]
    lines = (repository / "README.md").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.endswith(rows[0]))
    for line, row in zip(lines[first:], rows, strict=False):
        assert line.endswith("| " + row)


def test_the_readme_quotes_the_streams(repository):
    results, readme = results_of(repository, "stream"), (repository / "README.md").read_text(encoding="utf-8")
    latency = results["latency_milliseconds"]
    assert f"the scores come {latency['median']} ms after the chunk" in readme
    assert f"(median of {results['hops']:,} hops; 95 in 100 within {latency['95_percent_below']} ms)" in readme
    assert f"a minute takes {results['real_time_factor']['median']:.3f} of its length" in readme


def test_the_readme_quotes_the_quickstart(repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    results = json.loads((repository / "examples" / "results" / "quickstart.json").read_text())
    assert f"{results['training']['seconds']} s of them for the training" in readme
    accuracy, clips = f"{results['metrics']['accuracy']:.3f}"[1:], results["data"]["clips"]["test"]
    assert f"reached {accuracy} on {clips} clips where chance is .100" in readme
    assert results["metrics"]["chance"] == 0.1


def test_the_benchmark_reaches_what_is_asked_of_it(repository):
    """Extraction without torchaudio, forward passes, files to labels, training with AST's strides, and int8."""
    results = results_of(repository, "benchmark")
    ratios = {(row["clips"], row["seconds"]): row["ratio"] for row in results["extract"]["rows"]}
    assert not results["extract"]["torchaudio"]
    assert ratios[32, 1]["ast / asm"] >= 8
    assert ratios[8, 10]["ast / asm"] >= 12
    assert all(ratio["kaldi / asm"] >= 1 for ratio in ratios.values())
    assert all(ratios[case]["limit / asm"] >= 0.5 for case in ((32, 1), (8, 10)))
    for row in results["forward"]["rows"]:
        if row["tokens"] in (512, 64):
            assert row["ratio"]["limit / asm"] >= 0.85
            assert row["ratio"]["limit_bfloat16 / asm_bfloat16"] >= 0.75
            assert row["ratio"]["asm / asm_bfloat16"] >= 2
    ratios = {(row["clips"], row["seconds"]): row["ratio"] for row in results["pipeline"]["rows"][:-1]}
    assert ratios[8, 10]["ast / asm"] >= 4
    assert ratios[8, 10]["ast / asm_stride_10"] >= 1.3
    assert all(row["ratio"]["ast / asm_stride_10"] >= 1.3 for row in results["train"]["rows"])
    for row in results["export"]["rows"]:
        if row["model"] == "base":
            assert row["ratio"]["torch / onnx_int8"] >= 2.5
            assert row["file_megabytes"]["int8"] / row["file_megabytes"]["float32"] < 0.26


@pytest.mark.parametrize(
    ("name", "least"),
    [("spoken_digits", 0.98), ("spoken_digits_unseen_speakers", 0.80), ("speech_commands_clips", 0.85)],
)
def test_the_trainings_reach_what_is_asked_of_them(repository, name, least):
    results = results_of(repository, name)
    assert results["mean"]["accuracy"] >= least
    assert results["environment"]["accelerator"] == "none"


def test_the_default_padding_is_the_one_that_did_best(repository):
    sets = results_of(repository, "padding")["accuracy"].values()
    means = {mode: np.mean([np.mean(accuracy[mode]) for accuracy in sets]) for mode in PADDING_MODES}
    assert max(means, key=means.get) == ASMFeatureExtractor().padding_mode == ModelArguments().padding


def test_the_readme_lists_the_sizes(repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    for name, size in ASM_SIZES.items():
        config = ASMConfig(**size.config)
        row = f"| {name} | {config.num_hidden_layers} | {config.hidden_size} | "
        line = next(line for line in readme.splitlines() if line.startswith(row))
        assert f"{size.parameters:,}" in line
        assert f"{config.patch_shape[0]}x{config.patch_shape[1]}" in line


def test_the_readmes_library_example_runs(repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(import torch\n.*?)```", readme, flags=re.DOTALL).group(1)
    namespace = {}
    exec(code, namespace)  # our own README
    assert namespace["logits"].shape == (2, 50)


@pytest.mark.parametrize("name", TRAVELLING)
def test_travelling_files_import_packages_and_each_other_only(repository, name):
    tree = ast.parse((repository / "src" / "modeling_asm" / name).read_text())
    allowed = {"torch", "numpy", "transformers", "huggingface_hub", "math", "functools", "difflib", "dataclasses"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1
            assert f"{node.module}.py" in TRAVELLING
        elif isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] in allowed
        elif isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= allowed


def test_every_source_file_has_its_tests(repository):
    sources = {
        path.relative_to(repository / "src" / "modeling_asm").with_name(f"test_{path.name}")
        for path in (repository / "src" / "modeling_asm").rglob("*.py")
        if path.name != "__init__.py"
    }
    tests = {path.relative_to(repository / "tests") for path in (repository / "tests").rglob("test_*.py")}
    assert sources <= tests


def test_make_help_lists_every_target(repository):
    makefile = (repository / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE).group(1).split()
    output = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[1] for line in output.splitlines()] == targets


def test_the_readme_quotes_the_authors_who_were_left_out(repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    for author in ("Artemio", "Millo", "BJA_Pacific"):
        names = (f"drum_sounds_authors/{name}-{author}" for name in ("without", "with"))
        without, along = (results_of(repository, name) for name in names)
        assert (without["training"]["steps"], along["training"]["steps"]) == (800, 800)
        assert without["data"]["test_split"] == along["data"]["test_split"] == f"rows with author {author}"
        figures = [f"{results['metrics']['accuracy']:.3f}" for results in (without, along)]
        assert f"| {author} | {along['data']['clips']['test']} | {' | '.join(figures)} |" in readme


def test_the_readme_quotes_the_mini_that_was_not_kept(repository):
    metrics = results_of(repository, "speech_commands_clips_mini_not_kept")["metrics"]
    figures = f"{metrics['accuracy']:.3f} ({metrics['accuracy_low']:.3f} to {metrics['accuracy_high']:.3f}; [file]"
    assert figures in (repository / "README.md").read_text(encoding="utf-8")
