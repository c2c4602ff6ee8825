"""Compare exported and quantised models with their checkpoints, on the checkpoints' own test clips.

    python research/compare_exports.py --data_dirs recordings/speech_commands recordings/spoken_digits \
        --checkpoints checkpoints/asm-small-keywords checkpoints/asm-digits --output research/results/exports.json

Each checkpoint classifies its test clips, cut to its window: in PyTorch with float32 and bfloat16; as ONNX files that
include feature extraction, in float32 and int8, one clip at a time; and, if these packages are installed, as an
ExecuTorch program and quantised by torchao. The intervals are paired 95% bootstrap intervals of the difference in
accuracy, from 10,000 resamples of the clips.
"""

import argparse
import copy
import json
import re
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import yaml
from transformers.utils import logging

from modeling_asm import ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.audio import load_audio
from modeling_asm.export.executorch import read as read_executorch
from modeling_asm.export.onnx_runtime import ASMOnnxModel
from modeling_asm.export.write import export, make_inputs
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.data.splits import SplitArguments, choose_test
from modeling_asm.training.metrics import resamples
from modeling_asm.training.report.tables import write_json


REPOSITORY = Path(__file__).resolve().parent.parent
RESAMPLES = 10_000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", nargs="+", required=True, help="Folders with a results.json.")
    parser.add_argument("--data_dirs", nargs="+", required=True, help="Folders of the data sets that these name.")
    parser.add_argument("--output", help="JSON file to write.")
    args = parser.parse_args()

    logging.disable_progress_bar()
    folders = {Path(name).resolve().name: Path(name) for name in args.data_dirs}
    rows = []
    for checkpoint in map(Path, args.checkpoints):
        results = json.loads((checkpoint / "results.json").read_text())
        name = results["data"]["name"]
        if name not in folders:
            raise SystemExit(f"{checkpoint.name} reports on {name}: give its folder by --data_dirs.")
        waveforms, labels = read_clips(folders[name], results)
        rows += compare(checkpoint, waveforms, labels, {"checkpoint": checkpoint.name, "data": name})
        if args.output:
            command = f"python research/compare_exports.py --data_dirs {' '.join(folders)}"
            command += f" --checkpoints {' '.join(args.checkpoints)}"
            write_json({"command": command, "exports": rows, "environment": describe_environment()}, args.output)
    print(format_results({"exports": rows}))


def read_clips(data_dir: Path, results: dict) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the waveforms and the numbers of the labels of the clips that a checkpoint reports."""
    recipe = yaml.safe_load((REPOSITORY / re.search(r"recipes/\w+\.yaml", results["command"]).group()).read_text())
    split = SplitArguments(**{key: recipe[key] for key in ("hold_out", "test_split") if key in recipe})
    _, clips, _ = choose_test(load_audio_dataset(DataArguments(str(data_dir))), split)
    return [load_audio(audio["path"]) for audio in clips["audio"]], np.array(clips["label"][:])


def compare(checkpoint: Path, waveforms: list[np.ndarray], labels: np.ndarray, about: dict) -> list[dict]:
    """Return a row for each form of a checkpoint."""
    model = ASMForAudioClassification.from_pretrained(checkpoint).eval().requires_grad_(False)
    extractor = ASMFeatureExtractor.from_pretrained(checkpoint)
    plain, rows = None, []
    for form, logits, file in forms(model, extractor, waveforms):
        plain = logits if plain is None else plain
        right, before = (answers.argmax(1) == labels for answers in (logits, plain))
        gains = [float(right[draw].mean() - before[draw].mean()) for draw in resamples(len(labels), RESAMPLES)]
        low, high = np.quantile(gains, [0.025, 0.975])
        row = {
            **about,
            "form": form,
            "clips": len(labels),
            "accuracy": round(float(right.mean()), 4),
            "gain": round(float(right.mean() - before.mean()), 4),
            "gain_interval": [round(float(low), 4), round(float(high), 4)],
            "same_label": round(float((logits.argmax(1) == plain.argmax(1)).mean()), 4),
            "largest_difference": float(np.abs(logits - plain).max()),
            **({} if file is None else {"megabytes": file}),
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def forms(
    model: ASMForAudioClassification, extractor: ASMFeatureExtractor, waveforms: list[np.ndarray]
) -> Iterator[tuple[str, np.ndarray, float | None]]:
    """Yield the name of each form, its logits of all clips, and the megabytes of its file, if it has one."""
    (features,) = make_inputs(extractor, waveforms, "features")
    yield "float32", run_torch(model, features), None
    yield "bfloat16", run_torch(copy.deepcopy(model).bfloat16(), features), None
    if find_spec("torchao"):
        yield "torchao int8", run_torch(quantise_by_torchao(model), features), None
    inputs = make_inputs(extractor, waveforms, "waveform")
    names = ["onnx float32", "onnx int8", *(["executorch float32"] if find_spec("executorch") else [])]
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"model{'.pte' if 'executorch' in name else '.onnx'}"
            export(model, extractor, file, waveforms=waveforms[:8], int8="int8" in name)
            yield name, run_file(file, inputs), round(file.stat().st_size / 1e6, 2)


def run_torch(model, features: np.ndarray) -> np.ndarray:
    """Return the logits of all clips, one by one."""
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        return np.concatenate([model(row[None].to(dtype)).logits.float() for row in torch.from_numpy(features)])


def quantise_by_torchao(model):
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    model = copy.deepcopy(model)
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


def run_file(file: Path, inputs: list[np.ndarray]) -> np.ndarray:
    """Return the logits of all clips, one by one: a batch's activations would share their scale."""
    if file.suffix == ".pte":
        return read_executorch(file, inputs)
    model = ASMOnnxModel(file)
    rows = ([torch.from_numpy(value[row : row + 1]) for value in inputs] for row in range(len(inputs[0])))
    return np.concatenate([model(**dict(zip(model.inputs, row))).logits for row in rows])


def format_results(results: dict) -> str:
    """Format the rows as a Markdown table."""
    headings = (
        "checkpoint, clips",
        "form",
        "file, MB",
        "accuracy",
        "difference",
        "same label",
        "largest difference of logits",
    )
    lines = [f"| {' | '.join(headings)} |", "|" + " --- |" * len(headings)]
    for row in results["exports"]:
        low, high = row["gain_interval"]
        lines.append(
            f"| {row['checkpoint']}, {row['clips']} | {row['form']} | {row.get('megabytes', '')} "
            f"| {row['accuracy']:.4f} | {row['gain']:+.4f} ({low:+.4f} to {high:+.4f}) | {row['same_label']:.4f} "
            f"| {row['largest_difference']:.1e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
