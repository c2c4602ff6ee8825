"""From recordings to batches of a model's inputs: decode once, keep the samples, augment, extract features."""

import hashlib
import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, List, Value
from torch import Tensor
from tqdm.auto import tqdm

from ..audio import AudioFileError, load_audio
from ..fbank import fbank, frame_sizes
from ..feature_extraction_asm import ASMFeatureExtractor
from .augmentation import Augmentation, mixup
from .labels import MULTI, REGRESSION, label_names, problem_type_of


def clip_name(audio: dict, row: int | None = None) -> str:
    """Return what to call a clip of the column `audio`: its path, or its row where it has none."""
    return audio["path"] or (f"row {row}" if row is not None else "a clip without a name")


def decode_audio(
    dataset: Dataset,
    sampling_rate: int,
    on_bad_audio: str = "error",
    keep: bool = True,
    num_proc: int | None = None,
) -> tuple[Dataset, list[str]]:
    """Decode every clip once, so that a damaged file is found before the training and not in its midst.

    The samples are kept in datasets' cache on the disk, under a name made of the files' names, sizes and times of
    change; a second run reads them from there, and so does each process of a run.

    Args:
        dataset: Clips with a column `audio`.
        sampling_rate: Rate to resample to, in hertz.
        on_bad_audio: `"error"` raises at the first clip that cannot be read; `"skip"` goes on without it.
        keep: Whether to keep the samples. Without, each epoch decodes anew, and needs no space on the disk.
        num_proc: Number of processes that decode.

    Returns:
        The readable clips with new columns `seconds` and, if they are kept, `waveform`; and a message for each other
        one, which names the file.

    Raises:
        AudioFileError: If a clip cannot be read and `on_bad_audio` is `"error"`.
        ValueError: If no clip is left.
    """

    def decode(audios: list[dict], rows: list[int]) -> dict[str, list]:
        columns: dict[str, list] = {"seconds": [], "problem": []} | ({"waveform": []} if keep else {})
        for audio, row in zip(audios, rows):
            waveform, problem = np.zeros(0, np.float32), ""
            try:
                waveform = load_audio(clip_name(audio, row), sampling_rate, audio.get("bytes"))
            except AudioFileError as error:
                problem = str(error)
            columns["seconds"].append(waveform.size / sampling_rate)
            columns["problem"].append(problem)
            if keep:
                columns["waveform"].append(waveform)
        return columns

    features = {"seconds": Value("float64"), "problem": Value("string")}
    features |= {"waveform": List(Value("float32"))} if keep else {}
    decoded = dataset.select_columns("audio").map(
        decode,
        batched=True,
        batch_size=64,
        with_indices=True,
        input_columns="audio",
        remove_columns="audio",
        features=Features(features),
        num_proc=num_proc if num_proc and len(dataset) > 64 * num_proc else None,
        cache_file_name=cache_file(dataset, sampling_rate) if keep else None,
        desc="Decoding",
    )
    problems = [problem for problem in decoded["problem"] if problem]
    if problems and on_bad_audio == "error":
        raise AudioFileError(f"{problems[0]} Use --on_bad_audio skip to go on without such files.")
    if len(problems) == len(dataset):
        raise ValueError(f"None of {len(problems)} audio files can be read; the first: {problems[0]}")
    good = [row for row, problem in enumerate(decoded["problem"]) if not problem]
    dataset = datasets.concatenate_datasets([dataset, decoded.remove_columns("problem")], axis=1)
    return dataset.select(good) if problems else dataset, problems


