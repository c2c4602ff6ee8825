"""Run a study, a plan of trainings to compare, and write its tables and its plot.

    python research/study.py research/plans/small.yaml --data_dir recordings

A plan names data sets (folders in `--data_dir`, or on the Hub), variants of a model, seeds, and comparisons of them.
Each run is one `asm-train` with the arguments of the plan's recipe, the data set and the variant, and writes
`RESULTS/runs/VARIANT-DATA-SEED.json`. The same command continues an interrupted study and repeats no finished run. Then
the variants are timed side by side, in turns, into `RESULTS/cost.json`; they are timed again if a shape is new or the
file is removed. Tables and plot are written from these files alone, also with `--report_only`.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
import yaml
from scipy import stats
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoConfig, AutoModelForAudioClassification

import modeling_asm  # noqa: F401, registers ASM
from modeling_asm.measuring.cost import count_multiply_adds
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.report.tables import write_json
from modeling_asm.training.run_folder import UNFINISHED


RESEARCH = Path(__file__).resolve().parent
PARTS = ("recipe", "data", "starts", "variants", "seeds", "comparisons")
OF_STARTS = ("start", "rgb_to_mono", "geometry")  # not arguments of asm-train
START_LOCK = threading.Lock()  # runs share starts
STEP_BATCH = 32  # clips of a training step whose time and memory are measured
REPEATS = 5  # of a measurement in each round, one after the other
LEAST_SEEDS = 3  # for a difference to be called one

CAPTION = f"""\
Accuracy: mean of the seeds, and half of its 95 % interval by Student's t. Differences are those of the same seed; one
whose interval leaves out 0 is bold. The intervals are those of the seed alone, on the same clips, and are not adjusted
for the number of comparisons. Forward: of one clip, in float32. Training step: forward and backward pass of
{STEP_BATCH} clips in the trainings' precision, and what it keeps for the latter. One thread, medians; of eager
attention and sdpa the better one in each column."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("plan", type=Path, help="YAML file: see research/plans/small.yaml.")
    parser.add_argument("--data_dir", type=Path, help="Folder that holds the plan's data sets.")
    parser.add_argument("--results", type=Path, help="Folder for the results; by default research/results/study/PLAN.")
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
    results = args.results or RESEARCH / "results" / "study" / args.plan.stem
    try:
        plan = read_plan(args.plan)
        failed = []
        if not args.report_only:
            runs = list_runs(plan, args.only)
            failed = train_all(runs, args.data_dir, results / "runs", args.work_dir / args.plan.stem, args.jobs)
            if failed and not any((results / "runs").iterdir()):
                sys.exit("\n".join(failed))
            update_costs(read_runs(plan, results), results / "cost.json", args.rounds)
        tables = format_tables(plan, results)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    (results / "tables.md").write_text(tables, encoding="utf-8")
    plot(plan, results)
    print(tables)
    if failed:
        sys.exit("\n".join(failed))


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
    for name, start in plan.get("starts", {}).items():
        if "source" in start and (unknown := set(start) - {"source", "revision"}):
            raise ValueError(f"Start {name!r} has {min(unknown)!r}; one with a source may have a revision, no more.")
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


def train_all(runs: dict[str, dict], data_dir: Path | None, folder: Path, work_dir: Path, jobs: int) -> list[str]:
    """Train what has no results yet, `jobs` runs at once; return what went wrong, which does not stop the others."""
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
    with ThreadPoolExecutor(jobs) as pool:
        problems = pool.map(lambda name: train_one(name, runs[name], data_dir, folder, work_dir), waiting)
        return [problem for problem in problems if problem]


