"""Time what comes before the training of an encoder: a corpus from Debian packages, and a bank of mixtures.

    python research/time_corpus.py recipes/encoders/general_small.yaml --debs debs --pool corpus \
        --packages wesnoth-1.16-music fillets-ng-data-cs --output research/results/corpus_speed.json

A small corpus is made of the named packages, and a small bank of the whole pool with each part of the recipe's
mixtures; both on all cores, in folders that are deleted. The packages should be in `--debs`, so that no download is
timed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.distillation.arguments import DistillationArguments
from modeling_asm.training.distillation.bank import MIXTURES_PER_SHARD
from modeling_asm.training.distillation.pool import read_recordings
from modeling_asm.training.distillation.run import prepare_banks
from modeling_asm.training.report.tables import write_json


CORPUS = Path(__file__).with_name("corpus")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="Recipe of asm-distil.")
    parser.add_argument("--debs", required=True, help="Folder of the packages' files.")
    parser.add_argument("--packages", nargs="+", required=True, help="Packages to make a corpus of.")
    parser.add_argument("--list", type=Path, default=CORPUS / "packages.yaml", help="The list that they are in.")
    parser.add_argument("--pool", required=True, help="Folder of the corpus that the bank is made of.")
    parser.add_argument("--teachers", default="{}", help="Settings of the recipe's teachers to replace.")
    parser.add_argument("--shards", type=int, default=6, help="Shards of each part of the bank.")
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results.")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        results = {
            "corpus": {"packages": args.packages} | time_corpus(args, Path(folder)),
            "bank": time_bank(args, Path(folder)),
            "processes": os.cpu_count(),
            "command": f"python research/time_corpus.py {args.recipe.name} --packages {' '.join(args.packages)}",
            "environment": describe_environment(),
        }
    write_json(results, args.output)
    print(format_results(results))


def time_corpus(args: argparse.Namespace, folder: Path) -> dict:
    """Make a corpus of some packages; return its hours and the seconds that it took."""
    packages = yaml.safe_load(args.list.read_text(encoding="utf-8"))
    chosen = [package for package in packages if package["name"] in args.packages]
    if unknown := sorted(set(args.packages) - {package["name"] for package in chosen}):
        sys.exit(f"{unknown[0]!r} is not in {args.list.name}.")
    (folder / "packages.yaml").write_text(yaml.safe_dump(chosen), encoding="utf-8")
    command = [sys.executable, str(CORPUS / "make_corpus.py"), "--packages", str(folder / "packages.yaml")]
    start = time.perf_counter()
    subprocess.run([*command, "--debs", args.debs, "--output_dir", str(folder / "pool")], check=True)
    seconds = time.perf_counter() - start
    hours = sum(recording.seconds for recording in read_recordings(folder / "pool")) / 3600
    return {"hours": round(hours, 3), "seconds": round(seconds, 1)}


def time_bank(args: argparse.Namespace, folder: Path) -> dict:
    """Fill some shards of each part of a recipe's bank; return their mixtures and the seconds that it took."""
    recipe = yaml.safe_load(args.recipe.read_text(encoding="utf-8"))
    changes = yaml.safe_load(args.teachers)
    distillation = DistillationArguments(
        pool=args.pool,
        bank=str(folder / "bank"),
        teachers={name: row | changes.get(name, {}) for name, row in recipe["teachers"].items()},
        model=recipe["model"],
        mixtures={
            part: settings | {"number": args.shards * MIXTURES_PER_SHARD}
            for part, settings in recipe["mixtures"].items()
        },
        num_validation=MIXTURES_PER_SHARD,
        num_processes=os.cpu_count(),
    )
    start = time.perf_counter()
    paths = prepare_banks(distillation)
    seconds = time.perf_counter() - start
    return {"mixtures": MIXTURES_PER_SHARD * sum(map(len, paths)), "seconds": round(seconds, 1)}


def format_results(results: dict) -> str:
    """Return the two speeds."""
    corpus, bank = results["corpus"], results["bank"]
    return (
        f"{corpus['hours'] * 60 / corpus['seconds']:.2f} hours of audio a minute, "
        f"{bank['mixtures'] / bank['seconds']:.0f} mixtures a second"
    )


if __name__ == "__main__":
    main()
