"""Write a student as an ordinary checkpoint, with what it learned from and whom it owes it to."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

from ...feature_extraction_asm import ASMFeatureExtractor
from ...general import resolve_checkpoint
from ...measuring.environment import describe_environment
from ..report.cards import write_model_card
from ..report.publishing import code_license
from ..report.tables import write_json
from ..run_folder import UNFINISHED, move_into, saving
from ..teachers.downloads import digest_file
from ..teachers.targets import Teacher
from .arguments import DistillationArguments, DistillationTrainingArguments
from .bank import MIXTURES_PER_SHARD, count_shards
from .batches import StudentAugmentation
from .pool import AudioPool, Recording, hours_by_kind
from .student import Student


STATED = ("max_steps", "num_train_epochs", "learning_rate", "weight_decay", "warmup_steps", "lr_scheduler_type")
STATED += ("per_device_train_batch_size", "gradient_accumulation_steps", "world_size", "seed", "bf16")
CORPUS_FILE, RESULTS_FILE, WEIGHTS_FILE = "corpus.csv", "results.json", "model.safetensors"


def write_encoder(
    folder: Path,
    run: dict,
    args: DistillationArguments,
    training_args: DistillationTrainingArguments,
    student: Student,
    teachers: list[Teacher],
    feature_extractor: ASMFeatureExtractor,
    repository: str | None = None,
) -> dict:
    """Write the model of a student, with results, card and credits.

    Returns:
        What is in `results.json`.

    Raises:
        CheckpointError: If something cannot be written; the folder is then unchanged.
    """
    model, recordings = student.model, AudioPool(args.pool).recordings
    results = {
        "command": run["command"],
        "metrics": run["metrics"],
        "data": {
            "name": "unlabelled audio",
            "licence": args.licence or "other",
            "credit": args.credit,
            "hours": hours_by_kind(recordings),
            "mixtures": MIXTURES_PER_SHARD * sum(count_shards(part["number"]) for part in args.mixtures.values()),
            "settings": args.mixtures,
        },
        "teachers": [teacher.describe() | {"credit": teacher.credit} for teacher in teachers],
        "model": {
            "tags": ["audio-spectrogram-mixer", "mlp-mixer", "embeddings", "knowledge-distillation"],
            "parameters": model.num_parameters(),
            "window_seconds": feature_extractor.nb_max_samples / feature_extractor.sampling_rate,
            "config": {name: value for name, value in model.config.to_diff_dict().items() if "label" not in name},
            "feature_extractor": feature_extractor.to_dict(),
            "labels": model.config.num_labels,
            "start": Path(args.start).name if args.start else None,
        },
        "stages": stages_of(args.start) if args.start else [],
        "training": {
            **{name: getattr(training_args, name) for name in STATED},
            "augmentation": asdict(StudentAugmentation(**args.augmentation)),
            "average_decay": args.average_decay,
            "seconds": run.get("seconds"),
        },
        "environment": describe_environment(),
    }
    staging = folder / f"{UNFINISHED}model"
    with saving("the model"):
        model.save_pretrained(staging)
        feature_extractor.save_pretrained(staging)
        write_credits(staging / CORPUS_FILE, recordings)
        write_json({"log": run["log"]}, staging / "log.json")
        write_model_card(staging, results, repository or folder.resolve().name)
        (staging / "LICENSE").write_text(code_license(), encoding="utf-8")
        write_json(results, staging / RESULTS_FILE)
        move_into(staging, folder)
    return results


def state_licence(folder: Path, results: dict, args: DistillationArguments, repository: str | None = None) -> dict:
    """State licence, credit and repository of a finished encoder, which may be given later; return its results."""
    stated = {name: value for name, value in vars(args).items() if name in ("licence", "credit") and value is not None}
    if repository or any(results["data"].get(name) != value for name, value in stated.items()):
        results["data"] |= stated
        write_json(results, folder / RESULTS_FILE)
        write_model_card(folder, results, repository or folder.resolve().name)
    return results


def stages_of(checkpoint: str) -> list[dict]:
    """Return how the weights that a student starts from were trained, the first stage first, as far as it is known."""
    folder = Path(resolve_checkpoint(checkpoint))
    weights, file = folder / WEIGHTS_FILE, folder / RESULTS_FILE
    stage = {"name": folder.resolve().name, "sha256": digest_file(weights) if weights.is_file() else None}
    if not file.is_file():
        return [stage]
    results = json.loads(file.read_text(encoding="utf-8"))
    mixtures = results.get("data", {}).get("mixtures")  # of a distillation
    return [*results.get("stages", []), stage | {"mixtures": mixtures, **(results.get("training") or {})}]


def write_credits(path: Path, recordings: list[Recording]):
    """Write a table of the sources of a pool: their versions, licences, and how much comes from each."""
    rows: dict[tuple, list[float]] = {}
    for recording in recordings:
        origin = (recording.source, recording.version, recording.licence, recording.kind)
        rows.setdefault(origin, []).append(recording.seconds)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("source", "version", "licence", "kind", "recordings", "minutes"))
        for origin, seconds in sorted(rows.items()):
            writer.writerow((*origin, len(seconds), round(sum(seconds) / 60, 1)))
