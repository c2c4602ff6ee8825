"""The command `asm-classify`: label audio files of any format, length, sampling rate and number of channels.

    asm-classify recording.wav
    asm-classify --similar recordings recording.wav
    asm-classify --model my-model recording.wav another.flac
    asm-classify --model my-model --timestamps --plot meeting.png meeting.mp3
    cat recording.wav | asm-classify --model my-model --json -

A file that cannot be read is reported on standard error, and the others are still classified. The exit status is then
1, or 2 if nothing could be classified at all.
"""

import argparse
import csv
import io
import json
import os
import sys

import numpy as np
from tqdm.auto import tqdm

from ..audio.files import AudioFileError
from ..audio.sources import spool
from ..embeddings import Embedder, SimilarRecordings, embed_folder
from ..export.onnx_runtime import ASMOnnxClassifier
from ..figures import check_picture
from ..general import find_encoder
from ..loading import load_pipeline
from ..pipeline_asm import ASMAudioClassificationPipeline
from ..plots import plot_windows
from .console import one_line, quiet_decoder, quiet_libraries


EXIT_STATUS = "Exit status: 0 on success, 1 if a file could not be read, 2 if the command could not start."


@quiet_decoder()
def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="asm-classify", description="Classify audio files.", epilog=EXIT_STATUS)
    parser.add_argument("files", nargs="+", help="Audio files or URLs; - for standard input.")
    parser.add_argument(
        "--model",
        help="Folder of a checkpoint, its name on the Hub, or an ONNX file (default: asm-small-general, an encoder of "
        "this package that knows AudioSet's 527 labels).",
    )
    parser.add_argument("--top_k", type=int, default=3, help="Number of labels to print (default: %(default)s).")
    parser.add_argument(
        "--similar", metavar="FOLDER", help="Print the most similar recordings in a folder instead of labels."
    )
    parser.add_argument("--timestamps", action="store_true", help="Print the scores of each window.")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="Print machine-readable output: one list of objects.")
    output.add_argument("--csv", action="store_true", help="Print machine-readable output: one row per label.")
    parser.add_argument("--plot", metavar="PNG", help="Draw the spectrogram of one file with its labels along time.")
    parser.add_argument(
        "--window_overlap", type=float, help="Fraction of a window that overlaps with the next (default: the model's)."
    )
    parser.add_argument(
        "--channel", type=int, help="Channel of each file, from 0, to classify (default: the mean of all)."
    )
    parser.add_argument("--batch_size", type=int, help="Windows per batch (default: 16).")
    parser.add_argument("--device", help="Where to compute: cpu, cuda:0, ... (default: the first GPU, if any).")
    args = parser.parse_args(arguments)
    for name in ("top_k", "batch_size"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}.")
    if args.plot and len(args.files) > 1:
        parser.error(f"--plot draws one file, got {len(args.files)}. Run the command once per file.")
    onnx = args.model is not None and args.model.endswith(".onnx")
    if args.device and onnx:
        parser.error(f"--device is for checkpoints, got the ONNX file {args.model}. Leave it out.")
    if args.similar and (onnx or args.timestamps or args.plot or args.batch_size):
        parser.error(
            "--similar compares embeddings of whole recordings: it takes no ONNX file, --timestamps, --plot or "
            "--batch_size."
        )
    if args.files.count("-") > 1:
        parser.error("Standard input can only be read once.")

    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid text
    quiet_libraries()
    unread = []
    try:
        model = args.model or find_encoder()
        if args.similar:
            results, unread = find_similar(model, args)
        else:
            classifier = ASMOnnxClassifier(model) if onnx else load_pipeline(model, args.device)
            results = classify(classifier, args)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        print(f"asm-classify: {one_line(error)}", file=sys.stderr)
        return 2
    errors = [*unread, *(result["error"] for result in results if "error" in result)]
    for error in errors:
        print(f"asm-classify: {one_line(error)}", file=sys.stderr)
    try:
        (print_json if args.json else print_csv if args.csv else print_table)(results)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if errors else 0


