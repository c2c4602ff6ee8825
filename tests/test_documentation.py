"""README and docs: links, code, commands, generated figures, and the Sphinx build."""

import argparse
import importlib
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from modeling_asm import ASM_SIZES, ASMConfig
from modeling_asm.commands import distil, predict, train
from modeling_asm.training.arguments import ArgumentParser


REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
PAGES += [REPOSITORY / name for name in ("CONTRIBUTING.md", "examples/README.md", "research/README.md")]
NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]


def code_of(page: Path, language: str) -> list[str]:
    """The blocks of a language that are not marked `no-test`."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert file.is_relative_to(REPOSITORY)
        assert not anchor or anchor in anchors_of(file), target


def test_the_readme_has_each_guide():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for page in (REPOSITORY / "docs" / "guides").glob("*.md"):
        assert f"(docs/guides/{page.name})" in readme


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with what the pages name: the checkpoints, a recording, an exported model, predictions, features."""
    (tmp_path / "checkpoints").symlink_to(REPOSITORY / "checkpoints")
    samples = 0.1 * np.random.default_rng(0).standard_normal((22050, 2))
    soundfile.write(tmp_path / "recording.wav", samples, 44100)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if code_of(page, "python")], ids=lambda page: page.stem)
def test_code_runs(page, desk, capsys):
    """The blocks of a page one after the other, as a reader would try them."""
    if page.stem == "export":
        model = str(REPOSITORY / "checkpoints" / "asm-small-keywords")
        export = importlib.import_module("modeling_asm.commands.export")
        assert export.main(["--model", model, "--output", "keywords.onnx"]) == 0
        soundfile.write("recording.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    if page.stem == "many_files":
        (desk / "recordings").mkdir()
        (desk / "recording.wav").rename(desk / "recordings" / "recording.wav")
        arguments = ["--model", "checkpoints/asm-digits", "--data_dir", "recordings", "--output_dir", "predictions"]
        assert predict.main([*arguments, "--use_cpu", "--num_workers", "0"]) == 0
    namespace = {}
    for block in code_of(page, "python"):
        exec(block, namespace)  # our own pages
    if page.name == "README.md":
        assert namespace["logits"].shape == (2, 50)
        assert "'label': " in capsys.readouterr().out


def options_of(command: str) -> set[str]:
    """The options that a command knows."""
    if command in ("asm-distil", "asm-predict", "asm-train"):
        module = {"asm-distil": distil, "asm-predict": predict, "asm-train": train}[command]
        parser = ArgumentParser(module.GROUPS)
    else:
        made, original = [], argparse.ArgumentParser.parse_args

        def stop(self, *args, **kwargs):
            made.append(self)
            raise SystemExit

        argparse.ArgumentParser.parse_args = stop
        try:
            importlib.import_module(f"modeling_asm.commands.{command.removeprefix('asm-')}").main([])
        except SystemExit:
            pass
        finally:
            argparse.ArgumentParser.parse_args = original
        (parser,) = made
    return set(parser._option_string_actions)


@pytest.mark.parametrize("page", [page for page in PAGES if code_of(page, "bash")], ids=lambda page: page.stem)
def test_commands_have_these_options(page):
    """Each `--option` of our commands and scripts is one that they have; scripts and configurations are there."""
    for block in code_of(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.rpartition("|")[2], comments=True)
            if not words:
                continue
            if "accelerate" in words[0]:
                if "--config_file" in words:
                    assert (REPOSITORY / words[words.index("--config_file") + 1]).is_file()
                words = [f"asm-{words[words.index('-m') + 1].rpartition('.')[2]}", *words[words.index("-m") + 2 :]]
            options = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
            if words[0].startswith("asm-"):
                assert options <= options_of(words[0]), line
                recipes = [word for word in words if word.startswith("recipes/")]
                assert all((REPOSITORY / recipe).is_file() for recipe in recipes)
            elif words[0] == "python" and words[1].endswith(".py"):
                text = (REPOSITORY / words[1]).read_text(encoding="utf-8")
                assert all(f'"{option}"' in text for option in options), line
            elif words[0] == "make":
                makefile = (REPOSITORY / "Makefile").read_text()
                assert re.search(rf"^{words[1]}:", makefile, flags=re.MULTILINE), line


def test_every_figure_is_generated(monkeypatch):
    """Pages and tables are what `make results` writes of the committed results."""
    monkeypatch.syspath_prepend(REPOSITORY / "research")
    written = runpy.run_path(str(REPOSITORY / "research" / "write_results.py"))["render"]()
    assert {path.name for path in written} >= {"README.md", "accuracy.md", "speed.md", "exports.md"}
    for path, text in written.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: make results"
    assert set(written) >= set((REPOSITORY / "docs" / "results").glob("*.md"))


def test_the_sizes_are_those_of_the_package():
    page = (REPOSITORY / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    for name, size in ASM_SIZES.items():
        config = ASMConfig(**size.config)
        (bins, frames), steps = config.patch_shape, f"{config.frequency_stride} x {config.time_stride}"
        row = [name, config.num_hidden_layers, config.hidden_size, f"{config.num_mel_bins} x {config.max_length}"]
        row += [f"{bins} x {frames}, every {steps}", config.num_patches, f"{size.parameters:,}"]
        assert f"| {' | '.join(map(str, row))} |" in page


def test_no_line_is_endless():
    """Of what people edit: a paragraph of prose may be a line, but not a page."""
    for page in [*PAGES, REPOSITORY / "src/modeling_asm/training/report/card_template.md"]:
        if "results" not in page.parts:
            assert max(map(len, page.read_text(encoding="utf-8").splitlines())) <= 500, page


@pytest.mark.slow
def test_the_documentation_builds(tmp_path):
    """Offline, with warnings as errors."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(tmp_path)]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert "resize_spectrogram" in (tmp_path / "reference" / "api.html").read_text(encoding="utf-8")
