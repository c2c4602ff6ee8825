"""A bank: mixtures as a student hears them, with what the teachers say of them, in shards with checksums."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from ...feature_extraction_asm import ASMFeatureExtractor
from ..run_folder import UNFINISHED, saving
from ..teachers.targets import Teacher
from .mixtures import MixtureMaker, MixtureSettings


BANK_FILE, FEATURES, SHARDS = "bank.json", "features", "[0-9]*.safetensors"  # the last, a pattern of names
VERSION = 3  # of the code that makes and labels mixtures: raised when the same settings give others
MIXTURES_PER_SHARD, MIXTURES_PER_BATCH = 512, 8  # batches that stay in a cache are the fastest
ABANDONED_SECONDS = 3600.0  # after which an unfinished shard is that of a killed process
FRONT_END = ("num_mel_bins", "sampling_rate", "max_length", "frame_length", "frame_shift", "do_normalize")


def describe_bank(
    feature_extractor: ASMFeatureExtractor,
    teachers: Sequence[Teacher],
    settings: MixtureSettings,
    pool_digest: str,
    validation_share: float,
) -> dict:
    """Return what a bank was made of, as JSON: a bank of anything else is another one."""
    return {
        "version": VERSION,
        "pool": pool_digest,
        "front_end": {name: getattr(feature_extractor, name) for name in FRONT_END},
        "teachers": [teacher.describe() for teacher in teachers],
        "mixtures": as_json(settings),
        "validation_share": validation_share,
    }


def as_json(settings: MixtureSettings) -> dict:
    """Return settings as JSON has them, with lists for tuples."""
    return json.loads(json.dumps(asdict(settings)))


def open_folder(folder: Path, description: dict):
    """Make the folder of a bank, or check that it has one of the same pool, teachers and settings.

    Raises:
        ValueError: If it has another bank; the message says what differs.
    """
    path = folder / BANK_FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{UNFINISHED}{BANK_FILE}"
        unfinished.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        os.replace(unfinished, path)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    found["mixtures"] = as_json(MixtureSettings()) | found.get(
        "mixtures", {}
    )  # a field that came later is at its default
    for key, value in description.items():
        if found.get(key) != value:
            raise ValueError(
                f"The bank in {str(folder)!r} was made with other {key.replace('_', ' ')}: {found.get(key)!r}, not "
                f"{value!r}. Use another folder, or delete it."
            )


def write_shard(
    number: int, folder: Path, seed: int, make_maker: Callable[[], MixtureMaker], make_labels: Callable
) -> int:
    """Write a shard unless it is there; return its number. It depends on nothing but the seed and its number.

    Args:
        number: Its number.
        folder: Folder of the bank.
        seed: Seed of the bank.
        make_maker: Returns what makes mixtures, the same each time in a process.
        make_labels: Returns the feature extractor and the teachers, the same each time in a process.
    """
    path = shard_path(folder, number)
    if path.is_file() and is_whole(path):
        return number
    maker, (feature_extractor, teachers) = make_maker(), make_labels()
    rng = np.random.default_rng([seed, number])
    batches = []
    for _ in range(MIXTURES_PER_SHARD // MIXTURES_PER_BATCH):
        waveforms = np.stack([maker(rng) for _ in range(MIXTURES_PER_BATCH)])
        batches.append(label_batch(waveforms, feature_extractor, teachers))
    tensors = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}-{path.name}")
    try:
        with saving(path.name):
            save_file(tensors, unfinished, metadata={"sha256": digest_tensors(tensors)})
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return number


def label_batch(
    waveforms: np.ndarray, feature_extractor: ASMFeatureExtractor, teachers: Sequence[Teacher]
) -> dict[str, Tensor]:
    """Return features of mixtures, `(batch_size, max_length, num_mel_bins)`, and their targets, in half precision."""
    rate = feature_extractor.sampling_rate
    features = feature_extractor.extract_frames(torch.from_numpy(waveforms))[:, : feature_extractor.max_length]
    tensors = {FEATURES: features.half()}
    for teacher in teachers:
        tensors |= {name: torch.from_numpy(output).half() for name, output in teacher(waveforms, rate).items()}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def start_worker():
    """Use one thread in a process that labels: several processes share the cores."""
    torch.set_num_threads(1)


def fill_bank(
    folder: Path, num_shards: int, seed: int, make_maker: Callable, make_labels: Callable, num_processes: int
) -> list[Path]:
    """Write the shards of a bank that are not there yet; return the paths of all.

    Raises:
        ChildProcessError: If one of the processes was killed.
        CheckpointError: If a shard cannot be saved.
    """
    write = partial(write_shard, folder=folder, seed=seed, make_maker=make_maker, make_labels=make_labels)
    for path in folder.glob(f"{UNFINISHED}*.safetensors"):
        if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
            path.unlink(missing_ok=True)
    try:
        with ProcessPoolExecutor(num_processes, get_context("spawn"), initializer=start_worker) as executor:
            shards = executor.map(write, range(num_shards))
            list(tqdm(shards, desc="Filling the bank", total=num_shards, unit="shard"))
    except BrokenProcessPool as error:
        raise ChildProcessError(
            f"A process that filled the bank in {str(folder)!r} was killed, perhaps for want of memory. Lower "
            "--num_processes; the same command continues."
        ) from error
    return [shard_path(folder, number) for number in range(num_shards)]


def count_shards(number: int) -> int:
    """Return the number of shards that hold so many mixtures; the last is always a whole one."""
    return -(-number // MIXTURES_PER_SHARD)


def shard_path(folder: Path, number: int) -> Path:
    """Return the path of a shard."""
    return folder / f"{number:05d}.safetensors"


def digest_tensors(tensors: dict[str, Tensor]) -> str:
    """Return a digest of tensors and their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(memoryview(tensors[name].numpy()).cast("B"))
    return digest.hexdigest()


def is_whole(path: Path) -> bool:
    """Whether a shard has the content that it was written with."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no dictionary
            return digest_tensors(tensors) == (file.metadata() or {}).get("sha256")
    except Exception as error:  # safetensors has no public class for a damaged file
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise
        return False
