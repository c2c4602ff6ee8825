import numpy as np
import pytest
import torch
from torch import nn

from modeling_asm import ASMForAudioClassification
from modeling_asm.targets import compute_loss
from modeling_asm.training.tasks import METRICS, TASKS


SINGLE, MULTI, REGRESSION = TASKS


def test_the_loss_is_the_models_own(config):
    logits = torch.randn(5, 3)
    for problem_type, labels in (
        (SINGLE, torch.tensor([0, 1, 2, 1, 0])),
        (SINGLE, torch.rand(5, 3).softmax(1)),
        (MULTI, torch.rand(5, 3)),
    ):
        config.problem_type = problem_type
        expected = compute_loss(logits, labels, config, ASMForAudioClassification(config).loss_function)
        torch.testing.assert_close(TASKS[problem_type].losses(logits, labels).mean(), expected)
    numbers = torch.randn(5)
    torch.testing.assert_close(TASKS[REGRESSION].losses(logits, numbers), (logits[:, 0] - numbers) ** 2)


def test_class_weights():
    """A clip's weight is its class's, whatever else is in the batch, and for probabilities of 0 and 1 alike."""
    logits, weights = torch.randn(4, 2), torch.tensor([1.0, 3.0])
    labels = torch.tensor([0, 1, 1, 0])
    expected = -logits.log_softmax(1)[range(4), labels] * weights[labels]
    torch.testing.assert_close(TASKS[SINGLE].losses(logits, labels, weights), expected)
    torch.testing.assert_close(TASKS[SINGLE].losses(logits, nn.functional.one_hot(labels).float(), weights), expected)
    several = torch.tensor([[0.0, 1.0]] * 4)
    terms = nn.functional.softplus(torch.stack([logits[:, 0], -logits[:, 1]], 1)) * weights
    torch.testing.assert_close(TASKS[MULTI].losses(logits, several, weights), terms.mean(1))


def test_the_mean_scores_of_teachers():
    logits = [torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 1.0]])]
    expected = {
        SINGLE: (logits[0].softmax(1) + logits[1].softmax(1)) / 2,
        MULTI: (logits[0].sigmoid() + logits[1].sigmoid()) / 2,
        REGRESSION: torch.tensor([0.5]),
    }
    for problem_type, scores in expected.items():
        torch.testing.assert_close(TASKS[problem_type].soft_targets(logits), scores)


@pytest.mark.parametrize(
    ("problem_type", "references", "names"),
    [
        (SINGLE, [0, 1], {"accuracy", "macro_f1", "unweighted_average_recall"}),
        (MULTI, [[1, 0], [0, 1]], {"mean_average_precision"}),
        (REGRESSION, [0.0, 1.0], {"mean_squared_error", "r2"}),
    ],
)
def test_scores_of_a_models_outputs(problem_type, references, names):
    task, logits = TASKS[problem_type], np.array([[2.0, -1.0], [0.0, 1.0]])
    assert set(task.compute_scores(logits, references)) == names
    assert set(task.compute_scores(logits, references, n_resamples=9)) == {
        f"{name}{end}" for name in names for end in ("", "_low", "_high")
    }


def test_every_metric_says_what_the_hub_calls_it_and_which_way_is_up():
    assert [name for name, metric in METRICS.items() if not metric.greater_is_better] == ["mean_squared_error"]
    assert len({metric.hub_name for metric in METRICS.values()}) == len(METRICS) == 6


@pytest.mark.parametrize(
    ("problem_type", "references", "logits", "words"),
    [
        (SINGLE, np.array([1]), [[0.0, 0.0]], ("dog", "cat")),
        (MULTI, np.array([[1.0, 0, 1]]), [[0.0, 0.0, 2.0]], ("cat, cow", "cow")),
        (MULTI, np.array([[0.0, 0, 0]]), [[0.0, 0.0, -1.0]], ("none", "none")),
        (REGRESSION, np.array([3.0]), [[1.0]], ("3", "1")),
    ],
    ids=["single", "several", "none", "number"],
)
def test_labels_as_text(problem_type, references, logits, words):
    task, names = TASKS[problem_type], ["cat", "dog", "cow"]
    assert (task.texts(references, names)[0], task.predicted_texts(np.array(logits), names)[0]) == words


