import pytest
import torch

from modeling_asm import ASMForAudioClassification, cpu_blocks
from modeling_asm.configuration_asm import HIDDEN_ACTS
from modeling_asm.export.graphs import ASMFeatureClassifier
from modeling_asm.modeling_asm import ASMLayer


@pytest.mark.parametrize("hidden_act", HIDDEN_ACTS)
def test_blocks_of_examples_give_what_the_whole_batch_gives(config, input_values, monkeypatch, hidden_act):
    """Parity of the layers' way through the cache with the plain one, whatever is left for the last block."""
    config.hidden_act = hidden_act
    model = ASMForAudioClassification(config).eval()
    calls, forward = [], ASMLayer.forward
    monkeypatch.setattr(ASMLayer, "forward", lambda layer, states: calls.append(len(states)) or forward(layer, states))
    units = max(config.hidden_size * config.tokens_mlp_dim, config.num_patches * config.channels_mlp_dim)
    monkeypatch.setattr(cpu_blocks, "BYTES_PER_BLOCK", 3 * 4 * units)
    with torch.no_grad():
        logits = model(input_values).logits
    assert calls == [3, 1] * config.num_hidden_layers
    calls.clear()
    torch.testing.assert_close(logits, model(input_values).logits, atol=1e-6, rtol=1e-5)
    assert calls == [4] * config.num_hidden_layers  # with gradients, the whole batch at once

    sizes, layer = [], model.audio_spectrogram_mixer.layers[0]
    layer.channel_mixing.fc1.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    with torch.no_grad():
        model(input_values)
    assert sizes == [4]  # so does whoever looks on
    with torch.no_grad():
        traced = torch.jit.trace(ASMFeatureClassifier(model), input_values[:3], check_trace=False)
        torch.testing.assert_close(traced(input_values), logits, atol=1e-6, rtol=1e-5)