def classify(classifier: ASMAudioClassificationPipeline, args: argparse.Namespace) -> list[dict]:
    """Return for each file its name with its scores, windows or error; draw the plot."""
    if args.plot:
        check_picture(args.plot)
    sources = [standard_input(twice=args.plot is not None) if file == "-" else file for file in args.files]
    options = {"batch_size": args.batch_size or 16, "window_overlap": args.window_overlap, "channel": args.channel}
    key = "windows" if args.timestamps else "scores"
    top_k = None if args.plot else args.top_k  # a plot needs all labels
    outputs = classifier(
        (s for s in sources), top_k=top_k, return_timestamps=args.timestamps, on_error="return", **options
    )
    quiet = len(args.files) == 1 or not sys.stderr.isatty()
    results = []
    for file, answer in zip(args.files, tqdm(outputs, total=len(sources), unit="file", disable=quiet)):
        results.append({"file": file, **(answer if isinstance(answer, dict) else {key: answer})})
    if args.plot and "error" not in results[0]:
        windows = results[0].get("windows") or classifier(sources[0], top_k=None, return_timestamps=True, **options)
        plot_windows(args.plot, sources[0], classifier.feature_extractor, windows, args.channel)
        for part in results[0].get("windows", results):
            part["scores"] = part["scores"][: args.top_k]
    return results


def find_similar(model: str, args: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """Return for each file its name with the most similar recordings in a folder, as labels and scores, or an error.

    Beside that, what was wrong with recordings in the folder that could not be read.

    Raises:
        OSError: If there is no such folder or checkpoint.
        ValueError: If it has no recording that can be read.
    """
    embedder = Embedder(model, args.device, args.window_overlap)
    embeddings, errors = embed_folder(args.similar, embedder, args.channel)
    similar = SimilarRecordings(list(embeddings), np.stack([row.vector for row in embeddings.values()]))
    results = []
    for file in args.files:
        try:
            source = standard_input(twice=False) if file == "-" else file
            pairs = similar.find(embedder(source, args.channel).vector, args.top_k)
        except (AudioFileError, ValueError) as error:
            results.append({"file": file, "error": str(error)})
        else:
            results.append({"file": file, "scores": [{"label": name, "score": score} for name, score in pairs]})
    return results, list(map(str, errors.values()))


def standard_input(twice: bool):
    """Return standard input as a binary file, which can be read twice on request."""
    if sys.stdin is None:
        closed = io.BytesIO()
        closed.name = "standard input"
        closed.close()
        return closed
    return spool(sys.stdin.buffer) if twice else sys.stdin.buffer


def print_table(results: list[dict]):
    """Print for each file its labels, or one line per window."""
    for result in results:
        name = one_line(result["file"])
        if "windows" in result:
            print(name)
            for window in result["windows"]:
                print(f"  {window['start']:9.2f} to {window['end']:9.2f} s  {format_scores(window['scores'])}")
        elif "scores" in result:
            print(f"{name}  {format_scores(result['scores'])}")


def format_scores(scores: list[dict]) -> str:
    """Return labels and scores on one line."""
    return ", ".join(f"{one_line(score['label'])} {score['score']:.3f}" for score in scores)


def print_json(results: list[dict]):
    """Print all results as one list."""
    json.dump(results, sys.stdout, indent=2)
    print()


def print_csv(results: list[dict]):
    """Print one row per label of each file or window."""
    writer = csv.writer(sys.stdout)
    writer.writerow(["file", "start", "end", "label", "score", "error"])
    for result in results:
        if "error" in result:
            writer.writerow([result["file"], "", "", "", "", result["error"]])
        for window in result.get("windows", [result]):
            for score in window.get("scores", []):
                times = [window.get("start", ""), window.get("end", "")]
                writer.writerow([result["file"], *times, score["label"], score["score"], ""])


if __name__ == "__main__":
    sys.exit(main())
