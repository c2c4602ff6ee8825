"""Classify the microphone, or a file as if it were being recorded.

    python examples/stream.py checkpoints/asm-small-keywords --microphone
    python examples/stream.py checkpoints/asm-small-keywords --file recording.wav

The microphone needs `pip install sounddevice`. A file is processed in real time, but not played.
"""

import argparse
import sys
import time
from collections.abc import Iterator

import numpy as np

from modeling_asm import ASMStreamingClassifier
from modeling_asm.audio import stream_audio
from modeling_asm.loading import check_checkpoint


CHUNK = 0.02  # seconds
MICROPHONE_RATE = 44100  # hertz; every microphone supports it


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="Folder of a checkpoint, or its name on the Hub.")
    parser.add_argument("--hop", type=float, default=0.25, help="Seconds between windows (default: %(default)s).")
    parser.add_argument("--threshold", type=float, default=0.6, help="Lowest score to print (default: %(default)s).")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--file", help="Audio file.")
    source.add_argument("--microphone", action="store_true", help="Listen to the microphone.")
    args = parser.parse_args()
    try:
        check_checkpoint(args.model)
        rate = MICROPHONE_RATE if args.microphone else None
        classifier = ASMStreamingClassifier.from_pretrained(args.model, hop=args.hop, sampling_rate=rate, top_k=1)
        for chunk in record() if args.microphone else play(args.file, classifier.sampling_rate):
            show(classifier.push(chunk), args.threshold)
        show(classifier.finish(), args.threshold)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print()


def show(windows: list[dict], threshold: float):
    """Print the best label of each window with the time at which the window ends."""
    for window in windows:
        (best,) = window["scores"]
        if best["score"] >= threshold:
            print(f"{window['end']:8.2f} s  {best['label']}  {best['score']:.2f}", flush=True)


def play(file: str, sampling_rate: int) -> Iterator[np.ndarray]:
    """Yield the samples of a file in real time."""
    size, start, number = round(CHUNK * sampling_rate), time.monotonic(), 0
    for block in stream_audio(file, sampling_rate):
        for chunk in np.split(block, range(size, len(block), size)):
            number += len(chunk)
            time.sleep(max(start + number / sampling_rate - time.monotonic(), 0))
            yield chunk


def record() -> Iterator[np.ndarray]:
    """Yield the samples of the microphone."""
    import sounddevice

    with sounddevice.InputStream(samplerate=MICROPHONE_RATE, channels=1, dtype="float32") as stream:
        while True:
            yield stream.read(round(CHUNK * MICROPHONE_RATE))[0]


if __name__ == "__main__":
    main()
