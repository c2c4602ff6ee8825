import pytest
import torch
from transformers import Trainer, TrainingArguments

from modeling_asm import ASMConfig, ASMForAudioClassification, ResidualCNNConfig, ResidualCNNForAudioClassification
from modeling_asm.targets import problem_type_of


SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
NUMBERS = "One number per clip is a regression: set `problem_type='regression'` and `num_labels=1`"
SEVERAL = "For several labels per clip, set `problem_type='multi_label_classification'`"
INDICES = "One class index per clip is `problem_type='single_label_classification'`"
CLASSES = "`problem_type` is 'single_label_classification'. Set `num_labels` to the number of classes"
ROWS = "does not hold class probabilities, which are at least 0 and sum to 1. `problem_type` is 'single_label_cl"
TO_MULTI = f"Set `problem_type={MULTI!r}` if a clip may have several labels, or `{REGRESSION!r}` for numbers"


@pytest.mark.parametrize(
    ("problem_type", "labels", "words"),
    [
        pytest.param(None, torch.tensor([0, 1, 2, 3]), ["contains 3", "class indices of 0 to 2", CLASSES], id="high"),
        pytest.param(None, torch.tensor([0, 1, 2, 3]), ["sets no `problem_type`: it was inferred"], id="inferred"),
        pytest.param(SINGLE, torch.tensor([-100] * 4), ["All `labels` are -100, so that there is no loss"], id="none"),
        pytest.param(SINGLE, torch.zeros(4, 1), ["(4, 1)", NUMBERS], id="column"),
        pytest.param(MULTI, torch.tensor([[0, -100, 1]] * 4), ["contains -100", "No index is ignored"], id="ignored"),
        pytest.param(SINGLE, torch.tensor([0, 1, 2, -1]), ["contains -1, but `num_labels`=3", CLASSES], id="negative"),
        pytest.param(SINGLE, torch.zeros(4, 3).long(), ["(4, 3)", "class indices", "(4,)", SEVERAL], id="multi-hot"),
        pytest.param(SINGLE, torch.zeros(4), ["(4,)", "class probabilities", "(4, 3)", NUMBERS], id="numbers"),
        pytest.param(None, torch.zeros(4), ["(4,)", f"{MULTI!r}, whose targets", NUMBERS], id="numbers-untyped"),
        pytest.param(SINGLE, torch.eye(4)[:, :3], ["Row 3", "[0.0, 0.0, 0.0]", ROWS, TO_MULTI], id="no-label"),
        pytest.param(SINGLE, torch.ones(4, 3), ["Row 0", ROWS, TO_MULTI], id="several"),
        pytest.param(SINGLE, torch.tensor([[2.0, -1.0, 0.0]] * 4), ["Row 0", "[2.0, -1.0, 0.0]", ROWS], id="signed"),
        pytest.param(SINGLE, torch.full((4, 3), torch.nan), ["Row 0", ROWS], id="nan"),
        pytest.param(MULTI, torch.zeros(4), ["(4,)", f"{MULTI!r}, whose targets have shape (4, 3)", NUMBERS], id="one"),
        pytest.param(MULTI, torch.tensor([0, 1, 2, 0]), ["(4,)", f"{MULTI!r}, whose", INDICES], id="indices"),
        pytest.param(MULTI, torch.full((4, 3), 7.0), ["contains 7.0, but `problem_type` is"], id="seven"),
        pytest.param(MULTI, torch.full((4, 3), torch.nan), ["contains nan, but `problem_type` is"], id="multi-nan"),
        pytest.param(REGRESSION, torch.zeros(4), [f"{REGRESSION!r}, whose targets have"], id="regression"),
    ],
)
def test_labels_that_do_not_fit(config, model, input_values, problem_type, labels, words):
    config.problem_type = problem_type
    with pytest.raises(ValueError) as error:
        model(input_values, labels=labels)
    for word in words:
        assert word in str(error.value)
    assert config.problem_type == problem_type  # wrong labels do not decide it


@pytest.mark.parametrize(
    "labels", [torch.zeros(4, 1), torch.ones(4), torch.zeros(4).long()], ids=["rows", "row", "int"]
)
def test_one_class_is_no_classification(config, input_values, labels):
    """Cross-entropy over one class is 0, and so are its gradients."""
    config.num_labels, config.problem_type = 1, SINGLE
    message = (
        "`num_labels` is 1: with one class.*`problem_type='regression'`.*'multi_label_classification'` for yes or no"
    )
    with pytest.raises(ValueError, match=message):
        ASMForAudioClassification(config)(input_values, labels=labels)


def test_rows_of_probabilities_train(config, model, input_values):
    """Those of mixup, one-hot ones, and ones that were rounded to half precision."""
    config.problem_type = SINGLE
    mixed = 0.3 * torch.eye(3)[[0, 1, 2, 0]] + 0.7 * torch.eye(3)[[1, 1, 0, 2]]
    logits = model(input_values).logits
    for labels in (mixed, mixed.round(), mixed.bfloat16(), torch.rand(4, 3).softmax(1).half()):
        expected = torch.nn.functional.cross_entropy(logits, labels.float())
        torch.testing.assert_close(model(input_values, labels=labels).loss, expected)


