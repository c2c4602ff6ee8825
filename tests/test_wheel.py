"""The wheel: built, installed into an empty folder, and used from there."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distributions

import pytest
from processes import run_python


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, pytestconfig):
    """Built from a copy, since setuptools leaves files behind that the next wheel would contain."""
    if not any(distributions(name="pip")):  # importing pip would keep torch.compile from importing setuptools
        pytest.skip("needs pip, which make test-versions does not install")
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    shutil.copytree(pytestconfig.rootpath / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(pytestconfig.rootpath / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True, capture_output=True, timeout=300)
    (file,) = folder.glob("modeling_asm-*.whl")
    return file


def test_it_has_every_module_the_card_and_the_marker_of_types(wheel, repository):
    names = set(zipfile.ZipFile(wheel).namelist())
    source = repository / "src"
    modules = {str(path.relative_to(source)) for path in (source / "modeling_asm").rglob("*.py")}
    assert modules <= names
    assert {"modeling_asm/py.typed", "modeling_asm/training/report/card_template.md"} <= names
    for folder in (source / "modeling_asm" / "encoders").iterdir():  # with the credits and the licence
        needed = {"model.safetensors", "config.json", "preprocessor_config.json", "README.md", "corpus.csv", "LICENSE"}
        assert {f"modeling_asm/encoders/{folder.name}/{name}" for name in needed} <= names
    assert not [name for name in names if name.startswith(("tests", "examples", "research"))]


def test_its_commands_work_where_it_is_installed(wheel, tones, tmp_path):
    """A card is rendered, too, from the template inside."""
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=300)

    def run(*words) -> str:
        return run_python(*words, environment={**os.environ, "PYTHONPATH": str(target)}, folder=tmp_path).stdout

    where = run("-c", "import modeling_asm; print(modeling_asm.__file__)")
    assert where.startswith(str(target))
    script = target / "bin" / "asm-train"
    options = ("--num_train_epochs", 1, "--use_cpu", "--measure_cost", False, "--resamples", 0)
    run(script, "--data_dir", tones, "--output_dir", tmp_path / "model", *options)
    assert (tmp_path / "model" / "README.md").read_text().startswith("---\n")
    assert "low" in run(target / "bin" / "asm-classify", "--model", tmp_path / "model", tones / "low" / "00.wav")


def test_the_commands_need_no_extra():
    """The help of each, where only the packages of `install_requires` are."""
    extras = ("captum", "onnx", "onnxruntime", "onnxscript", "executorch", "kaldi_native_fbank", "tensorboard")
    extras += ("espeakng_loader", "fluidsynth", "hypothesis", "pytest")
    code = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({extras}))
for name in ("classify", "convert", "explain", "export", "predict", "stats", "train"):
    try:
        importlib.import_module(f"modeling_asm.commands.{{name}}").main(["--help"])
    except SystemExit as stop:
        assert stop.code == 0, name
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert process.stdout.lower().count("usage: asm-") == 7
