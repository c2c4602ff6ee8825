import importlib
import sys
import threading
import warnings

import pytest
from processes import run_python

import modeling_asm
from modeling_asm.renamed import FORMER_NAMES


@pytest.mark.parametrize("former", FORMER_NAMES)
def test_a_former_name_has_the_names_of_the_present_modules(former):
    """With a warning that says where they are; the modules keep their own names."""
    sys.modules.pop(f"modeling_asm.{former}", None)
    present = [importlib.import_module(f"modeling_asm.{name}") for name in FORMER_NAMES[former]]
    with pytest.warns(DeprecationWarning, match=rf"modeling_asm\.{former} is now {present[0].__name__}"):
        module = importlib.import_module(f"modeling_asm.{former}")
    for name, value in vars(present[0]).items():
        assert name.startswith("__") or getattr(module, name) is value
    for module, name in zip(present, FORMER_NAMES[former]):
        assert module.__spec__.name == module.__name__ == f"modeling_asm.{name}"


def test_documented_names_are_where_they_were():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from modeling_asm.audio import load_audio
        from modeling_asm.convert_mixer import convert_checkpoint, convert_mixer
        from modeling_asm.explain import explain
        from modeling_asm.export import export
        from modeling_asm.hear import get_scene_embeddings
        from modeling_asm.modeling_asm import ASMForAudioClassification
        from modeling_asm.onnx_asm import ASMOnnxClassifier
        from modeling_asm.sizes import ASM_SIZES
        from modeling_asm.stats import main
        from modeling_asm.training.cards import describe_environment, write_model_card
        from modeling_asm.training.losses import mean_loss
        from modeling_asm.training.publishing import push_to_hub
        from modeling_asm.training.trainer import AudioTrainingArguments
    assert all(map(callable, (load_audio, convert_checkpoint, convert_mixer, explain, export, get_scene_embeddings)))
    assert all(map(callable, (ASMOnnxClassifier, main, describe_environment, write_model_card, mean_loss, push_to_hub)))
    assert ASMForAudioClassification is modeling_asm.ASMForAudioClassification
    assert ASM_SIZES is modeling_asm.ASM_SIZES
    assert AudioTrainingArguments.__name__ == "AudioTrainingArguments"


def test_threads_import_former_names_at_once():
    for former in FORMER_NAMES:
        sys.modules.pop(f"modeling_asm.{former}", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        names = [f"modeling_asm.{former}" for former in FORMER_NAMES]
        threads = [threading.Thread(target=importlib.import_module, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for names in FORMER_NAMES.values():
        assert all(sys.modules[f"modeling_asm.{name}"].__spec__.name == f"modeling_asm.{name}" for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("former", ["convert_mixer", "stats"])
def test_commands_run_under_their_former_names(former):
    assert "usage: asm-" in run_python("-m", f"modeling_asm.{former}", "--help").stdout
