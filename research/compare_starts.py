"""Draw learning curves of each way to start: random weights, and a general encoder with more or less of it trained.

    python research/compare_starts.py --data_dir recordings --output research/results/starts_small.json
    python research/compare_starts.py --data_dir recordings --model asm-mini-general --shots all \
        --output research/results/starts_mini.json

Each cell is one `asm-train`: on a few clips of each class, drawn with the number of the draw as the seed, or on all. It
is tested on all clips of other folds, speakers or authors, which change from draw to draw. The same command continues
where it was interrupted. `--starts`, `--sets` and `--shots` measure a part. `--inside` compares the starts without what
is tested, to choose by:

    python research/compare_starts.py --data_dir recordings --inside --shots 2 5 10 20 40 --starts frozen whole \
        --sets casia spoken_digits --output research/results/starts_inside.json
"""

import argparse
import csv
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from evaluate_encoder import TASKS, Task
from scipy import stats

from modeling_asm.commands.train import GROUPS
from modeling_asm.general import DEFAULT_ENCODER, find_encoder
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.arguments import parse_arguments
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.experiments import run_experiment
from modeling_asm.training.report.tables import write_json
from modeling_asm.training.settings import Arguments
from modeling_asm.training.teachers.downloads import digest_file


# "scratch" has the shape of the encoder, random weights, and the defaults for a new model: 40 epochs instead of 10.
STARTS = {
    "frozen": ("--tune", "head"),
    "last layers": ("--tune", "last"),
    "whole": ("--tune", "all"),
    "its end alone": ("--tune", "all", "--start_share", "0"),
    "scratch": (),
}
SHAPE = ("hidden_size", "num_hidden_layers", "channels_mlp_dim", "token_mixing", "patch_size", "frequency_stride")
SHAPE += ("time_stride", "num_mel_bins", "stem_channels", "stem_time_strides")
SHAPE += ("pooling", "pooling_dim", "embedding_dim")
SHOTS = ("1", "5", "20", "100", "all")
Test = tuple[list[dict], tuple[str, ...]]  # clips, and the values of those that are tested; the others are drawn from


# The recorded ones: instrument_sounds is generated.
SETS = {task.folder: task for task in TASKS if task.folder != "instrument_sounds"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, required=True, help="Folder of the data sets.")
    parser.add_argument("--model", default=DEFAULT_ENCODER, help="The general encoder (default: %(default)s).")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=list(STARTS))
    parser.add_argument(
        "--shots", nargs="+", type=shots_of, default=list(SHOTS), help="Numbers of clips of a class, or `all`."
    )
    parser.add_argument(
        "--inside", action="store_true", help="Leave out what is tested, and test a fold or speaker of the others."
    )
    parser.add_argument("--draws", type=int, default=10, help="Draws of a few clips (default: %(default)s).")
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the results; it is continued.")
    args = parser.parse_args()

    encoder = Path(find_encoder(args.model))
    about = {"encoder": encoder.name, "sha256": digest_file(encoder / "model.safetensors"), "inside": args.inside}
    results = json.loads(args.output.read_text()) if args.output.is_file() else {**about, "accuracy": {}}
    if {name: results[name] for name in about} != about:
        raise SystemExit(f"{str(args.output)!r} has results of other weights or tests. Write to another file.")
    config = json.loads((encoder / "config.json").read_text())
    shape = json.dumps({name: config[name] for name in SHAPE if name in config})
    options = {start: ("--from", args.model, *more) for start, more in STARTS.items()}
    options["scratch"] = ("--config_overrides", shape)
    command = f"python research/compare_starts.py --model {encoder.name}"
    results |= {"command": command + " --inside" * args.inside}
    results |= {"environment": describe_environment()}
    for name in args.sets:
        clips = read(args.data_dir / name, SETS[name].groups)
        try:
            tests = divide_inside(clips, SETS[name]) if args.inside else divide(clips, SETS[name])
        except ValueError as error:
            raise SystemExit(str(error)) from error
        fewest = min(fewest_clips(*test) for test in tests)
        for shots in args.shots:
            if shots != "all" and int(shots) >= fewest:
                print(f"{name}: a class has only {fewest} clips, so {shots} are not drawn.")
                continue
            for start in args.starts:
                cells = results["accuracy"].setdefault(name, {}).setdefault(shots, {}).setdefault(start, {})
                for draw in range(len(tests) if shots == "all" else args.draws):
                    if str(draw) not in cells:
                        drawn = draw_clips(*tests[draw % len(tests)], shots, draw)
                        cells[str(draw)] = measure(drawn, draw, options[start])
                        write_json(results, args.output)
                        print(name, shots, start, draw, cells[str(draw)], flush=True)
    print(format_results(results))


def read(folder: Path, column: str | None) -> list[dict]:
    """Return the file, the label and the value of a column, or the split, of each clip."""
    rows = []
    for name, split in load_audio_dataset(DataArguments(str(folder))).items():
        labels = [split.features["label"].int2str(label) for label in split["label"][:]]
        values = [str(value) for value in split[column]] if column else [name] * len(split)
        rows += [
            {"file_name": audio["path"], "label": label, "value": value}
            for audio, label, value in zip(split["audio"], labels, values)
        ]
    return rows