def fingerprint(dataset: DatasetDict, contents: bool = True) -> str:
    """Return what tells these rows from others: another text where a clip, a label or a speaker is another.

    Args:
        dataset: The splits.
        contents: Whether to read the files. Without, a file of the same name and size is the same.
    """
    digest = hashlib.sha256()
    for name, split in dataset.items():
        digest.update(f"{name} {len(split)} {split.column_names}".encode())
        for row in split:
            audio = row.pop("audio")
            stored, path = audio.get("bytes"), audio["path"] or ""
            if stored is None and os.path.isfile(path):
                stored = Path(path).read_bytes() if contents else b"%d" % os.path.getsize(path)
            digest.update(f"{os.path.basename(path)} {row}\n".encode())
            digest.update(stored or b"")
    return digest.hexdigest()[:16]


def cache_file(dataset: Dataset, sampling_rate: int) -> str:
    """Return where the samples of these clips are kept: another name whenever a file is another or has changed."""
    digest = hashlib.sha256(f"1 {sampling_rate}".encode())  # 1: what `decode_audio` writes has this form
    for audio in dataset["audio"]:
        if audio.get("bytes") is not None:
            digest.update(audio["bytes"])
        elif os.path.isfile(audio["path"]):
            status = os.stat(audio["path"])
            digest.update(f"{os.path.abspath(audio['path'])} {status.st_size} {status.st_mtime_ns}".encode())
        else:
            digest.update(audio["path"].encode())
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "modeling_asm"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{digest.hexdigest()[:32]}.arrow")


def read_waveform(row: dict, sampling_rate: int) -> np.ndarray:
    """Return the samples of a clip: kept ones, or decoded now."""
    if row.get("waveform") is not None:
        return np.array(row["waveform"], dtype=np.float32)  # a copy, for what is kept is read-only
    return load_audio(clip_name(row["audio"]), sampling_rate, row["audio"].get("bytes"))


def measure_features(dataset: Dataset, feature_extractor: ASMFeatureExtractor) -> tuple[float, float]:
    """Compute mean and standard deviation of the log-mel energies of all frames of all clips, without padding."""
    count, total, squares = 0, 0.0, 0.0
    rate, window = feature_extractor.sampling_rate, feature_extractor.frame_length
    shift, num_mel_bins = feature_extractor.frame_shift, feature_extractor.num_mel_bins
    shortest = frame_sizes(rate, window, shift)[0]
    for row in tqdm(dataset.with_format("numpy"), desc="Mean and standard deviation", unit="clip"):
        waveform = torch.from_numpy(read_waveform(row, rate))
        waveform = torch.nn.functional.pad(waveform, (0, max(0, shortest - waveform.shape[0])))
        features = fbank(waveform[None], rate, num_mel_bins, window, shift).double()
        count += features.numel()
        total += features.sum().item()
        squares += features.square().sum().item()
    mean = total / count
    std = math.sqrt(max(squares / count - mean**2, 0.0))
    if std == 0:
        raise ValueError("All training clips are digital silence: nothing can be learnt from them.")
    return mean, std