def test_weights_that_balance_classes():
    """With several labels a clip: clips without the label per clip with it. A class without clips counts as one."""
    assert TASKS[SINGLE].class_weights(np.array([20, 2]), 22).tolist() == pytest.approx([22 / 40, 22 / 4])
    assert TASKS[SINGLE].class_weights(np.array([2, 1, 0]), 3).tolist() == pytest.approx([1 / 2, 1, 1])
    assert TASKS[MULTI].class_weights(np.array([4, 1, 0]), 5).tolist() == pytest.approx([1 / 4, 4, 4])
    with pytest.raises(ValueError, match="A regression has no classes"):
        TASKS[REGRESSION].class_weights(np.array([1]), 1)


def test_chance_is_the_most_frequent_class():
    assert TASKS[SINGLE].chance(np.array([1, 0, 1, 1])) == 0.75
    assert TASKS[MULTI].chance(np.eye(2)) is None


def test_how_each_class_fared():
    """Counted by hand: a is right once and taken for b once, b is right once, c is never right, d does not occur."""
    logits = np.eye(4)[[0, 1, 1, 1, 0]]
    references, names = np.array([0, 0, 1, 2, 2]), ["a", "b", "c", "d"]
    table = TASKS[SINGLE].class_table(logits, references, names)
    assert table.header == ["class", "clips", "precision", "recall", "f1"]
    assert table.rows == [
        ["a", 2, 0.5, 0.5, 0.5],
        ["b", 1, 0.3333, 1.0, 0.5],
        ["c", 2, 0.0, 0.0, 0.0],
        ["d", 0, 0.0, 0.0, 0.0],
    ]
    assert list(table.bars) == ["precision", "recall"]
    np.testing.assert_allclose(table.bars["precision"], [1 / 2, 1 / 3, 0, 0])
    np.testing.assert_allclose(table.bars["recall"], [1 / 2, 1, 0, 0])
    confusions = TASKS[SINGLE].confusions(logits, references, 4)
    assert confusions.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_how_each_of_several_labels_fared():
    """Average precision by hand: a is found first and third of four, b last, c does not occur."""
    logits = np.array([[4.0, 4.0, 1.0], [3.0, 3.0, 1.0], [2.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    references = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    table = TASKS[MULTI].class_table(logits, references, ["a", "b", "c"])
    assert table.header == ["class", "clips", "average_precision"]
    assert table.rows[:2] == [["a", 2, 0.8333], ["b", 1, 0.25]]
    assert table.rows[2][:2] == ["c", 0]
    assert list(table.bars) == ["average precision"]
    np.testing.assert_allclose(table.bars["average precision"], [(1 + 2 / 3) / 2, 1 / 4, np.nan])


def test_numbers_have_no_classes():
    task = TASKS[REGRESSION]
    assert task.class_table(np.zeros((2, 1)), np.zeros(2), ["value"]) is None
    assert task.confusions(np.zeros((2, 1)), np.zeros(2), 1) is None
    assert task.chance(np.zeros(2)) is None
    with pytest.raises(ValueError, match=r"^--class_balance needs classes, and a regression has none\. Leave"):
        task.count_classes([0.5], 1)
    with pytest.raises(ValueError, match=r"^A regression has no classes to weight\.$"):
        task.class_weights(np.ones(1), 1)
    assert task.targets([1, 2], 1, False, 0.0).dtype == torch.float32


def test_classes_are_counted_in_integers():
    for problem_type, labels in ((SINGLE, [0, 2, 2]), (MULTI, [[0, 2], [2], []])):
        counts = TASKS[problem_type].count_classes(labels, 4)
        assert counts.tolist() == [1, 0, 2, 0]
        assert counts.dtype == np.int64
