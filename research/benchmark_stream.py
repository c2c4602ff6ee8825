"""Measure how fast streams are classified: latency of a hop, and real-time factor.

    python research/benchmark_stream.py checkpoints/asm-small-keywords --output research/results/stream.json

A minute of noise is pushed in chunks of 20 ms. The latency of a hop is the time from the chunk that completes a window
to its scores; the real-time factor is the time for all chunks divided by their duration.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from modeling_asm import ASMStreamingClassifier
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.report.tables import write_json


CHUNK = 0.02  # seconds
SECONDS, ROUNDS = 60, 5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="Folder of a checkpoint, or its name on the Hub.")
    parser.add_argument("--hop", type=float, default=0.25, help="Seconds between windows (default: %(default)s).")
    parser.add_argument("--output", required=True, help="JSON file to write.")
    args = parser.parse_args()
    classifier = ASMStreamingClassifier.from_pretrained(args.model, hop=args.hop)
    rate = classifier.sampling_rate
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, SECONDS * rate).astype(np.float32)
    chunks = np.split(noise, len(noise) // round(CHUNK * rate))
    factors, latencies = [], []
    for _ in range(ROUNDS):
        classifier.reset()
        start = time.perf_counter()
        for chunk in chunks:
            before = time.perf_counter()
            if classifier.push(chunk):
                latencies.append(1000 * (time.perf_counter() - before))
        factors.append((time.perf_counter() - start) / SECONDS)
    results = {
        "command": f"python research/benchmark_stream.py {Path(args.model).name} --output stream.json",
        "environment": describe_environment(),
        "chunk_milliseconds": 1000 * CHUNK,
        "hop_seconds": args.hop,
        "hops": len(latencies),
        "latency_milliseconds": {
            "median": round(statistics.median(latencies), 2),
            "95_percent_below": round(statistics.quantiles(latencies, n=20)[-1], 2),
            "largest": round(max(latencies), 2),
        },
        "real_time_factor": {"median": round(statistics.median(factors), 4), "rounds": [round(f, 4) for f in factors]},
    }
    write_json(results, args.output)
    print(results)


if __name__ == "__main__":
    main()
