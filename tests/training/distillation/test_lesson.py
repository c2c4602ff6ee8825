"""What is learned, by the settings of the teachers; whole runs are in test_run.py."""

import pytest
import torch

from modeling_asm import ASMConfig
from modeling_asm.training.distillation.lesson import choose_targets, make_student
from modeling_asm.training.teachers.targets import Target, Teacher


def teacher(name: str, labels: int) -> Teacher:
    """A teacher with labels and an embedding along time."""
    targets = (Target(f"{name}.logits", labels, labels=True), Target(f"{name}.embeddings", 4, 0.04, 0.02))
    return Teacher(name, "0", 16000, targets, None, id2label={index: f"{name} {index}" for index in range(labels)})


def test_a_weight_of_nothing_leaves_a_target_out():
    teachers = [teacher("a", 3), teacher("b", 2)]
    settings = {"a": {"loss_weights": {"logits": 0, "embeddings_mean": 0}}, "b": {"loss_weights": {"embeddings": 2.0}}}
    lesson = choose_targets(settings, teachers)
    assert {row.name for row in lesson.targets} == {"a.embeddings", "b.logits", "b.embeddings", "b.embeddings_mean"}
    assert lesson.weights["b.embeddings"] == 2.0
    assert (lesson.teacher.name, lesson.labels.name) == ("a", "a.logits")


def test_the_classifier_learns_the_first_labels_that_have_a_weight():
    teachers = [teacher("a", 3), teacher("b", 2)]
    lesson = choose_targets({"a": {"loss_weights": {"labels": 0}}, "b": {}}, teachers)
    assert lesson.labels.name == "b.logits"
    assert lesson.labels_into(ASMConfig()).id2label == {0: "b 0", 1: "b 1"}
    with pytest.raises(ValueError, match=r"The classifier has nothing to learn: no teacher whose `labels` have a weig"):
        choose_targets({"a": {"loss_weights": {"labels": 0}}}, teachers[:1])


def test_a_new_classifier_starts_from_the_mean(config):
    (row,) = teachers = [teacher("a", 3)]
    lesson, rng = choose_targets({"a": {}}, teachers), torch.Generator().manual_seed(0)
    examples = {"a.logits": torch.randn(50, 3, generator=rng) + torch.tensor([1.0, 2.0, 3.0])}
    examples |= {name: torch.randn(50, 4, generator=rng) for name in ("a.embeddings", "a.embeddings_mean")}
    student = make_student(None, config, lesson, examples, torch.zeros(0), 0.01)
    torch.testing.assert_close(student.model.classifier.bias, examples["a.logits"].mean(0))
    assert student.model.config.id2label == row.id2label
    assert student.prior > 0
