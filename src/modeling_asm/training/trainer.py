"""transformers' Trainer for audio: one loss for every model, class weights and teachers."""

import re
import warnings
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.modeling_outputs import SequenceClassifierOutput

from .atomic_trainer import AtomicTrainer
from .data.clips import collate_clips
from .run_folder import checkpoints
from .tasks import TASKS, Task
from .training_arguments import AudioTrainingArguments


class EpochCallback(TrainerCallback):
    """Tell the training clips the epoch, which accelerate's loaders do not with several processes."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        dataset = getattr(train_dataloader, "dataset", None)
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(int(state.epoch))


class AudioTrainer(AtomicTrainer):
    """Trainer with the same loss for ASM, AST, wav2vec2 and others, including soft labels and class weights.

    Its data sets are [`ClipDataset`] or [`ClipStream`]. A private method of Trainer is overridden, because it has no
    public one for the purpose: `_run_epoch`, since Trainer would train one more step after a checkpoint that ended its
    run.

    Args:
        class_weights: Weight of each class in the loss, of shape `(num_labels,)`.
        teachers: Trained models for the same clips and labels, whose mean scores are `teacher_share` of the target
            (https://arxiv.org/abs/1503.02531, at temperature 1). They get each batch after augmentation and mixup.
            They must not have been trained on clips that are reported, which is not checked.
        **kwargs: Arguments of Trainer.
    """

    args: AudioTrainingArguments

    def __init__(self, *args, class_weights: Tensor | None = None, teachers: list[nn.Module] | None = None, **kwargs):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Label smoothing is not compatible")  # the targets are already smoothed
            super().__init__(*args, **{"data_collator": collate_clips, **kwargs})
        self.class_weights = class_weights
        self.teachers = [teacher.to(self.args.device) for teacher in teachers or []]
        self.model_accepts_loss_kwargs = False  # the loss is a mean over the batch: Trainer divides it by its steps
        self.add_callback(EpochCallback)
        self.frozen = [module for module in (self.model.base_model,) if not any_trainable(module)]

    @property
    def task(self) -> Task:
        """The model's task."""
        return TASKS[self.accelerator.unwrap_model(self.model).config.problem_type]

    def _run_epoch(self, *args, **kwargs):
        """Run an epoch, unless the loaded checkpoint stopped early."""
        stoppers = [item for item in self.callback_handler.callbacks if isinstance(item, EarlyStoppingCallback)]
        if any(item.early_stopping_patience_counter >= item.early_stopping_patience for item in stoppers):
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Compute the loss from the logits, whatever the model itself would do with `labels`."""
        index, labels = inputs.pop("index"), inputs.pop("labels")
        for module in self.frozen:
            module.eval()  # no dropout in a frozen encoder
        logits = model(**inputs).logits
        losses = self.task.losses(logits, labels, self.class_weights)
        if self.teachers and model.training:
            with torch.no_grad():
                taught = self.task.soft_targets([teacher(**inputs).logits for teacher in self.teachers])
            share = self.args.teacher_share
            imitation = self.task.losses(logits, taught, self.class_weights)
            losses = (1 - share) * losses + share * imitation
        accumulates = self.args.gradient_accumulation_steps > 1  # the last batch is then not distinguishable
        loss = mean_loss(losses, self.accelerator) if model.training and not accumulates else losses.mean()
        if model.training and not torch.isfinite(loss):
            files = self.train_dataset.file_names(index.tolist())
            raise FloatingPointError(describe_failure(loss.item(), self.state.global_step + 1, files))
        return (loss, SequenceClassifierOutput(logits=logits)) if return_outputs else loss

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ):
        """Evaluate, with the loss over all clips; Trainer's counts clips twice that pad the last batch."""
        output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        logits, labels = torch.from_numpy(output.predictions), torch.from_numpy(output.label_ids)
        losses = self.task.losses(logits, labels, self.class_weights)
        output.metrics[f"{metric_key_prefix}_loss"] = losses.mean().item()
        return output

    def get_decay_parameter_names(self, model) -> list[str]:
        """Return the parameters with weight decay: those with several axes, not gains of normalisations or biases."""
        return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]

    def create_optimizer(self, model=None):
        """Build the optimizer and, with `layer_decay`, give each layer its own learning rate."""
        optimizer = super().create_optimizer(model)
        if self.args.layer_decay < 1:
            names = {id(parameter): name for name, parameter in (model or self.model).named_parameters()}
            depth = 1 + max((layer_of(name) for name in names.values()), default=0)
            groups: dict[tuple[int, int], dict] = {}
            for number, group in enumerate(optimizer.param_groups):
                for parameter in group["params"]:
                    layer = layer_of(names[id(parameter)], depth)
                    rate = self.args.learning_rate * self.args.layer_decay ** (depth - layer)
                    same = groups.setdefault((number, layer), {**group, "params": [], "lr": rate})
                    same["params"].append(parameter)
            optimizer.param_groups[:] = list(groups.values())
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """Build transformers' schedule or, with `step_factor`, AST's: a factor per epoch after the first few."""
        if self.args.step_factor is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        warmup, epochs = self.args.get_warmup_steps(num_training_steps), max(self.args.num_train_epochs, 1)
        factor, start = self.args.step_factor, self.args.step_start

        def scale(step: int) -> float:
            epoch = int(step * epochs / num_training_steps)
            return min(1.0, (step + 1) / (warmup + 1)) * factor ** max(0, epoch - start + 1)

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, scale)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def average_checkpoints(self) -> int:
        """Load the mean of the weights of the last checkpoints into the model (stochastic weight averaging).

        The running statistics of batch normalisation are averaged too, not measured again.

        Returns:
            Number of averaged checkpoints: `average_last`, or fewer after a short run.
        """
        files = [path / "model.safetensors" for path in checkpoints(self.args.output_dir)[-self.args.average_last :]]
        weights = [load_file(file) for file in files]
        mean = {name: mean_of([state[name] for state in weights]) for name in weights[0]}
        model = self.accelerator.unwrap_model(self.model)
        set_model_state_dict(model, mean, options=StateDictOptions(full_state_dict=True))
        return len(files)

    def copy_weights(self) -> dict[str, Tensor]:
        """Return a copy of the model's state."""
        return {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}

    def mix_with_start(self, start: dict[str, Tensor], share: float):
        """Load weights between those of the start and those of the model.

        What was learned before is forgotten less (WiSE-FT, https://arxiv.org/abs/2109.01903).

        Args:
            start: The state of the model before the training.
            share: Its share, between 0 and 1.
        """
        model, options = self.accelerator.unwrap_model(self.model), StateDictOptions(full_state_dict=True)
        mixed = get_model_state_dict(model, options=options)
        for name, value in mixed.items():
            if value.is_floating_point():
                mixed[name] = torch.lerp(value, start[name].to(value), share)
        set_model_state_dict(model, mixed, options=options)

    def create_model_card(self, *args, **kwargs):
        """Keep the card that was written from the results, which transformers' draft would replace."""
        if not (Path(self.args.output_dir) / "README.md").is_file():
            super().create_model_card(*args, **{"tasks": "audio-classification", **kwargs})


