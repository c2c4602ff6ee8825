"""Documents that must stay true, and rules of the house."""

import ast
import json
import re
import subprocess

import pytest

from modeling_asm import ASM_SIZES, ASMConfig


TRAVELLING = ("configuration_asm.py", "fbank.py", "feature_extraction_asm.py", "modeling_asm.py")


def test_the_readme_quotes_the_results_files(repository):
    """Each row of the table of results, rounded, is in a results file, and each results file of a training is there."""
    readme = (repository / "README.md").read_text(encoding="utf-8")
    files = sorted((repository / "examples" / "results").glob("train_*.json"))
    assert files
    for file in files:
        metrics = json.loads(file.read_text())["metrics"]
        figures = f"{metrics['accuracy']:.3f} ({metrics['accuracy_low']:.3f} to {metrics['accuracy_high']:.3f})"
        assert any(file.name in line and figures in line for line in readme.splitlines()), (file.name, figures)


def test_the_readme_quotes_the_benchmark(repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    results = json.loads((repository / "examples" / "results" / "benchmark.json").read_text())
    for row in results["extraction"]:
        low, high = row["ratio_range"]
        assert f"| {row['clips']} | {row['seconds_each']} s | {row['ratio']} ({low} to {high}) |" in readme


def test_the_readme_quotes_the_quickstart(repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    results = json.loads((repository / "examples" / "results" / "quickstart.json").read_text())
    assert f"{results['training']['seconds']} s of them for the training" in readme
    accuracy, clips = f"{results['metrics']['accuracy']:.3f}"[1:], results["data"]["clips"]["test"]
    assert f"reached {accuracy} on {clips} clips where chance is .100" in readme
    assert results["metrics"]["chance"] == 0.1


def test_the_benchmark_reaches_what_is_asked_of_it(repository):
    """Without torchaudio: 5 times ASTFeatureExtractor's throughput at 32 clips of 1 s, 4 times at 8 clips of 10 s."""
    results = json.loads((repository / "examples" / "results" / "benchmark.json").read_text())
    ratios = {(row["clips"], row["seconds_each"]): row["ratio"] for row in results["extraction"]}
    assert not results["torchaudio"]
    assert ratios[32, 1] >= 5
    assert ratios[8, 10] >= 4


@pytest.mark.parametrize(
    ("name", "least"),
    [("spoken_digits", 0.985), ("spoken_digits_unseen_speakers", 0.80), ("speech_commands", 0.80)],
)
def test_the_trainings_reach_what_is_asked_of_them(repository, name, least):
    results = json.loads((repository / "examples" / "results" / f"train_{name}.json").read_text())
    assert results["metrics"]["accuracy"] >= least
    assert results["training"]["seconds"] < 40 * 60
    assert results["environment"]["cores"] == 2


@pytest.mark.parametrize("speaker", ["nicolas", "jackson"])
def test_the_default_padding_is_the_one_that_did_best(repository, speaker):
    folder = repository / "examples" / "results"
    accuracy = {
        name: json.loads((folder / f"padding_{speaker}_{name}.json").read_text())["metrics"]["accuracy"]
        for name in ("zero", "mean", "silence")
    }
    assert max(accuracy, key=accuracy.get) == "zero"


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
