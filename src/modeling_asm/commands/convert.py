"""The command `asm-convert`: turn an MLP-Mixer that was trained on images into an ASM.

    asm-convert timm/mixer_b16_224.goog_in21k_ft_in1k asm-base-images
    asm-convert Mixer-B_16.npz asm-base-images --max_length 512

The result is a checkpoint without a classifier, to be fine-tuned on labelled audio:
`asm-train --model_name_or_path asm-base-images --data_dir recordings --output_dir my-model`.
"""

import argparse
import sys

from ..conversion.mixer import RGB_TO_MONO, convert_checkpoint
from .console import one_line


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="asm-convert",
        description="Turn an MLP-Mixer that was trained on images (timm's or Google's) into an ASM to fine-tune.",
        epilog="Exit status: 0 on success, 2 on failure.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", help="File of weights (.safetensors, .pth, .npz), or a model on the Hub: timm/mixer_..."
    )
    parser.add_argument("output_dir", help="Folder for the checkpoint, which must be empty.")
    parser.add_argument(
        "--rgb_to_mono",
        default="luma",
        choices=[*RGB_TO_MONO, "none"],
        help="How three colour channels become one (default: %(default)s, the paper's).",
    )
    parser.add_argument(
        "--max_length", type=int, default=1024, help="Frames of the spectrogram, 100 per second (default: %(default)s)."
    )
    parser.add_argument(
        "--num_mel_bins", type=int, default=128, help="Mel bins of the spectrogram (default: %(default)s)."
    )
    parser.add_argument(
        "--frequency_stride", type=int, help="Distance between patches, in mel bins (default: their side)."
    )
    parser.add_argument("--time_stride", type=int, help="Distance between patches, in frames (default: their side).")
    parser.add_argument("--revision", default="main", help="Branch, tag or commit on the Hub (default: %(default)s).")
    parser.add_argument("--licence", help="Licence of the weights, for the card, such as apache-2.0.")
    args = vars(parser.parse_args(arguments))
    if args["rgb_to_mono"] == "none":
        args["rgb_to_mono"] = None
    try:
        mixer = convert_checkpoint(**args)
    except (OSError, ValueError) as error:
        print(f"asm-convert: {one_line(error)}", file=sys.stderr)
        return 2
    print(
        f"{args['output_dir']}: {mixer.num_parameters():,} parameters, patches in a grid of {mixer.config.patch_grid}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
