import copy
from functools import partial

import numpy as np
import pytest
import torch
from transformers import ASTConfig, Trainer, TrainingArguments

from modeling_asm import ASMConfig
from modeling_asm.scoring import predict_clip, score_clip


FUNCTIONS = {"softmax": partial(torch.softmax, dim=-1), "sigmoid": torch.sigmoid, "none": lambda logits: logits}
WRONG = {
    None: [torch.sigmoid, torch.nn.functional.sigmoid, torch.nn.functional.logsigmoid, lambda logits: logits.sigmoid()],
    "multi_label_classification": [
        partial(torch.softmax, dim=1),
        partial(torch.nn.functional.log_softmax, dim=-1),
        lambda logits: logits.softmax(-1),
    ],
}


@pytest.mark.parametrize("aggregation", ["mean", "max", "logits"])
@pytest.mark.parametrize("problem_type", [None, "multi_label_classification", "regression"])
def test_windows_that_agree_have_the_logits_of_one(problem_type, aggregation):
    """So that a sigmoid over a softmax's logits, or the logits themselves, do not jump beyond one window."""
    logits, config = torch.tensor([2.0, -1.0, 0.5]), ASMConfig(num_labels=3, problem_type=problem_type)
    config.window_aggregation = aggregation
    torch.testing.assert_close(predict_clip(logits.expand(4, 3), config), logits)


def test_one_label_without_a_problem_type_is_a_regression():
    config = ASMConfig(num_labels=1)
    assert predict_clip(torch.tensor([[1.0], [3.0]]), config).tolist() == [2.0]
    config.window_aggregation = "max"
    assert predict_clip(torch.tensor([[1.0], [3.0]]), config).tolist() == [3.0]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("aggregation", ["mean", "max", "logits"])
def test_scores_of_a_clip_are_those_of_its_windows(aggregation, function):
    logits = torch.randn(5, 3)
    scores = score_clip(logits, ASMConfig(num_labels=3), function, aggregation)
    windows = FUNCTIONS[function](logits)
    expected = {"mean": windows.mean(0), "max": windows.amax(0), "logits": FUNCTIONS[function](logits.mean(0))}
    expected = expected[aggregation]
    if (function, aggregation) == ("softmax", "max"):
        expected = expected / expected.sum()
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "function"),
    [
        (None, 3, "softmax"),
        (None, 1, "none"),
        ("single_label_classification", 3, "softmax"),
        ("multi_label_classification", 3, "sigmoid"),
        ("multi_label_classification", 1, "sigmoid"),
        ("regression", 2, "none"),
    ],
)
def test_the_function_of_a_problem_type(problem_type, num_labels, function):
    config, logits = ASMConfig(num_labels=num_labels, problem_type=problem_type), torch.randn(4, num_labels)
    torch.testing.assert_close(score_clip(logits, config), FUNCTIONS[function](logits).mean(0))
    torch.testing.assert_close(FUNCTIONS[function](predict_clip(logits, config)), FUNCTIONS[function](logits).mean(0))


@pytest.mark.parametrize("problem_type", WRONG)
def test_logits_of_several_windows_refuse_the_wrong_function(model, problem_type):
    """A sigmoid of the mean of softmaxes is no score, and neither is a softmax of the mean of sigmoids."""
    model.config.problem_type = problem_type
    with torch.no_grad():
        logits = model(torch.randn(2, 40, 24)).logits
        one, mean = model(torch.randn(2, 16, 24)).logits, model.config.window_aggregation
        model.config.window_aggregation = "logits"
        of_logits = model(torch.randn(2, 40, 24)).logits
        model.config.window_aggregation = mean
    right = "softmax" if problem_type is None else "sigmoid"
    assert FUNCTIONS[right](logits).shape == (2, 3)
    for wrong in WRONG[problem_type]:
        parts = [*logits, *logits.split(1), torch.squeeze(logits[:1]), logits.view(-1, 3)]
        together = [torch.cat([logits, one]), torch.stack([logits, logits])[1]]
        for value in (logits, logits[0], logits.float().cpu(), *parts, *together):
            with pytest.raises(ValueError, match=f"a clip after {right}, so that `.*` of them is not the clip's score"):
                wrong(value)
        assert wrong(one).shape == wrong(of_logits).shape == (2, 3)


