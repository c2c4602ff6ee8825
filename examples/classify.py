"""Classify audio files with a checkpoint, through transformers' pipeline.

    python examples/classify.py my-model recording.wav another.flac

Files of any rate and number of channels, in any format that soundfile knows; no FFmpeg.
"""

import argparse

from transformers import pipeline

import modeling_asm  # noqa: F401  registers the model with transformers
from modeling_asm.audio import load_audio


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="Folder or Hub name of a checkpoint.")
    parser.add_argument("files", nargs="+", help="Audio files.")
    parser.add_argument("--top_k", type=int, default=3, help="How many classes to print.")
    args = parser.parse_args()

    classifier = pipeline("audio-classification", model=args.model)
    for file in args.files:
        waveform = load_audio(file, classifier.feature_extractor.sampling_rate)
        scores = classifier(waveform, top_k=args.top_k)
        print(f"{file}: " + ", ".join(f"{score['label']} {score['score']:.3f}" for score in scores))


if __name__ == "__main__":
    main()
