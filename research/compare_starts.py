"""Draw learning curves of each way to start: random weights, and the general encoder with more or less of it trained.

    python research/compare_starts.py --data_dir recordings --output research/results/starts.json

Each cell is one `asm-train` on a few clips of each class, drawn with the number of the draw as the seed, and tested on
all clips of other speakers, folds or authors. The same command continues where it was interrupted. `--starts`, `--sets`
and `--shots` measure a part.
"""

import argparse
import csv
import json
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from modeling_asm.commands.train import GROUPS
from modeling_asm.general import find_encoder
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.arguments import parse_arguments
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.experiments import run_experiment
from modeling_asm.training.report.tables import write_json
from modeling_asm.training.settings import Arguments
from modeling_asm.training.teachers.downloads import digest_file


# "scratch" has the shape of the encoder, random weights, and the defaults for a new model: twice the epochs.
STARTS = {"frozen": ("--tune", "head"), "last layers": ("--tune", "last"), "whole": ("--tune", "all"), "scratch": ()}
SHAPE = ("hidden_size", "num_hidden_layers", "channels_mlp_dim", "token_mixing", "patch_size", "frequency_stride")
SHAPE += ("time_stride", "num_mel_bins", "stem_channels", "stem_time_strides", "pooling", "pooling_dim")
SHOTS = ("1", "5", "20", "100", "all")


@dataclass
class Set:
    """A data set, and which of its clips are tested.

    Args:
        folder: Its folder.
        column: Column whose values decide, or `None` for splits.
        tested: The values, or the split, that are tested; the others are drawn from.
    """

    folder: str
    column: str | None
    tested: tuple[str, ...]


SETS = {
    "environmental_sounds": Set("environmental_sounds", "fold", ("5",)),
    "casia": Set("casia", "speaker", ("zhaoquanyin",)),
    "spoken_digits": Set("spoken_digits", "speaker", ("theo", "lucas")),
    "speech_commands": Set("speech_commands", None, ("validation",)),
    "drum_sounds": Set("drum_sounds", None, ("validation",)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, required=True, help="Folder of the data sets.")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=list(STARTS))
    parser.add_argument("--shots", nargs="+", default=list(SHOTS), choices=list(SHOTS))
    parser.add_argument("--draws", type=int, default=10, help="Draws of each cell (default: %(default)s).")
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the results; it is continued.")
    args = parser.parse_args()

    encoder = Path(find_encoder())
    about = {"encoder": encoder.name, "sha256": digest_file(encoder / "model.safetensors")}
    results = json.loads(args.output.read_text()) if args.output.is_file() else {**about, "accuracy": {}}
    if {name: results[name] for name in about} != about:
        raise SystemExit(f"{str(args.output)!r} has results of other weights. Write to another file.")
    config = json.loads((encoder / "config.json").read_text())
    options = STARTS | {
        "scratch": ("--config_overrides", json.dumps({name: config[name] for name in SHAPE if name in config}))
    }
    results |= {"command": "python research/compare_starts.py", "environment": describe_environment()}
    for name in args.sets:
        clips = read(args.data_dir, SETS[name])
        fewest = min(Counter(clip["label"] for clip in clips if clip["split"] == "train").values())
        for shots in args.shots:
            if shots != "all" and int(shots) >= fewest:
                print(f"{name}: a class has only {fewest} clips, so {shots} are not drawn.")
                continue
            for start in args.starts:
                cells = results["accuracy"].setdefault(name, {}).setdefault(shots, {}).setdefault(start, {})
                for draw in range(1 if shots == "all" else args.draws):
                    if str(draw) not in cells:
                        cells[str(draw)] = measure(clips, shots, draw, options[start])
                        write_json(results, args.output)
                        print(name, shots, start, draw, cells[str(draw)], flush=True)
    print(format_results(results))


def read(data_dir: Path, chosen: Set) -> list[dict]:
    """Return the file, the label and the split, `train` or `test`, of each clip."""
    rows = []
    for name, split in load_audio_dataset(DataArguments(str(data_dir / chosen.folder))).items():
        labels = [split.features["label"].int2str(label) for label in split["label"][:]]
        values = [str(value) for value in split[chosen.column]] if chosen.column else [name] * len(split)
        rows += [
            {"file_name": audio["path"], "label": label, "split": "test" if value in chosen.tested else "train"}
            for audio, label, value in zip(split["audio"], labels, values)
        ]
    return rows


def draw_clips(clips: list[dict], shots: str, draw: int) -> list[dict]:
    """Return the tested clips and, of the others, some of each class; the same ones for the same draw."""
    rng, by_label = np.random.default_rng(draw), defaultdict(list)
    for clip in clips:
        if clip["split"] == "train":
            by_label[clip["label"]].append(clip)
    count = len(clips) if shots == "all" else int(shots)
    drawn = [rows[place] for _, rows in sorted(by_label.items()) for place in rng.permutation(len(rows))[:count]]
    return drawn + [clip for clip in clips if clip["split"] == "test"]


def measure(clips: list[dict], shots: str, draw: int, options: tuple[str, ...]) -> dict:
    """Train on some clips; return the accuracy on the tested ones, and the seconds of the whole run."""
    start = time.time()
    with tempfile.TemporaryDirectory() as name:
        with open(f"{name}/clips.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ("file_name", "label", "split"))
            writer.writeheader()
            writer.writerows(draw_clips(clips, shots, draw))
        arguments = ["--manifest", f"{name}/clips.csv", "--data_dir", "/", "--split_column", "split", *options]
        arguments += ["--output_dir", f"{name}/model", "--dev_fraction", "0", "--seed", str(draw), "--resamples", "0"]
        arguments += ["--measure_cost", "false", "--bf16", "true", "--use_cpu", "true", "--disable_tqdm", "true"]
        results = run_experiment(Arguments(*parse_arguments(GROUPS, arguments, "asm-train")), "asm-train")
    return {"accuracy": round(results["metrics"]["accuracy"], 4), "seconds": round(time.time() - start, 1)}


def format_results(results: dict) -> str:
    """Return a Markdown table: mean accuracy over the draws, and half of its 95 % interval."""
    lines = ["| data | clips of a class | " + " | ".join(STARTS) + " |", "| --- " * (len(STARTS) + 2) + "|"]
    for name, table in results["accuracy"].items():
        for shots, cells in table.items():
            shown = [summarise([cell["accuracy"] for cell in cells.get(start, {}).values()]) for start in STARTS]
            lines.append(f"| {name} | {shots} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def summarise(scores: list[float]) -> str:
    """Return the mean of scores, with half of its 95 % interval by Student's t if there are several."""
    if not scores:
        return "-"
    if len(scores) == 1:
        return f"{scores[0]:.3f}"
    half = stats.t.ppf(0.975, len(scores) - 1) * np.std(scores, ddof=1) / np.sqrt(len(scores))
    return f"{np.mean(scores):.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
