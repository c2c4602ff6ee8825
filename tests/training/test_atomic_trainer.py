"""Checkpoints that are complete or absent; kills of whole runs are in test_survival."""

import pytest
import torch
from transformers import TrainingArguments

from modeling_asm import ASMForAudioClassification
from modeling_asm.training.atomic_trainer import AtomicTrainer
from modeling_asm.training.run_folder import CheckpointError, checkpoints


class Noted(AtomicTrainer):
    """Writes a note with each checkpoint, and fails at one."""

    fails_at = None

    def save_more(self, checkpoint):
        assert checkpoint.name == f"checkpoint-{self.state.global_step}"
        if self.state.global_step == self.fails_at:
            raise OSError("no space left")
        (checkpoint / "note.txt").write_text(str(self.state.global_step))


@pytest.fixture
def make(config, tmp_path):
    """Return a function that makes a trainer of six steps."""
    rows = [{"input_values": torch.randn(16, 24), "labels": number % 3} for number in range(12)]

    def call(**options) -> Noted:
        arguments = {"use_cpu": True, "report_to": "none", "save_steps": 2, "save_strategy": "steps", "max_steps": 6}
        args = TrainingArguments(str(tmp_path), per_device_train_batch_size=4, **arguments, **options)
        torch.manual_seed(0)
        return Noted(ASMForAudioClassification(config), args, train_dataset=rows)

    return call


def test_what_else_is_saved_is_in_each_checkpoint(make, tmp_path):
    make(save_total_limit=2).train()
    kept = checkpoints(tmp_path)
    assert [path.name for path in kept] == ["checkpoint-4", "checkpoint-6"]
    assert [(path / "note.txt").read_text() for path in kept] == ["4", "6"]


def test_a_checkpoint_that_cannot_be_completed_is_absent(make, tmp_path):
    trainer = make(save_total_limit=1)
    trainer.fails_at = 4
    with pytest.raises(CheckpointError, match=r"Cannot save checkpoint-4: no space left.* run the same command again"):
        trainer.train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]
    again = make(save_total_limit=1)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert again.state.global_step == 6
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-6"]
