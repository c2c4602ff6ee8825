"""Averaging, and what a trainer logs; whole runs are in test_run.py."""

import copy
import types

import pytest
import torch
from torch import nn
from torch.utils.data import get_worker_info

from modeling_asm import ASMForAudioClassification
from modeling_asm.training.distillation.arguments import DistillationTrainingArguments
from modeling_asm.training.distillation.student import Statistics, Student
from modeling_asm.training.distillation.trainer import AverageCallback, DistillationTrainer, ProbeCallback, unwrap
from modeling_asm.training.teachers.targets import Target


@pytest.fixture
def student(config) -> Student:
    statistics, target = (
        {"loud.logits": Statistics(torch.zeros(3), torch.ones(3))},
        Target("loud.logits", 3, labels=True),
    )
    config.problem_type = "multi_label_classification"
    return Student(ASMForAudioClassification(config), [target], statistics, {}, 0.01, target, 1.0)


@pytest.fixture
def train(student, input_values, tmp_path):
    """Return a function that trains a student for some steps; it returns the trainer and the averaging callback."""

    def call(steps: int = 6, probe=None, **options):
        rows = [{"input_values": row, "loud.logits": torch.randn(3)} for row in input_values]

        def collate(batch):
            targets = {"loud.logits": torch.stack([row["loud.logits"] for row in batch])}
            return {"input_values": torch.stack([row["input_values"] for row in batch]), "targets": targets}

        arguments = DistillationTrainingArguments(
            output_dir=str(tmp_path), max_steps=steps, per_device_train_batch_size=2, use_cpu=True, disable_tqdm=True,
            logging_steps=2, eval_strategy="no", save_steps=3, **options,
        )  # fmt: skip
        average = AverageCallback(student, 0.9)
        callbacks = [ProbeCallback(average, probe, 2)] if probe else None
        trainer = DistillationTrainer(
            student, arguments, collate, rows, rows, callbacks=callbacks, average=average, eval_collator=collate
        )
        trainer.train()
        return trainer, average

    return call


def test_the_average_is_that_of_its_formula():
    module = nn.Linear(1, 1, bias=False)
    average = AverageCallback(module, 0.5)
    expected = module.weight.item()
    for step in range(1, 60):
        with torch.no_grad():
            module.weight.fill_(step)
        decay = min(0.5, (1 + step) / (20 + step))
        expected = decay * expected + (1 - decay) * step
        average.on_step_end(None, types.SimpleNamespace(global_step=step), None, model=module)
    assert average.average.weight.item() == pytest.approx(expected, rel=1e-5)


def test_an_average_has_integers_of_the_last_step():
    module = nn.BatchNorm1d(2)
    average = AverageCallback(module, 0.9)
    module.num_batches_tracked += 7
    average.on_step_end(None, types.SimpleNamespace(global_step=5), None, model=module)
    assert average.average.num_batches_tracked == 7


def test_the_average_is_saved_and_loaded(train, student, tmp_path):
    _, average = train()
    other = AverageCallback(copy.deepcopy(student), 0.9)
    other.load(str(tmp_path / "checkpoint-6"))
    for name, value in average.average.state_dict().items():
        assert torch.equal(value, other.average.state_dict()[name])
    assert not torch.equal(average.average.model.classifier.weight, student.model.classifier.weight)


def test_the_loss_of_each_target_is_logged(train):
    trainer, _ = train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert len(rows) == 3
    for row in rows:
        assert row["loss_loud.logits"] + row["loss_loud.labels"] == pytest.approx(row["loss"], abs=1e-3)


def test_the_averaged_student_is_evaluated(train, input_values):
    trainer, average = train()
    with torch.no_grad():
        for parameter in average.average.heads.parameters():
            parameter.zero_()
    expected = torch.stack([row["loud.logits"] for row in trainer.eval_dataset]).square().mean()
    assert trainer.evaluate()["eval_loud.logits"] == pytest.approx(expected.item(), rel=1e-2)


def test_the_last_batch_counts_by_its_size(train):
    trainer, average = train(per_device_eval_batch_size=3)  # of four mixtures
    with torch.no_grad():
        expected = average.average(**trainer.eval_collator(trainer.eval_dataset))["loss"].item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-2)


def test_validation_has_the_workers_of_the_options(train):
    trainer, _ = train(dataloader_num_workers=1)
    expected, collate = trainer.evaluate()["eval_loss"], trainer.eval_collator

    def collate_in_worker(mixtures):
        assert get_worker_info() is not None
        return collate(mixtures)

    trainer.eval_collator = collate_in_worker
    assert trainer.evaluate()["eval_loss"] == expected


def test_a_probe_measures_the_average_of_its_step(train):
    measured = []
    _, average = train(2, lambda model: measured.append(model.classifier.weight.clone()) or {})
    assert torch.equal(measured[-1], average.average.model.classifier.weight)


def test_probes_are_logged(train):
    trainer, _ = train(probe=lambda model: {"bird": 0.5})
    rows = [row for row in trainer.state.log_history if "probe_bird" in row]
    assert [row["step"] for row in rows] == [2, 4, 6]


def test_a_loss_that_is_not_finite_stops(train, student):
    with torch.no_grad():
        student.model.classifier.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"The loss is nan at step 1. Lower --learning_rate"):
        train()


def test_unwrap():
    module = nn.Linear(1, 1)
    assert unwrap(nn.DataParallel(module)) is module
    assert unwrap(module) is module
