"""What of a checkpoint learns new clips: its classifier alone, in seconds, or more of it, by the number of clips."""

import time
from collections.abc import Callable

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers.trainer_utils import TrainOutput

from ..modeling_asm import ASMForAudioClassification
from .data.clips import ClipWindows, collate_clips
from .linear_heads import fit_linear_head
from .models import AUTO, ModelArguments
from .settings import Arguments
from .tasks import label_names
from .trainer import AudioTrainer, layer_of


# Clips a class from which on more than the classifier is trained: see docs/results/few.md.
CLIPS_FOR_LAST, CLIPS_FOR_ALL = 50, 100
LAST_LAYERS = 2


def choose_tuning(args: Arguments, clips, say: Callable = print) -> str:
    """Return what is trained, `"head"`, `"last"` or `"all"`, and say why it was chosen.

    Args:
        args: The arguments of the run; a choice that they state is not changed.
        clips: The training clips, a `Dataset` or a stream.
        say: What prints.

    Raises:
        ValueError: If a classifier is to be fitted to a stream.
    """
    model, is_stream = args.model, not isinstance(clips, Dataset)
    if model.tune == "head" and is_stream:
        raise ValueError("--tune head reads all clips at once, which a stream does not have. Omit --streaming.")
    if model.tune != AUTO:
        return model.tune
    if not model.is_general or model.freeze_encoder or is_stream or args.training.teachers:
        return "all"
    classes = max(len(label_names(clips.features)), 2)  # a number has one name
    each = len(clips) / classes
    if each < CLIPS_FOR_LAST:
        tuning, what = "head", f"fewer than {CLIPS_FOR_LAST} clips a class: its classifier is fitted"
    elif each < CLIPS_FOR_ALL:
        tuning, what = "last", f"fewer than {CLIPS_FOR_ALL} clips a class: its last {LAST_LAYERS} layers are trained"
    else:
        tuning, what = "all", f"at least {CLIPS_FOR_ALL} clips a class: all of it is trained"
    say(f"Starting from {model.start}, with {what} (--tune {tuning}).")
    return tuning


def starts_with_head(args: ModelArguments, clips) -> bool:
    """Whether the classifier is fitted first: it is all that is trained, or what gradient steps start from."""
    return args.tune == "head" or (args.is_general and not args.freeze_encoder and isinstance(clips, Dataset))


def freeze_first_layers(model: nn.Module):
    """Stop training all layers but the last ones and what follows them."""
    head = 10**6
    layers = {name: layer_of(name, head) for name, _ in model.named_parameters()}
    depth = max(layer for layer in layers.values() if layer < head)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = parameter.requires_grad and layers[name] > depth - LAST_LAYERS


def fit_head(trainer: AudioTrainer, clips: ClipWindows) -> TrainOutput:
    """Fit the classifier of a trainer's model to the mean embeddings of its clips, once and without augmentation.

    An ASM then averages the logits of the windows of a long clip, which are those of the mean embedding.

    Args:
        trainer: The trainer, whose model's last layer must be the linear `classifier`.
        clips: The training clips.

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
    balanced = trainer.args.class_balance != "none"
    strength = fit_linear_head(fitted, embeddings, targets, model.config.problem_type, balanced)
    classifier.load_state_dict(fitted.state_dict())
    if isinstance(model, ASMForAudioClassification):
        model.config.window_aggregation = "logits"
    seconds = time.time() - start
    if trainer.is_world_process_zero():
        print(f"Fitted a linear classifier to {len(targets)} embeddings in {seconds:.1f} s (C = {strength:g}).")
    return TrainOutput(0, 0.0, {"train_runtime": seconds})


@torch.no_grad()
def embed_clips(model: nn.Module, clips: ClipWindows, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what the classifier of a model gets for each clip, float64 of shape `(num_clips, size)`, and the labels.

    It is the mean over the windows of the clip. Each of several processes embeds all clips, so that all fit the same
    classifier.
    """
    seen, labels, rows = [], [], []
    hook = model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].double().cpu()))
    try:
        for batch in tqdm(DataLoader(clips, batch_size, collate_fn=collate_clips), desc="Embedding", unit="batch"):
            labels.append(batch.pop("labels"))
            rows.append(batch.pop("index"))
            model(**{name: value.to(model.device) for name, value in batch.items()})
    finally:
        hook.remove()
    windows, labels, rows = torch.cat(seen), torch.cat(labels), torch.cat(rows)
    counts = torch.bincount(rows)
    embeddings = windows.new_zeros(len(counts), windows.shape[1]).index_add(0, rows, windows) / counts[:, None]
    first = counts.cumsum(0) - counts  # the windows of a clip follow each other
    return embeddings.numpy(), labels[first].numpy()
