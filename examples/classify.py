"""Classify audio files with a checkpoint, through transformers' pipeline.

    python examples/classify.py my-model recording.wav another.flac

Files of any rate and number of channels, in any format that soundfile knows; no FFmpeg. A file that cannot be read is
named, the others are classified all the same, and the exit status is 1.
"""

import argparse
import sys

from transformers import pipeline

import modeling_asm  # noqa: F401  registers the model with transformers
from modeling_asm.audio import AudioFileError, load_audio


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="Folder or Hub name of a checkpoint.")
    parser.add_argument("files", nargs="+", help="Audio files.")
    parser.add_argument("--top_k", type=int, default=3, help="How many classes to print.")
    args = parser.parse_args()

    classifier = pipeline("audio-classification", model=args.model)
    failures = 0
    for file in args.files:
        try:
            waveform = load_audio(file, classifier.feature_extractor.sampling_rate)
        except AudioFileError as error:
            print(error, file=sys.stderr)
            failures += 1
            continue
        scores = classifier(waveform, top_k=args.top_k)
        print(f"{file}: " + ", ".join(f"{score['label']} {score['score']:.3f}" for score in scores))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
