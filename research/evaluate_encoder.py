"""Measure what frozen networks tell of labelled sounds: linear probes on all clips, and on a few.

    python research/evaluate_encoder.py --data_dir recordings --model checkpoints/asm-small-general --log_mel \
        --output research/results/general_small.json
    python research/evaluate_encoder.py --data_dir recordings --mn04 mn04_as.safetensors --yamnet yamnet_base \
        --output research/results/general_others.json
    python research/evaluate_encoder.py --data_dir recordings --speech melspectrogram.onnx embedding_model.onnx \
        --output research/results/general_speech.json

A logistic regression is fitted to the mean embedding of a clip; its strength of regularisation is chosen inside the
training clips. YAMNet's weights are read by TensorFlow (`pip install tensorflow-cpu`).
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from safetensors.torch import load_file
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
from yamnet import load_yamnet

import modeling_asm  # noqa: F401, registers ASM
from modeling_asm.audio import load_audio
from modeling_asm.fbank import fbank
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.distillation.probe import embed
from modeling_asm.training.report.tables import write_json
from modeling_asm.training.teachers import efficientat
from modeling_asm.training.teachers.efficientat import EfficientAT
from modeling_asm.training.teachers.speech_embedding import SpeechEmbedding


RATE = 16000
STRENGTHS = [0.001, 0.003, 0.01, 0.03, 0.1, 1.0]  # C of the logistic regression
FEW_STRENGTH = 0.01  # for draws of a few clips, which leave nothing to choose it with
DRAWS = 10


@dataclass
class Task:
    """A data set and how it is divided.

    Args:
        folder: Its folder.
        groups: Column whose values are tested one after the other, while the others are trained on.
        test: Values of that column that are tested, if not all are; or the name of a split.
        shots: Numbers of clips of each class to draw, beside all.
    """

    folder: str
    groups: str | None = None
    test: tuple[str, ...] | str = ()
    shots: tuple[int, ...] = ()


TASKS = (
    Task("environmental_sounds", "fold"),
    Task("urban_sound", "fold"),
    Task("casia", "speaker"),
    Task("spoken_digits", "speaker", ("theo", "lucas"), (1, 5, 20)),
    Task("speech_commands", test="validation", shots=(5, 20)),
    Task("drum_sounds", test="validation", shots=(1, 5, 20)),
    Task("instrument_sounds", test="validation", shots=(5, 20)),
)


@dataclass
class Clips:
    """The clips of a task.

    Args:
        waveforms: Float32 arrays at 16 kHz.
        labels: Their classes.
        groups: Number of the test that a clip belongs to; -1 for those that are only trained on.
        origins: Number of the fold, speaker or split that a clip belongs to.
    """

    waveforms: list[np.ndarray]
    labels: np.ndarray
    groups: np.ndarray
    origins: np.ndarray


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data_dir", type=Path, required=True, help="Folder of the data sets; those missing are skipped."
    )
    parser.add_argument("--model", help="Checkpoint of a general encoder.")
    parser.add_argument("--log_mel", action="store_true", help="Mean and deviation of log-mel features.")
    parser.add_argument("--mn04", help="Weights of EfficientAT's mn04 (safetensors).")
    parser.add_argument("--speech", nargs=2, help="The two ONNX files of Google's speech embedding.")
    parser.add_argument("--yamnet", help="SavedModel of YAMNet.")
    names = [task.folder for task in TASKS]
    parser.add_argument("--tasks", nargs="+", default=names, choices=names, help="Data sets to measure on.")
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results.")
    args = parser.parse_args()

    embedders = make_embedders(args)
    if not embedders:
        raise SystemExit("Nothing to measure: name --model, --log_mel, --mn04, --speech or --yamnet.")
    if not any((args.data_dir / name).is_dir() for name in args.tasks):
        raise SystemExit(f"{str(args.data_dir)!r} has none of the folders {', '.join(args.tasks)}.")
    results = {
        "command": describe_command(args),
        "draws": DRAWS,
        "environment": describe_environment(),
        "accuracy": {},
    }
    for task in TASKS:
        if task.folder not in args.tasks or not (args.data_dir / task.folder).is_dir():
            print(f"{task.folder}: skipped")
            continue
        clips = read(args.data_dir, task)
        table = results["accuracy"][task.folder] = {
            "clips": len(clips.labels),
            "tested": int((clips.groups >= 0).sum()),
        }
        for name, embedder in embedders.items():
            embeddings = embedder(clips.waveforms)
            table[name] = {"all": probe(embeddings, clips)}
            table[name] |= {str(shots): few(embeddings, clips, shots) for shots in task.shots}
            print(task.folder, name, table[name], flush=True)
    write_json(results, args.output)
    print(format_results(results))


def describe_command(args: argparse.Namespace) -> str:
    """Return the command without the folders of this machine."""
    words = [f"--model {Path(args.model).name}"] if args.model else []
    words += [f"--{name}" for name in ("log_mel", "mn04", "speech", "yamnet") if getattr(args, name)]
    return " ".join(["python research/evaluate_encoder.py", *words])


def make_embedders(args: argparse.Namespace) -> dict[str, Callable[[list[np.ndarray]], np.ndarray]]:
    """Return what embeds waveforms, by its name, of all that the arguments name."""
    embedders = {}
    if args.model:
        embedders[Path(args.model).name] = encoder_of(args.model)
    if args.mn04:
        network = EfficientAT().eval()
        network.load_state_dict(load_file(args.mn04))
        embedders["mn04"] = network_of(lambda waves: network(torch.from_numpy(waves))[1], efficientat.SAMPLING_RATE)
    if args.yamnet:
        yamnet = load_yamnet(args.yamnet)
        embedders["YAMNet"] = network_of(lambda waves: yamnet(torch.from_numpy(waves))[1], RATE)
    if args.speech:
        speech = SpeechEmbedding(*args.speech)
        embedders["speech embedding"] = network_of(speech, RATE)
        embedders["speech embedding, in order"] = lambda waveforms: in_order(speech, waveforms)
    if args.log_mel:
        embedders["log-mel"] = log_mel_statistics
    return embedders


def read(data_dir: Path, task: Task) -> Clips:
    """Read the clips of a task."""
    splits = load_audio_dataset(DataArguments(str(data_dir / task.folder)))
    waveforms, labels, values = [], [], []
    for name, split in splits.items():
        waveforms += [load_audio(audio["path"], RATE) for audio in tqdm(split["audio"], desc=f"Reading {task.folder}")]
        labels += split["label"][:]
        values += [str(value) for value in split[task.groups]] if task.groups else [name] * len(split)
    tested = sorted({task.test} if isinstance(task.test, str) else set(task.test or values))
    groups = [0 if task.test else tested.index(value) for value in values]
    groups = [group if value in tested else -1 for group, value in zip(groups, values)]
    return Clips(waveforms, np.array(labels), np.array(groups), np.unique(values, return_inverse=True)[1])


def encoder_of(checkpoint: str, **config) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Return what embeds waveforms with a checkpoint, and such fields of its configuration."""
    feature_extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    model = AutoModelForAudioClassification.from_pretrained(checkpoint, **config).eval()

    def call(waveforms: list[np.ndarray]) -> np.ndarray:
        options = {"sampling_rate": RATE, "return_tensors": "pt"}
        return embed(model, [feature_extractor(wave, **options).input_values[0] for wave in waveforms])

    return call


