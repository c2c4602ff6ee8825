import pytest
import torch

from modeling_asm import ASMConfig, ASMForAudioClassification, ASMModel
from modeling_asm.configuration_asm import HIDDEN_ACTS
from modeling_asm.measuring.cost import count_multiply_adds
from modeling_asm.mixing import TOKEN_MIXING_CLASSES, ASMAconC, ASMChannelMixing, ASMPooling, ASMTokenConvolution


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
    with pytest.raises(ValueError, match=r"`token_mixing` must be one of \('mlp', 'conv'\), got 'fourier'"):
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

    def resize(self, config, matrix, density):
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


@pytest.fixture
def convolved(config) -> ASMConfig:
    """A grid of 3 by 4 tokens, mixed by a kernel of 3 by 3."""
    config.token_mixing, config.token_kernel_size = "conv", (3, 3)
    return config


def test_a_token_convolution_is_that_of_each_channel_on_the_grid_and_the_mean(convolved):
    """Against sums over the neighbours of each token, written out."""
    mixing = ASMTokenConvolution(convolved)
    torch.nn.init.normal_(mixing.mean_weight)
    rows, columns = convolved.patch_grid
    tokens = torch.randn(2, rows * columns, convolved.hidden_size)
    grid = torch.nn.functional.pad(tokens.unflatten(1, (rows, columns)), (0, 0, 1, 1, 1, 1))
    kernel = mixing.convolution.weight[:, 0]  # (hidden_size, 3, 3)
    expected = mixing.convolution.bias + mixing.mean_weight * tokens.mean(1, keepdim=True)[:, None]
    for row in range(3):
        for column in range(3):
            part = grid[:, row : row + rows, column : column + columns]
            expected = expected + part * kernel[:, row, column]
    torch.testing.assert_close(mixing(tokens), expected.flatten(1, 2), atol=1e-6, rtol=1e-5)


def test_a_token_convolution_fits_a_window_of_any_length(convolved):
    """Away from the ends, and without the mean over all tokens, a longer window has the same tokens."""
    model = ASMModel(convolved).eval()
    long = torch.randn(1, 64, convolved.num_mel_bins)
    short_tokens = [model(long[:, start : start + 16]).last_hidden_state for start in (0, 16)]
    count = sum(parameter.numel() for parameter in model.parameters())
    model.resize_spectrogram(max_length=64)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    tokens = model(long).last_hidden_state.unflatten(1, (3, 16))
    before = short_tokens[0].unflatten(1, (3, 4))
    torch.testing.assert_close(tokens[:, :, 0], before[:, :, 0])  # beyond two layers' kernels from the cut
    assert not torch.allclose(tokens[:, :, 3], before[:, :, 3], atol=1e-4)


def test_all_that_a_token_convolution_has_is_trained(convolved, input_values):
    model = ASMForAudioClassification(convolved)
    assert all((layer.token_mixing.mean_weight == 0).all() for layer in model.audio_spectrogram_mixer.layers)
    model(input_values, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("pooling", "pooling_dim", "size"), [("mean", None, 16), ("mean_std", None, 32),
                                                              ("mean", 5, 5), ("mean_std", 5, 10)])  # fmt: skip
def test_pooling(config, pooling, pooling_dim, size):
    """Mean and population standard deviation, as numpy computes them."""
    config.pooling, config.pooling_dim = pooling, pooling_dim
    module, tokens = ASMPooling(config), torch.randn(2, 12, 16)
    pooled = module(tokens)
    assert pooled.shape == (2, size)
    assert config.pooled_size == size
    values = module.project(tokens).detach().numpy()
    torch.testing.assert_close(pooled[:, : values.shape[2]].detach(), torch.from_numpy(values.mean(1)))
    if pooling == "mean_std":
        torch.testing.assert_close(
            pooled[:, values.shape[2] :].detach(), torch.from_numpy(values.std(1)), atol=1e-4, rtol=1e-4
        )


def test_an_embedding_is_a_linear_map_of_what_is_pooled(config):
    config.pooling, config.embedding_dim = "mean_std", 7
    module, tokens = ASMPooling(config), torch.randn(2, 12, 16)
    assert (config.num_pooled, config.pooled_size) == (32, 7)
    embedded = module(tokens)
    module.embedding, layer = None, module.embedding
    torch.testing.assert_close(embedded, module(tokens) @ layer.weight.T + layer.bias)


def test_pooling_equal_tokens_has_a_gradient(config):
    config.pooling = "mean_std"
    tokens = torch.ones(1, 12, 16, requires_grad=True)
    ASMPooling(config)(tokens).sum().backward()
    assert torch.isfinite(tokens.grad).all()
