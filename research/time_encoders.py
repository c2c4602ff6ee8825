"""Time general encoders beside their teachers, from waveform to output, on one thread of ONNX Runtime.

    python research/time_encoders.py --models checkpoints/asm-small-general checkpoints/asm-mini-general \
        --mn04 mn04_as.safetensors --speech melspectrogram.onnx embedding_model.onnx \
        --output research/results/encoder_cost.json

An encoder gets a sound as one window and, as the pipeline cuts it, in windows as it learned from. Its file includes
feature extraction, as that of the speech embedding does; mn04's log-mel features are computed by PyTorch, also on one
thread.
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import soxr
import torch
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from modeling_asm import ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.export.onnx_runtime import ASMOnnxClassifier, ASMOnnxModel
from modeling_asm.export.write import export, make_inputs
from modeling_asm.measuring.environment import describe_environment
from modeling_asm.measuring.timing import time_in_turns
from modeling_asm.training.models import fit_window
from modeling_asm.training.report.tables import write_json
from modeling_asm.training.teachers.efficientat import SAMPLING_RATE, EfficientAT, log_mel
from modeling_asm.training.teachers.speech_embedding import SpeechEmbedding


SECONDS = (1.0, 10.0)
RATE = 16000
ROUNDS = 15


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", required=True, help="Checkpoints of encoders.")
    parser.add_argument("--mn04", required=True, help="Weights of mn04 (safetensors).")
    parser.add_argument("--speech", nargs=2, required=True, help="The two ONNX files of the speech embedding.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results.")
    args = parser.parse_args()

    torch.set_num_threads(1)
    rows = []
    for seconds in SECONDS:
        wave = np.random.default_rng(0).uniform(-0.1, 0.1, round(seconds * RATE)).astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            ways, about = {}, {}
            for checkpoint in map(Path, args.models):
                ways[checkpoint.name], about[checkpoint.name] = encoder(checkpoint, wave, Path(folder))
                name = f"{checkpoint.name}, in windows"
                ways[name], about[name] = pipeline(checkpoint, wave, Path(folder))
            ways["mn04"], about["mn04"] = efficientat(args.mn04, wave, Path(folder))
            speech = SpeechEmbedding(*args.speech)
            ways["speech_embedding"], about["speech_embedding"] = (
                partial(speech, wave[None]),
                count_weights(args.speech[1]),
            )
            times = time_in_turns(ways, args.rounds)
        for name, values in times.items():
            ratios = [own / other for own, other in zip(values, times["mn04"])]
            rows.append({
                "model": name,
                "seconds": seconds,
                **about[name],
                "milliseconds": round(1000 * statistics.median(values), 2),
                "of_mn04": round(statistics.median(ratios), 3),
                "of_mn04_interval": [round(float(value), 3) for value in np.quantile(ratios, [0.025, 0.975])],
            })  # fmt: skip
            print(rows[-1], flush=True)
    command = "python research/time_encoders.py --models " + " ".join(Path(name).name for name in args.models)
    write_json(
        {"command": command, "rounds": args.rounds, "rows": rows, "environment": describe_environment()}, args.output
    )
    print(format_results({"rows": rows}))


def encoder(checkpoint: Path, wave: np.ndarray, folder: Path) -> tuple[Callable, dict]:
    """Return what runs an encoder's ONNX file on a waveform, and its size."""
    model = ASMForAudioClassification.from_pretrained(checkpoint).eval()
    extractor = fit_window(model, ASMFeatureExtractor.from_pretrained(checkpoint), len(wave) / RATE)
    file = folder / f"{checkpoint.name}.onnx"
    export(model, extractor, file, waveforms=[wave])
    session = ASMOnnxModel(file, session_options=one_thread())
    inputs = dict(zip(session.inputs, map(torch.from_numpy, make_inputs(extractor, [wave], "waveform"))))
    features = torch.zeros(1, model.config.max_length, model.config.num_mel_bins)
    return (lambda: session(**inputs)), describe(model, lambda: model(features))


def pipeline(checkpoint: Path, wave: np.ndarray, folder: Path) -> tuple[Callable, dict]:
    """Return what runs the pipeline on an encoder's ONNX file, and the size of the encoder with all windows."""
    model = ASMForAudioClassification.from_pretrained(checkpoint).eval()
    extractor = ASMFeatureExtractor.from_pretrained(checkpoint)
    file = folder / f"{checkpoint.name}-windows.onnx"
    export(model, extractor, file, waveforms=[wave])
    classifier = ASMOnnxClassifier(file, session_options=one_thread())
    features = extractor(wave, sampling_rate=RATE, return_tensors="pt").input_values
    sound = {"array": wave, "sampling_rate": RATE}
    return (lambda: classifier(sound)), describe(model, lambda: model(features))


def efficientat(weights: str, wave: np.ndarray, folder: Path) -> tuple[Callable, dict]:
    """Return what runs mn04 on a waveform, its network by ONNX Runtime, and its size."""
    network = EfficientAT().eval()
    network.load_state_dict(load_file(weights))
    resampled = torch.from_numpy(soxr.resample(wave, RATE, SAMPLING_RATE))[None]

    class Tags(torch.nn.Module):
        def forward(self, features):
            return network.classifier(network.features(features).mean((2, 3)))

    features, file = log_mel(resampled)[:, None], folder / "mn04.onnx"
    torch.onnx.export(Tags().eval(), (features,), file, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(file), one_thread(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    with torch.inference_mode():
        expected = network(resampled)[0].numpy()
        np.testing.assert_allclose(session.run(None, {name: features.numpy()})[0], expected, atol=1e-3)

    @torch.inference_mode()
    def run():
        session.run(None, {name: log_mel(resampled)[:, None].numpy()})

    return run, describe(network, lambda: network(resampled))


def count_weights(path: str) -> dict:
    """Return the number of floats that an ONNX file has."""
    tensors = onnx.load(path).graph.initializer
    return {"parameters": sum(math.prod(row.dims) for row in tensors if row.data_type == onnx.TensorProto.FLOAT)}


def one_thread() -> onnxruntime.SessionOptions:
    """Return options for one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def describe(network: torch.nn.Module, run: Callable) -> dict:
    """Return the parameters of a network, and the billions of multiply-adds of a pass."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "gmacs": round(counter.get_total_flops() / 2e9, 4)}


def format_results(results: dict) -> str:
    """Return a Markdown table."""
    lines = ["| model | parameters | sound | multiply-adds, millions | ms | of mn04's time |", "| --- " * 6 + "|"]
    for row in results["rows"]:
        low, high = row["of_mn04_interval"]
        macs = f"{1000 * row['gmacs']:.0f}" if "gmacs" in row else "-"
        parameters = f"{row['parameters']:,}" if "parameters" in row else "-"
        lines.append(
            f"| {row['model']} | {parameters} | {row['seconds']:g} s | {macs} | {row['milliseconds']:.1f} "
            f"| {row['of_mn04']:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
