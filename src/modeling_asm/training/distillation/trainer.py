"""transformers' Trainer for a student: the loss of each target, averaged weights, and probes while it learns."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from ..atomic_trainer import AtomicTrainer
from .muon import MuonWithAdamW
from .student import Student


AVERAGE_FILE = "average.safetensors"


class AverageCallback(TrainerCallback):
    """Keeps an exponential moving average of a student's weights.

    Args:
        student: The student.
        decay: Weight of the old average in a step; smaller in the first steps.
    """

    def __init__(self, student: Student, decay: float):
        self.average, self.decay = copy.deepcopy(student).eval().requires_grad_(False), decay

    def on_train_begin(self, args, state, control, **kwargs):
        self.average.to(args.device)

    @torch.no_grad()
    def on_step_end(self, args, state, control, model=None, **kwargs):
        decay = min(self.decay, (1 + state.global_step) / (20 + state.global_step))
        current = unwrap(model).state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(current[name].to(value.device), 1 - decay)
            else:
                value.copy_(current[name])

    def save(self, checkpoint: Path):
        """Write the average into the folder of a checkpoint."""
        weights = {name: value.contiguous() for name, value in self.average.state_dict().items()}
        save_file(weights, checkpoint / AVERAGE_FILE)

    def load(self, checkpoint: str):
        """Continue from the average that a checkpoint has."""
        self.average.load_state_dict(load_file(Path(checkpoint) / AVERAGE_FILE))


class ProbeCallback(TrainerCallback):
    """Measures the averaged student on labelled data every so many steps.

    Args:
        average: The callback with the averaged student.
        probe: A function of its model that returns scores by name.
        steps: Steps between two probes; 0 for none.
    """

    def __init__(self, average: AverageCallback, probe: Callable[[nn.Module], dict[str, float]], steps: int):
        self.average, self.probe, self.steps, self.log = average, probe, steps, None

    def on_step_end(self, args, state, control, **kwargs):
        if self.steps and state.global_step % self.steps == 0 and state.is_world_process_zero:
            scores = {f"probe_{name}": score for name, score in self.probe(self.average.average.model).items()}
            state.log_history.append({"step": state.global_step, **scores})
            print(f"step {state.global_step}: {scores}", flush=True)


class DistillationTrainer(AtomicTrainer):
    """Trainer whose model is a [`Student`]: it logs the loss of each target, and saves the averaged weights, too.

    Args:
        average: The callback with the averaged weights, which are evaluated.
        eval_collator: What makes batches of the validation mixtures.
        **kwargs: Arguments of Trainer.
    """

    def __init__(self, *args, average: AverageCallback, eval_collator: Callable, callbacks=None, **kwargs):
        super().__init__(*args, callbacks=[average, *(callbacks or [])], **kwargs)  # probes come after the average
        self.averaged, self.eval_collator = average, eval_collator
        self.model_accepts_loss_kwargs = False  # the losses are means over the batch
        self.sums, self.count = {}, 0

    def save_more(self, checkpoint: Path):
        """Save the averaged weights with a checkpoint."""
        self.averaged.save(checkpoint)

    def create_optimizer(self, model=None):
        """Build Muon for the matrices of the layers, and AdamW for the rest."""
        if self.optimizer is None:
            betas = (self.args.adam_beta1, self.args.adam_beta2)
            options = {"lr": self.args.learning_rate, "weight_decay": self.args.weight_decay, "betas": betas}
            self.optimizer = MuonWithAdamW(model or self.model, lambda name: ".layers." in name, **options)
        return self.optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the loss of a batch."""
        losses = {name: value.mean() for name, value in model(**inputs).items()}  # DataParallel has one for each device
        if not torch.isfinite(losses["loss"]):
            raise FloatingPointError(
                f"The loss is {losses['loss'].item()} at step {self.state.global_step + 1}. Lower --learning_rate."
            )
        if model.training:
            for name, value in losses.items():
                self.sums[name] = self.sums.get(name, 0.0) + value.detach()
            self.count += 1
        return (losses["loss"], losses) if return_outputs else losses["loss"]

    def log(self, logs: dict[str, float], *args, **kwargs):
        """Log, with the mean loss of each target since the last time."""
        if "loss" in logs and self.count:
            logs |= {f"loss_{name}": round(float(value) / self.count, 5)
                     for name, value in self.sums.items() if name != "loss"}  # fmt: skip
            self.sums, self.count = {}, 0
        super().log(logs, *args, **kwargs)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Return the mean loss of each target over the validation mixtures, with the averaged weights."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        batches = DataLoader(
            dataset,
            self.args.per_device_eval_batch_size,
            num_workers=self.args.dataloader_num_workers,
            collate_fn=self.eval_collator,
        )
        student, sums = self.averaged.average.to(self.args.device), {}
        with torch.no_grad(), self.compute_loss_context_manager():
            for batch in batches:
                size = len(batch["input_values"])
                for name, value in student(**self._prepare_inputs(batch)).items():
                    sums[name] = sums.get(name, 0.0) + size * value
        losses = {f"{metric_key_prefix}_{name}": float(value) / len(dataset) for name, value in sums.items()}
        self.log(losses)
        self.callback_handler.on_evaluate(self.args, self.state, self.control, losses)
        return losses


def unwrap(model: nn.Module) -> nn.Module:
    """Return a module without what distributed training or compilation wrapped around it."""
    while hasattr(model, "module") or hasattr(model, "_orig_mod"):
        model = model.module if hasattr(model, "module") else model._orig_mod
    return model
