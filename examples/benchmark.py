"""Time the feature extraction beside transformers' ASTFeatureExtractor, on the same clips, in one run.

    python examples/benchmark.py --output examples/results/benchmark.json

Both make float32 features of 128 mel bins from white noise at 16 kHz, without padding, in one process; the latter runs
as it does where torchaudio is not installed. Rounds of some runs of one and some of the other alternate, so that both
meet the same noise of the machine; the ratio is the median of the rounds' ratios. A round starts with a pause and an
uncounted run, because the idle threads of the other's library spin for a while. `--device cuda` times ASM there.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from transformers import ASTFeatureExtractor
from transformers.utils import is_speech_available

from modeling_asm import ASMFeatureExtractor
from modeling_asm.training.cards import describe_environment
from modeling_asm.training.report import write_json


SAMPLING_RATE = 16000
CASES = ((1, 1), (32, 1), (8, 10))  # clips, seconds of each
RUNS_PER_ROUND = 5
PAUSE = 0.2  # seconds


def time_round(function: Callable, device: str) -> float:
    """Return the median wall-clock seconds of some calls, each with all work on the device done."""
    time.sleep(PAUSE)
    times = []
    for _ in range(RUNS_PER_ROUND + 1):
        start = time.perf_counter()
        function()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times[1:])


def compare(num_clips: int, length: int, rounds: int, device: str) -> dict:
    """Time both extractors on `num_clips` clips of `length` seconds."""
    rng = np.random.default_rng(0)
    clips = [rng.uniform(-0.5, 0.5, length * SAMPLING_RATE).astype(np.float32) for _ in range(num_clips)]
    frames = 100 * length - 2
    extractors = {
        "asm": (ASMFeatureExtractor(max_length=frames), {"return_tensors": "pt", "device": device}),
        "ast": (ASTFeatureExtractor(max_length=frames), {"return_tensors": "np"}),
    }

    def extract(name: str):
        extractor, arguments = extractors[name]
        return extractor(clips, sampling_rate=SAMPLING_RATE, **arguments)["input_values"]

    difference = float(np.abs(extract("asm").cpu().numpy() - extract("ast")).max())  # warms both up, too
    times = {"asm": [], "ast": []}
    for _ in range(rounds):
        for name in times:
            times[name].append(time_round(lambda name=name: extract(name), device))
    ratios = [ast / asm for asm, ast in zip(times["asm"], times["ast"])]
    return {
        "clips": num_clips,
        "seconds_each": length,
        "largest_difference": difference,
        "asm_milliseconds": round(1000 * median(times["asm"]), 2),
        "ast_milliseconds": round(1000 * median(times["ast"]), 2),
        "ratio": round(median(ratios), 1),
        "ratio_range": [round(min(ratios), 1), round(max(ratios), 1)],
        "rounds": rounds,
        "runs_per_round": RUNS_PER_ROUND,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="Rounds of each extractor.")
    parser.add_argument("--device", default="cpu", help="Where ASM extracts: cpu or cuda.")
    parser.add_argument("--output", help="JSON file to write.")
    args = parser.parse_args()

    warnings.filterwarnings("ignore", message="At least one mel filter")  # Kaldi's too; AST says so at each start
    results = {
        "command": f"python examples/benchmark.py --rounds {args.rounds} --device {args.device}",
        "data": "white noise from NumPy's generator, seed 0",
        "device": args.device,
        "torchaudio": is_speech_available(),
        "extraction": [compare(*case, args.rounds, args.device) for case in CASES],
        "environment": describe_environment(),
    }
    print("| clips | seconds each | ASM, ms | AST, ms | AST / ASM | range | largest difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in results["extraction"]:
        low, high = row["ratio_range"]
        print(
            f"| {row['clips']} | {row['seconds_each']} | {row['asm_milliseconds']} | {row['ast_milliseconds']} "
            f"| {row['ratio']} | {low} to {high} | {row['largest_difference']:.1e} |"
        )
    if args.output:
        write_json(results, args.output)


if __name__ == "__main__":
    main()
