"""Which parts of a spectrogram speak for a label; and the command `asm-explain`, which draws them.

    asm-explain --model my-model recording.wav --plot saliency.png

It needs Captum and matplotlib: `pip install "modeling_asm[explain]"`.
"""

import argparse
import math
import sys
from collections.abc import Iterable

import torch
from torch import Tensor
from transformers.utils import logging

from .audio import AudioFileError
from .commands import load_pipeline, one_line, quiet_decoder
from .fbank import EPSILON
from .feature_extraction_asm import ASMFeatureExtractor
from .modeling_asm import ASMForAudioClassification
from .spectrograms import check_picture, plot_saliency


METHODS = ("integrated_gradients", "occlusion")


def explain(
    model: ASMForAudioClassification,
    feature_extractor: ASMFeatureExtractor,
    input_values: Tensor,
    label: int,
    method: str = "integrated_gradients",
) -> Tensor:
    """Attribute a label's logit to the values of a spectrogram.

    Args:
        model: The model.
        feature_extractor: Its feature extractor, which knows what silence is.
        input_values: Float tensor of shape `(1, max_length, num_mel_bins)`.
        label: Index of the label.
        method: `"integrated_gradients"` (https://arxiv.org/abs/1703.01365), along the way from silence, so that all
            values sum to the difference of the logits; or `"occlusion"` (https://arxiv.org/abs/1311.2901): how the
            logit falls where a rectangle of an eighth of each side, moved by half of it, is silent.

    Returns:
        Float32 tensor of shape `(max_length, num_mel_bins)` on the CPU: above 0 where a value speaks for the label.

    Raises:
        ValueError: If there is no such method, or Captum is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(map(repr, METHODS))}, got {method!r}.")
    try:
        from captum.attr import IntegratedGradients, Occlusion
    except ImportError as error:
        raise ValueError("A saliency map needs Captum: `pip install captum`.") from error
    silence = math.log(EPSILON)
    if feature_extractor.do_normalize:
        silence = (silence - feature_extractor.mean) / (2 * feature_extractor.std)

    def logits(values: Tensor) -> Tensor:
        return model(input_values=values).logits

    if method == "integrated_gradients":
        attribute = IntegratedGradients(logits).attribute
        options = {"n_steps": 100, "internal_batch_size": 25, "method": "riemann_trapezoid"}
    else:
        attribute = Occlusion(logits).attribute
        rectangle = tuple(max(side // 8, 1) for side in input_values.shape[1:])
        options = {"sliding_window_shapes": rectangle, "strides": tuple(max(side // 2, 1) for side in rectangle)}
        options["perturbations_per_eval"] = 16
    input_values = input_values.to(model.device)
    return attribute(input_values, baselines=silence, target=label, **options)[0].detach().float().cpu()


@quiet_decoder()
def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="asm-explain", description="Draw what in a recording speaks for a label.")
    parser.add_argument("file", help="An audio file or URL.")
    parser.add_argument("--model", required=True, help="Folder or Hub name of a checkpoint.")
    parser.add_argument("--plot", metavar="PNG", required=True, help="The picture to write.")
    parser.add_argument("--label", help="The label; by default the best one.")
    parser.add_argument(
        "--start", type=float, help="Second in the file; by default where the label has its best score."
    )
    parser.add_argument("--method", choices=METHODS, default=METHODS[0])
    args = parser.parse_args(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        check_picture(args.plot)
        classifier = load_pipeline(args.model)
        labels = classifier.model.config.label2id
        if args.label is not None and args.label not in labels:
            raise ValueError(f"There is no label {args.label!r}; the model has {', '.join(labels)}.")
        window = choose_window(classifier.preprocess(args.file), classifier, args)
        label = window["label"]
        saliency = explain(
            classifier.model, classifier.feature_extractor, window["input_values"], labels[label], args.method
        )
        title = f"{label} {window['score']:.3f}, {window['start']:.2f} to {window['end']:.2f} s, {args.method}"
        plot_saliency(
            args.plot, window["input_values"][0], saliency, title, window["start"], classifier.feature_extractor
        )
        print(title)
    except (AudioFileError, OSError, ValueError, RuntimeError) as error:
        print(f"asm-explain: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def choose_window(windows: Iterable[dict], classifier, args: argparse.Namespace) -> dict:
    """Return the window to explain, with its label and score."""
    if args.start is not None:
        window = min(windows, key=lambda window: abs(window["start"] - args.start))
        if not 0 <= args.start < window["end"]:
            raise ValueError(
                f"--start {args.start} is not in the recording, whose last window ends at {window['end']:.2f} s."
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
