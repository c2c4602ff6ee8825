"""Adapters of PEFT: what is saved computes what was trained, by every way back."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForAudioClassification, Trainer, TrainingArguments

from modeling_asm import ASMForAudioClassification


pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")]

NEW_HEAD = {"num_labels": 5, "ignore_mismatched_sizes": True}


@pytest.fixture
def pretrained(stemmed, input_values, tmp_path):
    """A checkpoint with a stem, whose running statistics are those of training."""
    stemmed.train()(input_values)
    stemmed.save_pretrained(tmp_path / "pretrained")
    return tmp_path / "pretrained"


def adapt(pretrained, input_values, tmp_path, **options):
    """Train an adapter and a new classifier of five labels; return model, folder and logits."""
    base = ASMForAudioClassification.from_pretrained(pretrained, **NEW_HEAD)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["fc1", "fc2"], **options))
    data = [{"input_values": row, "labels": index % 5} for index, row in enumerate(input_values)]
    arguments = TrainingArguments(
        tmp_path / "run", max_steps=20, learning_rate=0.05, report_to="none", save_strategy="no", use_cpu=True
    )
    Trainer(model, arguments, train_dataset=data).train()
    model.eval().save_pretrained(tmp_path / "adapter")
    return model, tmp_path / "adapter", model(input_values=input_values).logits


@pytest.mark.parametrize("bias", ["none", "all"])
@pytest.mark.parametrize("saved", [["classifier"], ["classifier", "patch_embeddings"]], ids=["head", "stem-too"])
def test_an_adapter_saved_and_loaded_gives_the_same_logits(pretrained, input_values, tmp_path, saved, bias):
    model, adapter, expected = adapt(pretrained, input_values, tmp_path, modules_to_save=saved, bias=bias)
    untrained = ASMForAudioClassification.from_pretrained(pretrained, **NEW_HEAD).eval()
    assert (untrained(input_values).logits - expected).abs().max() > 0.1  # it has learnt something

    ways = {"PeftModel": PeftModel.from_pretrained(untrained, adapter)}
    ways["load_adapter"] = ASMForAudioClassification.from_pretrained(pretrained, **NEW_HEAD)
    ways["load_adapter"].load_adapter(str(adapter))
    ways["auto"] = AutoModelForAudioClassification.from_pretrained(adapter, **NEW_HEAD)
    ways["merged"] = model.merge_and_unload()
    ways["merged"].save_pretrained(tmp_path / "merged")
    ways["saved"] = AutoModelForAudioClassification.from_pretrained(tmp_path / "merged")
    for name, way in ways.items():
        logits = way.eval()(input_values=input_values).logits
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_training_an_adapter_leaves_the_pretrained_model_as_it_was(pretrained, input_values, tmp_path):
    before = ASMForAudioClassification.from_pretrained(pretrained).audio_spectrogram_mixer.eval()
    model, _, _ = adapt(pretrained, input_values, tmp_path, modules_to_save=["classifier"])
    after = model.unload().audio_spectrogram_mixer
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value), name
