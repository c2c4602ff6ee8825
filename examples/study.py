"""Run a study, a plan of trainings that are compared, and lay out its tables and its plot.

    python examples/study.py plans/small.yaml --data_dir recordings

A plan names data sets (folders in `--data_dir`, or on the Hub), variants of a model, seeds, and comparisons of them.
Each run is one `train.py` with the arguments of the plan's recipe, the data set and the variant; its results are a file
`RESULTS/runs/VARIANT-DATA-SEED.json`. An interrupted study goes on where it was, and a finished run is not repeated.
Then the variants' cost is measured side by side, in turns, in `RESULTS/cost.json`; tables and plot are made from these
files alone, also by `--report_only`. `plans/small.yaml` says how long it takes on two cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import residual_cnn  # noqa: F401, registers the baseline
import torch
import yaml
from scipy import stats
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForAudioClassification

import modeling_asm  # noqa: F401, registers ASM
from modeling_asm.training.cards import describe_environment
from modeling_asm.training.report import write_json


EXAMPLES = Path(__file__).resolve().parent
PARTS = ("recipe", "data", "starts", "variants", "seeds", "comparisons")
STEP_BATCH = 32  # clips of a training step whose time and memory are measured


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("plan", type=Path, help="YAML file: see plans/small.yaml.")
    parser.add_argument("--data_dir", type=Path, help="Folder that holds the plan's data sets.")
    parser.add_argument("--results", type=Path, help="Folder for the results; by default examples/study/PLAN.")
    parser.add_argument("--work_dir", type=Path, default=Path("build/study"), help="Folder for models and starts.")
    parser.add_argument("--only", nargs="+", help="Comparisons to run; by default all.")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1 if torch.cuda.is_available() else os.cpu_count(),
        help="Trainings at once, one thread each; by default one a core, and one where there is a GPU.",
    )
    parser.add_argument("--rounds", type=int, default=9, help="How often each variant's cost is timed.")
    parser.add_argument(
        "--report_only", action="store_true", help="Make tables and plot from the results that are there."
    )
    args = parser.parse_args()
    results = args.results or EXAMPLES / "study" / args.plan.stem
    try:
        plan = read_plan(args.plan)
        if not args.report_only:
            runs = list_runs(plan, args.only)
            train_all(runs, plan, args.data_dir, results / "runs", args.work_dir / args.plan.stem, args.jobs)
            costs = measure_costs(read_runs(results), args.rounds)
            write_json(
                {"environment": describe_environment(), "batch_size": STEP_BATCH, "variants": costs},
                results / "cost.json",
            )
        tables = format_tables(plan, results)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
    (results / "tables.md").write_text(tables, encoding="utf-8")
    plot(plan, results)
    print(tables)


def read_plan(path: Path) -> dict:
    """Read a plan, and check that its parts name each other rightly."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no plan {str(path)!r}.")
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(plan, dict) or set(plan) - set(PARTS) or not set(PARTS) - {"starts"} <= set(plan):
        raise ValueError(f"The plan {str(path)!r} must have the parts {', '.join(PARTS)} (starts may be left out).")
    for name, comparison in plan["comparisons"].items():
        for part in ("variants", "data"):
            if unknown := [item for item in comparison[part] if item not in plan[part]]:
                raise ValueError(
                    f"Comparison {name!r} names {unknown[0]!r}, which is none of the plan's {part}: "
                    f"{', '.join(plan[part])}."
                )
    for name, variant in plan["variants"].items():
        if "start" in variant and variant["start"] not in plan.get("starts", {}):
            raise ValueError(f"Variant {name!r} starts from {variant['start']!r}, which is none of the plan's starts.")
    return plan


def list_runs(plan: dict, only: list[str] | None = None) -> dict[str, dict]:
    """Return the settings of each run by its name; comparisons share the runs of a variant."""
    if unknown := set(only or []) - set(plan["comparisons"]):
        raise ValueError(f"There is no comparison {min(unknown)!r}; the plan has {', '.join(plan['comparisons'])}.")
    runs = {}
    for seed, (name, comparison) in product(plan["seeds"], plan["comparisons"].items()):
        if only and name not in only:
            continue
        for data, variant in product(comparison["data"], comparison["variants"]):
            arguments = {**plan["recipe"], **plan["data"][data], **plan["variants"][variant], "seed": seed}
            runs[f"{variant}-{data}-{seed}"] = {"variant": variant, "data": data, "seed": seed, "arguments": arguments}
    return runs