def train_one(name: str, run: dict, data_dir: Path | None, folder: Path, work_dir: Path) -> str | None:
    """Run `asm-train` in a process with one thread; return what went wrong."""
    output_dir = work_dir / f"{name}-{digest(run)}"  # other settings, another folder
    fixed = {"output_dir": output_dir, "measure_cost": False, "use_cpu": not torch.cuda.is_available()}
    if "dataset_name" not in run["arguments"]:
        if data_dir is None:
            return f"{name}: pass the folder of the data sets with --data_dir."
        fixed["data_dir"] = data_dir / run["data"]
    if "start" in run["arguments"]:
        try:
            with START_LOCK:
                fixed["model_name_or_path"] = make_start(run["arguments"], work_dir)
        except subprocess.CalledProcessError as error:
            return f"{name} failed: {error}"
    recipe = work_dir / f"{name}.yaml"  # JSON is YAML
    write_json({key: value for key, value in run["arguments"].items() if key not in OF_STARTS}, recipe)
    command = [sys.executable, "-m", "modeling_asm.commands.train", str(recipe), *as_options(fixed)]
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


def make_start(arguments: dict, work_dir: Path) -> Path:
    """Return the checkpoint of a Mixer that saw pictures, made once for all runs that ask for it."""
    start, geometry = arguments["start"], arguments["geometry"]
    source = start.get("source")
    options = {"rgb_to_mono": arguments["rgb_to_mono"], **geometry}
    if source is not None:
        options["revision"] = start.get("revision", "main")
    else:
        source = work_dir / f"start-{digest(start)}.safetensors"
        make_whole(source, [str(RESEARCH / "pretrain_pictures.py"), "{}"], start)
    folder = work_dir / f"start-{digest([start, options])}"
    make_whole(folder, ["-m", "modeling_asm.commands.convert", str(source), "{}"], options)
    return folder


def make_whole(target: Path, command: list[str], options: dict):
    """Run a command of Python that writes `{}`, unless that is there; what a killed one left does not count."""
    if target.exists():
        return
    unfinished = target.with_name(UNFINISHED + target.name)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    whole = unfinished / target.name  # a checkpoint's card has its folder's name
    words = [str(whole) if word == "{}" else word for word in command]
    subprocess.run([sys.executable, *words, *as_options(options)], check=True)
    os.replace(whole, target)
    unfinished.rmdir()


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


def update_costs(runs: list[dict], file: Path, rounds: int):
    """Measure what the variants cost, unless the file has each of their shapes."""
    shapes = {cost_name(run): digest(config_of(run)) for run in runs}
    before = read_json(file) if file.exists() else {"costs": {}}
    known = {cost["shape"]: cost for cost in before["costs"].values()}
    if set(shapes.values()) <= set(known) and before["bf16"] == bf16_of(runs):
        measured = {**before, "costs": {name: known[shape] for name, shape in shapes.items()}}
    else:
        measured = measure_costs(runs, rounds)
    write_json(measured, file)


def cost_name(run: dict) -> str:
    return f"{run['run']['variant']}-{run['run']['data']}"


def config_of(run: dict) -> dict:
    return {**run["model"]["config"], "num_labels": len(run["data"]["labels"])}


def bf16_of(runs: list[dict]) -> bool:
    return runs[0]["run"]["arguments"].get("bf16", False)


def measure_costs(runs: list[dict], rounds: int) -> dict:
    """Measure what each variant costs on each data set, with random weights, which cost what trained ones do.

    Variants of the same architecture are measured as one, Transformers with both ways to compute attention.

    Returns:
        In `costs`, for each variant and data set (`"VARIANT-DATA"`): a digest of its shape, parameters, millions of
        multiply-adds of a clip, milliseconds of a forward pass of one clip and of the forward and backward pass of
        `STEP_BATCH` (median and quartiles of `rounds`, in turns), and the MB that the latter keeps for backward.
    """
    torch.set_num_threads(1)  # as the trainings have
    bf16 = bf16_of(runs)
    models, names = {}, {}
    for run in runs:
        config = config_of(run)
        shape = names[cost_name(run)] = digest(config)
        if shape not in models:
            models[shape] = make_models(config)
    measured = {(shape, way): ([], []) for shape, ways in models.items() for way in range(len(ways))}
    for _ in range(rounds):
        for (shape, way), (forwards, steps) in measured.items():
            model = models[shape][way]
            forwards.append(time_of(partial(forward, model, inputs_of(model, 1))))
            steps.append(time_of(partial(step, model, inputs_of(model, STEP_BATCH), bf16)))
    costs = {}
    for name, shape in names.items():
        ways, first = models[shape], models[shape][0]
        multiply_adds = count_multiply_adds(first, {"input_values": inputs_of(first, 1)})
        times = [measured[shape, way] for way in range(len(ways))]
        costs[name] = {
            "shape": shape,
            "parameters": first.num_parameters(),
            "million_multiply_adds": round(multiply_adds / 1e6, 3),
            **describe_times("forward_ms", [forwards for forwards, _ in times]),
            **describe_times("training_step_ms", [steps for _, steps in times]),
            "training_step_mb": round(min(measure_activations(model, bf16) for model in ways), 1),
        }
    settings = {"threads": 1, "batch_size": STEP_BATCH, "bf16": bf16, "rounds": rounds, "repeats": REPEATS}
    return {"environment": describe_environment(), **settings, "costs": costs}


