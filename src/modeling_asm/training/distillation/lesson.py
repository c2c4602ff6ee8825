"""What a student learns of which teacher, and what it starts from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...configuration_asm import ASMConfig
from ...general import resolve_checkpoint
from ...loading import check_checkpoint
from ...modeling_asm import ASMForAudioClassification
from ..tasks import TASKS
from ..teachers.targets import Target, Teacher
from .student import Statistics, Student, labels_of, means_of, prior_divergence
from .whitening import start_embedding


@dataclass
class Lesson:
    """What a student learns.

    Args:
        targets: The targets that have a weight.
        weights: Weights in the loss, by name, where they are not 1.
        teacher: The teacher whose labels the classifier learns.
        labels: The target with their logits.
    """

    targets: list[Target]
    weights: dict[str, float]
    teacher: Teacher
    labels: Target

    def labels_into(self, config: ASMConfig) -> ASMConfig:
        """Give a configuration the labels of the teacher, and return it."""
        config.id2label, config.problem_type = self.teacher.id2label, self.teacher.problem_type
        config.label2id = {label: index for index, label in self.teacher.id2label.items()}
        return config


def choose_targets(settings: dict[str, dict], teachers: list[Teacher]) -> Lesson:
    """Return what settings of teachers say is learned; the classifier learns the labels of the first that has some.

    Raises:
        ValueError: If a weight is for nothing that is learned, or there are no labels to learn.
    """
    weights = {
        f"{name}.{target}": weight
        for name, teacher in settings.items()
        for target, weight in teacher.get("loss_weights", {}).items()
    }
    targets = [target for teacher in teachers for target in teacher.targets]
    labelled = [(teacher, row) for teacher in teachers for row in teacher.targets if row.labels and teacher.id2label]
    labelled = [pair for pair in labelled if weights.get(labels_of(pair[1]), 1.0) > 0]
    if not labelled:
        raise ValueError(
            "The classifier has nothing to learn: no teacher whose `labels` have a weight names its labels."
        )
    teacher, own = labelled[0]
    if doubled := [labels_of(row) for _, row in labelled[1:] if labels_of(row) in weights]:
        raise ValueError(
            f"--teachers has a loss weight for {doubled[0]!r}, but the classifier learns {labels_of(own)!r}. Set one "
            "of them to 0."
        )
    targets += means_of(targets)
    names = [target.name for target in targets] + [labels_of(target) for target in targets if target.labels]
    if unknown := sorted(set(weights) - set(names)):
        raise ValueError(f"--teachers has a loss weight for {unknown[0]!r}, expected some of: {', '.join(names)}.")
    return Lesson([target for target in targets if weights.get(target.name, 1.0) > 0], weights, teacher, own)


def make_student(
    start: str | None,
    config: ASMConfig,
    lesson: Lesson,
    examples: dict[str, Tensor],
    mixtures: Tensor,
    seconds_per_frame: float,
) -> Student:
    """Return a student, new or with the weights of a checkpoint.

    A classifier of other labels than the start's, or of another embedding, begins with what its teacher says on
    average; an embedding that the start does not have, with the principal components of what it pools.

    Args:
        start: The checkpoint.
        config: The configuration of the model; it gets the labels.
        lesson: What is learned.
        examples: What the teachers say of some mixtures, by target.
        mixtures: Features of some mixtures, as the model gets them: `(num_mixtures, max_length, num_mel_bins)`.
        seconds_per_frame: Distance between their frames.
    """
    lesson.labels_into(config)
    statistics = {name: Statistics.of(values) for name, values in examples.items()}
    model = load_start(start, config) if start else ASMForAudioClassification(config)
    before = ASMConfig.from_pretrained(resolve_checkpoint(start)) if start else None
    embeds_anew = before is not None and config.embedding_dim is not None and before.embedding_dim is None
    if embeds_anew:
        start_embedding(model, mixtures)
    if before is None or embeds_anew or before.id2label != config.id2label:
        model.classifier.reset_parameters()
        with torch.no_grad():
            model.classifier.bias.copy_(statistics[lesson.labels.name].mean)
    prior = prior_divergence(TASKS[config.problem_type], examples[lesson.labels.name])
    return Student(model, lesson.targets, statistics, lesson.weights, seconds_per_frame, lesson.labels, prior)


def load_start(checkpoint: str, config: ASMConfig) -> ASMForAudioClassification:
    """Load the weights of an encoder, whatever head it has, and whether it has an embedding.

    Raises:
        ValueError: If they are those of another encoder.
        FileNotFoundError: If there is no such checkpoint.
    """
    checkpoint = resolve_checkpoint(checkpoint)
    check_checkpoint(checkpoint)
    model, info = ASMForAudioClassification.from_pretrained(
        checkpoint, config=config, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
    )
    names = [*(name for name, *_ in info["mismatched_keys"]), *info["missing_keys"], *info["unexpected_keys"]]
    new = {f"{model.base_model_prefix}.pooling.embedding.{name}" for name in ("weight", "bias")} & set(
        info["missing_keys"]
    )
    if wrong := sorted(name for name in {*names} - new if name.startswith(f"{model.base_model_prefix}.")):
        raise ValueError(
            f"The weights of --start {checkpoint!r} do not fit --model, for example {wrong[0]!r}. Set the fields of "
            "its config.json."
        )
    return model