def divide(clips: list[dict], task: Task) -> list[Test]:
    """Return the tests of a data set: one, or one of each fold or speaker."""
    if task.test:
        return [(clips, (task.test,) if isinstance(task.test, str) else task.test)]
    return [(clips, (value,)) for value in sorted({clip["value"] for clip in clips})]


def divide_inside(clips: list[dict], task: Task) -> list[Test]:
    """Return tests without the clips of each test: of one fold or speaker of the others after the other.

    Raises:
        ValueError: If there are no others to learn from.
    """
    divided = []
    for _, tested in divide(clips, task):
        rest = [clip for clip in clips if clip["value"] not in tested]
        values = sorted({clip["value"] for clip in rest})
        if len(values) < 2:
            raise ValueError(f"{task.folder} has no folds or speakers among the clips that are not tested.")
        divided.append([(rest, (value,)) for value in values])
    return [tests[turn] for turn in range(len(divided[0])) for tests in divided]


def shots_of(text: str) -> str:
    """Return a number of clips of a class, or `"all"`, as it was given."""
    if text != "all" and not (text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a positive number of clips nor 'all'.")
    return text


def fewest_clips(clips: list[dict], tested: tuple[str, ...]) -> int:
    """Return the number of clips of the smallest class, among those to draw from."""
    return min(Counter(clip["label"] for clip in clips if clip["value"] not in tested).values())


def draw_clips(clips: list[dict], tested: tuple[str, ...], shots: str, draw: int) -> list[dict]:
    """Return clips with their split: the tested ones, and of the others some of each class, the same for a draw."""
    rng, by_label = np.random.default_rng(draw), defaultdict(list)
    for clip in clips:
        if clip["value"] not in tested:
            by_label[clip["label"]].append({**clip, "split": "train"})
    count = len(clips) if shots == "all" else int(shots)
    drawn = [rows[place] for _, rows in sorted(by_label.items()) for place in rng.permutation(len(rows))[:count]]
    return drawn + [{**clip, "split": "test"} for clip in clips if clip["value"] in tested]


def measure(clips: list[dict], seed: int, options: tuple[str, ...]) -> dict:
    """Train on clips; return accuracy and number of the tested ones, and the seconds of the whole run."""
    start = time.time()
    with tempfile.TemporaryDirectory() as name:
        with open(f"{name}/clips.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ("file_name", "label", "split"), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(clips)
        arguments = ["--manifest", f"{name}/clips.csv", "--data_dir", "/", "--split_column", "split", *options]
        arguments += ["--output_dir", f"{name}/model", "--dev_fraction", "0", "--seed", str(seed), "--resamples", "0"]
        arguments += ["--measure_cost", "false", "--bf16", "true", "--use_cpu", "true", "--disable_tqdm", "true"]
        results = run_experiment(Arguments(*parse_arguments(GROUPS, arguments, "asm-train")), "asm-train")
    return {
        "accuracy": round(results["metrics"]["accuracy"], 4),
        "tested": results["data"]["clips"]["test"],
        "seconds": round(time.time() - start, 1),
    }


def format_results(results: dict, wanted: Callable[[str], bool] = bool) -> str:
    """Return a Markdown table of accuracies with their 95 % intervals, of such numbers of clips of a class."""
    rows = [(name, shots, cells) for name, table in results["accuracy"].items() for shots, cells in table.items()]
    rows = [(name, shots, cells) for name, shots, cells in rows if wanted(shots)]
    rows.sort(key=lambda row: (list(SETS).index(row[0]), float(row[1].replace("all", "inf"))))
    starts = [start for start in STARTS if any(cells.get(start) for *_, cells in rows)]
    lines = ["| data | clips of a class | " + " | ".join(starts) + " |", "| --- " * (len(starts) + 2) + "|"]
    for name, shots, cells in rows:
        shown = [(over_clips if shots == "all" else over_draws)(cells.get(start, {})) for start in starts]
        lines.append(f"| {name} | {shots} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def over_draws(cells: dict[str, dict]) -> str:
    """Return the mean accuracy of draws, with half of its 95 % interval by Student's t."""
    return summarise([cell["accuracy"] for cell in cells.values()])


def over_clips(cells: dict[str, dict]) -> str:
    """Return the accuracy of cells that test different clips, with its 95 % interval by Wilson."""
    if not cells:
        return "-"
    tested = sum(cell["tested"] for cell in cells.values())
    right = round(sum(cell["tested"] * cell["accuracy"] for cell in cells.values()))
    low, high = stats.binomtest(right, tested).proportion_ci(method="wilson")
    return f"{right / tested:.3f} ({low:.3f} to {high:.3f})"


def summarise(scores: list[float], sign: str = "") -> str:
    """Return the mean of scores, with half of its 95 % interval by Student's t if there are several."""
    if not scores:
        return "-"
    if len(scores) == 1:
        return f"{scores[0]:{sign}.3f}"
    half = stats.t.ppf(0.975, len(scores) - 1) * np.std(scores, ddof=1) / np.sqrt(len(scores))
    return f"{np.mean(scores):{sign}.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
