"""A distillation: from a pool of audio and teachers to a general encoder in a folder."""

import hashlib
import json
import zlib
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from ...configuration_asm import ASMConfig
from ...feature_extraction_asm import ASMFeatureExtractor
from ...general import resolve_checkpoint
from ..models import checkpoint_name
from ..report.publishing import open_repository, push_to_hub
from ..run_folder import finished_results, open_run
from ..teachers.load import load_teachers
from ..teachers.soft_labels import digest_weights
from ..teachers.targets import Teacher
from ..training_arguments import DECISIVE
from .arguments import DistillationArguments, DistillationTrainingArguments
from .bank import FEATURES, count_shards, describe_bank, fill_bank, open_folder
from .batches import BankDataset, Collator, StudentAugmentation
from .encoder import state_licence, write_encoder
from .lesson import choose_targets, load_start, make_student
from .mixtures import MixtureMaker, MixtureSettings
from .pool import RECORDINGS_FILE, AudioPool, Recording
from .probe import make_probe, open_set
from .student import add_means
from .trainer import AverageCallback, DistillationTrainer, ProbeCallback
from .whitening import whiten


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


def labellers_of(args: DistillationArguments) -> tuple[str, str]:
    """Return the arguments of [`make_labellers`]."""
    return json.dumps(front_end_of(args)), json.dumps(args.teachers)


def front_end_of(args: DistillationArguments) -> dict:
    """Return what the student's features are, without their mean and deviation."""
    config = ASMConfig(**args.model)
    return {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}


def run_distillation(
    args: DistillationArguments, training_args: DistillationTrainingArguments, command: str = ""
) -> dict:
    """Fill the bank, train the student, write the encoder into `training_args.output_dir`, and publish it if asked.

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
        ChildProcessError: If a process that fills the bank is killed.
        ImportError: If a teacher needs a package that is missing.
        PublishingError: If the Hub does not accept the encoder.
    """
    repository = open_repository(training_args)
    results = distil(args, training_args, command, repository)
    if repository and training_args.process_index == 0:
        options = {"token": training_args.hub_token, "revision": training_args.hub_revision}
        push_to_hub(training_args.output_dir, repository, **options)
        print(f"Published: {repository}")
    return results


def distil(
    args: DistillationArguments,
    training_args: DistillationTrainingArguments,
    command: str,
    repository: str | None,
) -> dict:
    """Fill the bank, train the student, and write the encoder, for such a repository; return its results."""
    folder = Path(training_args.output_dir)
    pool = AudioPool(args.pool)
    check_kinds(args, pool)
    config = ASMConfig(**args.model)
    feature_extractor, teachers = make_labellers(*labellers_of(args))
    with training_args.main_process_first(desc="opening the run"):
        open_run(folder, settings_of(args, training_args, teachers))
    if (results := finished_results(folder)) is not None:
        print(f"The run in {str(folder)!r} is finished: nothing is trained again.")
        return state_licence(folder, results, args, repository) if training_args.process_index == 0 else results
    lesson = choose_targets(args.teachers, teachers)  # and what else can be wrong is found before the bank is filled
    for data_dir in args.probe_dirs:
        open_set(data_dir)
    if args.start:
        load_start(args.start, lesson.labels_into(config))
    with training_args.main_process_first(desc="filling the bank"):
        paths = prepare_banks(args)
    train, validation = (BankDataset(part) for part in paths)
    examples, mixtures, mean, std = measure(train, teachers)
    set_seed(training_args.seed)
    feature_extractor = ASMFeatureExtractor(**front_end_of(args), mean=mean, std=std)
    student = make_student(args.start, config, lesson, examples, mixtures, feature_extractor.seconds_per_frame)
    set_seed(training_args.seed + training_args.process_index)  # each process drops its own
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
    trained = trainer.train(resume_from_checkpoint=checkpoint)
    losses = {name.removeprefix("eval_"): value for name, value in trainer.evaluate().items() if name != "epoch"}
    if not trainer.is_world_process_zero():
        return {"metrics": losses}
    if config.embedding_dim is not None:
        whiten(average.average.model, mixtures)
    seconds = None if checkpoint else round(trained.metrics["train_runtime"])
    run = {"command": command, "metrics": losses, "seconds": seconds, "log": trainer.state.log_history}
    return write_encoder(folder, run, args, training_args, average.average, teachers, feature_extractor, repository)


