"""The trained classifiers that a model imitates: find them, fingerprint them, and check that they fit the model."""

import hashlib
import json
from pathlib import Path

import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, PreTrainedModel

from ...general import resolve_checkpoint
from ...loading import check_checkpoint
from ..models import checkpoint_name
from ..run_folder import SETTINGS_FILE, finished_results


def find_teachers(names: list[str]) -> dict[str, str]:
    """Return the checkpoints of the teachers by their names.

    Args:
        names: Checkpoints, or folders of runs with `--seeds`, which have a teacher for each seed.

    Raises:
        FileNotFoundError: If a checkpoint does not exist.
        ValueError: If a run has not finished all of its seeds.
    """
    teachers = {}
    for name in map(resolve_checkpoint, names):
        check_checkpoint(name)
        settings = Path(name) / SETTINGS_FILE
        seeds = json.loads(settings.read_text(encoding="utf-8")).get("seeds") if settings.is_file() else None
        if seeds is None:
            teachers[checkpoint_name(name)] = name
        for seed in seeds or []:
            folder = Path(name) / f"seed-{seed}"
            if finished_results(folder) is None:
                raise ValueError(
                    f"The run {name!r} has not finished seed {seed} of {seeds}. Repeat its command, or name the "
                    "teachers one by one."
                )
            teachers[f"{checkpoint_name(name)}/{folder.name}"] = str(folder)
    return teachers


def digest_teachers(names: list[str]) -> str | None:
    """Return a digest of the teachers: of their names and, for folders, of their weights."""
    digest = hashlib.sha256()
    for name, checkpoint in find_teachers(names).items():
        digest.update(name.encode())
        digest.update((digest_weights(checkpoint) or "").encode())
    return digest.hexdigest()[:16] if names else None


def digest_weights(checkpoint: str | None) -> str | None:
    """Return a digest of the weights in the folder of a checkpoint; `None` without one, or for one on the Hub."""
    files = sorted(Path(checkpoint).glob("*.safetensors")) if checkpoint else []
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def load_teachers(names: list[str], model: PreTrainedModel, feature_extractor) -> list[PreTrainedModel]:
    """Load the teachers of a model. They must take the same features and have the same labels.

    Args:
        names: As [`find_teachers`] takes them.
        model: The model that learns from them.
        feature_extractor: Its feature extractor.

    Raises:
        FileNotFoundError: If a checkpoint does not exist.
        ValueError: If a run is not finished, or a teacher has other labels or takes other features.
    """
    teachers = []
    for name in find_teachers(names).values():
        teacher = AutoModelForAudioClassification.from_pretrained(name, dtype=torch.float32)
        if teacher.config.id2label != model.config.id2label:
            raise ValueError(f"The teacher {name!r} has other labels than these clips. Train it on them.")
        if teacher.config.problem_type not in (None, model.config.problem_type):
            raise ValueError(
                f"The teacher {name!r} was trained for {teacher.config.problem_type!r}, these clips for "
                f"{model.config.problem_type!r}. Train it on them."
            )
        own, theirs = (
            {key: value for key, value in extractor.to_dict().items() if key not in ("auto_map", "name_or_path")}
            for extractor in (feature_extractor, AutoFeatureExtractor.from_pretrained(name))
        )
        different = sorted(key for key in own if own[key] != theirs.get(key))
        if different:
            raise ValueError(
                f"The teacher {name!r} takes other features ({different[0]}: {theirs.get(different[0])!r}, the model's "
                f"{own[different[0]]!r}). Train both on the same clips (a split that comes with the data, or "
                "--hold_out: other splits depend on the seed), with the same --seconds and num_mel_bins of "
                "--config_overrides."
            )
        teachers.append(teacher.eval().requires_grad_(False))
    return teachers
