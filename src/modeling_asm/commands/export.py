"""The command `asm-export`: write a trained classifier to a file for ONNX Runtime, ExecuTorch or `torch.export.load`.

    asm-export --model my-model --output my-model.onnx
    asm-export --model my-model --output my-model.onnx --input features
    asm-export --model my-model --output my-model.pte --clips recordings/*.wav

The file takes waveforms, with the feature extraction inside, or features. It accepts any batch size (a `.pte` file: one
clip) and holds its labels and everything else that a caller needs. It is compared with the original model, on the given
clips or on noise, and kept only if their logits agree within 1e-4; for int8, the difference is printed.
"""

import argparse
import sys
from pathlib import Path

from ..audio.files import load_audio
from ..export.write import FORMATS, INPUTS, export
from ..loading import load_pipeline
from .console import one_line, quiet_decoder, quiet_libraries


@quiet_decoder()
def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="asm-export",
        description="Write a trained classifier to one file for another runtime.",
        epilog="Exit status: 0 on success, 2 on failure.",
    )
    parser.add_argument("--model", required=True, help="Folder of a checkpoint, or its name on the Hub.")
    parser.add_argument("--output", required=True, help=f"File to write, ending in {', '.join(FORMATS)}.")
    parser.add_argument(
        "--input", choices=INPUTS, default="waveform", help="What the file takes (default: %(default)s)."
    )
    parser.add_argument("--int8", action="store_true", help="Quantise an ONNX file to 8 bits.")
    parser.add_argument(
        "--clips",
        nargs="+",
        default=[],
        metavar="FILE",
        help="Recordings on which the file is compared with PyTorch (default: noise).",
    )
    args = parser.parse_args(arguments)

    quiet_libraries()
    try:
        classifier = load_pipeline(args.model)
        extractor = classifier.feature_extractor
        waveforms = [load_audio(clip, extractor.sampling_rate) for clip in args.clips]
        result = export(classifier.model, extractor, args.output, args.input, waveforms, args.int8)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        print(f"asm-export: {one_line(error)}", file=sys.stderr)
        return 2
    size, clips = Path(args.output).stat().st_size / 1e6, f"{len(waveforms)} clips" if waveforms else "noise"
    print(
        f"{args.output}: {size:.1f} MB. Compared on {clips}: largest difference of the logits "
        f"{result['largest_difference']:.1e}, same best label for {result['same_label']:.1%}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
