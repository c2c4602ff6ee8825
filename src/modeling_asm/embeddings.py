"""Embeddings of recordings of any length, from an encoder's frozen weights, and which recordings sound alike."""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from tqdm.auto import tqdm

from .audio.listing import list_recordings
from .audio.sources import open_audio
from .audio.windows import read_windows
from .loading import load_encoder


BATCH_SIZE = 16  # windows
PERPLEXITY = 30.0  # of t-SNE: about the number of neighbours of a point
FEWEST_POINTS = 4  # for t-SNE
FEWEST_TO_STANDARDIZE = 30  # recordings: mean and deviation of fewer are noise


@dataclass
class Embedding:
    """The embedding of a recording.

    Args:
        vector: The mean over its windows: float32 of shape `(size,)`.
        windows: The vector of each window: float32 of shape `(num_windows, size)`.
        times: Start and end of each window, in seconds: float64 of shape `(num_windows, 2)`.
    """

    vector: np.ndarray
    windows: np.ndarray
    times: np.ndarray


class Embedder:
    """Embeds recordings with the pooled output of an ASM. Memory does not grow with their length.

    Args:
        checkpoint: Folder of a checkpoint, the name of an encoder of this package, or a name on the Hub; its classifier
            is not used.
        device: Where to compute, such as `"cpu"` or `"cuda:0"`; by default the first accelerator, if there is one.
        window_overlap: Fraction of a window that overlaps with the next; by default the configuration's.

    Raises:
        OSError: If there is no such checkpoint.
        ValueError: If it is not an ASM, or lacks weights; or if the overlap is impossible.
    """

    def __init__(self, checkpoint: str, device: str | None = None, window_overlap: float | None = None):
        model, self.feature_extractor = load_encoder(checkpoint)
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        self.model = model.to(device or accelerator)
        config = self.model.config
        self.shift = config.window_shift if window_overlap is None else config.shift_of_overlap(window_overlap)

    @property
    def size(self) -> int:
        """Length of an embedding."""
        return self.model.config.pooled_size

    @torch.inference_mode()
    def __call__(self, source, channel: int | None = None) -> Embedding:
        """Embed a recording.

        Args:
            source: A path, URL, bytes, file object, array or dictionary, as [`open_audio`] takes it.
            channel: Number of a channel, from 0, to take instead of the mean of all.

        Raises:
            AudioFileError: If it cannot be read.
            ValueError: If its samples are not finite.
        """
        blocks = open_audio(source, self.feature_extractor.sampling_rate, channel)
        vectors, times = [], []
        for batch in batched(read_windows(blocks, self.feature_extractor, self.shift)):
            inputs = torch.stack([window for _, _, window in batch]).to(self.model.device)
            vectors.append(self.model(inputs).pooler_output.float().cpu().numpy())
            times += [(start, end) for start, end, _ in batch]
        windows = np.concatenate(vectors)
        return Embedding(windows.mean(0), windows, np.array(times))


def batched(windows: Iterator) -> Iterator[list]:
    """Yield windows in lists of at most `BATCH_SIZE`."""
    while batch := list(itertools.islice(windows, BATCH_SIZE)):
        yield batch


def embed_folder(
    folder: str, embedder: Embedder, channel: int | None = None
) -> tuple[dict[str, Embedding], dict[str, Exception]]:
    """Embed the recordings in a folder and its sub-folders; say on standard error which files are left out, and why.

    Args:
        folder: The folder.
        embedder: What embeds them.
        channel: Number of a channel of each, from 0, to take instead of the mean of all.

    Returns:
        The embeddings, and the errors of those that cannot be read, both by the path below the folder.

    Raises:
        OSError: If there is no such folder.
        ValueError: If there are no recordings in it, or none can be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{folder!r} is not a folder.")
    listing = list_recordings(root)
    if not (files := listing.files):
        raise ValueError(f"There are no recordings in {folder!r}: {listing.describe(root)}.")
    if listing.left_out:
        print(listing.describe(root), file=sys.stderr)
    embeddings, errors = {}, {}
    for file in tqdm(files, desc="Embedding", unit="file", disable=not sys.stderr.isatty()):
        name = file.relative_to(root).as_posix()
        try:
            embeddings[name] = embedder(str(file), channel)
        except ValueError as error:  # an AudioFileError is one
            errors[name] = error
    if not embeddings:
        first = next(iter(errors.values()))
        raise ValueError(f"None of the {len(files)} recordings in {folder!r} can be read: {first}")
    return embeddings, errors


class SimilarRecordings:
    """Finds the recordings whose embeddings are nearest, by their cosine, of many recordings after standardisation.

    Args:
        names: Names of the recordings.
        embeddings: Their embeddings, of shape `(num_recordings, size)`.

    Raises:
        ValueError: If there are none.
    """

    def __init__(self, names: list[str], embeddings: np.ndarray):
        if not names:
            raise ValueError("There is no recording to compare with.")
        self.names, self.mean = names, embeddings.mean(0)
        spread = embeddings.std(0)
        self.scale = np.where(spread > 1e-6 * max(spread.max(), 1e-12), spread, np.inf)
        if len(names) < FEWEST_TO_STANDARDIZE:
            self.mean, self.scale = 0.0, 1.0
        self.index = NearestNeighbors(metric="cosine").fit((embeddings - self.mean) / self.scale)

    def find(self, embedding: np.ndarray, count: int) -> list[tuple[str, float]]:
        """Return names and similarities, 1 to -1, of the nearest recordings, the nearest first."""
        row = ((embedding - self.mean) / self.scale)[None]
        distances, places = self.index.kneighbors(row, min(count, len(self.names)))
        return [(self.names[place], 1 - float(distance)) for distance, place in zip(distances[0], places[0])]


def lay_out(embeddings: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a place on a map for each embedding, by t-SNE: float32 of shape `(num_recordings, 2)`, from 0 to 1.

    Fewer than four different recordings are laid out by two numbers of their embeddings.
    """
    # t-SNE of scikit-learn crashes if all points are equal, and needs two numbers of each.
    rows, copies = np.unique(np.asarray(embeddings, np.float32), axis=0, return_inverse=True)
    rows = np.pad(rows, ((0, 0), (0, max(2 - rows.shape[1], 0))))
    if len(rows) < FEWEST_POINTS:
        places = rows[:, :2]
    else:
        perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
        scaled = (rows - rows.mean(0)) / np.maximum(rows.std(0), 1e-6 * np.abs(rows).max())
        places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(scaled)
    places = places[copies.reshape(-1)]
    low, span = places.min(0), np.maximum(np.ptp(places, axis=0), 1e-9)
    return (places - low) / span