def test_logits_of_several_windows_pass_through_a_trainer(model, tmp_path):
    """Lengths that differ, a loss, and predictions as NumPy arrays."""
    rows = [{"input_values": torch.randn(40, 24), "labels": index % 3} for index in range(5)]
    arguments = TrainingArguments(tmp_path, report_to="none", use_cpu=True, per_device_eval_batch_size=2)
    output = Trainer(model, arguments, eval_dataset=rows).predict(rows)
    inputs = torch.stack([row["input_values"] for row in rows])
    with torch.no_grad():
        expected = model(inputs, labels=torch.arange(5) % 3)
    torch.testing.assert_close(torch.from_numpy(output.predictions), expected.logits.as_subclass(torch.Tensor))
    assert type(expected.loss) is torch.Tensor


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification"])
def test_logits_keep_their_dtype(problem_type):
    config = ASMConfig(num_labels=3, problem_type=problem_type)
    assert predict_clip(torch.randn(4, 3).bfloat16(), config).dtype == torch.bfloat16


def test_models_without_an_aggregation_have_the_mean():
    """As AST's, whose configuration knows of no windows."""
    logits = torch.randn(3, 527)
    torch.testing.assert_close(score_clip(logits, ASTConfig(num_labels=527)), logits.softmax(-1).mean(0))
    config = ASMConfig(num_labels=527, window_aggregation="max")
    assert not torch.allclose(score_clip(logits, config), logits.softmax(-1).mean(0))


@pytest.mark.parametrize(
    "wrong",
    [
        torch.special.expit,
        torch.nn.Sigmoid(),
        lambda x: torch.nn.BCEWithLogitsLoss()(x, x),
        lambda x: torch.nn.MultiLabelSoftMarginLoss()(x, x),
    ],
)
def test_every_form_of_the_wrong_activation_is_refused(model, wrong):
    with torch.no_grad(), pytest.raises(ValueError, match="after softmax"):
        wrong(model(torch.randn(2, 40, 24)).logits)


def test_values_of_a_regression_take_no_activation(model):
    model.config.problem_type = "regression"
    with torch.no_grad():
        values = model(torch.randn(2, 40, 24)).logits
    assert type(values.shape) is torch.Size
    for wrong in (torch.sigmoid, partial(torch.softmax, dim=-1)):
        with pytest.raises(ValueError, match="a clip after no activation"):
            wrong(values)


def test_what_is_computed_from_logits_is_a_plain_tensor(model, tmp_path):
    """Scores may be used in any way, and logits copied and saved; parts and casts of logits are still logits."""
    with torch.no_grad():
        logits = model(torch.randn(2, 40, 24)).logits
    scores = logits.softmax(-1)
    assert type(scores) is type(logits + 1) is type(copy.deepcopy(logits)) is torch.Tensor
    assert torch.sigmoid(scores).shape == (2, 3)
    torch.save({"logits": logits}, tmp_path / "logits.pt")
    assert type(torch.load(tmp_path / "logits.pt")["logits"]) is torch.Tensor
    assert type(logits[0]) is type(logits.double()) is type(logits)
    np.testing.assert_array_equal(logits.numpy(), logits.as_subclass(torch.Tensor).numpy())


def test_ways_to_combine_windows_that_do_not_exist(model):
    """Set on a configuration, which checks its fields only when it is made, or passed."""
    message = r"`window_aggregation` must be one of \('mean', 'max', 'logits'\), got 'median'"
    with pytest.raises(ValueError, match=message):
        score_clip(torch.zeros(2, 3), model.config, aggregation="median")
    model.config.window_aggregation = "median"
    for combine in (predict_clip, score_clip):
        with pytest.raises(ValueError, match=message):
            combine(torch.zeros(2, 3), model.config)
