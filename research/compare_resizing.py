"""Compare ways to change the window of a trained checkpoint: accuracy at once, and after one epoch of training.

    python research/compare_resizing.py recordings/speech_commands --model checkpoints/asm-small-keywords \
        --output research/results/resizing.json

The clips are one second long, as in the checkpoint's training: a longer window is padded, and for a shorter one the
model averages two windows. Training is on `train` with the default augmentation, testing on `validation`. `resized` is
`resize_spectrogram(max_length=...)`, `stretched` the same with `stretch=True`. `ignore_mismatched_sizes` starts with
random token mixing, and `random` with random weights.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from torch import nn

from modeling_asm import ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.audio import load_audio
from modeling_asm.fbank import num_frames
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.report.tables import write_json


RATE = 16000
STARTS = ("resized", "stretched", "ignore_mismatched_sizes", "random")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", help="Folder with the splits `train` and `validation`.")
    parser.add_argument("--model", required=True, help="Folder or Hub name of a checkpoint of ASM.")
    parser.add_argument("--seconds", nargs="+", type=float, default=[2.0, 1.5, 0.75], help="New windows.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results.")
    args = parser.parse_args()

    splits = load_audio_dataset(DataArguments(args.data_dir))
    data = {
        name: ([load_audio(a["path"], RATE) for a in splits[name]["audio"]], splits[name]["label"][:])
        for name in splits
    }
    model, extractor = (
        ASMForAudioClassification.from_pretrained(args.model),
        ASMFeatureExtractor.from_pretrained(args.model),
    )
    results = {
        "command": f"python research/compare_resizing.py {Path(args.data_dir).name} --model {Path(args.model).name}",
        "clips": {name: len(waveforms) for name, (waveforms, _) in data.items()},
        "seeds": args.seeds,
        "environment": describe_environment(),
        "unchanged": round(evaluate(model, extractor, *data["validation"]), 4),
        "windows": [],
    }
    for seconds in args.seconds:
        frames = num_frames(round(seconds * RATE), 400, 160)
        for start in STARTS:
            row = {"seconds": seconds, "max_length": frames, "start": start, "untrained": [], "after_one_epoch": []}
            results["windows"].append(row)
            for seed in args.seeds:
                torch.manual_seed(seed)
                model = make_model(args.model, start, frames)
                extractor = ASMFeatureExtractor.from_pretrained(args.model, max_length=frames)
                row["untrained"].append(round(evaluate(model, extractor, *data["validation"]), 4))
                train(model, extractor, *data["train"], seed)
                row["after_one_epoch"].append(round(evaluate(model, extractor, *data["validation"]), 4))
                print(row, flush=True)
                write_json(results, args.output)
    print(format_results(results))


def make_model(checkpoint: str, start: str, max_length: int) -> ASMForAudioClassification:
    """Return a model with a window of `max_length` frames, whose weights start as `start` says."""
    if start in ("resized", "stretched"):
        model = ASMForAudioClassification.from_pretrained(checkpoint)
        return model.resize_spectrogram(max_length=max_length, stretch=start == "stretched")
    model = ASMForAudioClassification.from_pretrained(checkpoint, max_length=max_length, ignore_mismatched_sizes=True)
    return ASMForAudioClassification(model.config) if start == "random" else model


def train(model, extractor, waveforms: list, labels: list, seed: int, batch_size: int = 32):
    """Train for one epoch, with a learning rate that rises to 5e-4 and falls to 0."""
    rng, augmentation, labels = np.random.default_rng(seed), Augmentation(), torch.tensor(labels)
    steps = -(-len(waveforms) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-4, total_steps=steps, pct_start=0.1)
    model.train()
    for batch in np.array_split(rng.permutation(len(waveforms)), steps):
        clips = augmentation.augment_waveforms([torch.from_numpy(waveforms[index]) for index in batch], RATE, rng)
        inputs = extractor(clips, sampling_rate=RATE, return_tensors="pt", truncation=True)["input_values"]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(inputs).logits
        nn.functional.cross_entropy(logits.float(), labels[batch], label_smoothing=0.1).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


@torch.inference_mode()
def evaluate(model, extractor, waveforms: list, labels: list) -> float:
    """Return the accuracy on whole clips."""
    model.eval()
    predictions = []
    for first in range(0, len(waveforms), 64):
        inputs = extractor(waveforms[first : first + 64], sampling_rate=RATE, return_tensors="pt")
        predictions.append(model(**inputs).logits.argmax(1))
    return (torch.cat(predictions) == torch.tensor(labels)).float().mean().item()


def format_results(results: dict) -> str:
    """Return a Markdown table of means over the seeds."""
    lines = ["| window | weights | at once | after one epoch |", "| --- | --- | --- | --- |"]
    for row in results["windows"]:
        scores = [f"{statistics.mean(row[name]):.3f}" for name in ("untrained", "after_one_epoch")]
        lines.append(f"| {row['seconds']} s | {row['start']} | {scores[0]} | {scores[1]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