def make_models(config: dict) -> list:
    """Return a model, once for each way to compute attention that it has."""

    def make(attention: str):
        return AutoModelForAudioClassification.from_config(
            AutoConfig.for_model(**config), attn_implementation=attention
        )

    eager = make("eager")
    return [eager, make("sdpa")] if eager._supports_sdpa else [eager]


def inputs_of(model, batch_size: int) -> torch.Tensor:
    return torch.randn(batch_size, model.config.max_length, model.config.num_mel_bins)


def time_of(work: Callable[[], None]) -> float:
    """Return the milliseconds of one of `REPEATS` calls, after one that warms up."""
    work()
    start = time.perf_counter()
    for _ in range(REPEATS):
        work()
    return 1000 * (time.perf_counter() - start) / REPEATS


def describe_times(name: str, ways: list[list[float]]) -> dict:
    """Return median and quartiles of the fastest way."""
    quartiles = min((np.quantile(values, [0.25, 0.5, 0.75]).round(2).tolist() for values in ways), key=lambda q: q[1])
    return {name: quartiles[1], f"{name}_quartiles": [quartiles[0], quartiles[2]]}


@torch.inference_mode()
def forward(model, inputs: torch.Tensor):
    model.eval()(inputs)


def step(model, inputs: torch.Tensor, bf16: bool):
    """Run the forward and the backward pass of a training step."""
    loss_of(model.train(), inputs, bf16).backward()
    model.zero_grad()


def loss_of(model, inputs: torch.Tensor, bf16: bool) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return model(inputs).logits.float().square().mean()