@dataclass
class ClipTransform:
    """Turn rows of a data set into what a model is called with.

    Args:
        feature_extractor: ASM's, AST's, or one that returns waveforms, as wav2vec2's.
        features: The data set's features, for the labels.
        window_samples: Samples that the model hears. A longer clip is cut at its end or, with augmentation, at random.
        augmentation: What is done to training clips; `None` for evaluation.
        label_smoothing: Share of a target that is spread over all classes.
    """

    feature_extractor: object
    features: Features
    window_samples: int
    augmentation: Augmentation | None = None
    label_smoothing: float = 0.0
    problem_type: str = field(init=False)
    num_labels: int = field(init=False)

    def __post_init__(self):
        self.problem_type = problem_type_of(self.features)
        self.num_labels = len(label_names(self.features))

    def __call__(self, rows: list[dict], rng: np.random.Generator) -> dict[str, Tensor]:
        """Return the model's inputs and `labels`: class indices, probabilities of the classes, or numbers."""
        rate = self.feature_extractor.sampling_rate
        waveforms = [self.cut(torch.from_numpy(read_waveform(row, rate)), rng) for row in rows]
        labels = self.targets([row["label"] for row in rows])
        if self.augmentation is not None:
            waveforms = self.augmentation.augment_waveforms(waveforms, rate, rng)
        inputs = extract_features(self.feature_extractor, waveforms, self.window_samples)
        if self.augmentation is not None:
            features = inputs["input_values"]
            if features.ndim == 3:  # a spectrogram
                normalised = getattr(self.feature_extractor, "do_normalize", True)
                decibel = math.log(10) / 10 / (2 * self.feature_extractor.std if normalised else 1)
                features = self.augmentation.augment_features(features, decibel, rng)
            if self.augmentation.mixup > 0:
                features, labels = mixup(features, labels, self.augmentation.mixup, rng)
            inputs["input_values"] = features
        return inputs | {"labels": labels}

    def cut(self, waveform: Tensor, rng: np.random.Generator) -> Tensor:
        """Cut a clip to the model's window, with room for a change of speed."""
        if self.augmentation is None:
            return waveform[: self.window_samples]
        room = math.ceil(self.window_samples * (1 + self.augmentation.speed))
        start = int(rng.integers(0, max(waveform.shape[0] - room, 0), endpoint=True))
        return waveform[start : start + room]

    def targets(self, labels: list) -> Tensor:
        """Class indices of shape `(batch_size,)`; or floats of shape `(batch_size, num_labels)`, or of numbers."""
        if self.problem_type == REGRESSION:
            return torch.tensor(labels, dtype=torch.float32)
        soft = self.augmentation is not None or self.label_smoothing > 0
        if self.problem_type != MULTI and not soft:
            return torch.tensor(labels)
        targets = torch.zeros(len(labels), self.num_labels)
        for row, label in zip(targets, labels):
            row[torch.tensor(label, dtype=torch.long)] = 1.0
        share = self.label_smoothing
        return targets * (1 - share) + share / (2 if self.problem_type == MULTI else self.num_labels)


def extract_features(feature_extractor, waveforms: list[Tensor], window_samples: int) -> dict[str, Tensor]:
    """Call a feature extractor, with a window of fixed length where it does not have one by itself.

    Args:
        feature_extractor: ASM's, AST's, or one that returns waveforms, as wav2vec2's.
        waveforms: Float clips in [-1, 1], each of shape `(num_samples,)`, at the extractor's rate.
        window_samples: Samples that the model hears.
    """
    options = {"sampling_rate": feature_extractor.sampling_rate, "return_tensors": "pt"}
    if not hasattr(feature_extractor, "num_mel_bins"):
        options |= {"padding": "max_length", "max_length": window_samples, "truncation": True}
    return dict(feature_extractor([waveform.numpy() for waveform in waveforms], **options))


class ClipDataset(torch.utils.data.Dataset):
    """The clips of a data set as a model's inputs, with `index`, the row.

    What augmentation draws depends on the seed, the epoch and the rows of the batch alone: neither on the number of
    workers nor on what ran before, so that an interrupted run goes on as if it had not been.

    Args:
        dataset: Clips, as [`decode_audio`] leaves them.
        transform: What makes inputs of them.
        seed: Seed of the draws.
        balanced: Whether to draw as many clips of each class in an epoch, with repetition, instead of each clip once.
    """

    def __init__(self, dataset: Dataset, transform: ClipTransform, seed: int = 0, balanced: bool = False):
        columns = [name for name in ("waveform", "audio", "label") if name in dataset.column_names]
        if "waveform" in columns:
            columns.remove("audio")
        self.rows = dataset.select_columns(columns).with_format("numpy" if "waveform" in columns else None)
        self.transform, self.seed = transform, seed
        self.weights = balancing_weights(dataset) if balanced else None
        self.set_epoch(0)

    def set_epoch(self, epoch: int):
        """Choose the draws of an epoch."""
        self.epoch, self.order = epoch, None
        if self.weights is not None:
            rng = np.random.default_rng([self.seed, epoch])
            self.order = rng.choice(len(self.rows), len(self.rows), p=self.weights)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        """Return the inputs of a batch, which a `DataLoader` asks for at once."""
        rng = np.random.default_rng([self.seed, self.epoch, *indices])
        if self.order is not None:
            indices = self.order[indices].tolist()
        batch = self.transform(columns_to_rows(self.rows[indices]), rng) | {"index": torch.tensor(indices)}
        return columns_to_rows(batch)


