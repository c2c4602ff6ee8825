"""One loss for every model: of each clip, and the mean over the clips of a step."""

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from .labels import MULTI, REGRESSION


def clip_losses(logits: Tensor, labels: Tensor, problem_type: str, class_weights: Tensor | None = None) -> Tensor:
    """Compute the loss of each clip: the cross-entropy, for several labels the mean of theirs, or the squared error.

    Args:
        logits: Of shape `(batch_size, num_labels)`.
        labels: Class indices of shape `(batch_size,)`, probabilities of the classes of shape
            `(batch_size, num_labels)`, or numbers of shape `(batch_size,)`, as `problem_type` asks.
        problem_type: As in a model's config.
        class_weights: Of shape `(num_labels,)`.

    Returns:
        float32 of shape `(batch_size,)`.
    """
    logits = logits.float()
    weights = None if class_weights is None else class_weights.to(logits.device)
    if problem_type == REGRESSION:
        return (logits[:, 0] - labels.float()).square()
    if problem_type == MULTI:
        options = {"pos_weight": weights, "reduction": "none"}
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.float(), **options).mean(1)
    return nn.functional.cross_entropy(logits, labels, weight=weights, reduction="none")


def mean_scores(logits: list[Tensor], problem_type: str) -> Tensor:
    """Return the mean of several models' scores, as [`clip_losses`] takes them for labels: float32.

    Args:
        logits: Of shape `(batch_size, num_labels)`, of each model.
        problem_type: As in a model's config.
    """
    stacked = torch.stack(logits).float()
    if problem_type == REGRESSION:
        return stacked.mean(0)[:, 0]
    return (stacked.sigmoid() if problem_type == MULTI else stacked.softmax(-1)).mean(0)


def mean_loss(losses: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the mean over a step's clips, such that the mean of all processes' is what one process would have.

    accelerate fills up the last batch of an epoch with clips from its start; those do not count.

    Args:
        losses: Of this process's clips, of shape `(batch_size,)`.
        accelerator: What prepared the loader that the clips came from.
    """
    state = accelerator.gradient_state
    if accelerator.num_processes == 1 or not state.end_of_dataloader or state.remainder <= 0:
        return losses.mean()
    own = min(max(state.remainder - accelerator.process_index * len(losses), 0), len(losses))
    return losses[:own].sum() * accelerator.num_processes / state.remainder
