"""Batches of a bank, augmented on the student's side alone: the teachers have heard the mixtures as they are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.data import Dataset

from .bank import FEATURES, is_whole


@dataclass
class StudentAugmentation:
    """What happens to the features that a student gets, and not to what the teachers said.

    Args:
        gain: Largest change of loudness, in decibels.
        equalizer: Largest change of the level of a mel bin, in decibels.
        frequency_mask: Widest mask along frequency, in mel bins.
        time_mask: Longest mask along time, in frames.
    """

    gain: float = 8.0
    equalizer: float = 5.0
    frequency_mask: int = 8
    time_mask: int = 24

    def __post_init__(self):
        for name, value in vars(self).items():
            if not value >= 0:
                raise ValueError(f"`{name}` must be at least 0, got {value!r}.")

    def __call__(self, features: Tensor, mean: float, generator: torch.Generator | None = None) -> Tensor:
        """Augment log-mel energies of shape `(batch_size, frames, mel_bins)`; masks have the mean's value."""
        size, frames, bins = features.shape
        nepers = 0.1 * torch.log(torch.tensor(10.0))  # of power, to a decibel
        loudness = torch.empty(size, 1, 1).uniform_(-self.gain, self.gain, generator=generator)
        points = torch.empty(size, 1, 6).uniform_(-self.equalizer, self.equalizer, generator=generator)
        curve = nn.functional.interpolate(points, size=bins, mode="linear", align_corners=True)
        features = features + nepers * (loudness + curve)
        features = features.masked_fill(draw_mask(size, bins, self.frequency_mask, generator)[:, None], mean)
        return features.masked_fill(draw_mask(size, frames, self.time_mask, generator)[:, :, None], mean)


def draw_mask(rows: int, size: int, longest: int, generator: torch.Generator | None = None) -> Tensor:
    """Return a mask of shape `(rows, size)`, true in one stretch of each row, of 0 to `longest` places."""
    length = torch.randint(0, min(longest, size) + 1, (rows, 1), generator=generator)
    start = (torch.rand(rows, 1, generator=generator) * (size - length + 1)).long()
    places = torch.arange(size)
    return (places >= start) & (places < start + length)


class BankDataset(Dataset):
    """The mixtures of a bank. It opens its shards where they are read, and reads single rows.

    Args:
        paths: Its shards.

    Raises:
        ValueError: If a shard is damaged.
    """

    def __init__(self, paths: list[Path]):
        if damaged := [path for path in paths if not is_whole(path)]:
            raise ValueError(f"The shard {str(damaged[0])!r} is damaged. Delete it, and run the same command again.")
        self.paths, self.slices = paths, {}
        with safe_open(paths[0], "pt") as file:
            self.names = list(file.keys())
            self.rows = file.get_slice(self.names[0]).get_shape()[0]

    def __len__(self) -> int:
        return len(self.paths) * self.rows

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the features and targets of a mixture, in half precision, and its place as `index`."""
        number, row = divmod(index, self.rows)
        if number not in self.slices:
            file = safe_open(self.paths[number], "pt")
            self.slices[number] = {name: file.get_slice(name) for name in self.names}
        return {name: values[row] for name, values in self.slices[number].items()} | {"index": torch.tensor(index)}

    def __getstate__(self) -> dict:
        """Leave the open files out of what workers get."""
        return {**self.__dict__, "slices": {}}


class Collator:
    """Stacks mixtures, augments and normalises their features.

    Args:
        mean: Mean of the features.
        std: Their standard deviation; the student gets `(features - mean) / (2 * std)`.
        augmentation: What is done to the features first; nothing for validation.
        seed: Seed of the augmentation. It depends on the seed and on the mixtures of the batch alone, whatever process
            or worker stacks them, and whatever was stacked before.
    """

    def __init__(self, mean: float, std: float, augmentation: StudentAugmentation | None = None, seed: int = 0):
        self.mean, self.std, self.augmentation, self.seed = mean, std, augmentation, seed

    def __call__(self, rows: list[dict[str, Tensor]]) -> dict:
        """Return `input_values`, `(batch_size, max_length, num_mel_bins)`, and `targets` by their names."""
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        features, indices = batch.pop(FEATURES).float(), batch.pop("index").tolist()
        if self.augmentation is not None:
            drawn = np.random.SeedSequence([self.seed, *indices]).generate_state(1)
            features = self.augmentation(features, self.mean, torch.Generator().manual_seed(int(drawn[0])))
        return {"input_values": (features - self.mean) / (2 * self.std), "targets": batch}
