"""An embedding whose numbers are uncorrelated, so that a linear classifier of few clips weighs them alike."""

import torch
from torch import Tensor

from ...modeling_asm import ASMForAudioClassification


BATCH_SIZE = 128
FLOOR = 1e-6  # of the largest variance: components below it are noise of the arithmetic


def principal_components(values: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean of rows, the map to their strongest components, each with a deviation of 1, and the way back.

    Args:
        values: Tensor of shape `(num_rows, size)`.
        number: Number of components; the strongest are first.

    Returns:
        Float64 tensors of shape `(size,)`, `(number, size)` and `(size, number)`.
    """
    values = values.double()
    variances, directions = torch.linalg.eigh(torch.cov(values.T))
    variances, directions = variances.flip(0)[:number], directions.flip(1)[:, :number]
    scale = variances.clamp(min=FLOOR * variances.max()).sqrt()
    return values.mean(0), (directions / scale).T, directions * scale


@torch.no_grad()
def embed(model: ASMForAudioClassification, mixtures: Tensor) -> Tensor:
    """Return the embeddings of spectrograms, `(num_mixtures, max_length, num_mel_bins)`: `(num_mixtures, size)`."""
    batches = mixtures.split(BATCH_SIZE)
    return torch.cat([model.base_model(batch.to(model.device).float()).pooler_output.cpu() for batch in batches])


@torch.no_grad()
def start_embedding(model: ASMForAudioClassification, mixtures: Tensor):
    """Let the embedding start as the principal components of what the model pools of some mixtures."""
    pooling, was_training = model.base_model.pooling, model.training
    embedding, pooling.embedding = pooling.embedding, None
    pooled = embed(model.eval(), mixtures)
    pooling.embedding = embedding
    model.train(was_training)
    mean, there, _ = principal_components(pooled, embedding.out_features)
    embedding.weight.copy_(there)
    embedding.bias.copy_(-there @ mean)


@torch.no_grad()
def whiten(model: ASMForAudioClassification, mixtures: Tensor):
    """Turn the embedding of a model into its principal components, each with a deviation of 1; its logits stay.

    Args:
        model: The model, with `embedding_dim`, and not in training.
        mixtures: Spectrograms that show how the numbers of the embedding vary together.
    """
    embedding, classifier = model.base_model.pooling.embedding, model.classifier
    mean, there, back = principal_components(embed(model, mixtures), embedding.out_features)
    parameters = (embedding.bias, embedding.weight, classifier.bias, classifier.weight)
    shift, turn, bias, weight = (parameter.cpu().double() for parameter in parameters)  # not every device has float64
    turned = (there @ (shift - mean), there @ turn, bias + weight @ mean, weight @ back)
    for parameter, value in zip(parameters, turned):
        parameter.copy_(value.float())