def settings_of(
    args: DistillationArguments, training_args: DistillationTrainingArguments, teachers: list[Teacher]
) -> dict:
    """Return what decides the result of a run: the content of its files and folders, not their paths."""
    aside = ("num_processes", "licence", "credit", "probe_dirs", "probe_steps", "pool", "bank", "start")
    own = {name: value for name, value in asdict(args).items() if name not in aside}
    own["teachers"] = [
        teacher.describe() | {"loss_weights": args.teachers[teacher.name].get("loss_weights", {})}
        for teacher in teachers
    ]
    own |= {"pool": digest_pool(args.pool), "start": args.start and checkpoint_name(args.start)}
    own["start_weights"] = digest_weights(args.start and resolve_checkpoint(args.start))
    trained = {name: getattr(training_args, name) for name in DECISIVE if hasattr(training_args, name)}
    return json.loads(json.dumps(own | trained | {"processes": training_args.world_size}, default=str))


def digest_pool(folder: str) -> str:
    """Return a digest of the recordings of a pool."""
    return hashlib.sha256((Path(folder) / RECORDINGS_FILE).read_bytes()).hexdigest()[:16]


def prepare_banks(args: DistillationArguments) -> tuple[list[Path], list[Path]]:
    """Fill the bank to learn from and the one for the validation; return their shards."""
    labellers = labellers_of(args)
    feature_extractor, teachers = make_labellers(*labellers)
    digest, seed = digest_pool(args.pool), args.bank_seed
    seconds = feature_extractor.nb_max_samples / feature_extractor.sampling_rate
    train, validation = [], []
    for part, chosen in args.mixtures.items():
        chosen = {name: value for name, value in chosen.items() if name != "number"}
        settings = MixtureSettings(seconds, feature_extractor.sampling_rate, **chosen)
        description = describe_bank(feature_extractor, teachers, settings, digest, args.validation_share)
        numbers = ((train, "train", args.mixtures[part]["number"]), (validation, "validation", args.num_validation))
        for paths, name, number in numbers:
            folder, held_out = Path(args.bank) / part / name, name == "validation"
            open_folder(folder, {**description, "part": name, "bank_seed": seed})
            own = zlib.crc32(f"{part} {name} {seed}".encode())  # the same wherever a recipe names the part
            maker = partial(make_maker, args.pool, json.dumps(asdict(settings)), args.validation_share, seed, held_out)
            labels = partial(make_labellers, *labellers)
            paths += fill_bank(folder, count_shards(number), own, maker, labels, args.num_processes)
    return train, validation


def measure(bank: BankDataset, teachers: list[Teacher]) -> tuple[dict[str, Tensor], Tensor, float, float]:
    """Return what teachers say of some mixtures, by target, their normalised features, and mean and deviation."""
    indices = np.random.default_rng(0).permutation(len(bank))[:STATISTICS_MIXTURES].tolist()
    rows = [bank[index] for index in indices]
    names = [target.name for teacher in teachers for target in teacher.targets]
    examples = add_means({name: torch.stack([row[name] for row in rows]) for name in names})
    features = torch.stack([row[FEATURES] for row in rows]).float()
    mean, std = round(features.mean().item(), 4), round(features.std().item(), 4)
    return examples, ((features - mean) / (2 * std)).half(), mean, std


def check_kinds(args: DistillationArguments, pool: AudioPool):
    """Raise `ValueError` if a part of the bank has a weight for an unknown kind, or none for what there is."""
    kinds = {recording.kind for recording in pool.recordings}
    divided = split_by_source(pool.recordings, args.validation_share, args.bank_seed)
    for part, settings in args.mixtures.items():
        if unknown := sorted(set(settings.get("kind_weights", {})) - kinds):
            raise ValueError(
                f"--mixtures {part} has a weight for the kind {unknown[0]!r}, but the pool has: {sorted(kinds)}."
            )
        weights = settings.get("kind_weights", {})
        for what, recordings in zip(("training", "validation"), divided):
            if not any(weights.get(recording.kind, 1) for recording in recordings):
                found = sorted({recording.kind for recording in recordings})
                raise ValueError(
                    f"`kind_weights` of --mixtures {part} leaves nothing of the audio for {what}, whose kinds are "
                    f"{found}. Weigh them above 0, or raise --validation_share."
                )
