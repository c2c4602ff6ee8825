"""Plots of spectrograms with scores or saliency."""

from itertools import pairwise

import numpy as np
import torch

from .audio.sources import open_audio
from .audio.windows import FrameStream
from .feature_extraction_asm import ASMFeatureExtractor
from .figures import figure, legible, save


COLUMNS = 1500  # of an image; longer spectrograms are averaged
MOST_LABELS = 12  # rows of the lower half
MOST_WINDOWS = 500  # columns of the lower half; beyond that, neighbouring windows share a column


def average_spectrogram(
    source, feature_extractor: ASMFeatureExtractor, duration: float, channel: int | None = None
) -> np.ndarray:
    """Return a recording's normalised log-mel spectrogram, averaged along time to at most [`COLUMNS`] frames.

    Args:
        source: The recording, as [`open_audio`] takes it. It is read in blocks.
        feature_extractor: Its rate, frames and normalisation.
        duration: Length of the recording, in seconds.
        channel: Number of a channel, from 0, to take instead of the mean of all.

    Returns:
        Float32 array of shape `(num_columns, num_mel_bins)`.
    """
    stream, number = FrameStream(feature_extractor), 0
    frames_per_column = max(int(duration / feature_extractor.seconds_per_frame / COLUMNS), 1)
    sums, counts = torch.zeros(0, feature_extractor.num_mel_bins), torch.zeros(0)
    for block in open_audio(source, feature_extractor.sampling_rate, channel):
        frames = stream.push(torch.from_numpy(np.ascontiguousarray(block)))
        columns = torch.arange(number, number + len(frames)) // frames_per_column
        number += len(frames)
        missing = (int(columns[-1]) + 1 if len(frames) else 0) - len(sums)
        if missing > 0:
            sums = torch.cat([sums, sums.new_zeros(missing, sums.shape[1])])
            counts = torch.cat([counts, counts.new_zeros(missing)])
        sums.index_add_(0, columns, frames)
        counts.index_add_(0, columns, torch.ones(len(frames)))
    if number == 0:
        return stream.push(torch.zeros(stream.window - len(stream.samples))).numpy()
    return (sums / counts[:, None]).numpy()


def plot_windows(
    path: str, source, feature_extractor: ASMFeatureExtractor, windows: list[dict], channel: int | None = None
):
    """Draw the spectrogram of a recording, and the scores of its labels along time below it.

    Args:
        path: Image to write. Its extension is the format, such as `.png`: see [`~figures.check_picture`].
        source: The recording, as [`open_audio`] takes it.
        feature_extractor: The model's.
        windows: The result of [`ASMAudioClassificationPipeline`] with `return_timestamps=True, top_k=None`.
        channel: Number of a channel, from 0, to draw instead of the mean of all.

    Raises:
        ValueError: If matplotlib does not know the format.
    """
    picture = figure(figsize=(12, 6))
    duration = windows[-1]["end"]
    spectrogram = average_spectrogram(source, feature_extractor, duration, channel)
    above, below = picture.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    above.imshow(spectrogram.T, origin="lower", aspect="auto", extent=(0, duration, 0, spectrogram.shape[1]))
    above.set_ylabel("mel bin")
    scores = [{score["label"]: score["score"] for score in window["scores"]} for window in windows]
    labels = sorted(scores[0], key=lambda label: -max(row[label] for row in scores))[:MOST_LABELS]
    middles = [(window["start"] + window["end"]) / 2 for window in windows]
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(middles)), duration]
    values = np.array([[row[label] for row in scores] for label in labels])
    values, edges = share_columns(values, edges)
    image = below.pcolormesh(edges, np.arange(len(labels) + 1), values[::-1], cmap="Greys", vmin=min(0, values.min()))
    below.set_yticks(np.arange(len(labels)) + 0.5, [legible(label) for label in labels[::-1]])
    below.set_xlabel("seconds")
    picture.colorbar(image, ax=below, label="score")
    save(picture, path, dpi=100)


def share_columns(values: np.ndarray, edges: list[float]) -> tuple[np.ndarray, list[float]]:
    """Merge neighbouring windows if there are more than [`MOST_WINDOWS`], so that no short event is lost.

    Args:
        values: Scores of shape `(num_labels, num_windows)`.
        edges: Start of each window and end of the last, in seconds.

    Returns:
        The largest scores in each column, and the edges of the columns.
    """
    together = -(-values.shape[1] // MOST_WINDOWS)
    largest = np.maximum.reduceat(values, range(0, values.shape[1], together), axis=1)
    return largest, [*edges[:-1:together], edges[-1]]


def plot_saliency(
    path: str,
    spectrogram: torch.Tensor,
    saliency: torch.Tensor,
    title: str,
    start: float,
    feature_extractor: ASMFeatureExtractor,
):
    """Draw the spectrogram of a window, and below it what speaks for a label (red) and against it (blue).

    Args:
        path: Image to write.
        spectrogram: Float tensor of shape `(max_length, num_mel_bins)`.
        saliency: Tensor of the same shape.
        title: Title of the image.
        start: Start of the window in the recording, in seconds.
        feature_extractor: Its frames.
    """
    picture = figure(figsize=(8, 6))
    end = start + len(spectrogram) * feature_extractor.seconds_per_frame
    options = {"origin": "lower", "aspect": "auto", "extent": (start, end, 0, spectrogram.shape[1])}
    above, below = picture.subplots(2, 1, sharex=True)
    above.imshow(spectrogram.T.float().numpy(), **options)
    above.set_title(legible(title))
    largest = float(saliency.abs().max()) or 1.0
    image = below.imshow(saliency.T.numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest, **options)
    picture.colorbar(image, ax=below, label="for the label")
    for axes in (above, below):
        axes.set_ylabel("mel bin")
    below.set_xlabel("seconds")
    save(picture, path, dpi=100)
