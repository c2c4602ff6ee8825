import pytest
import torch

from modeling_asm import ASMConfig, ASMForAudioClassification, ASMModel
from modeling_asm.configuration_asm import HIDDEN_ACTS
from modeling_asm.measuring.cost import count_multiply_adds
from modeling_asm.mixing import TOKEN_MIXING_CLASSES, ASMAconC, ASMChannelMixing


@pytest.mark.parametrize("hidden_act", HIDDEN_ACTS)
def test_activations(config, input_values, hidden_act):
    """Sources: torch's own; x tanh(log(1 + exp(x))) for Mish; Acon-C starts as Swish."""
    config.hidden_act = hidden_act
    x = torch.linspace(-4, 4, config.channels_mlp_dim)
    expected = {"gelu": torch.nn.functional.gelu(x), "mish": x * torch.tanh(torch.log1p(x.exp()))}
    model = ASMForAudioClassification(config)
    activation_fn = model.audio_spectrogram_mixer.layers[0].channel_mixing.activation_fn
    torch.testing.assert_close(activation_fn(x), expected.get(hidden_act, x / (1 + torch.exp(-x))))
    model(input_values, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_swish_is_silu_and_acon_c_starts_there(config, input_values):
    logits = {}
    for hidden_act in ("swish", "silu", "acon_c", "mish"):
        torch.manual_seed(0)
        config.hidden_act = hidden_act
        logits[hidden_act] = ASMForAudioClassification(config)(input_values).logits
    assert torch.equal(logits["swish"], logits["silu"])
    torch.testing.assert_close(logits["acon_c"], logits["swish"])
    assert not torch.allclose(logits["mish"], logits["swish"], atol=1e-7)


def test_acon_c_formula_and_random_start():
    """Source: equation of Acon-C in https://arxiv.org/abs/2009.04759."""
    activation = ASMAconC(2)
    with torch.no_grad():
        activation.p1.copy_(torch.tensor([1.5, -0.5]))
        activation.p2.copy_(torch.tensor([0.25, 2.0]))
        activation.beta.copy_(torch.tensor([2.0, 0.5]))
    x = torch.tensor([[1.0, -2.0]])
    first = 1.25 * 1.0 / (1 + torch.exp(torch.tensor(-2.0 * 1.25))) + 0.25
    second = -2.5 * -2.0 / (1 + torch.exp(torch.tensor(-0.5 * 5.0))) + 2.0 * -2.0
    torch.testing.assert_close(activation(x), torch.stack([first, second])[None])

    config = ASMConfig(hidden_act="acon_c", acon_c_init="random", num_hidden_layers=1, max_length=64)
    mlp = ASMModel(config).layers[0].channel_mixing.activation_fn
    assert mlp.p1.shape == (3072,)
    for parameter in (mlp.p1, mlp.p2):
        assert abs(parameter.mean()) < 0.1
        assert abs(parameter.std() - 1) < 0.1
    assert (mlp.beta == 1).all()


def test_an_unknown_token_mixing(config):
    assert config.token_mixing == "mlp"
    config.token_mixing = "fourier"
    with pytest.raises(ValueError, match=r"`token_mixing` must be one of \('mlp',\), got 'fourier'"):
        ASMForAudioClassification(config)


class Average(torch.nn.Module):
    """A token mixing without token weights: each token and the mean of all, projected."""

    def __init__(self, config):
        super().__init__()
        self.fc1 = torch.nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.num_units, self.resized = config.num_patches * config.hidden_size, False

    def forward(self, hidden_states):
        mean = hidden_states.mean(1, keepdim=True).expand_as(hidden_states)
        return self.fc1(torch.cat([hidden_states, mean], -1))

    def resize(self, matrix, density):
        self.resized = True


def test_another_token_mixing_needs_no_other_place(config, input_values, monkeypatch):
    """Resizing, blocks for the cache and the count of multiply-adds ask the layer."""
    monkeypatch.setitem(TOKEN_MIXING_CLASSES, "average", Average)
    config.token_mixing = "average"
    model = ASMForAudioClassification(config).eval()
    with torch.no_grad():
        assert model(input_values).logits.shape == (4, 3)
    layers, size = model.audio_spectrogram_mixer.layers, config.hidden_size
    assert isinstance(layers[0].token_mixing, Average)
    mixing = 2 * config.num_patches * size * (2 * size + 2 * config.channels_mlp_dim)  # two layers
    patches = config.num_patches * 8 * 4 * size
    assert count_multiply_adds(model, {"input_values": input_values[:1]}) == mixing + patches + 3 * size
    model.resize_spectrogram(max_length=32)
    assert all(layer.token_mixing.resized for layer in layers)
    assert model(torch.randn(2, 32, 24)).logits.shape == (2, 3)


def test_dropout_follows_each_of_the_two_linear_maps(config):
    """As in the paper's MLP: after the activation, and at the end."""
    mlp, sizes = ASMChannelMixing(config), []
    mlp.dropout.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape[-1]))
    mlp(torch.randn(2, 12, config.hidden_size))
    assert sizes == [config.channels_mlp_dim, config.hidden_size]
