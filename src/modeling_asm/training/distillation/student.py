"""A student of several teachers: a classifier with a head for each of their targets, and the loss."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...modeling_asm import ASMForAudioClassification
from ..tasks import TASKS, Task
from ..teachers.targets import Target


@dataclass
class Statistics:
    """Mean and standard deviation of each number of a target, over the mixtures of a bank.

    Args:
        mean: Float32 tensor of shape `(size,)`.
        std: The same.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Statistics":
        """Measure values of shape `(..., size)`."""
        rows = values.flatten(0, -2).float()
        return cls(rows.mean(0), rows.std(0).clamp(min=1e-3))


def means_of(targets: list[Target]) -> list[Target]:
    """Return the means over the window of those targets that lie along time: further targets, of the pooled output."""
    return [Target(f"{target.name}_mean", target.size) for target in targets if target.hop]


def add_means(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the means of vectors along time, `(batch_size, steps, size)`, to what teachers say."""
    means = {f"{name}_mean": value.float().mean(1) for name, value in values.items() if value.ndim == 3}
    return {**values, **means}


def labels_of(target: Target) -> str:
    """Return the name under which a classifier's loss is weighted and logged: that of its teacher, and `labels`."""
    return f"{target.name.rpartition('.')[0]}.labels"


class Student(nn.Module):
    """A model that learns what teachers say of a sound.

    The classifier learns the probabilities of one teacher by their cross-entropy. Logits and other vectors of the whole
    window come from a linear map of the pooled output, and what teachers say along time from a linear map of what is
    pooled, averaged where the vector of the teacher lies. The mean of the latter over the window is learned from the
    pooled output, too, so that it tells all that the teachers tell. Vectors are learned in units of their standard
    deviation over the bank.

    Args:
        model: The classifier; the labels of one of the targets are its own.
        targets: The targets.
        statistics: Their mean and deviation, by name.
        weights: Weight of each in the loss, by name; that of the classifier by [`labels_of`] its target.
        seconds_per_frame: Distance between the frames of the model's input.
        labelled: The target that the classifier learns.
        prior: Divergence of the teacher's mean logits from its logits, by [`prior_divergence`].
    """

    def __init__(
        self,
        model: ASMForAudioClassification,
        targets: list[Target],
        statistics: dict[str, Statistics],
        weights: dict[str, float],
        seconds_per_frame: float,
        labelled: Target,
        prior: float,
    ):
        super().__init__()
        self.model, self.targets, self.weights = model, targets, weights
        self.task, self.labelled, self.prior = TASKS[model.config.problem_type], labelled, prior
        config = model.config
        width = {True: config.pooling_dim or config.hidden_size, False: config.pooled_size}
        self.heads = nn.ModuleDict({
            key_of(target): nn.Linear(width[target.hop > 0], target.size) for target in targets
        })  # fmt: skip
        for target in targets:
            self.register_buffer(f"mean_{key_of(target)}", statistics[target.name].mean)
            self.register_buffer(f"std_{key_of(target)}", statistics[target.name].std)
        self.seconds_per_frame = seconds_per_frame
        self.matrices: dict[tuple, Tensor] = {}

    def forward(self, input_values: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            input_values: Float tensor of shape `(batch_size, max_length, num_mel_bins)`.
            targets: What the teachers say, by the names of the targets: `(batch_size, size)`, or `(batch_size, steps,
                size)` along time.

        Returns:
            `loss`, the weighted sum; the loss of each target by its name, a mean squared error; and that of the
            classifier, a divergence. Each is 1 for the mean of what the teacher says of all sounds, and 0 for what it
            says of this one.
        """
        encoded, targets = self.model.base_model(input_values, return_dict=True), add_means(targets)
        tokens, losses = self.model.base_model.pooling.project(encoded.last_hidden_state), {}
        for target in self.targets:
            wanted, key = targets[target.name].float(), key_of(target)
            wanted = (wanted - getattr(self, f"mean_{key}")) / getattr(self, f"std_{key}")
            near = self.align(target, wanted.shape[1], tokens) @ tokens if target.hop else encoded.pooler_output
            losses[target.name] = nn.functional.mse_loss(self.heads[key](near).float(), wanted)
        logits, wanted = self.model.classifier(encoded.pooler_output), targets[self.labelled.name].float()
        losses[labels_of(self.labelled)] = divergence(self.task, logits, wanted) / self.prior
        total = sum(self.weights.get(name, 1.0) * loss for name, loss in losses.items())
        return {"loss": total, **losses}

    def align(self, target: Target, steps: int, tokens: Tensor) -> Tensor:
        """Return the matrix `(steps, num_patches)` that averages the tokens near each vector of a target."""
        key = (target.name, steps, tokens.shape[1], tokens.device, tokens.dtype)
        if key not in self.matrices:
            config = self.model.config
            hop = config.time_stride * self.seconds_per_frame
            rows, columns = config.patch_grid
            centres = torch.arange(columns) * hop + config.patch_shape[1] * self.seconds_per_frame / 2
            times = target.first + torch.arange(steps) * target.hop
            weights = (1 - (times[:, None] - centres).abs() / max(target.hop, hop)).clamp(
                min=1e-6
            )  # so that each vector has some tokens
            matrix = (weights / weights.sum(1, keepdim=True) / rows).repeat(1, rows)
            self.matrices[key] = matrix.to(tokens)
        return self.matrices[key]


def key_of(target: Target) -> str:
    """Return the name of a target as that of a module."""
    return target.name.replace(".", "_")


def divergence(task: Task, logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean divergence (Kullback and Leibler 1951) of a classifier's scores from a teacher's, from logits."""
    scores = task.soft_targets([wanted])
    return (task.losses(logits, scores) - task.losses(wanted, scores)).mean()


def prior_divergence(task: Task, logits: Tensor) -> float:
    """Return the divergence of what is right on average: of the mean of logits `(num_mixtures, size)` from each."""
    logits = logits.float()
    return divergence(task, logits.mean(0).expand_as(logits), logits).clamp(min=1e-6).item()
