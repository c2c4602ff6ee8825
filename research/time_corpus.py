"""Time what comes before the training of an encoder: its corpus, and a bank of mixtures.

    python research/time_corpus.py recipes/encoders/general_small.yaml --pool corpus \
        --output research/results/corpus_speed.json

make_corpus.py noted how long each source of the pool took, without its download. A small bank of each part of the
recipe's mixtures is filled by all cores, in a folder that is deleted.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import yaml

from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.distillation.arguments import DistillationArguments
from modeling_asm.training.distillation.bank import MIXTURES_PER_SHARD
from modeling_asm.training.distillation.pool import FINISHED_FILE, read_lines, read_recordings
from modeling_asm.training.distillation.run import prepare_banks
from modeling_asm.training.report.tables import write_json


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="Recipe of asm-distil.")
    parser.add_argument("--pool", type=Path, required=True, help="Folder of the corpus.")
    parser.add_argument("--teachers", default="{}", help="Settings of the recipe's teachers to replace.")
    parser.add_argument("--shards", type=int, default=6, help="Shards of each part of the bank.")
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results.")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        results = {
            "corpus": time_corpus(args.pool),
            "bank": time_bank(args, Path(folder)),
            "processes": os.cpu_count(),
            "command": f"python research/time_corpus.py {args.recipe.name}",
            "environment": describe_environment(),
        }
    write_json(results, args.output)
    print(format_results(results))


def time_corpus(folder: Path) -> dict:
    """Return the hours of a corpus, the number of its sources, and the seconds that they took."""
    sources = read_lines(folder / FINISHED_FILE)
    hours = sum(recording.seconds for recording in read_recordings(folder)) / 3600
    seconds = sum(source["seconds"] for source in sources)
    return {"hours": round(hours, 3), "sources": len(sources), "seconds": round(seconds, 1)}


def time_bank(args: argparse.Namespace, folder: Path) -> dict:
    """Fill some shards of each part of a recipe's bank; return their mixtures and the seconds that it took."""
    recipe = yaml.safe_load(args.recipe.read_text(encoding="utf-8"))
    changes = yaml.safe_load(args.teachers)
    distillation = DistillationArguments(
        pool=str(args.pool),
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
    """Return the two times."""
    corpus, bank = results["corpus"], results["bank"]
    return (
        f"{corpus['hours']:.1f} hours of audio in {corpus['seconds'] / 60:.0f} minutes, "
        f"{bank['mixtures'] / bank['seconds']:.0f} mixtures a second"
    )


if __name__ == "__main__":
    main()
