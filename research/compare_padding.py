"""Compare the padding modes for short clips: train and test at mixed lengths, on held-out groups of `train`.

    python research/compare_padding.py recordings/drum_sounds recordings/spoken_digits recordings/speech_commands \
        --group_columns author speaker speaker --epochs 60 12 12 --seeds 42 43 44 45 46 \
        --output research/results/padding.json

For each data set, seed and padding mode, a tiny ASM with a window of one second trains on random pieces of 30% to 100%
of each clip, new ones in each epoch. It is tested on a quarter of the groups of `train` (a different quarter for each
seed), with whole clips and with the middle 70% and 40% of each. No other split is used. The same command continues an
interrupted study, also with more seeds at the end of the list.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import torch
from torch import nn

from modeling_asm import ASM_SIZES, ASMConfig, ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.audio import load_audio
from modeling_asm.feature_extraction_asm import PADDING_MODES
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.report.tables import write_json


TEST_FRACTIONS = (1.0, 0.7, 0.4)
RATE = 16000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dirs", nargs="+", help="Folders with a split `train`.")
    parser.add_argument("--group_columns", nargs="+", required=True, help="For each folder, what is not divided.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--epochs", nargs="+", type=int, required=True, help="For each folder.")
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results.")
    args = parser.parse_args()
    if not len(args.data_dirs) == len(args.group_columns) == len(args.epochs):
        parser.error("Give as many --group_columns and --epochs as folders.")

    results = {
        "command": "python research/compare_padding.py " + " ".join(Path(name).name for name in args.data_dirs),
        "group_columns": args.group_columns,
        "seeds": args.seeds,
        "epochs": args.epochs,
        "test_fractions": list(TEST_FRACTIONS),
    }
    if args.output.exists():
        before = json.loads(args.output.read_text())
        same = all(before[key] == results[key] for key in results if key != "seeds")
        if not same or before["seeds"] != args.seeds[: len(before["seeds"])]:
            parser.error(f"{args.output} is from other arguments: choose another --output, or delete it.")
        results = before | results
    results = {"environment": describe_environment(), "accuracy": {}} | results
    for data_dir, column, epochs in zip(args.data_dirs, args.group_columns, args.epochs):
        table = results["accuracy"].setdefault(Path(data_dir).name, {mode: [] for mode in PADDING_MODES})
        clips = load_audio_dataset(DataArguments(data_dir))["train"]
        waveforms = [load_audio(audio["path"], RATE)[:RATE] for audio in clips["audio"]]
        labels, names = torch.tensor(clips["label"][:]), clips.features["label"].names
        groups = np.array([group or f"clip {index}" for index, group in enumerate(clips[column])])
        for number, seed in enumerate(args.seeds):
            kinds = np.unique(groups)
            aside = np.random.default_rng(seed).choice(kinds, -(-len(kinds) // 4), replace=False)
            held_out = np.isin(groups, aside)
            for mode in PADDING_MODES:
                if len(table[mode]) > number:
                    continue
                accuracies = run(waveforms, labels, len(names), held_out, mode, seed, epochs)
                table[mode].append(accuracies)
                print(Path(data_dir).name, seed, mode, accuracies, flush=True)
                write_json(results, args.output)
    print(format_results(results))


def run(waveforms: list, labels: torch.Tensor, num_labels: int, held_out, mode: str, seed: int, epochs: int) -> list:
    """Train with a padding mode, and return the accuracy on held-out clips for each of `TEST_FRACTIONS`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    size = ASM_SIZES["tiny"].config
    options = {"num_mel_bins": size["num_mel_bins"], "max_length": size["max_length"], "padding_mode": mode}
    probe = ASMFeatureExtractor(**options, do_normalize=False)
    frames = torch.cat([extract(probe, [waveforms[index]])[0, : len(waveforms[index]) // 160 - 1] for index in train])
    extractor = ASMFeatureExtractor(**options, mean=frames.mean().item(), std=frames.std().item())
    model = ASMForAudioClassification(ASMConfig(**size, num_labels=num_labels, drop_path_rate=0.1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * -(-len(train) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    augmentation = Augmentation()
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(train), -(-len(train) // 32)):
            clips = [torch.from_numpy(cut(waveforms[index], rng.uniform(0.3, 1), rng.uniform())) for index in batch]
            inputs = extract(extractor, augmentation.augment_waveforms(clips, RATE, rng))
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(inputs).logits
            loss = nn.functional.cross_entropy(logits.float(), labels[batch], label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    accuracies = []
    for fraction in TEST_FRACTIONS:
        with torch.inference_mode():
            inputs = extract(extractor, [cut(waveforms[index], fraction, 0.5) for index in test])
            predictions = torch.cat([model(part).logits.argmax(1) for part in inputs.split(64)])
        accuracies.append(round((predictions == labels[test]).float().mean().item(), 4))
    return accuracies


def extract(extractor: ASMFeatureExtractor, clips: list) -> torch.Tensor:
    return extractor(clips, sampling_rate=RATE, return_tensors="pt", truncation=True)["input_values"]


def cut(waveform: np.ndarray, fraction: float, position: float) -> np.ndarray:
    """Return a piece of a waveform: `position` 0 is at its start, 1 at its end."""
    length = max(round(fraction * len(waveform)), 1)
    start = round(position * (len(waveform) - length))
    return waveform[start : start + length]


def format_results(results: dict) -> str:
    """Return a Markdown table: means over seeds and lengths, their standard deviation over seeds, and their mean."""
    names = [*results["accuracy"], "mean"]
    lines = ["| padding | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    for mode in PADDING_MODES:
        runs = [[statistics.mean(lengths) for lengths in table[mode]] for table in results["accuracy"].values()]
        means = [statistics.mean(seeds) for seeds in runs]
        deviations = [statistics.stdev(seeds) if len(seeds) > 1 else 0.0 for seeds in runs]
        cells = [f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in zip(means, deviations)]
        lines.append(f"| {mode} | " + " | ".join(cells) + f" | {statistics.mean(means):.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
