"""Measure what teachers, augmentations, mixtures, hours, kinds of audio and time contribute to a general encoder.

    python research/ablate_encoder.py recipes/encoders/general_mini.yaml --pool corpus --bank bank --work_dir ablation \
        --data_dir recordings --output research/results/ablation.json

Each arm is the recipe on a small scale with one thing changed, trained with three seeds and probed frozen. Mixtures are
those of the first part of the recipe's bank; arms of other mixtures fill banks of their own in `--work_dir`. Masked
prediction on the same mixtures takes as long as the arm "all". The same command continues where it was interrupted.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from compare_starts import summarise
from evaluate_encoder import TASKS, Clips, encoder_of, few, read
from pretrain_masked import pretrain

from modeling_asm import ASMConfig
from modeling_asm.commands.distil import main as distil
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.distillation.bank import count_shards, shard_path
from modeling_asm.training.distillation.pool import RECORDINGS_FILE, SAMPLES_FILE
from modeling_asm.training.distillation.probe import score
from modeling_asm.training.distillation.run import digest_pool
from modeling_asm.training.report.tables import write_json


TIMED_STEPS = 30  # of masked prediction, to see how many fit
FEW = 5  # clips of a class, where the number is not all
KINDS = ("effects", "instruments", "music", "speech", "textures", "words")
PROBES = ("environmental_sounds", "casia", "spoken_digits", "drum_sounds")
SMALL = ("drum_sounds",)  # whose 55 tested clips tell little


@dataclass
class Arm:
    """What is changed.

    Args:
        model: Fields of ASMConfig.
        weights: Weights of targets in the loss, by teacher.
        augmentation: Fields of StudentAugmentation.
        mixing: Fields of MixtureSettings.
        mixtures: Share of the mixtures.
        steps: Share of the steps.
        hours: Share of the recordings.
        without: Kind of audio that is left out.
        masked: Share of the time in which masked patches are predicted instead, before the teachers are heard.
    """

    model: dict = field(default_factory=dict)
    weights: dict[str, dict] = field(default_factory=dict)
    augmentation: dict = field(default_factory=dict)
    mixing: dict = field(default_factory=dict)
    mixtures: float = 1.0
    steps: float = 1.0
    hours: float = 1.0
    without: str | None = None
    masked: float = 0.0

    @property
    def has_own_bank(self) -> bool:
        """Whether its mixtures are others than those of the recipe."""
        return bool(self.mixing or self.without or self.hours < 1 or "max_length" in self.model)


ROOMS = ("reverberation_probability", "noise_probability", "equalizer_probability")
LABELS_ALONE = {"logits": 0, "embeddings": 0, "embeddings_mean": 0, "labels": 0.01}  # the classifier must learn some
ARMS = {
    "all": Arm(),
    "without speech embedding": Arm(weights={"speech": {"embeddings": 0, "embeddings_mean": 0}}),
    "mn04 by its labels alone, at a weight of .01": Arm(weights={"mn04": LABELS_ALONE}),
    "without labels": Arm(weights={"mn04": {"labels": 0.01}}),
    "without logits": Arm(weights={"mn04": {"logits": 0}}),
    "without means": Arm(weights={"mn04": {"embeddings_mean": 0}, "speech": {"embeddings_mean": 0}}),
    "without augmentation": Arm(augmentation={"gain": 0, "equalizer": 0, "frequency_mask": 0, "time_mask": 0}),
    "without gain": Arm(augmentation={"gain": 0}),
    "without equalizer": Arm(augmentation={"equalizer": 0}),
    "without masks": Arm(augmentation={"frequency_mask": 0, "time_mask": 0}),
    "token MLP": Arm({"token_mixing": "mlp"}),
    "mean alone": Arm({"pooling": "mean"}),
    "windows of 2 s": Arm({"max_length": 208}),
    "windows of 10 s": Arm({"max_length": 1008}),
    "without second sources": Arm(mixing={"second_source": 0}),
    "at one speed": Arm(mixing={"speed_probability": 0}),
    "without rooms, noise and equalizers in mixtures": Arm(mixing=dict.fromkeys(ROOMS, 0)),
    "short recordings repeated, not in silence": Arm(mixing={"alone": 0, "repeated": 0.5}),
    "1/4 of the mixtures": Arm(mixtures=1 / 4),
    "1/16 of the mixtures": Arm(mixtures=1 / 16),
    "1/4 of the hours": Arm(hours=1 / 4),
    "1/16 of the hours": Arm(hours=1 / 16),
    "1/2 of the steps": Arm(steps=1 / 2),
    "1/4 of the steps": Arm(steps=1 / 4),
    "masked prediction alone": Arm(masked=1.0),
    "masked prediction alone, of plain features": Arm({"norm_patch_loss": False}, masked=1.0),
    "masked prediction for 1/2 of the time, then all": Arm(masked=1 / 2),
    **{f"without {kind}": Arm(without=kind) for kind in KINDS},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="Recipe of asm-distil.")
    parser.add_argument("--pool", type=Path, required=True, help="Folder of the corpus.")
    parser.add_argument("--bank", type=Path, required=True, help="Folder of the recipe's bank.")
    parser.add_argument("--data_dir", type=Path, required=True, help="Folder of the data sets that are probed.")
    parser.add_argument("--work_dir", type=Path, required=True, help="Folder for other pools and banks, and for runs.")
    parser.add_argument(
        "--teachers", default="{}", help="Settings of the recipe's teachers to replace, as for asm-distil."
    )
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max_steps", type=int, default=1000)
    parser.add_argument("--mixtures", type=int, default=16384)
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the results; it is continued.")
    args = parser.parse_args()

    recipe = yaml.safe_load(args.recipe.read_text(encoding="utf-8"))
    recipe["teachers"] = {name: row | yaml.safe_load(args.teachers).get(name, {})
                          for name, row in recipe["teachers"].items()}  # fmt: skip
    about = {"recipe": args.recipe.name, "max_steps": args.max_steps, "mixtures": args.mixtures}
    about |= {"settings": digest(recipe), "pool": digest_pool(args.pool)}
    results = json.loads(args.output.read_text()) if args.output.is_file() else {**about, "arms": {}}
    if {name: results[name] for name in about} != about:
        raise SystemExit(f"{str(args.output)!r} has results of another scale, recipe or pool. Write to another file.")
    results |= {
        "command": f"python research/ablate_encoder.py {args.recipe.name}",
        "environment": describe_environment(),
    }
    tasks = [task for task in TASKS if task.folder in PROBES and (args.data_dir / task.folder).is_dir()]
    print("Skipped:", sorted(set(PROBES) - {task.folder for task in tasks}) or "nothing")
    clips = {task.folder: read(args.data_dir, task) for task in tasks}
    for seed in range(args.seeds):  # so that an interrupted study has all arms
        for name in args.arms:
            cells = results["arms"].setdefault(name, {})
            if str(seed) not in cells:
                whole = results["arms"].get("all", {}).get(str(seed), {}).get("seconds")
                if ARMS[name].masked and whole is None:
                    raise SystemExit(f"{name!r} takes as long as 'all' with the same seed: measure that first.")
                cells[str(seed)] = run(name, recipe, args, seed, clips, whole)
                write_json(results, args.output)
                print(name, seed, cells[str(seed)], flush=True)
    print(format_results(results))


def digest(recipe: dict) -> str:
    """Return a digest of what a recipe says; of the teachers' files, their names."""
    teachers = {
        name: {key: Path(value).name if isinstance(value, str) else value for key, value in row.items()}
        for name, row in recipe["teachers"].items()
    }
    text = json.dumps(recipe | {"teachers": teachers}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run(
    name: str, recipe: dict, args: argparse.Namespace, seed: int, clips: dict[str, Clips], whole: float | None
) -> dict[str, float]:
    """Teach an encoder as an arm says; return its accuracy on each data set, and the seconds of its training.

    Args:
        name: Name of the arm.
        recipe: The recipe that it changes.
        args: Arguments of the command.
        seed: Seed of the training.
        clips: What is probed.
        whole: Seconds that the arm "all" took, for masked prediction.
    """
    arm, own = ARMS[name], re.sub(r"\W+", "_", name)
    model, (part, mixtures) = recipe["model"] | arm.model, next(iter(recipe["mixtures"].items()))
    mixtures = mixtures | arm.mixing | {"number": round(args.mixtures * arm.mixtures)}
    pool, bank, folder = args.pool, args.bank, args.work_dir / "run"
    if arm.without:
        mixtures["kind_weights"] = mixtures.get("kind_weights", {}) | {arm.without: 0}
    if arm.hours < 1:
        pool = args.work_dir / f"pool_{own}"
        thin(args.pool, pool, arm.hours)
    if arm.has_own_bank:
        bank = args.work_dir / f"bank_{own}"
    teachers = {
        name: row | {"loss_weights": row.get("loss_weights", {}) | arm.weights.get(name, {})}
        for name, row in recipe["teachers"].items()
    }
    steps, seconds = round(args.max_steps * arm.steps * (1 - arm.masked)), 0.0
    for path in (folder, masked := args.work_dir / "masked"):
        shutil.rmtree(path, ignore_errors=True)
    if arm.masked:
        shards = [shard_path(bank / part / "train", number) for number in range(count_shards(mixtures["number"]))]
        seconds = pretrain_for(arm.masked * whole, ASMConfig(**model), shards, masked, seed)
    if not steps:
        untrained = {"pooling": "mean_std", "pooling_dim": None, "embedding_dim": None}  # the tokens alone are trained
        return measure(masked, clips, **untrained) | {"seconds": round(seconds, 2)}
    options = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in recipe.items()} | {
        "pool": pool, "bank": bank, "output_dir": folder, "teachers": json.dumps(teachers),
        "model": json.dumps(model), "mixtures": json.dumps({part: mixtures}), "max_steps": steps,
        "augmentation": json.dumps(recipe.get("augmentation", {}) | arm.augmentation),
        "warmup_steps": min(recipe["warmup_steps"], steps // 5), "average_decay": 0.998,
        "num_validation": 512, "eval_strategy": "no", "save_steps": steps, "disable_tqdm": "true", "seed": seed,
    }  # fmt: skip
    options |= {"start": masked} if arm.masked else {}
    distil([word for name, value in options.items() for word in (f"--{name}", str(value))])
    log = json.loads((folder / "log.json").read_text(encoding="utf-8"))["log"]
    seconds += next(row["train_runtime"] for row in log if "train_runtime" in row)
    return measure(folder, clips) | {"seconds": round(seconds, 2)}


def pretrain_for(seconds: float, config: ASMConfig, shards: list[Path], folder: Path, seed: int) -> float:
    """Pretrain an encoder by masked prediction for about so long; return the seconds that it took."""
    each = pretrain(config, shards, folder, TIMED_STEPS, seed=seed) / TIMED_STEPS
    return pretrain(config, shards, folder, max(round(seconds / each), 1), seed=seed)


def measure(folder: Path, clips: dict[str, Clips], **config) -> dict[str, float]:
    """Return the accuracy of a frozen encoder on each data set, with such fields of its configuration."""
    embed = encoder_of(str(folder), **config)
    return {name: probe(embed(group.waveforms), group, FEW if name == "spoken_digits" else None)
            for name, group in clips.items()}  # fmt: skip


def probe(embeddings: np.ndarray, clips: Clips, shots: int | None) -> float:
    """Return the accuracy of a linear classifier: of few clips, or a ridge on all."""
    return few(embeddings, clips, shots)["accuracy"] if shots else score(embeddings, clips.labels, clips.groups)


def thin(pool: Path, folder: Path, share: float):
    """Make a pool of some recordings of another."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (pool / RECORDINGS_FILE).read_bytes().splitlines(keepends=True)
    kept = np.random.default_rng(0).permutation(len(lines))[: round(share * len(lines))]
    (folder / RECORDINGS_FILE).write_bytes(b"".join(lines[place] for place in sorted(kept)))
    (folder / SAMPLES_FILE).unlink(missing_ok=True)
    os.symlink((pool / SAMPLES_FILE).resolve(), folder / SAMPLES_FILE)


def format_results(results: dict) -> str:
    """Return a Markdown table of the mean accuracy of each arm over the seeds.

    The last column compares the means over the data sets with those of the arm "all", seed by seed: the mean
    difference, and half of its 95 % interval by Student's t. Where there are others, small sets do not count in it.
    """
    arms = {name: results["arms"][name] for name in ARMS if name in results["arms"]}
    probes = [probe for probe in PROBES if all(probe in cell for cells in arms.values() for cell in cells.values())]
    compared = [probe for probe in probes if probe not in SMALL] or probes
    lines = ["| arm | " + " | ".join(probes) + " | difference |", "| --- " * (len(probes) + 2) + "|"]
    for name, cells in arms.items():
        means = [np.mean([cell[probe] for cell in cells.values()]) for probe in probes]
        pairs = [
            np.mean([cell[probe] - arms["all"][seed][probe] for probe in compared])
            for seed, cell in cells.items()
            if seed in arms.get("all", {})
        ]
        difference = summarise(pairs, "+") if name != "all" else "-"
        lines.append(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + f" | {difference} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
