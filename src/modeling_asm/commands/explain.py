"""The command `asm-explain`: draw which parts of a recording speak for a label.

    asm-explain --model my-model recording.wav --plot saliency.png

It needs Captum: `pip install "modeling_asm[explain]"`.
"""

import argparse
import math
import sys
from collections.abc import Iterable

import torch

from ..figures import check_picture
from ..loading import load_pipeline
from ..plots import plot_saliency
from ..saliency import METHODS, explain
from .console import one_line, quiet_decoder, quiet_libraries


@quiet_decoder()
def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="asm-explain",
        description="Draw which parts of a recording's spectrogram speak for a label.",
        epilog="Exit status: 0 on success, 2 on failure.",
    )
    parser.add_argument("file", help="Audio file or URL.")
    parser.add_argument("--model", required=True, help="Folder of a checkpoint, or its name on the Hub.")
    parser.add_argument("--plot", metavar="PNG", required=True, help="Picture to write.")
    parser.add_argument("--label", help="Label to explain (default: the best one).")
    parser.add_argument(
        "--start", type=float, help="Time in the file, in seconds (default: where the label has its best score)."
    )
    parser.add_argument(
        "--method", choices=METHODS, default=METHODS[0], help="Attribution method (default: %(default)s)."
    )
    parser.add_argument("--channel", type=int, help="Channel of the file, from 0 (default: the mean of all).")
    args = parser.parse_args(arguments)
    quiet_libraries()
    try:
        check_picture(args.plot)
        classifier = load_pipeline(args.model)
        labels = {label: index for index, label in classifier.model.config.id2label.items()}
        if args.label is not None and args.label not in labels:
            raise ValueError(f"The model has no label {args.label!r}. It has: {', '.join(labels)}.")
        window = choose_window(classifier.preprocess(args.file, channel=args.channel), classifier, args)
        label = window["label"]
        saliency = explain(
            classifier.model, classifier.feature_extractor, window["input_values"], labels[label], args.method
        )
        span = window["span"]
        title = f"{one_line(label)} {window['score']:.3f}, {span.start:.2f} to {span.end:.2f} s, {args.method}"
        plot_saliency(args.plot, window["input_values"][0], saliency, title, span.start, classifier.feature_extractor)
        print(title)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"asm-explain: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def choose_window(windows: Iterable[dict], classifier, args: argparse.Namespace) -> dict:
    """Return the window to explain, with its label and score."""
    if args.start is not None:
        window = min(windows, key=lambda window: abs(window["span"].start - args.start))
        if not 0 <= args.start < window["span"].end:
            raise ValueError(
                f"--start {args.start} is outside the recording, whose last window ends at {window['span'].end:.2f} s."
            )
        windows = [window]
    best = {"score": -math.inf}
    for window in windows:
        with torch.inference_mode():
            outputs = classifier.forward(dict(window))
        for score in classifier.postprocess([outputs], top_k=classifier.model.config.num_labels):
            if score["score"] > best["score"] and args.label in (None, score["label"]):
                best = {**window, **score}
    return best


if __name__ == "__main__":
    sys.exit(main())
