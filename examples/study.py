"""Run a study, a plan of trainings that are compared, and lay out its tables and its plot.

    python examples/study.py plans/small.yaml --data_dir recordings

A plan names data sets (folders in `--data_dir`, or on the Hub), variants of a model, seeds, and comparisons of them.
Each run is one `train.py` with the arguments of the plan's recipe, the data set and the variant; its results are a file
`RESULTS/runs/VARIANT-DATA-SEED.json`. An interrupted study goes on where it was, and a finished run is not repeated.
Then the variants' cost is measured side by side, in turns, in `RESULTS/cost.json`; tables and plot are made from these
files alone, also by `--report_only`. `examples/study/README.md` says what the plans are for.
"""

import argparse
import hashlib
import json
import os
import shutil
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
from transformers import AutoConfig, AutoModelForAudioClassification

import modeling_asm  # noqa: F401, registers ASM
from modeling_asm.training.cards import describe_environment
from modeling_asm.training.cost import count_multiply_adds
from modeling_asm.training.report import write_json
from modeling_asm.training.runs import UNFINISHED


EXAMPLES = Path(__file__).resolve().parent
PARTS = ("recipe", "data", "starts", "variants", "seeds", "comparisons")
OF_STARTS = ("start", "rgb_to_mono", "geometry")  # what is no argument of train.py
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
            train_all(runs, args.data_dir, results / "runs", args.work_dir / args.plan.stem, args.jobs)
            write_json(measure_costs(read_runs(plan, results), args.rounds), results / "cost.json")
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
        if set(comparison) != {"title", "data", "variants"}:
            raise ValueError(f"Comparison {name!r} must have a title, data and variants, and nothing else.")
        for part in ("variants", "data"):
            if unknown := [item for item in comparison[part] if item not in plan[part]]:
                raise ValueError(
                    f"Comparison {name!r} names {unknown[0]!r}, which is none of the plan's {part}: "
                    f"{', '.join(plan[part])}."
                )
    for name, variant in plan["variants"].items():
        if "start" in variant and variant["start"] not in plan.get("starts", {}):
            raise ValueError(f"Variant {name!r} starts from {variant['start']!r}, which is none of the plan's starts.")
        if ("start" in variant) != ("rgb_to_mono" in variant):
            raise ValueError(f"Variant {name!r} must have both a start and its rgb_to_mono, or neither.")
    return plan


def list_runs(plan: dict, only: list[str] | None = None) -> dict[str, dict]:
    """Return the settings of each run by its name; comparisons share the runs of a variant, and seeds no start."""
    if unknown := set(only or []) - set(plan["comparisons"]):
        raise ValueError(f"There is no comparison {min(unknown)!r}; the plan has {', '.join(plan['comparisons'])}.")
    runs = {}
    for seed, (name, comparison) in product(plan["seeds"], plan["comparisons"].items()):
        if only and name not in only:
            continue
        for data, variant in product(comparison["data"], comparison["variants"]):
            arguments = {**plan["recipe"], **plan["data"][data], **plan["variants"][variant], "seed": seed}
            geometry = arguments.pop("geometry", None)
            if "start" in arguments:
                start = plan["starts"][arguments["start"]]
                arguments["start"] = start if "source" in start else {**start, "seed": seed}
                arguments["geometry"] = geometry or {}
            runs[f"{variant}-{data}-{seed}"] = {"variant": variant, "data": data, "seed": seed, "arguments": arguments}
    return json.loads(json.dumps(runs))


def train_all(runs: dict[str, dict], data_dir: Path | None, folder: Path, work_dir: Path, jobs: int):
    """Train what has no results yet, `jobs` runs at once; a run that fails does not stop the others."""
    for place in (folder, work_dir):
        place.mkdir(parents=True, exist_ok=True)
    waiting = []
    for name, run in runs.items():
        file = folder / f"{name}.json"
        if not file.exists():
            waiting.append(name)
        elif read_json(file)["run"] != run:
            raise ValueError(
                f"{str(file)!r} is from other settings than the plan's: remove it, or change the plan back."
            )
    starts: dict[str, Path] = {}
    for name in waiting:  # before the trainings, which share them
        starts[name] = make_start(runs[name]["arguments"], work_dir)
    with ThreadPoolExecutor(jobs) as pool:
        problems = list(
            pool.map(lambda name: train_one(name, runs[name], data_dir, starts[name], folder, work_dir), waiting)
        )
    if failed := [problem for problem in problems if problem]:
        raise ValueError("\n".join(failed))