def measure_activations(model, bf16: bool) -> float:
    """Return how many MB a training step keeps for its backward pass that grow with the batch: no weights or copies."""
    half, whole = (measure_kept(model, size, bf16) for size in (STEP_BATCH // 2, STEP_BATCH))
    return 2 * (whole - half)


def measure_kept(model, batch_size: int, bf16: bool) -> float:
    """Return how many MB of tensors a step of so many clips keeps for its backward pass."""
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(model.train(), inputs_of(model, batch_size), bf16)
    size = sum(kept.values()) / 1e6
    del loss  # until here it holds them, so that no two share an address
    return size


def interval(values: list[float]) -> float:
    """Return half the width of the 95 % interval of a mean, by Student's t; of one value, infinity."""
    if len(values) < 2:
        return float("inf")
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def format_tables(plan: dict, results: Path) -> str:
    """Return a Markdown table for each comparison that has runs, and what their figures are."""
    accuracy: dict[tuple[str, str], dict[int, float]] = {}
    runs, clips = read_runs(plan, results), {}
    for run in runs:
        key = (run["run"]["variant"], run["run"]["data"])
        accuracy.setdefault(key, {})[run["run"]["seed"]] = run["metrics"]["accuracy"]
        clips[run["run"]["data"]] = run["data"]["clips"]["test"]
    costs = read_json(results / "cost.json")["costs"] if (results / "cost.json").exists() else {}
    parts, differences = [CAPTION.replace("\n", " ")], {}
    for comparison in plan["comparisons"].values():
        first, *others = comparison["variants"]
        for data, name in product(comparison["data"], others):
            differences[f"{name} minus {first} on {data}"] = paired(accuracy, data, name, first)
        rows = [row for name in comparison["variants"] if (row := format_row(name, comparison, accuracy, costs))]
        if rows:
            head = [f"variant ({comparison['data'][0]})", "parameters", "M multiply-adds", "forward", "training step"]
            head.append("kept by a step")
            for data in comparison["data"]:
                tested = f" ({clips[data]} clips)" if data in clips else ""
                head += [f"{data}{tested}", f"minus {first}"]
            lines = [
                f"### {comparison['title']}",
                "",
                "| " + " | ".join(head) + " |",
                "| --- " * len(head) + "|",
                *rows,
            ]
            parts.append("\n".join(lines))
    parts.append(format_differences(differences))
    hours = sum(run["training"]["seconds"] or 0 for run in runs) / 3600
    parts.append(f"{len(runs)} trainings, {hours:.1f} hours of one thread in all.")
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
    first = comparison["variants"][0]
    for data in comparison["data"]:
        cells.append(format_mean(list(accuracy.get((name, data), {}).values())))
        cells.append("" if name == first else format_mean(paired(accuracy, data, name, first), signed=True))
    return "| " + " | ".join(cells) + " |"


def paired(accuracy: dict, data: str, name: str, first: str) -> list[float]:
    """Return how much more accurate a variant is than the first one, for each seed that both have."""
    own, other = accuracy.get((name, data), {}), accuracy.get((first, data), {})
    return [own[seed] - other[seed] for seed in own if seed in other]


def format_differences(differences: dict[str, list[float]]) -> str:
    """Say which differences are left when all are looked at together: Holm's method, paired t tests, 5 %."""
    values = {name: stats.ttest_1samp(d, 0).pvalue for name, d in differences.items() if len(d) >= LEAST_SEEDS}
    left = []
    for tests, name in zip(range(len(values), 0, -1), sorted(values, key=values.get)):
        if not values[name] <= 0.05 / tests:
            break
        left.append(f"{name} (p = {values[name]:.4f})")
    least = min(values, key=values.get, default=None)
    text = f"Of {len(values)} differences with {LEAST_SEEDS} seeds or more, taken together (Holm's method, 5 %), "
    if left or not least:
        return text + f"{len(left)} are left" + (f": {', '.join(left)}." if left else ".")
    return text + f"none is left; the least p is {values[least]:.4f}, of {least}."


def format_mean(values: list[float], signed: bool = False) -> str:
    """Return a mean with its interval; a difference of enough seeds whose interval leaves out 0 is bold."""
    if not values:
        return ""
    mean, half = float(np.mean(values)), interval(values)
    text = f"{mean:+.3f}" if signed else f"{mean:.3f}"
    if np.ptp(values) < 1e-9:  # rounding apart
        return f"{text} ({'one seed' if len(values) == 1 else 'all seeds'})"
    text += f" ± {half:.3f}"
    return f"**{text}**" if signed and len(values) >= LEAST_SEEDS and abs(mean) > half else text


def plot(plan: dict, results: Path):
    """Draw the accuracy of every variant with the interval of its mean, a panel for each data set."""
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
    rows = max(map(len, scores.values()))
    figure, axes = pyplot.subplots(
        1, len(scores), figsize=(5 * len(scores), 1.5 + 0.25 * rows), squeeze=False, layout="constrained"
    )
    for axis, (data, variants) in zip(axes[0], scores.items()):
        for row, values in enumerate(variants.values()):
            half = interval(values) if len(values) > 1 else 0.0
            axis.errorbar(float(np.mean(values)), -row, xerr=half, marker="o", capsize=3, color="tab:blue")
        names = [f"{name}, {costs[f'{name}-{data}']['million_multiply_adds']:.0f} M" for name in variants]
        axis.set_yticks([-row for row in range(len(variants))], names)
        axis.margins(y=0.1)
        axis.grid(axis="x", alpha=0.4)
        axis.set(title=data, xlabel="accuracy; beside the name multiply-adds of a clip")
    figure.savefig(results / "accuracy.png", dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
