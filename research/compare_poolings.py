"""Compare ways to make one embedding of the tokens of a frozen general encoder, by linear probes.

    python research/compare_poolings.py --data_dir recordings --model checkpoints/asm-small-general \
        --output research/results/poolings.json

All see the same tokens, after the learned map that the encoder pools. `embedding` is what the encoder itself makes of
them. Halves and thirds are those of the sound: of a clip that is repeated to fill the window, of its first repetition.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from evaluate_encoder import RATE, TASKS, few, format_accuracy, probe, read
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

import modeling_asm  # noqa: F401, registers ASM
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.report.tables import write_json
from modeling_asm.windowing import cut_windows


SETS = {"environmental_sounds": ("all",), "spoken_digits": (1, 5), "speech_commands": (5,), "drum_sounds": ("all",)}


class Heard(NamedTuple):
    """The tokens of a window.

    Args:
        tokens: Float tensor of shape `(columns, width)`.
        once: Those that lie in the sound once, if it is repeated.
        level: Logarithm of the energy of each, of shape `(columns,)`.
    """

    tokens: Tensor
    once: Tensor
    level: Tensor


def mean(tokens: Tensor) -> Tensor:
    return tokens.mean(0)


def mean_and_deviation(tokens: Tensor) -> Tensor:
    return torch.cat([tokens.mean(0), tokens.std(0, correction=0)])


def in_parts(tokens: Tensor, number: int) -> Tensor:
    """Return the means of equal parts; those of fewer tokens than parts overlap."""
    bounds = np.linspace(0, len(tokens), number + 1)
    return torch.cat([mean(tokens[int(low) : max(int(high), int(low) + 1)]) for low, high in pairwise(bounds)])


POOLINGS: dict[str, Callable[[Heard], Tensor]] = {
    "mean": lambda heard: mean(heard.tokens),
    "deviation": lambda heard: heard.tokens.std(0, correction=0),
    "maximum": lambda heard: heard.tokens.amax(0),
    "mean weighted by energy": lambda heard: heard.level.softmax(0) @ heard.tokens,
    "mean weighted by amplitude": lambda heard: (heard.level / 2).softmax(0) @ heard.tokens,
    "mean and deviation": lambda heard: mean_and_deviation(heard.tokens),
    "halves": lambda heard: in_parts(heard.once, 2),
    "thirds": lambda heard: in_parts(heard.once, 3),
    "mean and deviation, halves": lambda heard: torch.cat([mean_and_deviation(heard.tokens), in_parts(heard.once, 2)]),
    "mean and deviation, thirds": lambda heard: torch.cat([mean_and_deviation(heard.tokens), in_parts(heard.once, 3)]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, required=True, help="Folder of the data sets.")
    parser.add_argument("--model", type=Path, required=True, help="Checkpoint of a general encoder.")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results.")
    args = parser.parse_args()

    results = {
        "command": f"python research/compare_poolings.py --model {args.model.name}",
        "sizes": {},
        "accuracy": {},
        "environment": describe_environment(),
    }
    for task in TASKS:
        if task.folder in args.sets:
            clips = read(args.data_dir, task)
            table = results["accuracy"][task.folder] = {}
            for name, embeddings in pool(args.model, clips.waveforms).items():
                results["sizes"][name] = embeddings.shape[1]
                table[name] = {
                    str(shots): probe(embeddings, clips) if shots == "all" else few(embeddings, clips, shots)
                    for shots in SETS[task.folder]
                }
                print(task.folder, name, table[name], flush=True)
    write_json(results, args.output)
    print(format_results(results))


def pool(checkpoint: Path, waveforms: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the embedding of each waveform, the mean over its windows, by the name of the pooling."""
    feature_extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    model = AutoModelForAudioClassification.from_pretrained(checkpoint).eval()
    rows = {name: [] for name in [*POOLINGS, "embedding"]}
    for waveform in waveforms:
        features = feature_extractor(waveform, sampling_rate=RATE, return_tensors="pt").input_values[0]
        share = min(len(waveform) / feature_extractor.nb_max_samples, 1.0)
        windows = list(pool_windows(model, features, share, 2 * feature_extractor.std))
        for name, row in rows.items():
            row.append(torch.stack([pooled[name] for pooled in windows]).mean(0))
    return {name: torch.stack(row).numpy() for name, row in rows.items()}


@torch.inference_mode()
def pool_windows(model, features: Tensor, share: float, scale: float) -> Iterator[dict[str, Tensor]]:
    """Yield what each pooling makes of each window of a clip.

    Args:
        model: The classifier.
        features: Those of the clip.
        share: Part of the window that the clip fills once.
        scale: What a feature of 1 is, in log-mel energies.
    """
    config = model.config
    windows = cut_windows(features[None], [(0, len(features))], config.max_length, config.window_shift)[0]
    output = model.base_model(torch.stack(windows))
    tokens = model.base_model.pooling.project(output.last_hidden_state)
    tokens = tokens.unflatten(1, config.patch_grid).mean(1)  # over the frequencies
    for window, row, embedding in zip(windows, tokens, output.pooler_output):
        level = (scale * window).logsumexp(1).unfold(0, config.patch_shape[1], config.time_stride).logsumexp(1)
        heard = Heard(row, row[: max(round(share * len(row)), 1)], level)
        yield {name: function(heard) for name, function in POOLINGS.items()} | {"embedding": embedding}


def format_results(results: dict) -> str:
    """Return a Markdown table of accuracies, with a row for each pooling."""
    columns = [(folder, shots) for folder in results["accuracy"] for shots in map(str, SETS[folder])]
    header = " | ".join(f"{folder}, {shots}" for folder, shots in columns)
    lines = [f"| pooling | numbers | {header} |", "| --- " * (len(columns) + 2) + "|"]
    for name, size in results["sizes"].items():
        cells = [format_accuracy(results["accuracy"][folder][name][shots]) for folder, shots in columns]
        lines.append(f"| {name} | {size} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
