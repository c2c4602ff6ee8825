"""Time how training clips reach the model: decoded in each epoch or kept, in this process or in workers.

    python research/benchmark_loading.py --data_dir speech_commands --output research/results/loading.json

All ways give the same augmented batches, and take turns. No model is trained: where a processor is idle, a worker that
decodes during a step is free; where none is, it slows the model down.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from modeling_asm import ASM_SIZES, ASMFeatureExtractor
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.arguments import describe_command
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.clips import ClipDataset, ClipTransform, collate_clips
from modeling_asm.training.data.decoding import decode_audio
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.frontend import Frontend
from modeling_asm.training.report.tables import format_table, write_json


WAYS = [(keep, workers) for workers in (0, 1, 2) for keep in (True, False)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="Folder of labelled recordings with a split `train`.")
    parser.add_argument("--output", required=True, help="JSON file to write.")
    parser.add_argument("--clips", type=int, default=1600, help="Clips of a round.")
    parser.add_argument("--rounds", type=int, default=5, help="Rounds of each way.")
    args = parser.parse_args()

    clips = load_audio_dataset(DataArguments(data_dir=args.data_dir))["train"]
    clips = clips.shuffle(seed=0).select(range(min(args.clips, len(clips)))).flatten_indices()
    size = ASM_SIZES["small"].config
    extractor = ASMFeatureExtractor(num_mel_bins=size["num_mel_bins"], max_length=size["max_length"])
    transform = ClipTransform(Frontend(extractor, 1.0), clips.features, Augmentation(), 0.1)
    inputs = {keep: ClipDataset(decode_audio(clips, 16000, keep=keep)[0], transform) for keep in (True, False)}
    seconds: dict[tuple, list[float]] = {way: [] for way in WAYS}
    for number in range(args.rounds + 1):
        for keep, workers in WAYS:
            start = time.perf_counter()
            for _ in DataLoader(inputs[keep], batch_size=32, num_workers=workers, collate_fn=collate_clips):
                pass
            if number > 0:  # the first round warms up
                seconds[keep, workers].append(time.perf_counter() - start)
    rows = []
    for (keep, workers), times in seconds.items():
        speeds = sorted(len(clips) / value for value in times)
        described = {"samples": "kept" if keep else "decoded in each epoch", "workers": workers}
        speed = {"clips_per_second": round(statistics.median(speeds)), "range": [round(speeds[0]), round(speeds[-1])]}
        rows.append(described | speed)
    results = {
        "command": describe_command("python research/benchmark_loading.py", sys.argv[1:]),
        "data": Path(args.data_dir).resolve().name,
        "clips": len(clips),
        "rounds": args.rounds,
        "threads": torch.get_num_threads(),
        "loading": rows,
        "environment": describe_environment(),
    }
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    write_json(results, args.output)
    table = [(row["samples"], row["workers"], row["clips_per_second"], *row["range"]) for row in rows]
    print(format_table([("samples", "workers", "clips/s", "slowest", "fastest"), *table]))


if __name__ == "__main__":
    main()
