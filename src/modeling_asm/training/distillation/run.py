"""A distillation: from a pool of audio and teachers to a general encoder in a folder."""

import hashlib
import json
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from ...configuration_asm import ASMConfig
from ...feature_extraction_asm import ASMFeatureExtractor
from ...modeling_asm import ASMForAudioClassification
from ..run_folder import finished_results, open_run
from ..teachers.load import load_teachers
from ..teachers.targets import Teacher
from .arguments import DistillationArguments, DistillationTrainingArguments
from .bank import FEATURES, MIXTURES_PER_SHARD, describe_bank, fill_bank, open_folder
from .batches import BankDataset, Collator, StudentAugmentation
from .encoder import write_encoder
from .mixtures import MixtureMaker, MixtureSettings
from .pool import AudioPool, Recording
from .probe import make_probe
from .student import Statistics, Student, add_means, means_of
from .trainer import AverageCallback, DistillationTrainer, ProbeCallback


STATISTICS_MIXTURES = 4096  # that mean and deviation of features and targets are measured on


def split_by_source(recordings: list[Recording], share: float, seed: int) -> tuple[list[Recording], list[Recording]]:
    """Divide recordings into those to learn from and those of other sources, with about a share of the hours.

    Raises:
        ValueError: If there are not two sources, or too little audio for both.
    """
    sources = sorted({recording.source for recording in recordings})
    hours = {source: sum(row.seconds for row in recordings if row.source == source) / 3600 for source in sources}
    held_out, total = [], sum(hours.values())
    for index in np.random.default_rng(seed).permutation(len(sources)):
        source = sources[index]
        if sum(hours[name] for name in held_out) + hours[source] <= 1.5 * share * total:
            held_out.append(source)
        if sum(hours[name] for name in held_out) >= share * total:
            break
    if not held_out:
        raise ValueError(
            f"The pool has {total:.2f} hours of {len(sources)} sources: none is small enough to validate with "
            f"{share:.0%} of the audio. Add sources, or raise --validation_share."
        )
    train = [row for row in recordings if row.source not in held_out]
    return train, [row for row in recordings if row.source in held_out]


@cache
def make_maker(pool: str, settings: str, share: float, seed: int, validation: bool) -> MixtureMaker:
    """Return what makes mixtures of the one or the other part of a pool."""
    opened = AudioPool(pool)
    recordings = split_by_source(opened.recordings, share, seed)[validation]
    return MixtureMaker(opened, recordings, MixtureSettings(**json.loads(settings)))


@cache
def make_labellers(front_end: str, teachers: str) -> tuple[ASMFeatureExtractor, list[Teacher]]:
    """Return the feature extractor of the bank, which gives log-mel energies as they are, and the teachers."""
    return ASMFeatureExtractor(**json.loads(front_end), do_normalize=False), load_teachers(json.loads(teachers))


def run_distillation(
    args: DistillationArguments, training_args: DistillationTrainingArguments, command: str = ""
) -> dict:
    """Fill the bank, train the student, and write the encoder into `training_args.output_dir`.

    Args:
        args: What is learned, and from whom.
        training_args: How.
        command: The command, for the results.

    Returns:
        What is in `results.json`.

    Raises:
        ValueError: If the pool, the bank or a teacher does not fit.
        FileNotFoundError: If a file is missing.
        CheckpointError: If something cannot be saved.
    """
    folder = Path(training_args.output_dir)
    with training_args.main_process_first(desc="opening the run"):
        open_run(folder, settings_of(args, training_args))
    if (results := finished_results(folder)) is not None:
        print(f"The run in {str(folder)!r} is finished: nothing is trained again.")
        return results
    set_seed(training_args.seed)
    config = ASMConfig(**args.model)
    front_end = {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}
    labellers = (json.dumps(front_end), json.dumps(args.teachers))
    feature_extractor, teachers = make_labellers(*labellers)
    with training_args.main_process_first(desc="filling the bank"):
        paths = prepare_banks(args, feature_extractor, teachers, labellers, training_args.seed)
    train, validation = (BankDataset(part) for part in paths)
    statistics, mean, std = measure(train, teachers)
    feature_extractor = ASMFeatureExtractor(**front_end, mean=mean, std=std)
    student = make_student(args, config, teachers, statistics, feature_extractor)
    average = AverageCallback(student, args.average_decay)
    probe = make_probe(args.probe_dirs, feature_extractor) if args.probe_dirs else None
    trainer = DistillationTrainer(
        student,
        training_args,
        Collator(mean, std, StudentAugmentation(**args.augmentation), training_args.seed),
        train,
        validation,
        callbacks=[ProbeCallback(average, probe, args.probe_steps)] if probe else None,
        average=average,
        eval_collator=Collator(mean, std),
    )
    checkpoint = get_last_checkpoint(folder)
    if checkpoint:
        average.load(checkpoint)
    trainer.train(resume_from_checkpoint=checkpoint)
    losses = {name.removeprefix("eval_"): value for name, value in trainer.evaluate().items() if name != "epoch"}
    if not trainer.is_world_process_zero():
        return {"metrics": losses}
    run = {"command": command, "metrics": losses, "log": trainer.state.log_history}
    return write_encoder(folder, run, args, training_args, average.average, teachers, feature_extractor)


