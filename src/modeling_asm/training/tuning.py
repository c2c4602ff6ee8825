"""Which part of a checkpoint is trained on new clips: its classifier alone, in seconds, or more, by their number."""

import time

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import AutoConfig
from transformers.trainer_utils import PredictionOutput, TrainOutput

from ..targets import REGRESSION
from .cross_validation import score_folds, tested_rows
from .data.clips import ClipTransform, ClipWindows, collate_clips
from .data.labels import count_classes
from .linear_heads import DEFAULT_STRENGTH, STRENGTHS, fit_linear_head
from .models import AUTO
from .settings import Arguments
from .tasks import task_of
from .trainer import AudioTrainer, layer_of
from .training_arguments import DECISIVE, DEFAULTS


# Clips a class from which on everything is trained; with fewer, that gains less than it costs (docs/results).
CLIPS_FOR_ALL = 20
LAST_LAYERS = 2
MOST_CLIPS = 4000  # that a classifier is fitted to before gradient steps
# Decisive arguments that a fitted classifier has use for, or that say nothing about how it is trained.
OF_ANY = ("seed", "data_seed", "full_determinism", "class_balance", "bf16", "fp16", "tf32", "bf16_full_eval")
OF_ANY += ("fp16_full_eval", "torch_compile", "eval_strategy", "eval_steps", "eval_delay", "eval_on_start")
OF_ANY += ("save_strategy", "save_steps", "teachers", "teacher_share")
OF_STEPS = tuple(name for name in DECISIVE if name not in OF_ANY and name not in DEFAULTS)


def choose_tuning(args: Arguments, clips) -> str:
    """Return what is trained: `"head"`, `"last"` or `"all"`.

    Args:
        args: The arguments of the run; a choice that they state is not changed.
        clips: The training clips, a `Dataset` or a stream.

    Raises:
        ValueError: If a classifier is to be fitted to a stream, or options of gradient steps are given for it.
    """
    model, is_stream, given = args.model, not isinstance(clips, Dataset), options_of_steps(args)
    if model.tune == "head" and is_stream:
        raise ValueError("--tune head reads all clips at once, which a stream does not have. Omit --streaming.")
    if model.tune == "head" and given:
        raise ValueError(f"{given[0]} would have no effect: --tune head fits a classifier, without gradient steps.")
    if model.tune != AUTO:
        return model.tune
    if not model.is_general or model.freeze_encoder or is_stream or args.training.teachers:
        return "all"
    each = clips_per_class(clips)
    if each >= CLIPS_FOR_ALL:
        return "all"
    return "last" if given else "head"


def describe_tuning(args: Arguments, tuning: str, clips) -> str | None:
    """Return a line about what was chosen, and why; `None` if there was nothing to choose."""
    model, because = args.model, ""
    if model.checkpoint is None and model.model_name_or_path is None:
        return f"Starting from random weights: {next(iter(model.described()))} describes a new model."
    if model.tune != AUTO or not model.is_general or model.freeze_encoder:
        return None
    what = {"head": "its classifier is fitted", "last": f"its last {LAST_LAYERS} layers are trained"}
    why = f"With {clips_per_class(clips):.3g} clips a class" if isinstance(clips, Dataset) else "From a stream"
    if args.training.teachers:
        because = " because of --teachers"
    elif tuning == "last":
        because = f" because of {options_of_steps(args)[0]}"
    what = what.get(tuning, "all of it is trained")
    return f"Starting from {model.start}. {why}, {what}{because} (--tune {tuning})."


def clips_per_class(clips: Dataset) -> float:
    """Return the mean number of clips of a class; numbers count as two classes."""
    if task_of(clips.features).problem_type == REGRESSION:
        return len(clips) / 2
    return float(count_classes(clips).mean())


def options_of_steps(args: Arguments) -> list[str]:
    """Return the options that were given and have an effect on gradient steps alone."""
    given = [name for name in (*DEFAULTS, *OF_STEPS) if name in args.training.given]
    given += sorted(args.augmentation.given)
    given += ["dev_fraction"] if args.split.dev_fraction > 0 and args.split.is_set("dev_fraction") else []
    return [f"--{name}" for name in given]


def check_start(args: Arguments, model: nn.Module):
    """Raise `ValueError` if a share of a classifier with random weights would be kept."""
    share, checkpoint = args.training.start_share, args.model.checkpoint
    if share == 0 or args.model.is_general:
        return
    options = {"revision": args.model.model_revision, "trust_remote_code": args.model.trust_remote_code}
    if checkpoint is None or AutoConfig.from_pretrained(checkpoint, **options).id2label != model.config.id2label:
        raise ValueError(f"--start_share {share:g} would keep a share of a classifier with random weights. Omit it.")


