import importlib
import subprocess
import sys
import warnings

import pytest

import modeling_asm
from modeling_asm.renamed import FORMER_NAMES


@pytest.mark.parametrize("former", FORMER_NAMES)
def test_a_former_name_is_the_present_module(former):
    """With a warning that says where it is; the module keeps its own name."""
    sys.modules.pop(f"modeling_asm.{former}", None)
    present = importlib.import_module(f"modeling_asm.{FORMER_NAMES[former]}")
    with pytest.warns(DeprecationWarning, match=rf"modeling_asm\.{former} is now {present.__name__}"):
        module = importlib.import_module(f"modeling_asm.{former}")
    assert module is present
    assert module.__spec__.name == module.__name__ == f"modeling_asm.{FORMER_NAMES[former]}"


def test_documented_names_are_where_they_were():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from modeling_asm.audio import load_audio
        from modeling_asm.export import export
        from modeling_asm.hear import get_scene_embeddings
        from modeling_asm.modeling_asm import ASMForAudioClassification
        from modeling_asm.onnx_asm import ASMOnnxClassifier
        from modeling_asm.training.publishing import push_to_hub
    assert all(map(callable, (load_audio, export, get_scene_embeddings, ASMOnnxClassifier, push_to_hub)))
    assert ASMForAudioClassification is modeling_asm.ASMForAudioClassification


@pytest.mark.slow
def test_commands_run_under_their_former_names():
    command = [sys.executable, "-m", "modeling_asm.convert_mixer", "--help"]
    assert "asm-convert" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