def train_one(
    name: str, run: dict, data_dir: Path | None, start: Path | None, folder: Path, work_dir: Path
) -> str | None:
    """Run `train.py` in a process with one thread; return what went wrong."""
    arguments = {key: value for key, value in run["arguments"].items() if key not in OF_STARTS}
    output_dir = work_dir / f"{name}-{digest(run)}"  # other settings, another folder
    fixed = {"output_dir": output_dir, "measure_cost": False, "use_cpu": not torch.cuda.is_available()}
    if "dataset_name" not in arguments:
        if data_dir is None:
            return f"{name}: give the folder of the data sets by --data_dir."
        fixed["data_dir"] = data_dir / run["data"]
    if start is not None:
        fixed["model_name_or_path"] = start
    recipe = work_dir / f"{name}.yaml"
    write_json(arguments, recipe)  # JSON is YAML
    command = [sys.executable, str(EXAMPLES / "train.py"), str(recipe), *as_options(fixed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    began = time.perf_counter()
    with open(work_dir / f"{name}.log", "w", encoding="utf-8") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        lines = (work_dir / f"{name}.log").read_text(encoding="utf-8").strip().splitlines()
        return f"{name} failed: {lines[-1] if lines else done.returncode}"
    result = read_json(output_dir / "results.json")
    if "accuracy" not in result["metrics"]:
        return f"{name} has no accuracy: a study compares classifiers of one label a clip."
    write_json({"run": run, **result}, folder / f"{name}.json")
    print(f"{name}: {result['metrics']['accuracy']:.3f}, {time.perf_counter() - began:.0f} s", flush=True)
    return None


def make_start(arguments: dict, work_dir: Path) -> Path | None:
    """Return the checkpoint of a Mixer that saw pictures, made once for all runs that ask for it."""
    if "start" not in arguments:
        return None
    start, geometry = arguments["start"], arguments["geometry"]
    source = start.get("source")
    if source is None:
        source = work_dir / f"start-{digest(start)}.safetensors"
        make_whole(source, [str(EXAMPLES / "pretrain_pictures.py"), "{}"], start)
    options = {"rgb_to_mono": arguments["rgb_to_mono"], **geometry}
    folder = work_dir / f"start-{digest([start, options])}"
    make_whole(folder, ["-m", "modeling_asm.convert_mixer", str(source), "{}"], options)
    return folder


def make_whole(target: Path, command: list[str], options: dict):
    """Run a command of Python that writes `{}`, unless that is there; what a killed one left does not count."""
    if target.exists():
        return
    unfinished = target.with_name(UNFINISHED + target.name)
    shutil.rmtree(unfinished, ignore_errors=True)
    words = [str(unfinished) if word == "{}" else word for word in command]
    subprocess.run([sys.executable, *words, *as_options(options)], check=True)
    os.replace(unfinished, target)


def as_options(options: dict) -> list[str]:
    return [word for option, value in options.items() for word in (f"--{option}", str(value))]


def digest(settings) -> str:
    """Return a short text that differs where the settings do."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def read_json(file: Path):
    return json.loads(file.read_text(encoding="utf-8"))


def read_runs(plan: dict, results: Path) -> list[dict]:
    """Return the results of the plan's runs that are there.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If one is from other settings.
    """
    found = []
    for name, run in list_runs(plan).items():
        file = results / "runs" / f"{name}.json"
        if file.exists():
            found.append(read_json(file))
            if found[-1]["run"] != run:
                raise ValueError(f"{str(file)!r} is from other settings than the plan's: remove it.")
    if not found:
        raise FileNotFoundError(f"There are no results in {str(results / 'runs')!r}: run the study first.")
    return found


def measure_costs(runs: list[dict], rounds: int) -> dict:
    """Measure what each variant costs on each data set, with random weights, which cost what trained ones do.

    Returns:
        In `costs`, for each variant and data set (`"VARIANT-DATA"`): parameters, millions of multiply-adds of a clip,
        milliseconds of a forward pass of one clip and of a training step of `STEP_BATCH` (medians of `rounds`, in
        turns), and the MB that a step keeps for its backward pass.
    """
    models = {}
    for run in runs:
        config = {**run["model"]["config"], "num_labels": len(run["data"]["labels"])}
        attention = run["run"]["arguments"].get("attn_implementation")
        models.setdefault(f"{run['run']['variant']}-{run['run']['data']}", make_model(config, attention))
    times = {name: {"forward": [], "training_step": []} for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            for what, seconds in (("forward", time_forward(model)), ("training_step", time_step(model))):
                if turn > 0:  # the first turn warms up
                    times[name][what].append(1000 * seconds)
    costs = {
        name: {
            "parameters": model.num_parameters(),
            "million_multiply_adds": round(count_multiply_adds(model, {"input_values": inputs_of(model, 1)}) / 1e6, 3),
            **{f"{what}_ms": round(statistics.median(values), 2) for what, values in times[name].items()},
            "training_step_mb": round(measure_activations(model), 1),
        }
        for name, model in models.items()
    }
    return {"environment": describe_environment(), "batch_size": STEP_BATCH, "rounds": rounds, "costs": costs}


def make_model(config: dict, attention: str | None = None):
    return AutoModelForAudioClassification.from_config(AutoConfig.for_model(**config), attn_implementation=attention)


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
    """Return how many MB a training step keeps for its backward pass that grow with the batch: no weights or copies."""
    half, whole = (measure_kept(model, size) for size in (STEP_BATCH // 2, STEP_BATCH))
    return 2 * (whole - half)


def measure_kept(model, batch_size: int) -> float:
    """Return how many MB of tensors a step of so many clips keeps for its backward pass."""
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(model.train(), inputs_of(model, batch_size))
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
    for run in read_runs(plan, results):
        key = (run["run"]["variant"], run["run"]["data"])
        accuracy.setdefault(key, {})[run["run"]["seed"]] = run["metrics"]["accuracy"]
    costs = read_json(results / "cost.json")["costs"] if (results / "cost.json").exists() else {}
    parts = []
    for comparison in plan["comparisons"].values():
        rows = [row for name in comparison["variants"] if (row := format_row(name, comparison, accuracy, costs))]
        if rows:
            first = comparison["variants"][0]
            head = [f"variant ({comparison['data'][0]})", "parameters", "M multiply-adds", "forward", "training step"]
            head += ["kept by a step", *(text for data in comparison["data"] for text in (data, f"minus {first}"))]
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
    cells, cost = [name], costs.get(f"{name}-{comparison['data'][0]}")
    cells += (
        [
            f"{cost['parameters']:,}",
            f"{cost['million_multiply_adds']:.1f}",
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
    return f"**{text}**" if signed and abs(mean) > half > 0 else text


def plot(plan: dict, results: Path):
    """Draw accuracy over multiply-adds of every variant, a panel for each data set, with the intervals of the means."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not (results / "cost.json").exists():
        return
    costs, scores = read_json(results / "cost.json")["costs"], {}
    for run in read_runs(plan, results):
        data, variant = run["run"]["data"], run["run"]["variant"]
        if f"{variant}-{data}" in costs:
            scores.setdefault(data, {}).setdefault(variant, []).append(run["metrics"]["accuracy"])
    figure, axes = pyplot.subplots(1, len(scores), figsize=(5 * len(scores), 4), squeeze=False, layout="constrained")
    for axis, (data, variants) in zip(axes[0], scores.items()):
        for name, values in variants.items():
            half = interval(values) if len(values) > 1 else 0.0
            place = costs[f"{name}-{data}"]["million_multiply_adds"], float(np.mean(values))
            axis.errorbar(*place, yerr=half, marker="o", capsize=3)
            axis.annotate(name, place, textcoords="offset points", xytext=(5, 4), fontsize=7)
        axis.set(title=data, xscale="log", xlabel="million multiply-adds a clip", ylabel="accuracy")
    figure.savefig(results / "accuracy.png", dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
