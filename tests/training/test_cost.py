import pytest
import torch

from modeling_asm import ASMFeatureExtractor
from modeling_asm.training.cost import measure_cost


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_a_model_beside_ast(model, feature_extractor):
    model.train()
    cost = measure_cost(model, feature_extractor, feature_extractor.nb_max_samples, rounds=2)
    assert cost["model"]["parameters"] == model.num_parameters()
    assert cost["ast"]["parameters"] > 80_000_000
    assert cost["ratio"] == pytest.approx(cost["ast"]["milliseconds"] / cost["model"]["milliseconds"], abs=0.06)
    assert model.training  # as it was


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_multiply_adds_by_hand(model, feature_extractor, config):
    """Source: the products of a Mixer's layers, patches, and classifier."""
    tokens, width = config.num_patches, config.hidden_size
    patch = 8 * 4 * width * tokens
    layer = 2 * tokens * config.tokens_mlp_dim * width + 2 * width * config.channels_mlp_dim * tokens
    expected = patch + config.num_hidden_layers * layer + width * config.num_labels
    cost = measure_cost(model, feature_extractor, feature_extractor.nb_max_samples, rounds=1)
    assert cost["model"]["gmacs"] * 1e9 == pytest.approx(expected, abs=5e4)  # written with four decimals of 1e9
    assert torch.is_grad_enabled()


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_another_rate(model, config):
    extractor = ASMFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length, sampling_rate=8000)
    assert measure_cost(model, extractor, 8000, rounds=1)["ratio"] > 0
