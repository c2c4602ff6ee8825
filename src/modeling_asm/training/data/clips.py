"""From decoded clips to batches of a model's inputs: cut, augment, extract features, mix."""

import itertools
import math
import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset, Features, IterableDataset
from torch import Tensor
from tqdm.auto import tqdm
from transformers.utils import logging

from ...audio.channels import Downmix
from ...audio.files import AudioFileError
from ...audio.statistics import FeatureStatistics, measure_recording
from ...feature_extraction_asm import ASMFeatureExtractor
from ..augmentation import Augmentation, mixup
from ..frontend import Frontend
from ..tasks import label_names, task_of
from .decoding import SKIP, clip_name, decode_clip, read_stretch
from .labels import balancing_probabilities


logger = logging.get_logger(__name__)

HARDLY_LONGER = 1.05  # than a window: such a clip has one


def measure_features(
    dataset: Dataset, feature_extractor: ASMFeatureExtractor, channel: int | None = None
) -> tuple[float, float]:
    """Compute mean and standard deviation of the log-mel energies of all frames of all clips, without padding."""
    statistics, options = FeatureStatistics(), {**feature_extractor.to_dict(), "do_normalize": False}
    plain = ASMFeatureExtractor(**options)
    for row in tqdm(ClipRows(dataset), desc="Mean and standard deviation", unit="clip"):
        if row.get("waveform") is not None:  # of one channel already
            measure_recording(row["waveform"], plain, statistics)
        else:
            measure_recording(row["audio"], plain, statistics, channel)
    return statistics.result()


