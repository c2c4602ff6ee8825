import pytest
import torch
from torch import nn

from modeling_asm import ASMForAudioClassification
from modeling_asm.training.labels import MULTI, REGRESSION, SINGLE
from modeling_asm.training.losses import clip_losses, mean_loss, mean_scores


def test_the_loss_is_the_models_own(config):
    logits = torch.randn(5, 3)
    for problem_type, labels in (
        (SINGLE, torch.tensor([0, 1, 2, 1, 0])),
        (SINGLE, torch.rand(5, 3).softmax(1)),
        (MULTI, torch.rand(5, 3)),
    ):
        config.problem_type = problem_type
        expected = ASMForAudioClassification(config)._compute_loss(logits, labels)
        torch.testing.assert_close(clip_losses(logits, labels, problem_type).mean(), expected)
    numbers = torch.randn(5)
    torch.testing.assert_close(clip_losses(logits, numbers, REGRESSION), (logits[:, 0] - numbers) ** 2)


def test_class_weights():
    """A clip's weight is its class's, whatever else is in the batch, and for probabilities of 0 and 1 alike."""
    logits, weights = torch.randn(4, 2), torch.tensor([1.0, 3.0])
    labels = torch.tensor([0, 1, 1, 0])
    expected = -logits.log_softmax(1)[range(4), labels] * weights[labels]
    torch.testing.assert_close(clip_losses(logits, labels, SINGLE, weights), expected)
    torch.testing.assert_close(clip_losses(logits, nn.functional.one_hot(labels).float(), SINGLE, weights), expected)
    several = torch.tensor([[0.0, 1.0]] * 4)
    terms = nn.functional.softplus(torch.stack([logits[:, 0], -logits[:, 1]], 1)) * weights
    torch.testing.assert_close(clip_losses(logits, several, MULTI, weights), terms.mean(1))


class Process:
    """One process of several, as far as `mean_loss` asks."""

    def __init__(self, index, number, end, remainder):
        self.process_index, self.num_processes = index, number
        self.gradient_state = type("State", (), {"end_of_dataloader": end, "remainder": remainder})


@pytest.mark.parametrize("clips", [1, 3, 4, 5, 7, 8])
def test_clips_that_fill_up_the_last_batch_do_not_count(clips):
    """Two processes with four clips each: the mean of their losses, and its gradient, are those of the real clips."""
    losses = torch.randn(8, requires_grad=True)
    shares = [mean_loss(losses[4 * i : 4 * i + 4], Process(i, 2, True, clips % 8)) for i in range(2)]
    mean = sum(shares) / 2
    torch.testing.assert_close(mean, losses[:clips].mean())
    mean.backward()
    torch.testing.assert_close(losses.grad, torch.tensor([1 / clips] * clips + [0.0] * (8 - clips)))


def test_other_batches_count_whole():
    losses = torch.randn(4)
    assert mean_loss(losses, Process(1, 2, False, 3)) == losses.mean()
    assert mean_loss(losses, Process(0, 1, True, 3)) == losses.mean()


def test_mean_scores():
    logits = [torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 1.0]])]
    expected = {
        SINGLE: (logits[0].softmax(1) + logits[1].softmax(1)) / 2,
        MULTI: (logits[0].sigmoid() + logits[1].sigmoid()) / 2,
        REGRESSION: torch.tensor([0.5]),
    }
    for problem_type, scores in expected.items():
        torch.testing.assert_close(mean_scores(logits, problem_type), scores)
