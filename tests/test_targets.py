import pytest
import torch

from modeling_asm.targets import infer_problem_type


SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


@pytest.mark.parametrize(
    ("problem_type", "labels", "message"),
    [
        pytest.param(None, torch.tensor([0, 1, 2, 3]), "contains 3, but `num_labels`=3 allows 0 to 2", id="too-high"),
        pytest.param(SINGLE, torch.tensor([0, 1, 2, -1]), "contains -1, but `num_labels`=3", id="negative"),
        pytest.param(SINGLE, torch.zeros(4, 3).long(), r"\(4, 3\), but class indices must have.*\(4,\)", id="one-hot"),
        pytest.param(SINGLE, torch.zeros(4), r"\(4,\), but class probabilities must have.*\(4, 3\)", id="soft"),
        pytest.param(MULTI, torch.zeros(4), r"\(4,\), but multi_label_classification must have.*\(4, 3\)", id="many"),
        pytest.param(MULTI, torch.full((4, 3), 7.0), "contains 7.0, but multi-label targets are between 0", id="seven"),
        pytest.param(REGRESSION, torch.zeros(4), r"\(4,\), but regression must have.*\(4, 3\)", id="regression"),
    ],
)
def test_labels_that_do_not_fit(config, model, input_values, problem_type, labels, message):
    config.problem_type = problem_type
    with pytest.raises(ValueError, match=message):
        model(input_values, labels=labels)


def test_integer_labels_of_any_width_and_loss(config, model, input_values):
    classes, many = torch.tensor([0, 1, 2, 0]), torch.randint(2, (4, 3))
    assert model(input_values, labels=classes.int()).loss == model(input_values, labels=classes).loss
    config.problem_type = MULTI
    assert model(input_values, labels=many).loss == model(input_values, labels=many.float()).loss


@pytest.mark.parametrize(
    ("labels", "num_labels", "problem_type"),
    [
        (torch.tensor([0, 1]), 3, SINGLE),
        (torch.zeros(2, 3), 3, MULTI),
        (torch.zeros(2), 1, REGRESSION),
    ],
    ids=["integers", "floats", "one-label"],
)
def test_the_problem_type_that_labels_imply(labels, num_labels, problem_type):
    """As transformers infers it at the first loss."""
    assert infer_problem_type(labels, num_labels) == problem_type