def test_a_trainer_stops_at_targets_of_another_problem_type(checkpoint, input_values, tmp_path):
    """The problem type comes with the checkpoint; these rows are of several labels."""
    model = ASMForAudioClassification.from_pretrained(checkpoint, problem_type=SINGLE)
    data = [{"input_values": row, "labels": torch.tensor([1.0, 0.0, 1.0])} for row in input_values]
    arguments = TrainingArguments(tmp_path, max_steps=1, report_to="none", save_strategy="no", use_cpu=True)
    with pytest.raises(ValueError, match=f"`problem_type={MULTI!r}` if a clip may have several labels"):
        Trainer(model, arguments, train_dataset=data).train()


def test_the_convolutional_network_checks_its_labels_too(input_values):
    config = ResidualCNNConfig(hidden_sizes=(4,), depths=(1,), max_length=16, num_mel_bins=24, num_labels=3)
    model = ResidualCNNForAudioClassification(config)
    config.problem_type = SINGLE
    with pytest.raises(ValueError, match="does not hold class probabilities"):
        model(input_values, labels=torch.ones(4, 3))
    logits, soft = model.eval()(input_values).logits, torch.rand(4, 3).softmax(1)
    torch.testing.assert_close(model(input_values, labels=soft).loss, torch.nn.functional.cross_entropy(logits, soft))


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
    assert problem_type_of(ASMConfig(num_labels=num_labels), labels) == problem_type


def test_one_label_takes_rows_and_columns(config, input_values):
    """A number, or yes and no, per clip: of shape `(batch_size,)` or `(batch_size, 1)`."""
    config.num_labels = 1
    for problem_type in (REGRESSION, MULTI):
        config.problem_type = problem_type
        model, labels = ASMForAudioClassification(config), torch.tensor([0.0, 1.0, 0.5, 1.0])
        losses = [model(input_values, labels=values).loss for values in (labels, labels[:, None])]
        assert torch.equal(*losses) and losses[0] > 0


def test_clips_may_be_ignored(config, model, input_values):
    config.problem_type = SINGLE
    some = model(input_values, labels=torch.tensor([1, -100, 2, -100])).loss
    torch.testing.assert_close(some, model(input_values[::2], labels=torch.tensor([1, 2])).loss)
    for wrong in (-101, 100):
        with pytest.raises(ValueError, match=f"contains {wrong}, but"):
            model(input_values, labels=torch.tensor([1, wrong, 2, 0]))


def test_multi_label_targets_end_at_1(config, model, input_values):
    config.problem_type = MULTI
    with pytest.raises(ValueError, match=r"contains 1\.5, but `problem_type` is '.*', whose targets are between"):
        model(input_values, labels=torch.full((4, 3), 1.5))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_small_integers_are_class_indices(config, input_values, dtype):
    """Of more classes than the type could count."""
    config.num_labels = 300
    model = ASMForAudioClassification(config)
    labels = torch.tensor([0, 100, 5, 7])
    assert torch.equal(model(input_values, labels=labels.to(dtype)).loss, model(input_values, labels=labels).loss)
    config.num_labels = 3
    with pytest.raises(ValueError, match="contains 156, but `num_labels`=3 allows"):
        ASMForAudioClassification(config)(input_values, labels=torch.tensor([0, 156, 1, 2], dtype=torch.uint8))


@pytest.mark.parametrize(
    ("problem_type", "labels", "hint"),
    [
        (SINGLE, torch.tensor([0, 1]), "Pass one row of labels for each of the 4 clips"),
        (SINGLE, torch.tensor([[0], [1], [2], [0]]), r"Remove the last axis: `labels.squeeze\(-1\)`"),
        (SINGLE, torch.zeros(4), r"For class indices, pass `labels.long\(\)`"),
        (MULTI, torch.zeros(4, 5), "Set `num_labels=5`, or pass rows of 3"),
        (REGRESSION, torch.zeros(4, 5), "Set `num_labels=5`, or pass rows of 3"),
        (REGRESSION, torch.full((4, 3), torch.nan), "has values that are not finite, which no regression can learn"),
        (MULTI, torch.full((4, 3), 4.0), "Set `problem_type='regression'` for other numbers"),
    ],
)
def test_the_message_says_what_to_change(config, model, input_values, problem_type, labels, hint):
    config.problem_type = problem_type
    with pytest.raises(ValueError, match=hint):
        model(input_values, labels=labels)


def test_a_problem_type_that_does_not_exist(config, model, input_values):
    config.problem_type = "multilabel"
    with pytest.raises(ValueError, match=r"`problem_type` must be one of \('single_label.*\), got 'multilabel'"):
        model(input_values, labels=torch.zeros(4, dtype=torch.long))


def test_some_clips_may_be_ignored(model, input_values):
    labels = torch.tensor([0, -100, 2, -100])
    logits = model(input_values, labels=labels).logits
    expected = torch.nn.functional.cross_entropy(logits[[0, 2]], labels[[0, 2]])
    torch.testing.assert_close(model(input_values, labels=labels).loss, expected)