def train_all(runs: dict, plan: dict, data_dir: Path | None, folder: Path, work_dir: Path, jobs: int):
    """Train what has no results yet, `jobs` runs at once; a run that fails does not stop the others."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = []
    for name, run in runs.items():
        file = folder / f"{name}.json"
        if not file.exists():
            waiting.append(name)
        elif json.loads(file.read_text())["run"] != json.loads(json.dumps(run)):
            raise ValueError(
                f"{str(file)!r} is from other settings than the plan's: remove it, or change the plan back."
            )
    starts = {name: runs[name]["arguments"].get("start") for name in waiting}
    sources = {name: find_start(name, plan["starts"][name], work_dir) for name in set(starts.values()) - {None}}
    with ThreadPoolExecutor(jobs) as pool:
        problems = list(
            pool.map(
                lambda name: train_one(name, runs[name], data_dir, sources.get(starts[name]), folder, work_dir), waiting
            )
        )
    if failed := [problem for problem in problems if problem]:
        raise ValueError("\n".join(failed))


def train_one(
    name: str, run: dict, data_dir: Path | None, source: str | None, folder: Path, work_dir: Path
) -> str | None:
    """Run `train.py` in a process with one thread, from the weights of pictures in `source`; return what went wrong."""
    arguments = dict(run["arguments"])
    if "dataset_name" not in arguments:
        if data_dir is None:
            return f"{name}: give the folder of the data sets by --data_dir."
        arguments["data_dir"] = data_dir / run["data"]
    geometry = arguments.pop("geometry", {})
    if source is not None:
        arguments["model_name_or_path"] = convert(source, work_dir / f"start-of-{name}", geometry, arguments)
    result = work_dir / f"{name}.json"
    fixed = {
        "output_dir": work_dir / name,
        "results_file": result,
        "measure_cost": False,
        "use_cpu": not torch.cuda.is_available(),
    }
    command = [sys.executable, str(EXAMPLES / "train.py")]
    for option, value in {**arguments, **fixed}.items():
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        command += [f"--{option}", *map(str, values)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0 or not result.exists():
        return f"{name} failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
    write_json({"run": run, **json.loads(result.read_text())}, folder / f"{name}.json")
    accuracy = json.loads(result.read_text())["metrics"]["accuracy"]
    print(f"{name}: {accuracy:.3f}, {time.perf_counter() - began:.0f} s", flush=True)
    return None


def find_start(name: str, start: dict, work_dir: Path) -> str:
    """Return where the weights of a start are: its `source`, or a file that `pretrain_pictures.py` writes, once."""
    if "source" in start:
        return start["source"]
    weights = work_dir / f"start-{name}.safetensors"
    if not weights.exists():
        options = [word for option, value in start.items() for word in (f"--{option}", str(value))]
        subprocess.run([sys.executable, str(EXAMPLES / "pretrain_pictures.py"), str(weights), *options], check=True)
    return str(weights)


def convert(source: str, folder: Path, geometry: dict, arguments: dict) -> Path:
    """Convert a start to a checkpoint of ASM, and take what is said of it out of the arguments of the training."""
    del arguments["start"]
    options = {"rgb_to_mono": arguments.pop("rgb_to_mono"), **geometry}
    if not folder.exists():
        words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
        command = [sys.executable, "-m", "modeling_asm.convert_mixer", source, str(folder), *words]
        subprocess.run(command, check=True)
    return folder


def read_runs(results: Path) -> list[dict]:
    """Return the results of all runs that are there."""
    return [json.loads(file.read_text()) for file in sorted((results / "runs").glob("*.json"))]


def measure_costs(runs: list[dict], rounds: int) -> dict[str, dict]:
    """Measure what each variant costs on one set of clips, with random weights, which cost what trained ones do.

    Returns:
        For each variant parameters, millions of multiply-adds of a clip, milliseconds of a forward pass of one clip and
        of a training step (medians of `rounds`, in turns), and the MB that a step keeps for its backward pass.
    """
    configs = {}
    for run in runs:
        configs.setdefault(run["run"]["variant"], {**run["model"]["config"], "num_labels": len(run["data"]["labels"])})
    models = {name: make_model(config) for name, config in configs.items()}
    times = {name: {"forward": [], "training_step": []} for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            for what, seconds in (("forward", time_forward(model)), ("training_step", time_step(model))):
                if turn > 0:  # the first turn warms up
                    times[name][what].append(1000 * seconds)
    costs = {}
    for name, model in models.items():
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model.eval()(inputs_of(model, 1))
        costs[name] = {
            "parameters": model.num_parameters(),
            "million_multiply_adds": round(counter.get_total_flops() / 2e6, 1),
            **{f"{what}_ms": round(statistics.median(values), 2) for what, values in times[name].items()},
            "training_step_mb": round(measure_activations(model), 1),
        }
    return costs


def make_model(config: dict):
    return AutoModelForAudioClassification.from_config(AutoConfig.for_model(**config))


def inputs_of(model, batch_size: int) -> torch.Tensor:
    return torch.randn(batch_size, model.config.max_length, model.config.num_mel_bins)


def time_forward(model) -> float:
    """Return the seconds of a forward pass of one clip."""
    inputs = inputs_of(model.eval(), 1)
    start = time.perf_counter()
    with torch.inference_mode():
        model(inputs)
    return time.perf_counter() - start


def time_step(model) -> float:
    """Return the seconds of the forward and backward pass of a training step, bf16 products."""
    inputs = inputs_of(model.train(), STEP_BATCH)
    start = time.perf_counter()
    loss_of(model, inputs).backward()
    model.zero_grad()
    return time.perf_counter() - start


def loss_of(model, inputs: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return model(inputs).logits.float().square().mean()


def measure_activations(model) -> float:
    """Return how many MB of tensors, other than weights, a training step keeps for its backward pass."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(model.train(), inputs_of(model, STEP_BATCH))
    size = sum(kept.values()) / 1e6
    del loss  # until here it holds them, so that no two share an address
    return size


