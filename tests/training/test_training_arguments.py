import dataclasses

import pytest
from transformers import TrainingArguments

from modeling_asm.training.training_arguments import DECISIVE, AudioTrainingArguments


def test_decisive_arguments_are_fields():
    """What a run depends on is listed by name: a name that transformers no longer has must be taken off the list."""
    names = {item.name for item in dataclasses.fields(AudioTrainingArguments)}
    assert set(DECISIVE) <= names


def test_a_changed_default_keeps_its_help():
    ours, theirs = (
        {item.name: item for item in dataclasses.fields(kind)} for kind in (AudioTrainingArguments, TrainingArguments)
    )
    for name in ("warmup_steps", "lr_scheduler_type", "eval_strategy", "save_total_limit"):
        assert ours[name].default != theirs[name].default
        assert ours[name].metadata["help"] == theirs[name].metadata["help"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer_decay": 0}, "--layer_decay must be above 0 and at most 1, got 0"),
        ({"start_share": 1.0}, "--start_share must be at least 0 and below 1, got 1"),
        ({"teacher_share": 2}, "--teacher_share must be above 0 and at most 1, got 2"),
        ({"step_factor": 0.85, "lr_scheduler_type": "linear"}, "--step_factor replaces the schedule of --lr_scheduler"),
        ({"step_factor": 0.85, "max_steps": 10}, "--step_factor applies after epochs. Set --num_train_epochs instead"),
        ({"dataloader_persistent_workers": True, "dataloader_num_workers": 1}, "would repeat the augmentation"),
        (
            {"average_last": 2, "save_strategy": "no", "load_best_model_at_end": False},
            "--average_last 2 needs checkpoints",
        ),
    ],
    ids=str,
)
def test_impossible_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        AudioTrainingArguments(str(tmp_path), use_cpu=True, **arguments)


@pytest.mark.parametrize(
    ("metric", "greater"), [("mean_squared_error", False), ("eval_accuracy", True), (None, False), ("loss", False)]
)
def test_which_way_a_metric_is_better(tmp_path, metric, greater):
    """Of ours, the metric says it; of others, transformers."""
    assert (
        AudioTrainingArguments(str(tmp_path), use_cpu=True, metric_for_best_model=metric).greater_is_better == greater
    )


def test_averaging_keeps_enough_checkpoints(tmp_path):
    args = AudioTrainingArguments(str(tmp_path), use_cpu=True, average_last=5)
    assert (args.save_total_limit, args.load_best_model_at_end) == (5, False)
