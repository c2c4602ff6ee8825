import pytest
import torch

from modeling_asm import ASMForAudioClassification
from modeling_asm.training.distillation.student import (
    Statistics,
    Student,
    add_means,
    divergence,
    labels_of,
    means_of,
    prior_divergence,
)
from modeling_asm.training.tasks import TASKS
from modeling_asm.training.teachers.targets import Target


LOGITS = Target("loud.logits", 3, labels=True)
STEPS = Target("loud.steps", 2, hop=0.04, first=0.02)
WHOLE = Target("loud.embedding", 5)
TARGETS = [LOGITS, STEPS, WHOLE]


def make(config, targets=TARGETS, weights=None) -> Student:
    statistics = {
        target.name: Statistics(torch.full((target.size,), 3.0), torch.full((target.size,), 2.0)) for target in targets
    }
    config.problem_type = "multi_label_classification"
    return Student(ASMForAudioClassification(config), targets, statistics, weights or {}, 0.01, LOGITS, 0.5).eval()


def batch(targets=TARGETS) -> dict:
    shapes = {target.name: (4, 4, target.size) if target.hop else (4, target.size) for target in targets}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def test_the_loss_is_the_weighted_sum_of_standardised_squared_errors_and_the_divergence(config, input_values):
    weights = {"loud.steps": 0.5, "loud.embedding": 2.0, "loud.labels": 3.0}
    student, targets = make(config, weights=weights), batch()
    losses = student(input_values, targets)
    encoded = student.model.audio_spectrogram_mixer(input_values)
    for name in ("loud.logits", "loud.embedding"):
        given = student.heads[name.replace(".", "_")](encoded.pooler_output)
        torch.testing.assert_close(losses[name], ((given - (targets[name] - 3) / 2) ** 2).mean())
    taught, given = targets["loud.logits"].sigmoid(), student.model.classifier(encoded.pooler_output).sigmoid()
    expected = taught * (taught / given).log() + (1 - taught) * ((1 - taught) / (1 - given)).log()
    torch.testing.assert_close(losses["loud.labels"], expected.mean() / 0.5)
    total = losses["loud.logits"] + 0.5 * losses["loud.steps"] + 2 * losses["loud.embedding"]
    torch.testing.assert_close(losses["loss"], total + 3 * losses["loud.labels"])


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification"])
def test_divergences(problem_type):
    task, logits = TASKS[problem_type], 3 * torch.randn(50, 3)
    assert labels_of(LOGITS) == "loud.labels"
    assert divergence(task, logits, logits).item() == pytest.approx(0, abs=1e-6)
    prior = prior_divergence(task, logits)
    assert prior == pytest.approx(divergence(task, logits.mean(0).expand(50, 3), logits).item())
    assert prior > 0.1
    assert 0 < prior_divergence(task, logits[:1]) < 1e-5  # it divides


def test_tokens_are_averaged_where_the_teachers_vector_lies(config, input_values):
    """Tokens of 4 frames, so of .04 s, as far apart as the teacher's vectors and with the same centres: one each."""
    student, targets = make(config), batch()
    tokens = student.model.audio_spectrogram_mixer(input_values).last_hidden_state.unflatten(1, (3, 4)).mean(1)
    expected = ((student.heads["loud_steps"](tokens) - (targets["loud.steps"] - 3) / 2) ** 2).mean()
    torch.testing.assert_close(student(input_values, targets)["loud.steps"], expected, rtol=1e-4, atol=1e-5)


def test_a_slow_teacher_gets_the_mean_of_the_tokens_around():
    """Centres of the tokens: .02, .06, .10, .14 s; weights fall linearly to 0 at one hop of the teacher."""
    from modeling_asm import ASMConfig

    config = ASMConfig(hidden_size=8, num_hidden_layers=1, patch_size=(8, 4), frequency_stride=8, time_stride=4,
                       max_length=16, num_mel_bins=8, num_labels=3)  # fmt: skip
    slow = Target("slow.steps", 2, hop=0.08, first=0.06)
    matrix = make(config, [LOGITS, slow]).align(slow, 1, torch.zeros(1, 4, 8))
    torch.testing.assert_close(matrix, torch.tensor([[0.25, 0.5, 0.25, 0.0]]), atol=1e-5, rtol=0)


def test_the_mean_along_time_is_learned_from_the_pooled_output(config, input_values):
    assert [(target.name, target.size, target.hop) for target in means_of(TARGETS)] == [("loud.steps_mean", 2, 0)]
    student, targets = make(config, TARGETS + means_of(TARGETS)), batch()
    torch.testing.assert_close(add_means(targets)["loud.steps_mean"], targets["loud.steps"].mean(1))
    given = student.heads["loud_steps_mean"](student.model.audio_spectrogram_mixer(input_values).pooler_output)
    expected = ((given - (targets["loud.steps"].mean(1) - 3) / 2) ** 2).mean()
    torch.testing.assert_close(student(input_values, targets)["loud.steps_mean"], expected)


def test_everything_learns(config, input_values):
    config.pooling, config.pooling_dim = "mean_std", 6
    student = make(config).train()
    student(input_values, batch())["loss"].backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_statistics():
    values = torch.tensor([[[1.0, 5.0], [3.0, 5.0]], [[5.0, 5.0], [7.0, 5.0]]])
    statistics = Statistics.of(values)
    torch.testing.assert_close(statistics.mean, torch.tensor([4.0, 5.0]))
    assert statistics.std[0] == pytest.approx(values[..., 0].std().item())
    assert statistics.std[1] == pytest.approx(1e-3)  # a number that never changes
