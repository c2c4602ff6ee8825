"""The structure of the package: which may import which, what travels with a checkpoint, and which file tests which."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import transformers
from strangers import TRAVELLING


REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "src" / "modeling_asm"

# From the ground up: a module imports only modules of its own line and of the lines above it here.
LAYERS = [
    "renamed",
    "configuration_asm fbank waveforms general",
    "mixing cpu_blocks resizing stem targets scoring windowing",
    "feature_extraction_asm modeling_asm residual_cnn",
    "audio.channels audio.containers.parts audio.containers.foreign audio.containers.flac audio.containers.headers "
    "audio.containers.mpeg audio.containers.chunks audio.containers.ogg audio.containers audio.ffmpeg audio.files "
    "audio.sources audio.stretches audio.windows audio.statistics audio.listing audio",
    "figures pretraining pipeline_asm streaming plots saliency",
    "conversion.weights conversion.mixer conversion",
    "export.graphs export.formats export.onnx_runtime export.onnx export.torch_export export.executorch export.write "
    "export",
    "loading hear embeddings measuring.timing measuring.cost measuring.environment measuring",
    "training.linear_heads training.metrics training.tasks training.augmentation training.arguments training.frontend "
    "training.run_folder training",
    "training.data.manifests training.data.folders training.data.labels training.data.loading "
    "training.data.decoding training.data.copies training.data.splits "
    "training.data.clips training.data",
    "training.models training.teachers.targets training.teachers.efficientat training.teachers.speech_embedding "
    "training.teachers.soft_labels training.teachers.classifier training.teachers.downloads "
    "training.teachers.load training.teachers "
    "training.training_arguments training.atomic_trainer training.trainer training.settings "
    "training.cross_validation training.tuning",
    "training.report.plots training.report.tables training.report.cards training.report.publishing "
    "training.report.results training.report.checkpoint training.report",
    "training.distillation.pool training.distillation.mixtures training.distillation.bank "
    "training.distillation.batches training.distillation.student training.distillation.muon "
    "training.distillation.trainer training.distillation.probe training.distillation.arguments "
    "training.distillation.encoder training.distillation.whitening training.distillation.lesson "
    "training.distillation.run training.distillation",
    "training.run training.experiments prediction",
    "commands.console commands.classify commands.convert commands.distil commands.embed commands.explain "
    "commands.export commands.predict commands.stats commands.train commands",
]
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names.split()}

# What the code in a checkpoint imports of transformers: documented for users, and long-lived, since a checkpoint keeps
# its code for years.
LASTING = {
    "transformers": {"BatchFeature", "PreTrainedConfig", "PreTrainedModel", "SequenceFeatureExtractor"},
    "transformers.activations": {"ACT2FN"},
    "transformers.modeling_layers": {"GradientCheckpointingLayer"},
    "transformers.modeling_outputs": {"BaseModelOutputWithPooling", "SequenceClassifierOutput"},
    "transformers.utils": {"logging"},
}


def module_name(path: Path) -> str:
    """The name of a module within the package; a package's own is that of its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a file imports, by their names within it."""
    package = list(path.relative_to(PACKAGE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            inside = [".".join([*base, alias.name]) for alias in node.names]
            found |= {name if name in LAYER_OF else ".".join(base) for name in inside}
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_run_one_way(path):
    """A file imports none that stands above it."""
    name = module_name(path)
    assert name in LAYER_OF, f"{name} has no layer: add it to LAYERS"
    above = {other for other in imports_of(path) if LAYER_OF[other] > LAYER_OF[name]}
    assert not above


def test_every_module_has_its_layer():
    assert set(LAYER_OF) == {module_name(path) for path in MODULES}


def test_the_travelling_files_are_named_in_the_documentation():
    page = (REPOSITORY / "docs" / "development" / "structure.md").read_text(encoding="utf-8")
    listed = set(page.partition("configuration_asm")[2].partition("pipeline_asm")[0].split())
    assert set(TRAVELLING) <= {"configuration_asm", *listed}


def test_every_source_file_has_its_tests():
    sources = {path.relative_to(PACKAGE).with_name(f"test_{path.name}") for path in MODULES if path.stem != "__init__"}
    tests = {path.relative_to(REPOSITORY / "tests") for path in (REPOSITORY / "tests").rglob("test_*.py")}
    assert sources <= tests


@pytest.mark.parametrize("name", TRAVELLING)
def test_travelling_files_import_lasting_names_and_each_other_only(name):
    """They are frozen into checkpoints, and meet versions of transformers that are not written yet."""
    standard = {
        "math",
        "functools",
        "difflib",
        "dataclasses",
        "itertools",
        "typing",
        "collections",
        "copy",
        "os",
        "numbers",
    }
    for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1 and node.module in TRAVELLING
        elif isinstance(node, ast.ImportFrom):
            top = node.module.split(".")[0]
            assert top in {"torch", "transformers", "huggingface_hub", *standard}
            if top == "transformers":
                assert {alias.name for alias in node.names} <= LASTING[node.module]
        elif isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= {"torch", "numpy", *standard}


def test_lasting_names_are_there():
    for module, names in LASTING.items():
        for name in names:
            assert hasattr(transformers if module == "transformers" else __import__(module, fromlist=[name]), name)


def test_no_file_is_long():
    """A file is one room."""
    lines = {module_name(path): len(path.read_text().splitlines()) for path in MODULES}
    assert max(lines.values()) <= 400, sorted(lines.items(), key=lambda item: -item[1])[:3]


def test_make_help_lists_every_target():
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE).group(1).split()
    command = ["make", "--no-print-directory", "help"]
    output = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in output.splitlines()] == targets
