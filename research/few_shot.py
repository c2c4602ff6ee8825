"""Classify new sounds from a few examples of each: a linear classifier on a checkpoint's frozen embeddings.

    python research/few_shot.py recordings/spoken_digits recordings/drum_sounds --model checkpoints/asm-small-keywords \
        --output research/results/few_shot.json

Draws 1, 5 and 20 clips of each class from `train` (all clips of a class that has fewer), fits scikit-learn's logistic
regression to their scene embeddings, and tests on the other split. `random` is the same Mixer with random weights.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modeling_asm import ASMModel
from modeling_asm.audio import load_audio
from modeling_asm.hear import get_scene_embeddings, load_model
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.report.tables import write_json


SHOTS = (1, 5, 20)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dirs", nargs="+", help="Folders with a split `train` and one other.")
    parser.add_argument("--model", required=True, help="Folder or Hub name of a checkpoint of ASM.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44, 45, 46])
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results.")
    args = parser.parse_args()

    trained, random = load_model(args.model), load_model(args.model)
    torch.manual_seed(0)
    random.model = ASMModel(trained.model.config).eval()
    names = " ".join(Path(name).name for name in args.data_dirs)
    results = {
        "command": f"python research/few_shot.py {names} --model {Path(args.model).name}",
        "seeds": args.seeds,
        "environment": describe_environment(),
        "accuracy": {},
    }
    for data_dir in args.data_dirs:
        splits = load_audio_dataset(DataArguments(data_dir))
        (test,) = set(splits) - {"train"}
        table = results["accuracy"][Path(data_dir).name] = {"test_split": test, "clips": len(splits[test])}
        labels = {name: np.array(splits[name]["label"][:]) for name in splits}
        for kind, model in {"trained": trained, "random": random}.items():
            vectors = {name: embed(model, splits[name]["audio"]) for name in splits}
            for shots in SHOTS:
                scores = []
                for seed in args.seeds:
                    chosen = draw(labels["train"], shots, np.random.default_rng(seed))
                    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
                    classifier.fit(vectors["train"][chosen], labels["train"][chosen])
                    scores.append(round(classifier.score(vectors[test], labels[test]), 4))
                table[f"{kind}, {shots} a class"] = scores
    write_json(results, args.output)
    print(format_results(results))


def embed(model, audio) -> np.ndarray:
    """Return the scene embeddings of clips of any lengths."""
    clips = (torch.from_numpy(load_audio(clip["path"], model.sample_rate)) for clip in audio)
    return torch.cat([get_scene_embeddings(clip[None], model) for clip in clips]).numpy()


def draw(labels: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
    """Return the places of `shots` random clips of each class."""
    places = [rng.permutation(np.flatnonzero(labels == label))[:shots] for label in np.unique(labels)]
    return np.concatenate(places)


def format_results(results: dict) -> str:
    """Return a Markdown table: mean and standard deviation over the draws."""
    lines = ["| data | embeddings | " + " | ".join(f"{shots} per class" for shots in SHOTS) + " |"]
    lines.append("| --- " * (len(SHOTS) + 2) + "|")
    for name, table in results["accuracy"].items():
        for kind in ("trained", "random"):
            scores = [table[f"{kind}, {shots} a class"] for shots in SHOTS]
            cells = [f"{statistics.mean(row):.3f} ± {statistics.stdev(row):.3f}" for row in scores]
            lines.append(f"| {name} | {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