def interval(values: list[float]) -> float:
    """Return half the width of the 95 % interval of a mean, by Student's t; of one value, infinity."""
    if len(values) < 2:
        return float("inf")
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def format_tables(plan: dict, results: Path) -> str:
    """Return a Markdown table for each comparison that has runs."""
    accuracy: dict[tuple[str, str], dict[int, float]] = {}
    for run in read_runs(results):
        key = (run["run"]["variant"], run["run"]["data"])
        accuracy.setdefault(key, {})[run["run"]["seed"]] = run["metrics"]["accuracy"]
    if not accuracy:
        raise FileNotFoundError(f"There are no results in {str(results / 'runs')!r}: run the study first.")
    file = results / "cost.json"
    costs = json.loads(file.read_text())["variants"] if file.exists() else {}
    parts = []
    for comparison in plan["comparisons"].values():
        rows = [row for name in comparison["variants"] if (row := format_row(name, comparison, accuracy, costs))]
        if rows:
            head = ["variant", "parameters", "M multiply-adds", "forward", "training step", "kept by a step"]
            head += [text for data in comparison["data"] for text in (data, f"minus {comparison['variants'][0]}")]
            lines = [
                f"### {comparison['title']}",
                "",
                "| " + " | ".join(head) + " |",
                "| --- " * len(head) + "|",
                *rows,
            ]
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def format_row(name: str, comparison: dict, accuracy: dict, costs: dict) -> str | None:
    """Return a variant's row: its cost, its accuracy, and the paired difference from the comparison's first variant."""
    if not any((name, data) in accuracy for data in comparison["data"]):
        return None
    cells, cost = [name], costs.get(name)
    cells += (
        [
            f"{cost['parameters']:,}",
            f"{cost['million_multiply_adds']}",
            f"{cost['forward_ms']} ms",
            f"{cost['training_step_ms']} ms",
            f"{cost['training_step_mb']} MB",
        ]
        if cost
        else [""] * 5
    )
    for data in comparison["data"]:
        own, first = accuracy.get((name, data), {}), accuracy.get((comparison["variants"][0], data), {})
        cells.append(format_mean(list(own.values())))
        paired = [own[seed] - first[seed] for seed in own if seed in first]
        cells.append("" if name == comparison["variants"][0] else format_mean(paired, signed=True))
    return "| " + " | ".join(cells) + " |"


def format_mean(values: list[float], signed: bool = False) -> str:
    """Return a mean with its interval; a difference whose interval leaves out 0 is bold."""
    if not values:
        return ""
    mean, half = float(np.mean(values)), interval(values)
    text = f"{mean:+.3f}" if signed else f"{mean:.3f}"
    text += f" ± {half:.3f}" if half < float("inf") else " (one seed)"
    return f"**{text}**" if signed and abs(mean) > half else text


def plot(plan: dict, results: Path):
    """Draw accuracy over multiply-adds of every variant, a panel for each data set, with the intervals of the means."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    file = results / "cost.json"
    if not file.exists():
        return
    costs, scores = json.loads(file.read_text())["variants"], {}
    for run in read_runs(results):
        key = run["run"]["data"], run["run"]["variant"]
        scores.setdefault(key[0], {}).setdefault(key[1], []).append(run["metrics"]["accuracy"])
    figure, axes = pyplot.subplots(1, len(scores), figsize=(5 * len(scores), 4), squeeze=False, layout="constrained")
    for axis, (data, variants) in zip(axes[0], scores.items()):
        for name, values in variants.items():
            half = interval(values) if len(values) > 1 else 0.0
            place = costs[name]["million_multiply_adds"], float(np.mean(values))
            axis.errorbar(*place, yerr=half, marker="o", capsize=3)
            axis.annotate(name, place, textcoords="offset points", xytext=(5, 4), fontsize=7)
        axis.set(title=data, xscale="log", xlabel="million multiply-adds a clip", ylabel="accuracy")
    figure.savefig(results / "accuracy.png", dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
