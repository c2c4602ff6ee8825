"""Ways to adapt a checkpoint to new clips without gradient steps through its encoder."""

import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import TrainOutput

from .data.clips import ClipDataset, collate_clips
from .linear_heads import fit_linear_head
from .trainer import AudioTrainer


def fit_head(trainer: AudioTrainer, clips: ClipDataset) -> TrainOutput:
    """Fit the classifier of a trainer's model to the embeddings of its clips, once and without augmentation.

    Args:
        trainer: The trainer, whose model's last layer must be the linear `classifier`.
        clips: The training clips, as they are evaluated.

    Returns:
        What `trainer.train` would return, after no step.

    Raises:
        ValueError: If the model has another kind of classifier, or there is nothing to tell apart.
    """
    model, start = trainer.accelerator.unwrap_model(trainer.model), time.time()
    classifier = getattr(model, "classifier", None)
    if not isinstance(classifier, nn.Linear):
        raise ValueError(
            f"--tune head fits a classifier of one linear layer, but {type(model).__name__} has "
            f"{type(classifier).__name__}. Use --tune all, or --freeze_encoder."
        )
    embeddings, targets = embed_clips(model.eval(), clips, trainer.args.per_device_eval_batch_size)
    fitted = nn.Linear(classifier.in_features, classifier.out_features, dtype=torch.float64)
    strength = fit_linear_head(fitted, embeddings, targets, model.config.problem_type)
    classifier.load_state_dict(fitted.state_dict())
    seconds = time.time() - start
    if trainer.is_world_process_zero():
        print(f"Fitted a linear classifier to {len(clips)} embeddings in {seconds:.1f} s (C = {strength:g}).")
    return TrainOutput(0, 0.0, {"train_runtime": seconds})


@torch.no_grad()
def embed_clips(model: nn.Module, clips: ClipDataset, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what the classifier of a model gets for each clip, float64 of shape `(num_clips, size)`, and the labels.

    Each of several processes embeds all clips, so that all fit the same classifier.
    """
    seen, labels = [], []
    hook = model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].double().cpu()))
    try:
        for batch in DataLoader(clips, batch_size, collate_fn=collate_clips):
            labels.append(batch.pop("labels"))
            batch.pop("index")
            model(**{name: value.to(model.device) for name, value in batch.items()})
    finally:
        hook.remove()
    return torch.cat(seen).numpy(), torch.cat(labels).numpy()