@dataclass
class ClipTransform:
    """Turn rows of a data set into the inputs of a model.

    Args:
        frontend: The model's feature extractor and window. Longer clips are cut at their end or, with augmentation,
            at random.
        features: The data set's features, for the labels.
        augmentation: Augmentation of training clips; `None` for evaluation.
        label_smoothing: Fraction of a target that is spread over all classes.
        channel: Number of a channel of each clip, from 0, to take instead of the mean of all.
    """

    frontend: Frontend
    features: Features
    augmentation: Augmentation | None = None
    label_smoothing: float = 0.0
    channel: int | None = None

    def __call__(self, rows: Iterable[dict], rng: np.random.Generator) -> dict[str, Tensor]:
        """Return the model's inputs and `labels`: class indices, class probabilities, or numbers."""
        waveforms, labels = zip(*((self.cut(row, rng), row["label"]) for row in rows))
        return self.extract(list(waveforms), list(labels), rng)

    def extract(self, waveforms: list[np.ndarray], labels: list, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return the same for clips that were cut."""
        rate = self.frontend.sampling_rate
        waveforms, labels = [torch.from_numpy(waveform) for waveform in waveforms], self.targets(labels)
        if self.augmentation is not None:
            waveforms = self.augmentation.augment_waveforms(waveforms, rate, rng)
        inputs = self.frontend.extract(waveforms)
        if self.augmentation is not None:
            features = inputs["input_values"]
            if self.frontend.is_spectrogram:
                decibel, mean = self.frontend.units_per_decibel, self.frontend.mean
                features = self.augmentation.augment_features(features, decibel, rng, mean)
            if self.augmentation.mixup > 0:
                features, labels = mixup(features, labels, self.augmentation.mixup, rng)
            inputs["input_values"] = features
        return inputs | {"labels": labels}

    def cut(self, row: dict, rng: np.random.Generator) -> np.ndarray:
        """Read a piece of a clip: the model's window, with room for a change of speed."""
        rate, start, length = self.frontend.sampling_rate, 0, self.frontend.window_samples
        if self.augmentation is not None:
            length = math.ceil(length * (1 + self.augmentation.speed))
            start = int(rng.integers(0, max(round(row["seconds"] * rate) - length, 0), endpoint=True))
        return read_stretch(row, start, length, rate, self.channel)

    def targets(self, labels: list) -> Tensor:
        """Return the labels of a batch as the loss takes them: see [`Task.targets`]."""
        soft = self.augmentation is not None  # mixup blends them
        return task_of(self.features).targets(labels, len(label_names(self.features)), soft, self.label_smoothing)


def collate_clips(batch: dict | list[dict]) -> dict[str, Tensor]:
    """Return a batch of [`ClipDataset`] as it is, or stack the rows of a [`ClipStream`]; for a `DataLoader`."""
    return batch if isinstance(batch, dict) else torch.utils.data.default_collate(batch)


class ClipRows(torch.utils.data.Dataset):
    """The rows of decoded clips: `label`, `seconds`, and either the cached `waveform` or `audio`.

    Args:
        dataset: Clips, as [`decode_audio`] returns them.
    """

    def __init__(self, dataset: Dataset):
        names = [name for name in ("label", "seconds", "waveform") if name in dataset.column_names]
        self.rows = dataset.select_columns(names).with_format("numpy" if "waveform" in names else None)
        self.audio = dataset.select_columns("audio")

    def file_names(self, indices: list[int]) -> list[str]:
        """Return the names of clips."""
        return [clip_name(self.audio[index]["audio"], index) for index in indices]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return next(self.read([index]))

    def read(self, indices: list[int]) -> Iterator[dict]:
        """Yield several rows. The content of a file is read when its row is reached, unless its samples are cached."""
        for row, index in zip(columns_to_rows(self.rows[indices]), indices):
            uncached = not len(row.get("waveform", ()))
            yield row | {"waveform": None, "audio": self.audio[index]["audio"]} if uncached else row


class ClipDataset(torch.utils.data.Dataset):
    """The clips of a data set as a model's inputs, with the row of each as `index`.

    Augmentation depends only on the seed, the epoch and the rows of the batch, not on the number of workers or on what
    ran before, so an interrupted run continues as if it had not been interrupted. A `DataLoader` needs
    [`collate_clips`], since it gets whole batches, and transformers' `Trainer` also `remove_unused_columns=False`.

    Args:
        dataset: Clips, as [`decode_audio`] returns them.
        transform: What turns them into inputs.
        seed: Seed of the augmentation.
        balanced: Whether to draw equally many clips of each class in an epoch, with replacement, instead of each clip
            once.
    """

    def __init__(self, dataset: Dataset, transform: ClipTransform, seed: int = 0, balanced: bool = False):
        self.rows, self.transform, self.seed = ClipRows(dataset), transform, seed
        self.probabilities = balancing_probabilities(dataset) if balanced else None
        self.set_epoch(0)

    def set_epoch(self, epoch: int):
        """Set the epoch, which decides the augmentation and the drawn clips."""
        self.epoch, self.order = epoch, None
        if self.probabilities is not None:
            rng = np.random.default_rng([self.seed, epoch])
            self.order = rng.choice(len(self.rows), len(self.rows), p=self.probabilities)

    def file_names(self, indices: list[int]) -> list[str]:
        """Return the names of the clips with these values of `index`."""
        return self.rows.file_names(indices)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """Return the inputs of a batch, which a `DataLoader` requests as a whole."""
        rng = np.random.default_rng([self.seed, self.epoch, *indices])
        if self.order is not None:
            indices = self.order[indices].tolist()
        return self.transform(self.rows.read(indices), rng) | {"index": torch.tensor(indices)}


class ClipWindows(torch.utils.data.Dataset):
    """All windows of clips as a model's inputs, without augmentation; `index` is the row of the clip.

    The windows of a clip follow each other, the last one ends with it, and together they have all of it.

    Args:
        dataset: Clips, as [`decode_audio`] returns them.
        transform: What turns them into inputs.
        shift: Distance between windows, in samples; by default, as few windows as reach the end, evenly spaced.
        step: The last window starts at a multiple of so many samples.
    """

    def __init__(self, dataset: Dataset, transform: ClipTransform, shift: int | None = None, step: int = 1):
        self.rows, self.transform = ClipRows(dataset), transform
        rate, window = transform.frontend.sampling_rate, transform.frontend.window_samples
        self.places = []
        for row, seconds in enumerate(dataset["seconds"]):
            last = max(round(seconds * rate) - window, 0) // step * step
            starts = [*range(0, last, shift), last] if shift else np.linspace(0, last, math.ceil(last / window) + 1)
            self.places += [(row, round(start)) for start in starts]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """Return the inputs of a batch, as [`ClipDataset`] does."""
        clips, starts = zip(*(self.places[index] for index in indices))
        frontend, waveforms, labels = self.transform.frontend, [], []
        for row, start in zip(self.rows.read(list(clips)), starts):
            length, channel = frontend.window_samples, self.transform.channel
            waveforms.append(read_stretch(row, start, length, frontend.sampling_rate, channel))
            labels.append(row["label"])
        inputs = self.transform.extract(waveforms, labels, np.random.default_rng(0))
        return inputs | {"index": torch.tensor(clips)}


class ClipStream(torch.utils.data.IterableDataset):
    """The clips of a streamed data set as a model's inputs, with the position of each in the stream as `index`.

    Each worker reads the whole stream and decodes every n-th batch, so the batches do not depend on the number of
    workers. Training clips are repeated in a new order each time, so the number of a batch determines it, and an
    interrupted run continues with the next one.

    Args:
        dataset: The stream.
        transform: What turns clips into inputs.
        batch_size: Number of clips that are augmented and mixed together.
        seed: Seed of the augmentation.
        on_bad_audio: `"error"` raises at a clip that cannot be read; `"skip"` warns, and omits it.
        endless: Whether the stream restarts at its end.
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
        self.warned = False  # of channels that cancel each other
        self.skipped = multiprocessing.Value("q", 0)  # clips that cannot be read, in all workers and epochs

    def rows(self) -> Iterator[dict]:
        """Yield the rows of one pass or, if endless, of one after another."""
        for epoch in itertools.count() if self.endless else [0]:
            self.dataset.set_epoch(epoch)
            for columns in self.dataset.iter(1):  # a plain loop would share the rows among workers
                yield from columns_to_rows(columns)

    def file_names(self, indices: list[int]) -> list[str]:
        """Return the names of the clips with these values of `index`; the stream is read again up to them."""
        rows = enumerate(itertools.islice(self.rows(), max(indices) + 1))
        names = {index: clip_name(row["audio"], index) for index, row in rows if index in indices}
        return [names[index] for index in indices]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        first, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for number, batch in itertools.groupby(enumerate(self.rows()), lambda row: row[0] // self.batch_size):
            if number % workers != first:
                continue
            rng = np.random.default_rng([self.seed, number])
            if good := list(self.cut(batch, rng)):
                indices, waveforms, labels = zip(*good)
                inputs = self.transform.extract(waveforms, labels, rng)
                yield from columns_to_rows(inputs | {"index": torch.tensor(indices)})

    def cut(self, batch: Iterator[tuple[int, dict]], rng: np.random.Generator) -> Iterator[tuple]:
        """Yield index, samples and label of each row of a batch as it arrives, so that recordings are not collected.

        Those that cannot be read are left out, or raise.
        """
        rate, channel = self.transform.frontend.sampling_rate, self.transform.channel
        for index, row in batch:
            downmix = Downmix(repr(clip_name(row["audio"], index)), channel)
            try:
                waveform, number = decode_clip(row["audio"], rate, downmix)
            except AudioFileError as error:
                if self.on_bad_audio == "error":
                    raise AudioFileError(f"{error}{SKIP}") from error
                logger.warning(f"Skipped: {error}")
                with self.skipped.get_lock():
                    self.skipped.value += 1
                continue
            if not self.warned:
                self.warned = downmix.cancels
                downmix.warn()
            yield index, self.transform.cut({**row, "waveform": waveform, "seconds": number / rate}, rng), row["label"]


def columns_to_rows(columns: dict) -> list[dict]:
    """Turn columns of equal length into rows."""
    return [dict(zip(columns, values)) for values in zip(*columns.values())]