class ClipStream(torch.utils.data.IterableDataset):
    """The clips of a streamed data set as a model's inputs; its order is the stream's.

    Each worker reads the whole stream, and decodes every n-th batch of it: what comes does not depend on their number.
    Training clips come again and again, in another order each time, so that the number of a batch says all about it,
    and an interrupted run goes on with the next one.

    Args:
        dataset: Clips that come one after another.
        transform: What makes inputs of them.
        batch_size: Clips that are augmented, and mixed, together.
        seed: Seed of the draws.
        on_bad_audio: `"error"` raises at a clip that cannot be read; `"skip"` goes on without it.
        endless: Whether the stream starts again at its end.
    """

    def __init__(
        self,
        dataset: IterableDataset,
        transform: ClipTransform,
        batch_size: int,
        seed: int,
        on_bad_audio: str,
        endless: bool = False,
    ):
        self.dataset, self.transform, self.batch_size = dataset, transform, batch_size
        self.seed, self.on_bad_audio, self.endless = seed, on_bad_audio, endless

    def rows(self) -> Iterator[dict]:
        """The rows of one pass, or of one after another."""
        for epoch in itertools.count() if self.endless else [0]:
            self.dataset.set_epoch(epoch)
            for columns in self.dataset.iter(self.batch_size):  # a plain loop would share the rows among workers
                yield from columns_to_rows(columns)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        rate = self.transform.feature_extractor.sampling_rate
        worker = torch.utils.data.get_worker_info()
        first, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rows = self.rows()
        for number, batch in enumerate(iter(lambda: list(itertools.islice(rows, self.batch_size)), [])):
            if number % workers != first:
                continue
            batch, _ = readable_rows(batch, rate, self.on_bad_audio)
            if batch:
                yield from columns_to_rows(self.transform(batch, np.random.default_rng([self.seed, number])))


def readable_rows(rows: list[dict], sampling_rate: int, on_bad_audio: str) -> tuple[list[dict], list[str]]:
    """Decode rows of a stream into their `waveform`, and leave out, or raise at, those that cannot be read."""
    good, problems = [], []
    for row in rows:
        try:
            good.append({"waveform": read_waveform(row, sampling_rate), "label": row["label"]})
        except AudioFileError as error:
            if on_bad_audio == "error":
                raise AudioFileError(f"{error} Use --on_bad_audio skip to go on without such files.") from error
            problems.append(str(error))
    return good, problems


def columns_to_rows(columns: dict) -> list[dict]:
    """Turn columns of equal length into rows."""
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def count_classes(dataset: Dataset) -> np.ndarray:
    """Count the clips of each class: integers of shape `(num_labels,)`."""
    counts = np.zeros(len(label_names(dataset.features)), dtype=np.int64)
    for label in dataset["label"]:
        counts[label] += 1
    return counts


def balancing_weights(dataset: Dataset) -> np.ndarray:
    """Return the probability of each clip with which all classes are drawn alike often: shape `(num_clips,)`.

    A clip with several labels has the weight of its rarest one.
    """
    if not isinstance(dataset.features["label"], (ClassLabel, List)):
        raise ValueError("--class_balance sampling needs classes, and a regression has none.")
    rarity = 1 / np.maximum(count_classes(dataset), 1)
    weights = np.array([np.max(rarity[label], initial=0.0) for label in dataset["label"]])
    return weights / weights.sum()
