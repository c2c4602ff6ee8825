"""transformers' Trainer, whose checkpoints are complete or absent, whenever the run is killed."""

import os
from copy import copy
from pathlib import Path

from transformers import Trainer

from .run_folder import STATE_FILE, UNFINISHED, checkpoints, clear_unfinished, delete_checkpoint, relocate_best, saving


class AtomicTrainer(Trainer):
    """Trainer that writes and deletes checkpoints under other names than their own.

    Trainer uses their final names, and a kill would leave incomplete ones. It has no public method for the purpose, so
    `_save_checkpoint` is overridden, with the folder that `_get_output_dir` tells it.

    Args:
        *args, **kwargs: Arguments of Trainer.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # Trainer would delete old checkpoints under their own names, so `_save_checkpoint` does it.
        self.args, self.limit = copy(self.args), self.args.save_total_limit
        self.args.save_total_limit = None
        if self.args.should_save:
            clear_unfinished(self.args.output_dir)

    def train(self, resume_from_checkpoint: str | None = None, **kwargs):
        """Train, or continue from a checkpoint, also if the folder of the run has moved."""
        if resume_from_checkpoint and self.args.should_save:
            relocate_best(Path(resume_from_checkpoint))
        self.accelerator.wait_for_everyone()
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _run_epoch(self, *args, **kwargs):
        """Run an epoch, unless the loaded checkpoint is that of the last step."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def save_more(self, checkpoint: Path):
        """Write further files of a checkpoint, in the main process; by default, there are none."""

    def _get_output_dir(self, trial) -> str:
        return getattr(self, "_staging", None) or super()._get_output_dir(trial)

    def _save_checkpoint(self, model, trial):
        """Save a checkpoint under a temporary name, and rename it when it is complete."""
        folder, step = Path(super()._get_output_dir(trial)), self.state.global_step
        self._staging = str(folder / f"{UNFINISHED}checkpoints")
        staged, final = Path(self._staging) / f"checkpoint-{step}", folder / f"checkpoint-{step}"
        if self.state.best_global_step == step:
            self.state.best_model_checkpoint = str(final)
        best = self.state.best_model_checkpoint
        try:
            with saving(final.name):
                super()._save_checkpoint(model, trial)
                self.state.best_model_checkpoint = best
                if self.args.should_save:
                    self.state.save_to_json(str(staged / STATE_FILE))
                    self.save_more(staged)
        finally:
            self._staging = None
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            if final.exists():
                delete_checkpoint(final)
            os.replace(staged, final)
            staged.parent.rmdir()
            whole = checkpoints(folder)
            for old in whole[: -self.limit] if self.limit else []:
                if str(old) != best:
                    delete_checkpoint(old)
        self.accelerator.wait_for_everyone()