def log_mel_statistics(waveforms: list[np.ndarray]) -> np.ndarray:
    """Return mean and deviation of the log-mel features of each waveform."""
    rows = []
    for wave in waveforms:
        features = fbank(torch.from_numpy(np.pad(wave, (0, max(RATE // 10 - len(wave), 0))))[None], RATE, 64)[0]
        rows.append(torch.cat([features.mean(0), features.std(0)]))
    return torch.stack(rows).numpy()


def network_of(network: Callable, sampling_rate: int) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Return what embeds whole waveforms with a network: the mean of what it gives along time.

    Args:
        network: Maps float32 `(1, num_samples)` to `(1, steps, size)`.
        sampling_rate: Samples per second of what it hears. Clips of less than a second are followed by silence.
    """

    @torch.inference_mode()
    def call(waveforms: list[np.ndarray]) -> np.ndarray:
        padded = (np.pad(wave, (0, max(RATE - len(wave), 0))) for wave in waveforms)
        rows = (network(soxr.resample(wave, RATE, sampling_rate)[None]) for wave in padded)
        return np.stack([np.asarray(row[0]).mean(0) for row in rows])

    return call


def in_order(speech: SpeechEmbedding, waveforms: list[np.ndarray]) -> np.ndarray:
    """Return all that the speech embedding gives along the first second of each waveform, in the middle if shorter."""
    rows = []
    for wave in waveforms:
        missing = max(RATE - len(wave), 0)
        rows.append(speech(np.pad(wave[:RATE], (missing // 2, missing - missing // 2))[None])[0].ravel())
    return np.stack(rows)


def probe(embeddings: np.ndarray, clips: Clips) -> dict:
    """Return the accuracy of a classifier that was fitted to all training clips, with a 95 % interval."""
    right = []
    for group in sorted(set(clips.groups.tolist()) - {-1}):
        train, test = clips.groups != group, clips.groups == group
        several = len(set(clips.origins[train].tolist()))  # the strength is chosen on folds or speakers left out, too
        inner = GroupKFold(min(several, 3)) if several > 1 else 3
        search = GridSearchCV(classifier(), {"logisticregression__C": STRENGTHS}, cv=inner, n_jobs=2)
        search.fit(embeddings[train], clips.labels[train], groups=clips.origins[train])
        right.append(search.predict(embeddings[test]) == clips.labels[test])
    right = np.concatenate(right)
    low, high = stats.binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return {"accuracy": round(float(right.mean()), 4), "low": round(low, 4), "high": round(high, 4)}


def few(embeddings: np.ndarray, clips: Clips, shots: int) -> dict:
    """Return the mean accuracy over draws of a few training clips of each class, with its 95 % interval over draws."""
    scores, test = [], clips.groups >= 0
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        places = [np.flatnonzero((clips.labels == label) & ~test) for label in np.unique(clips.labels)]
        chosen = np.concatenate([rng.permutation(row)[:shots] for row in places])
        fitted = classifier(FEW_STRENGTH).fit(embeddings[chosen], clips.labels[chosen])
        scores.append(fitted.score(embeddings[test], clips.labels[test]))
    mean, half = np.mean(scores), stats.t.ppf(0.975, DRAWS - 1) * np.std(scores, ddof=1) / np.sqrt(DRAWS)
    return {
        "accuracy": round(float(mean), 4),
        "low": round(float(mean - half), 4),
        "high": round(float(mean + half), 4),
    }


def format_results(*results: dict) -> str:
    """Return a Markdown table: a row for each data set and number of clips, a column for each encoder."""
    merged = {folder: {} for folder in results[0]["accuracy"]}
    for run in results:
        for folder, table in merged.items():
            table |= {name: cell for name, cell in run["accuracy"][folder].items() if isinstance(cell, dict)}
    names = list(next(iter(merged.values())))
    lines = ["| data | training clips of a class | " + " | ".join(names) + " |", "| --- " * (len(names) + 2) + "|"]
    for folder, table in merged.items():
        for shots in sorted(table[names[0]], key=lambda shots: (shots == "all", shots.zfill(5))):
            cells = [format_accuracy(table[name][shots]) for name in names]
            lines.append(f"| {folder} | {shots} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def format_accuracy(score: dict) -> str:
    """Return an accuracy and its interval."""
    return f"{score['accuracy']:.3f} ({score['low']:.3f} to {score['high']:.3f})"


def classifier(strength: float = 1.0):
    """Return standardisation and logistic regression."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))


if __name__ == "__main__":
    main()
