import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from modeling_asm import ASMForAudioClassification
from modeling_asm.training.distillation.whitening import embed, principal_components, start_embedding, whiten


@pytest.fixture
def mixtures(config):
    """Spectrograms of different loudness, so that numbers of an embedding vary together."""
    torch.manual_seed(0)
    return torch.randn(300, 1, 1) + torch.randn(300, config.max_length, config.num_mel_bins)


@pytest.fixture
def embedding_model(config):
    config.pooling, config.embedding_dim = "mean_std", 5
    return ASMForAudioClassification(config).eval()


@given(number=st.integers(1, 6), seed=st.integers(0, 9))
def test_components_are_those_of_scikit_learn(number, seed):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((50, 6)) @ rng.standard_normal((6, 6)) + rng.standard_normal(6)
    mean, there, back = principal_components(torch.from_numpy(values), number)
    expected = PCA(number, whiten=True).fit_transform(values)
    given = (torch.from_numpy(values) - mean) @ there.T
    np.testing.assert_allclose(np.abs(given), np.abs(expected), atol=1e-6)
    torch.testing.assert_close(there @ back, torch.eye(number, dtype=torch.float64), atol=1e-8, rtol=0)


def test_white_embeddings_and_the_same_logits(embedding_model, mixtures):
    before = embedding_model(mixtures[:9]).logits
    whiten(embedding_model, mixtures)
    embeddings = embed(embedding_model, mixtures)
    torch.testing.assert_close(embeddings.mean(0), torch.zeros(5), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(embeddings.T), torch.eye(5), atol=2e-3, rtol=0)
    torch.testing.assert_close(embedding_model(mixtures[:9]).logits, before, atol=1e-4, rtol=1e-3)


def test_numbers_that_do_not_vary(embedding_model, mixtures):
    """Fewer sounds than numbers: what is left is finite, and the logits of these sounds stay."""
    before = embedding_model(mixtures[:3]).logits
    whiten(embedding_model, mixtures[:3])
    assert torch.isfinite(embed(embedding_model, mixtures)).all()
    torch.testing.assert_close(embedding_model(mixtures[:3]).logits, before, atol=1e-3, rtol=1e-2)


def test_an_embedding_starts_as_components_of_what_is_pooled(embedding_model, mixtures):
    start_embedding(embedding_model.train(), mixtures)
    assert embedding_model.training
    embedding_model.eval()
    embeddings = embed(embedding_model, mixtures)
    torch.testing.assert_close(torch.cov(embeddings.T), torch.eye(5), atol=2e-2, rtol=0)
    embedding_model.base_model.pooling.embedding = None
    pooled = embed(embedding_model, mixtures)
    expected = PCA(5, whiten=True).fit_transform(pooled.double().numpy())
    np.testing.assert_allclose(np.abs(embeddings[:, 0]), np.abs(expected[:, 0]), atol=2e-2)
