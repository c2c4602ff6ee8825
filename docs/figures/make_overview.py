"""Draw the README's figure: a spectrogram, its patches, the Mixer, and the label.

    python docs/figures/make_overview.py

The spectrogram is that of a synthetic word, spoken by eSpeak NG.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import soxr
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from modeling_asm.fbank import fbank


FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1] / "research"))
from make_spoken_words import Speaker  # noqa: E402


BLUE, GREY = "#1f6feb", "#57606a"
ROWS, COLUMNS = 4, 6  # patches


def main():
    speaker = Speaker()
    samples = speaker.say("seven", "en-us+f3", rate=150, pitch=50).astype(np.float32) / 2**15
    waveform = torch.from_numpy(soxr.resample(samples, speaker.sampling_rate, 16000))
    spectrogram = fbank(waveform[None], num_mel_bins=64)[0, :96].T.numpy()

    matplotlib.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "overview", "font.size": 11})
    figure = Figure(figsize=(12, 3.1))
    picture = figure.add_axes((0.02, 0.2, 0.2, 0.62))
    picture.imshow(spectrogram, origin="lower", aspect="auto", cmap="magma")
    picture.set_title("log-mel spectrogram", fontsize=12)
    picture.set_xlabel("time")
    picture.set_ylabel("mel bins")
    picture.set(xticks=[], yticks=[])

    patches = figure.add_axes((0.285, 0.2, 0.17, 0.62))
    high, wide = spectrogram.shape[0] // ROWS, spectrogram.shape[1] // COLUMNS
    low, top = spectrogram.min(), spectrogram.max()
    for row in range(ROWS):
        for column in range(COLUMNS):
            patch = spectrogram[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
            box = (column, column + 0.85, row, row + 0.85)
            patches.imshow(patch, origin="lower", aspect="auto", cmap="magma", extent=box, vmin=low, vmax=top)
    patches.set(xlim=(0, COLUMNS), ylim=(0, ROWS))
    patches.set_title("patches become tokens", fontsize=12)
    patches.axis("off")

    draw = figure.add_axes((0, 0, 1, 1))
    draw.set(xlim=(0, 12), ylim=(0, 3.1))
    draw.axis("off")
    for start, end in ((2.75, 3.3), (5.6, 6.1), (9.35, 9.85), (10.5, 10.95)):
        arrow = FancyArrowPatch((start, 1.55), (end, 1.55), arrowstyle="-|>", mutation_scale=18, color=GREY, lw=1.8)
        draw.add_patch(arrow)
    for shift in (0.16, 0.08, 0.0):
        draw.add_patch(Rectangle((6.2 + shift, 0.62 + shift), 2.9, 1.75, fc="white", ec=BLUE, lw=1.6))
    for left, name, along in (
        (6.36, "token\nmixing", "along time and\nfrequency"),
        (7.8, "channel\nmixing", "along\nchannels"),
    ):
        draw.add_patch(Rectangle((left, 0.82), 1.14, 1.35, fc="#ddf4ff", ec=BLUE, lw=1.4))
        draw.text(left + 0.57, 1.73, name, ha="center", va="center", fontsize=11.5)
        draw.text(left + 0.57, 1.13, along, ha="center", va="center", fontsize=7.5, color=GREY)
    draw.text(7.65, 2.7, "Mixer layers: two MLPs each", ha="center", va="center", fontsize=12)
    draw.text(9.95, 1.55, "mean", ha="left", va="center", fontsize=12)
    draw.add_patch(
        FancyArrowPatch((10.5, 1.55), (10.95, 1.55), arrowstyle="-|>", mutation_scale=18, color=GREY, lw=1.8)
    )
    draw.text(11.02, 1.55, '"seven"', ha="left", va="center", fontsize=14, color=BLUE)
    figure.savefig(FOLDER / "overview.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
