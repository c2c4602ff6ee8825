import pytest
import torch
from transformers import ASTConfig, ASTForAudioClassification

from modeling_asm import ASMFeatureExtractor
from modeling_asm.measuring.cost import count_multiply_adds, measure_cost


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


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_multiply_adds_of_attention_count(attention):
    """Source: by hand. Projections and MLPs of each token, and the two products of tokens with tokens."""
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_length=32, num_mel_bins=32
    )
    model = ASTForAudioClassification._from_config(config, attn_implementation=attention)
    tokens, patches = 2 * 2 + 2, 2 * 2  # strides of 10, a class and a distillation token
    layer = tokens * (4 * 16 * 16 + 2 * 16 * 32) + 2 * tokens**2 * 16
    expected = patches * 16 * 16 * 16 + 2 * layer + 16 * config.num_labels
    assert count_multiply_adds(model, {"input_values": torch.randn(1, 32, 32)}) == expected
    assert model.config._attn_implementation == attention
