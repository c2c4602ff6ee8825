"""From decoded clips to batches of a model's inputs: cut, augment, extract features, mix."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from datasets import Dataset, Features, IterableDataset
from torch import Tensor
from tqdm.auto import tqdm

from ..audio import AudioFileError
from ..feature_extraction_asm import ASMFeatureExtractor
from ..stats import FeatureStatistics, measure_recording
from .augmentation import Augmentation, mixup
from .balance import balancing_probabilities
from .decoding import SKIP, clip_name, read_waveform
from .labels import MULTI, REGRESSION, label_names, problem_type_of


def measure_features(dataset: Dataset, feature_extractor: ASMFeatureExtractor) -> tuple[float, float]:
    """Compute mean and standard deviation of the log-mel energies of all frames of all clips, without padding."""
    statistics, options = FeatureStatistics(), {**feature_extractor.to_dict(), "do_normalize": False}
    plain = ASMFeatureExtractor(**options)
    for row in tqdm(dataset.with_format("numpy"), desc="Mean and standard deviation", unit="clip"):
        waveform = read_waveform(row, plain.sampling_rate)
        measure_recording(waveform, plain, statistics)
    return statistics.result()


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
    clips = [waveform.numpy() for waveform in waveforms]
    options = {"sampling_rate": feature_extractor.sampling_rate, "return_tensors": "pt", "truncation": True}
    if hasattr(feature_extractor, "num_mel_bins"):
        return {"input_values": feature_extractor(clips, **options)["input_values"]}  # one window needs no mask
    return dict(feature_extractor(clips, padding="max_length", max_length=window_samples, **options))


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
        kept = "waveform" in dataset.column_names
        self.rows = dataset.select_columns(["waveform" if kept else "audio", "label"])
        self.rows = self.rows.with_format("numpy" if kept else None)
        self.audio, self.transform, self.seed = dataset.select_columns("audio"), transform, seed
        self.probabilities = balancing_probabilities(dataset) if balanced else None
        self.set_epoch(0)

    def set_epoch(self, epoch: int):
        """Choose the draws of an epoch."""
        self.epoch, self.order = epoch, None
        if self.probabilities is not None:
            rng = np.random.default_rng([self.seed, epoch])
            self.order = rng.choice(len(self.rows), len(self.rows), p=self.probabilities)

    def file_names(self, indices: list[int]) -> list[str]:
        """Return what to call the clips with these values of `index`."""
        return [clip_name(self.audio[index]["audio"], index) for index in indices]

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
    """The clips of a streamed data set as a model's inputs, with `index`, their place in the order of the stream.

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

    def file_names(self, indices: list[int]) -> list[str]:
        """Return what to call the clips with these values of `index`; the stream is read again up to there."""
        rows = list(itertools.islice(self.rows(), min(indices), max(indices) + 1))
        return [clip_name(rows[index - min(indices)]["audio"], index) for index in indices]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        first, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rows = enumerate(self.rows())
        for number, batch in enumerate(iter(lambda: list(itertools.islice(rows, self.batch_size)), [])):
            if number % workers != first:
                continue
            if good := dict(self.readable(batch)):
                inputs = self.transform(list(good.values()), np.random.default_rng([self.seed, number]))
                yield from columns_to_rows(inputs | {"index": torch.tensor(list(good))})

    def readable(self, batch: list[tuple[int, dict]]) -> Iterator[tuple[int, dict]]:
        """Decode rows into their `waveform`, and leave out, or raise at, those that cannot be read."""
        for index, row in batch:
            try:
                waveform = read_waveform(row, self.transform.feature_extractor.sampling_rate)
            except AudioFileError as error:
                if self.on_bad_audio == "error":
                    raise AudioFileError(f"{error}{SKIP}") from error
                continue
            yield index, {"waveform": waveform, "label": row["label"]}


def columns_to_rows(columns: dict) -> list[dict]:
    """Turn columns of equal length into rows."""
    return [dict(zip(columns, values)) for values in zip(*columns.values())]