def mean_of(tensors: list[Tensor]) -> Tensor:
    """Return the mean of tensors in their dtype; where all are equal, their value, which a mean could round."""
    stacked = torch.stack(tensors).float()
    return torch.where((stacked == stacked[0]).all(0), stacked[0], stacked.mean(0)).to(tensors[0].dtype)


def mean_loss(losses: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the mean over the clips of a step, so that the mean over all processes is that of a single process.

    accelerate pads the last batch of an epoch with clips from its start, which must not count.

    Args:
        losses: Losses of the clips of this process, of shape `(batch_size,)`.
        accelerator: What prepared the data loader.
    """
    state = accelerator.gradient_state
    if accelerator.num_processes == 1 or not state.end_of_dataloader or state.remainder <= 0:
        return losses.mean()
    own = min(max(state.remainder - accelerator.process_index * len(losses), 0), len(losses))
    return losses[:own].sum() * accelerator.num_processes / state.remainder


def describe_failure(loss: float, step: int, files: list[str]) -> str:
    """Return a message about a loss that is not a finite number."""
    return (
        f"The loss is {loss} at step {step}, in a batch of {len(files)} clips: {', '.join(files)}. Lower "
        "--learning_rate, or check these clips."
    )


def any_trainable(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def layer_of(name: str, head: int = 0) -> int:
    """Return the layer of a parameter, counted from 1. Embeddings are 0, a classifier and its pooling are `head`."""
    if name.startswith(("classifier", "projector")) or ".pooling." in name:
        return head
    number = re.search(r"\.layers?\.(\d+)\.", f".{name}")
    if number:
        return int(number.group(1)) + 1
    return head if re.search(r"(^|\.)layer_?norm\.(weight|bias)$", name) and "feature_" not in name else 0
