"""Checkpoints quantised by torchao through transformers."""

import pytest
import torch
from transformers import AutoModelForAudioClassification, TorchAoConfig


quantization = pytest.importorskip("torchao.quantization", reason="needs torchao, as make test-versions installs it")


def test_a_quantised_checkpoint_saves_and_loads_without_a_warning(checkpoint, model, input_values, tmp_path, caplog):
    """Eight-bit weights of the linear maps; `quantization_config` is part of the configuration then."""
    options = {"quantization_config": TorchAoConfig(quantization.Int8WeightOnlyConfig())}
    quantised = AutoModelForAudioClassification.from_pretrained(checkpoint, **options)
    weight = quantised.audio_spectrogram_mixer.layers[0].channel_mixing.fc1.weight
    assert type(weight) is not torch.nn.Parameter
    logits = quantised(input_values).logits
    assert 0 < (logits - model(input_values).logits).abs().max() < 0.02
    quantised.save_pretrained(tmp_path / "int8")
    caplog.clear()
    again = AutoModelForAudioClassification.from_pretrained(tmp_path / "int8")
    assert torch.equal(again(input_values).logits, logits)
    assert "has no effect" not in caplog.text
