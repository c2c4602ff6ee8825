"""Load the teachers that a recipe names, from files that are given by path or downloaded."""

import csv
import hashlib
import inspect
import json
from pathlib import Path

import numpy as np
import torch

from ...targets import problem_type_of
from ..models import checkpoint_name
from . import efficientat, speech_embedding
from .classifier import Classifier
from .downloads import AUDIOSET_LABELS, EFFICIENTAT, OPEN_WAKE_WORD, digest_weights, find_file, load_weights
from .targets import Target, Teacher


def load_efficientat(name: str, weights: str = EFFICIENTAT, labels: str = AUDIOSET_LABELS) -> Teacher:
    """Load mn04: AudioSet's logits, and embeddings each 320 ms.

    Args:
        name: Its name in the recipe.
        weights: The file of its weights; by default, it is downloaded.
        labels: AudioSet's `class_labels_indices.csv`, or any table with a column `display_name`; the same.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file has something else.
    """
    weights, names = load_weights(find_file(weights)), read_labels(find_file(labels))
    if len(names) != efficientat.NUM_LABELS:
        raise ValueError(f"The table of labels {labels!r} has {len(names)} rows, expected {efficientat.NUM_LABELS}.")
    network = efficientat.EfficientAT()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"The teacher {name!r}: its file has the weights of another network than mn04. Omit `weights` to download "
            "the right ones."
        ) from error
    network.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def label(waveforms: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(output.numpy() for output in network(torch.from_numpy(waveforms)))

    hop = efficientat.STRIDE * efficientat.FRAME_SHIFT / efficientat.SAMPLING_RATE
    targets = (
        Target(f"{name}.logits", efficientat.NUM_LABELS, labels=True),
        Target(f"{name}.embeddings", efficientat.EMBEDDING_SIZE, hop),
    )
    digest = digest_weights(weights)[:16]
    return Teacher(name, digest, efficientat.SAMPLING_RATE, targets, label, EFFICIENTAT_CREDIT, names)


def load_speech_embedding(
    name: str,
    melspectrogram: str = f"{OPEN_WAKE_WORD}melspectrogram.onnx",
    embedding: str = f"{OPEN_WAKE_WORD}embedding_model.onnx",
    stride: int = 1,
) -> Teacher:
    """Load Google's speech embedding: see [`SpeechEmbedding`]. By default, its files are downloaded."""
    melspectrogram, embedding = find_file(melspectrogram), find_file(embedding)
    network = speech_embedding.SpeechEmbedding(melspectrogram, embedding, stride)
    hop = speech_embedding.HOP_FRAMES * speech_embedding.FRAME_SECONDS
    first = speech_embedding.WINDOW_FRAMES * speech_embedding.FRAME_SECONDS / 2
    target = Target(f"{name}.embeddings", speech_embedding.EMBEDDING_SIZE, hop * stride, first)
    digest = digest_files([melspectrogram, embedding], {"stride": stride})
    options = (speech_embedding.SAMPLING_RATE, (target,), lambda waveforms: (network(waveforms),))
    return Teacher(name, digest, *options, SPEECH_CREDIT)


def load_classifier(name: str, checkpoint: str, revision: str = "main", problem_type: str | None = None) -> Teacher:
    """Load any audio classifier of transformers: its logits, and its last hidden states.

    Args:
        name: Its name in the recipe.
        checkpoint: Its folder, or its name on the Hub.
        revision: Branch, tag or commit.
        problem_type: Whether its labels exclude each other, for checkpoints that do not say: as in an `ASMConfig`.
    """
    network = Classifier(checkpoint, revision)
    config = network.model.config
    config.problem_type = problem_type or config.problem_type
    if config.problem_type is None:
        raise ValueError(
            f"The checkpoint {checkpoint!r} does not say whether its labels exclude each other. Set `problem_type` of "
            f"the teacher {name!r} to 'single_label_classification' or 'multi_label_classification'."
        )
    labels, width = network.sizes
    timeline = network.timeline
    along = (timeline.hop, timeline.first) if timeline else (0.0, 0.0)
    targets = (Target(f"{name}.logits", labels, labels=True), Target(f"{name}.embeddings", width, *along))
    settings = {"checkpoint": checkpoint_name(checkpoint), "problem_type": config.problem_type}
    settings |= {"weights": digest_weights(network.model.state_dict())}
    digest = digest_files([], settings | {"feature_extractor": network.feature_extractor.to_dict()})
    options = (f"`{checkpoint_name(checkpoint)}`.", dict(config.id2label), problem_type_of(config))
    return Teacher(name, digest, network.sampling_rate, targets, network, *options)


def read_labels(path: str) -> dict[int, str]:
    """Return the names of labels from the column `display_name` of a table, in its order."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or "display_name" not in rows[0]:
        raise ValueError(f"The table of labels {path!r} has no column 'display_name'.")
    return {index: row["display_name"] for index, row in enumerate(rows)}


def digest_files(paths: list[str], settings: dict) -> str:
    """Return a digest of files and settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in paths:
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()[:16]


EFFICIENTAT_CREDIT = (
    "EfficientAT mn04 ([Schmid et al. 2023](https://arxiv.org/abs/2211.04772)), trained on AudioSet, whose label names "
    "are CC BY 4.0 (Google). Licence: MIT."
)
SPEECH_CREDIT = "Google's speech embedding ([Lin et al. 2020](https://arxiv.org/abs/2002.01322)). Licence: Apache-2.0."
LOADERS = {
    "classifier": load_classifier,
    "efficientat": load_efficientat,
    "speech_embedding": load_speech_embedding,
}


def load_teachers(settings: dict[str, dict]) -> list[Teacher]:
    """Load the teachers of a recipe.

    Args:
        settings: Their settings by name: `type`, one of [`LOADERS`], the arguments of its function, and `loss_weights`,
            which are the student's.

    Raises:
        ValueError: If a type or a setting is unknown.
        FileNotFoundError: If a file is missing.
    """
    teachers = []
    for name, own in settings.items():
        kind = own.get("type")
        if kind not in LOADERS:
            raise ValueError(f"The teacher {name!r} has the type {kind!r}, expected one of {sorted(LOADERS)}.")
        chosen = {key: value for key, value in own.items() if key not in ("type", "loss_weights")}
        known = inspect.signature(LOADERS[kind]).parameters
        if unknown := sorted(set(chosen) - set(known)):
            raise ValueError(
                f"The teacher {name!r} has no setting {unknown[0]!r}; {kind} has {sorted(set(known) - {'name'})}."
            )
        needed = [key for key, value in known.items() if value.default is value.empty and key != "name"]
        if missing := [key for key in needed if key not in chosen]:
            raise ValueError(f"The teacher {name!r} needs the setting {missing[0]!r}.")
        teachers.append(LOADERS[kind](name, **chosen))
    return teachers
