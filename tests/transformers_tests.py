"""Load transformers' own common tests from its source distribution, which `make test-upstream` unpacks; not a test.

The distribution has the mixins at the top of its tests, and not the folders beside them. What the mixins import from
these folders is replaced here by empty classes; test_common.py lists the tests that are missing for it.
"""

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest


FOLDER = os.environ.get("TRANSFORMERS_SOURCE")
if not FOLDER:
    pytest.skip("needs transformers' source distribution: make test-upstream", allow_module_level=True)

PACKAGE = "upstream_tests"
MISSING = {
    "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "utils.test_configuration_utils": {"config_common_kwargs": {}},
}


def make_package(name: str, path: list[str]) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = path
    sys.modules[name] = module
    return module


(Path(FOLDER) / "tests" / "__init__.py").touch()  # which the configurations' mixin imports
make_package(PACKAGE, [str(Path(FOLDER) / "tests")])
for name, contents in MISSING.items():
    make_package(f"{PACKAGE}.{name.split('.')[0]}", [])
    vars(make_package(f"{PACKAGE}.{name}", [])).update(contents)

# The pipelines' mixin reads its list of tiny models when it is imported.
TINY_MODELS = Path(tempfile.mkdtemp(prefix="modeling_asm-tiny-"))
(TINY_MODELS / "reports").mkdir()
SUMMARY = {"tokenizer_classes": [], "processor_classes": ["ASMFeatureExtractor"]}
(TINY_MODELS / "reports" / "tiny_model_summary.json").write_text(json.dumps({"ASMForAudioClassification": SUMMARY}))
os.environ["TRANSFORMERS_TINY_MODEL_PATH"] = str(TINY_MODELS)


def load(name: str) -> ModuleType:
    """Import a module of transformers' tests."""
    return importlib.import_module(f"{PACKAGE}.{name}")