def freeze_first_layers(model: nn.Module):
    """Stop training all layers but the last ones and what follows them."""
    head = 10**6
    layers = {name: layer_of(name, head) for name, _ in model.named_parameters()}
    depth = max(layer for layer in layers.values() if layer < head)
    if depth <= LAST_LAYERS:
        raise ValueError(
            f"--tune last needs more than {LAST_LAYERS} numbered layers, {type(model).__name__} has {depth}."
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad = parameter.requires_grad and layers[name] > depth - LAST_LAYERS


def windows_of(model: nn.Module, clips: Dataset, transform: ClipTransform) -> ClipWindows:
    """Return the windows of clips, as a model cuts them from a long recording."""
    shift = getattr(model.config, "window_shift", None)
    if shift is None:
        return ClipWindows(clips, transform)
    step = transform.frontend.feature_extractor.frame_samples[1]
    return ClipWindows(clips, transform, shift * step, step)


def fit_head(
    trainer: AudioTrainer,
    clips: ClipWindows,
    strengths: tuple[float, ...] = STRENGTHS,
    groups: list | None = None,
    folds: list[tuple[np.ndarray, np.ndarray]] | None = None,
) -> tuple[TrainOutput, PredictionOutput | None]:
    """Fit the classifier of a trainer's model to the mean embeddings of its clips, once and without augmentation.

    Args:
        trainer: The trainer, whose model's last layer must be the linear `classifier`.
        clips: The training clips.
        strengths: Strengths of the regularisation to choose from.
        groups: The group of each clip, such as its speaker: cross-validation does not divide groups.
        folds: Folds of the clips to predict, by classifiers that were fitted to the others: see [`divide_clips`].

    Returns:
        What `trainer.train` would return, after no step; and, with folds, what `trainer.predict` would, of the clips
        that are tested.

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
    batches = {"batch_size": trainer.args.per_device_eval_batch_size, "collate_fn": collate_clips}
    batches["num_workers"] = trainer.args.dataloader_num_workers
    embeddings, targets = embed_clips(model.eval(), DataLoader(clips, **batches))
    fitted = nn.Linear(classifier.in_features, classifier.out_features, dtype=torch.float64)
    balanced = trainer.args.class_balance != "none"
    names = [label for _, label in sorted(model.config.id2label.items())]

    def fit(linear: nn.Linear, rows: np.ndarray) -> float:
        own = None if groups is None else [groups[row] for row in rows]
        problem_type = model.config.problem_type
        return fit_linear_head(linear, embeddings[rows], targets[rows], problem_type, balanced, strengths, names, own)

    strength = fit(fitted, np.arange(len(targets)))
    output = None
    if folds is not None:
        tested, logits = tested_rows(folds), score_folds(embeddings, folds, fitted.out_features, fit)
        output = PredictionOutput(logits[tested], targets[tested], None)
    classifier.load_state_dict(fitted.float().state_dict())
    seconds = time.time() - start
    if trainer.is_world_process_zero():
        print(f"Fitted a linear classifier to {len(targets)} embeddings in {seconds:.1f} s (C = {strength:g}).")
    return TrainOutput(0, 0.0, {"train_runtime": seconds}), output


def start_head(trainer: AudioTrainer, clips: Dataset, transform: ClipTransform) -> bool:
    """Fit the classifier that gradient steps go on from, to some of many clips; say, and return, whether one could."""
    if len(clips) > MOST_CLIPS:
        clips = clips.select(draw_some(clips["label"][:], MOST_CLIPS, trainer.args.seed))
    try:
        fit_head(trainer, windows_of(trainer.model, clips, transform), (DEFAULT_STRENGTH,))
    except ValueError as error:
        if trainer.is_world_process_zero():
            print(f"The classifier starts from random weights, so --start_share is 0. {error}")
        return False
    return True


def draw_some(labels: list, number: int, seed: int) -> np.ndarray:
    """Return the places of so many clips, drawn at random; the first of each class are among them.

    Args:
        labels: A class index, a list of them, or a number for each clip.
        number: How many to draw.
        seed: Seed of the draw.
    """
    order, first = np.random.default_rng(seed).permutation(len(labels)).tolist(), {}
    for place in order:
        label = labels[place]
        for index in label if isinstance(label, list) else [label] * isinstance(label, int):
            first.setdefault(index, place)
    return np.array(list(dict.fromkeys([*first.values(), *order]))[:number])


def predict_clips(trainer: AudioTrainer, windows: ClipWindows) -> PredictionOutput:
    """Predict whole clips: the mean of the logits of their windows, which are those of the mean embedding."""
    output = trainer.predict(windows)
    rows = np.array([row for row, _ in windows.places])
    first, counts = np.unique(rows, return_index=True, return_counts=True)[1:]
    logits = np.add.reduceat(output.predictions, first, axis=0) / counts[:, None]
    return output._replace(predictions=logits.astype(np.float32), label_ids=output.label_ids[first])


@torch.no_grad()
def embed_clips(model: nn.Module, batches: DataLoader) -> tuple[np.ndarray, np.ndarray]:
    """Return what the classifier of a model gets for each clip, float64 of shape `(num_clips, size)`, and the labels.

    It is the mean over the windows of the clip ([`ClipWindows`]). Each of several processes embeds all clips, so that
    all fit the same classifier.
    """
    seen, labels, rows = [], [], []
    hook = model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].cpu().double()))
    try:
        for batch in tqdm(batches, desc="Embedding", unit="batch"):
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
