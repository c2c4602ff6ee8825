"""Classify the microphone, or a file as if it were being recorded; or measure how fast streams are classified.

    python examples/stream.py --model checkpoints/asm-small-keywords --file recording.wav
    python examples/stream.py --model checkpoints/asm-small-keywords --microphone
    python examples/stream.py --model checkpoints/asm-small-keywords --benchmark examples/results/stream.json

The microphone needs `pip install sounddevice`. A file is played in real time, and is not heard. The benchmark pushes a
minute of noise in chunks of 20 ms: the latency of a hop is the time from the chunk that completes a window to its
scores; the real-time factor is the time for all chunks, divided by their length.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from modeling_asm import ASMStreamingClassifier
from modeling_asm.audio import AudioFileError, stream_audio
from modeling_asm.commands import check_checkpoint
from modeling_asm.training.cards import describe_environment
from modeling_asm.training.report import write_json


CHUNK = 0.02  # seconds
RATE = 44100  # of the microphone, in hertz: every one has it


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="Folder or Hub name of a checkpoint.")
    parser.add_argument("--hop", type=float, default=0.25, help="Seconds from one window to the next.")
    parser.add_argument("--threshold", type=float, default=0.6, help="Score from which a label is printed.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--file", help="Audio file to play.")
    source.add_argument("--microphone", action="store_true")
    source.add_argument("--benchmark", metavar="JSON", help="Where to write latency and real-time factor.")
    args = parser.parse_args()
    if args.benchmark:
        return benchmark(args)
    rate = RATE if args.microphone else None
    try:
        check_checkpoint(args.model)
        classifier = ASMStreamingClassifier.from_pretrained(args.model, hop=args.hop, sampling_rate=rate, top_k=1)
        for window in listen(classifier, record() if args.microphone else play(args.file, classifier.sampling_rate)):
            (best,) = window["scores"]
            if best["score"] >= args.threshold:
                print(f"{window['end']:8.2f} s  {best['label']}  {best['score']:.2f}", flush=True)
    except (OSError, AudioFileError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print()


def listen(classifier: ASMStreamingClassifier, chunks: Iterable[np.ndarray]) -> Iterator[dict]:
    """Yield the windows of a stream as they come."""
    for chunk in chunks:
        yield from classifier.push(chunk)
    yield from classifier.finish()


def play(file: str, sampling_rate: int) -> Iterator[np.ndarray]:
    """Yield a file's samples when they would be heard."""
    size, start, number = round(CHUNK * sampling_rate), time.monotonic(), 0
    for block in stream_audio(file, sampling_rate):
        for first in range(0, len(block), size):
            chunk = block[first : first + size]
            number += len(chunk)
            time.sleep(max(start + number / sampling_rate - time.monotonic(), 0))
            yield chunk


def record() -> Iterator[np.ndarray]:
    """Yield the microphone's samples."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio is missing
        sys.exit(f"The microphone needs `pip install sounddevice`: {error}")
    try:
        with sounddevice.InputStream(samplerate=RATE, channels=1, dtype="float32") as stream:
            while True:
                yield stream.read(round(CHUNK * RATE))[0]
    except sounddevice.PortAudioError as error:
        sys.exit(f"The microphone cannot be opened: {error}")


def benchmark(args: argparse.Namespace):
    """Measure latency and real-time factor, and write them down."""
    classifier = ASMStreamingClassifier.from_pretrained(args.model, hop=args.hop)
    rate = classifier.sampling_rate
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 60 * rate).astype(np.float32)
    chunks = np.split(noise, len(noise) // round(CHUNK * rate))
    factors, latencies = [], []
    for _ in range(5):
        classifier.reset()
        start = time.perf_counter()
        for chunk in chunks:
            before = time.perf_counter()
            if classifier.push(chunk):
                latencies.append(1000 * (time.perf_counter() - before))
        factors.append((time.perf_counter() - start) / 60)
    results = {
        "command": f"python examples/stream.py --model {Path(args.model).name} --benchmark stream.json",
        "environment": describe_environment() | {"threads": torch.get_num_threads()},
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
    write_json(results, args.benchmark)
    print(results)


if __name__ == "__main__":
    main()