def settings_of(args: DistillationArguments, training_args: DistillationTrainingArguments) -> dict:
    """Return what decides the result of a run."""
    names = ("max_steps", "num_train_epochs", "learning_rate", "per_device_train_batch_size", "weight_decay", "seed")
    own = {name: value for name, value in asdict(args).items() if name not in ("num_processes", "probe_dirs")}
    return json.loads(json.dumps(own | {name: getattr(training_args, name) for name in names}))


def prepare_banks(
    args: DistillationArguments, feature_extractor: ASMFeatureExtractor, teachers: list[Teacher], labellers, seed: int
) -> tuple[list[Path], list[Path]]:
    """Fill the bank to learn from and the one for the validation; return their shards."""
    digest = hashlib.sha256((Path(args.pool) / "recordings.jsonl").read_bytes()).hexdigest()[:16]
    seconds = feature_extractor.nb_max_samples / feature_extractor.sampling_rate
    train, validation = [], []
    for index, (part, chosen) in enumerate(args.mixtures.items()):
        chosen = {name: value for name, value in chosen.items() if name != "number"}
        settings = MixtureSettings(seconds, feature_extractor.sampling_rate, **chosen)
        description = describe_bank(feature_extractor, teachers, settings, digest)
        numbers = ((train, "train", args.mixtures[part]["number"]), (validation, "validation", args.num_validation))
        for paths, name, number in numbers:
            folder, held_out = Path(args.bank) / part / name, name == "validation"
            open_folder(folder, {**description, "part": name, "seed": seed})
            maker = partial(make_maker, args.pool, json.dumps(asdict(settings)), args.validation_share, seed, held_out)
            labels, shards = partial(make_labellers, *labellers), -(-number // MIXTURES_PER_SHARD)
            paths += fill_bank(folder, shards, seed + 2 * index + held_out, maker, labels, args.num_processes)
    return train, validation


def measure(bank: BankDataset, teachers: list[Teacher]) -> tuple[dict[str, Statistics], float, float]:
    """Return the statistics of each target, and mean and deviation of the features."""
    indices = np.random.default_rng(0).permutation(len(bank))[:STATISTICS_MIXTURES].tolist()
    rows = [bank[index] for index in indices]
    names = [target.name for teacher in teachers for target in teacher.targets]
    values = add_means({name: torch.stack([row[name] for row in rows]) for name in names})
    statistics = {name: Statistics.of(value) for name, value in values.items()}
    features = torch.stack([row[FEATURES] for row in rows]).float()
    return statistics, round(features.mean().item(), 4), round(features.std().item(), 4)


def make_student(
    args: DistillationArguments,
    config: ASMConfig,
    teachers: list[Teacher],
    statistics: dict[str, Statistics],
    feature_extractor: ASMFeatureExtractor,
) -> Student:
    """Return a student with the labels of the first teacher that has any."""
    labelled = next((teacher for teacher in teachers if teacher.id2label), None)
    if labelled is None:
        raise ValueError("No teacher has labels. Name one's `labels`, a table with the column `display_name`.")
    config.id2label, config.problem_type = labelled.id2label, "multi_label_classification"
    config.label2id = {label: index for index, label in labelled.id2label.items()}
    if args.start:
        model = ASMForAudioClassification.from_pretrained(args.start, config=config, ignore_mismatched_sizes=True)
    else:
        model = ASMForAudioClassification(config)
    weights = {
        f"{name}.{target}": weight
        for name, teacher in args.teachers.items()
        for target, weight in teacher.get("loss_weights", {}).items()
    }
    targets = [target for teacher in teachers for target in teacher.targets]
    targets = [target for target in targets + means_of(targets) if weights.get(target.name, 1.0) > 0]
    return Student(model, targets, statistics, weights, feature_extractor.seconds_per_frame)
