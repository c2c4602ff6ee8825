"""The command `asm-export`: a trained classifier as one file for ONNX Runtime, ExecuTorch or `torch.export.load`.

    asm-export --model my-model --output my-model.onnx
    asm-export --model my-model --output my-model.onnx --input features
    asm-export --model my-model --output my-model.pte --clips recordings/*.wav

The file takes waveforms, with the feature extraction inside, or features. Its batch size is free (that of a `.pte` file
is fixed), and it carries its labels and all that a caller must know. It is compared with the model that it was made of,
on the clips that are named or on noise, and is kept only where both agree within 1e-4; of int8, the difference is told.

Exit status: 0, or 2 if nothing could be exported.
"""

import argparse
import contextlib
import copy
import json
import logging as python_logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers.utils import logging

from .audio import load_audio
from .commands import load_pipeline, one_line, quiet_decoder
from .fbank import frame_sizes
from .feature_extraction_asm import ASMFeatureExtractor, as_waveform, check_finite
from .modeling_asm import ASMForAudioClassification
from .onnx_asm import ASMOnnxModel
from .waveform_classifier import ASMFeatureClassifier, ASMWaveformClassifier


TOLERANCE = 1e-4  # largest difference of the logits
INPUTS = ("waveform", "features")
PACKAGES = {".onnx": ("onnx", "onnxscript", "onnxruntime"), ".pt2": (), ".pte": ("executorch",)}
OPSET = 20  # the first with GELU
PLACES = {"_name_or_path", "name_or_path", "auto_map"}  # fields that tell where a checkpoint was


def export(
    model: ASMForAudioClassification,
    feature_extractor: ASMFeatureExtractor,
    path: str | Path,
    inputs: str = "waveform",
    waveforms: list[np.ndarray] | None = None,
    int8: bool = False,
) -> dict[str, float]:
    """Write a model to one file for another runtime, and compare both.

    | name ends on | written by | read by |
    | --- | --- | --- |
    | `.onnx` | `torch.onnx.export(dynamo=True)` | ONNX Runtime and others: [`ASMOnnxClassifier`] |
    | `.pt2` | `torch.export.save` | `torch.export.load` |
    | `.pte` | ExecuTorch with XNNPACK | ExecuTorch, on phones, too; one clip at a time |

    Args:
        model: The model. It is copied, and exported in float32.
        feature_extractor: Its feature extractor.
        path: File to write.
        inputs: `"waveform"`: see [`ASMWaveformClassifier`]; or `"features"`: what the feature extractor returns.
        waveforms: Clips to compare on, float32 of shape `(num_samples,)`; what is beyond a window is cut off. By
            default noise of several lengths.
        int8: Whether to quantise an ONNX file: weights to 8 bits, activations to 8 bits while it runs.

    Returns:
        `largest_difference` of the logits, and `same_label`, the share of clips that have the same best label.

    Raises:
        ValueError: If the arguments are none of these.
        ImportError: If a package is missing; the message says how to install it.
        RuntimeError: If a file's logits differ by more than 1e-4, int8 apart; nothing is written then.
    """
    path = Path(path)
    if path.suffix not in WRITERS:
        raise ValueError(f"The name of the file must end on one of {', '.join(WRITERS)}, got {path.name!r}.")
    if inputs not in INPUTS:
        raise ValueError(f"`inputs` must be one of {INPUTS}, got {inputs!r}.")
    if int8 and path.suffix != ".onnx":
        raise ValueError(f"int8 is for ONNX files, got {path.name!r}: name a file that ends on .onnx.")
    missing = [package for package in PACKAGES[path.suffix] if find_spec(package) is None]
    if missing:
        extra = "executorch" if path.suffix == ".pte" else "onnx"
        raise ImportError(f"{path.suffix} needs {', '.join(missing)}: `pip install 'modeling_asm[{extra}]'`.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {str(path.parent)!r}: make it first.")
    model = copy.deepcopy(model).float().cpu().eval().requires_grad_(False)
    module = ASMWaveformClassifier(model, feature_extractor) if inputs == "waveform" else ASMFeatureClassifier(model)
    waveforms = waveforms or make_noise(feature_extractor)
    examples = make_inputs(feature_extractor, waveforms, inputs)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder, quiet_exporters():
        file = Path(folder) / path.name
        WRITERS[path.suffix](module.eval(), tuple(examples), file, describe(model, feature_extractor, inputs))
        if int8:
            quantise(file)
        logits = READERS[path.suffix](file, examples)
        (features,) = make_inputs(feature_extractor, waveforms, "features")
        expected = model(torch.from_numpy(features)).logits.numpy()
        difference = float(np.abs(logits - expected).max())
        if not int8 and not difference <= TOLERANCE:
            raise RuntimeError(
                f"The exported model's logits differ by {difference:.1e}, more than {TOLERANCE:.0e}, so {path} was not "
                "written. Compare on other clips, or with other versions of torch and of the runtime."
            )
        file.replace(path)
    same = float((logits.argmax(1) == expected.argmax(1)).mean())
    return {"largest_difference": difference, "same_label": same}


def make_noise(feature_extractor: ASMFeatureExtractor) -> list[np.ndarray]:
    """Return clips of white noise: of one frame, half a window and a whole one."""
    generator, whole = np.random.default_rng(0), feature_extractor.nb_max_samples
    window, _ = frame_sizes(
        feature_extractor.sampling_rate, feature_extractor.frame_length, feature_extractor.frame_shift
    )
    lengths = [window, max(whole // 2, window), whole]
    return [generator.uniform(-0.5, 0.5, length).astype(np.float32) for length in lengths]


def make_inputs(feature_extractor: ASMFeatureExtractor, waveforms: list[np.ndarray], inputs: str) -> list[np.ndarray]:
    """Return what an exported model takes: waveforms and their lengths, or features; float32 and int64 arrays."""
    if inputs == "features":
        options = {"sampling_rate": feature_extractor.sampling_rate, "truncation": True, "return_tensors": "np"}
        return [feature_extractor(waveforms, **options)["input_values"]]
    batch = np.zeros((len(waveforms), feature_extractor.nb_max_samples), np.float32)
    waveforms = [as_waveform(waveform, index).numpy() for index, waveform in enumerate(waveforms)]
    for row, waveform in zip(batch, waveforms):
        row[: len(waveform)] = waveform[: len(row)]
    check_finite(torch.from_numpy(batch))
    return [batch, np.array([min(len(waveform), batch.shape[1]) for waveform in waveforms])]


def describe(model: ASMForAudioClassification, feature_extractor: ASMFeatureExtractor, inputs: str) -> dict[str, str]:
    """Return what an exported file says of itself."""
    names, settings = model.config.id2label, (model.config.to_dict(), feature_extractor.to_dict())
    config, features = ({key: fields[key] for key in fields.keys() - PLACES} for fields in settings)
    return {
        "modeling_asm": version("modeling_asm"),
        "inputs": inputs,
        "labels": json.dumps([names[index] for index in range(model.config.num_labels)]),
        "sampling_rate": str(feature_extractor.sampling_rate),
        "num_samples": str(feature_extractor.nb_max_samples),
        "config": json.dumps(config, sort_keys=True),
        "feature_extractor": json.dumps(features, sort_keys=True),
    }


def write_onnx(module: nn.Module, examples: tuple[np.ndarray, ...], path: Path, description: dict[str, str]):
    """Write an ONNX file of any batch size, weights and metadata included."""
    program = torch.onnx.export(
        module,
        two_clips(examples),
        dynamo=True,
        opset_version=OPSET,
        input_names=input_names(examples),
        output_names=["logits"],
        dynamic_shapes=any_batch(examples),
        verbose=False,
    )
    for described in [*program.model.graph.all_nodes(), *program.model.graph.inputs]:
        described.metadata_props.clear()  # where in which files each operator comes from
    program.model.metadata_props.update(description)
    program.save(path, external_data=False)


def write_program(module: nn.Module, examples: tuple[np.ndarray, ...], path: Path, description: dict[str, str]):
    """Write an exported program of any batch size, with the metadata as extra files."""
    program = torch.export.export(module, two_clips(examples), dynamic_shapes=any_batch(examples))
    torch.export.save(program, path, extra_files=description)


def write_executorch(module: nn.Module, examples: tuple[np.ndarray, ...], path: Path, description: dict[str, str]):
    """Write an ExecuTorch program for XNNPACK that takes one clip, with the metadata as methods without arguments."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(module, tuple(example[:1] for example in two_clips(examples)))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=description)
    path.write_bytes(lowered.to_executorch().buffer)


def two_clips(examples: tuple[np.ndarray, ...]) -> tuple[Tensor, ...]:
    """Return the first two of the examples, or one twice: an axis of one clip would be taken for a fixed one."""
    return tuple(torch.from_numpy(example[np.arange(2) % len(example)]) for example in examples)


def any_batch(examples: tuple[np.ndarray, ...]) -> tuple[dict, ...]:
    """Return the dynamic shapes: one batch size for all inputs."""
    batch = torch.export.Dim("batch_size")
    return tuple({0: batch} for _ in examples)


def input_names(examples: tuple[np.ndarray, ...]) -> list[str]:
    """Return the names of the inputs of an ONNX file."""
    return ["waveform", "num_samples"] if len(examples) == 2 else ["input_values"]


def read_onnx(path: Path, examples: list[np.ndarray]) -> np.ndarray:
    """Return what ONNX Runtime computes."""
    inputs = {name: torch.from_numpy(example) for name, example in zip(input_names(examples), examples)}
    return ASMOnnxModel(path)(**inputs).logits.numpy()


def read_program(path: Path, examples: list[np.ndarray]) -> np.ndarray:
    """Return what the exported program computes."""
    module = torch.export.load(path).module()
    return module(*(torch.from_numpy(example) for example in examples)).numpy()


def read_executorch(path: Path, examples: list[np.ndarray]) -> np.ndarray:
    """Return what ExecuTorch computes, clip by clip."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    rows = [[torch.from_numpy(example[row : row + 1]) for example in examples] for row in range(len(examples[0]))]
    return np.concatenate([method.execute(row)[0].numpy().copy() for row in rows])


def quantise(path: Path):
    """Quantise an ONNX file in its place: linear maps by ONNX Runtime, and the weights of convolutions.

    Linear maps get int8 weights, and uint8 activations with a scale that is measured while the file runs, over the
    whole batch. Convolutions, which ONNX Runtime makes slower in 8 bits, compute in float32 with int8 weights, one
    scale for each channel. The filterbank stays in float32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    exact = [node.name for node in model.graph.node if set(node.input) & {"transform", "filters"}]  # the filterbank's
    options = {"weight_type": QuantType.QInt8, "op_types_to_quantize": ["MatMul", "Gemm"], "nodes_to_exclude": exact}
    quantize_dynamic(path, path, **options)
    model = onnx.load(path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for name in [node.input[1] for node in model.graph.node if node.op_type == "Conv"]:
        weight = onnx.numpy_helper.to_array(weights[name])
        scale = np.abs(weight).max((1, 2, 3)) / 127 + np.finfo(np.float32).tiny
        integers = np.round(weight / scale[:, None, None, None]).astype(np.int8)
        parts = {f"{name}_quantized": integers, f"{name}_scale": scale.astype(np.float32)}
        model.graph.initializer.remove(weights[name])
        model.graph.initializer.extend(onnx.numpy_helper.from_array(part, key) for key, part in parts.items())
        model.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", list(parts), [name], axis=0))
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


WRITERS = {".onnx": write_onnx, ".pt2": write_program, ".pte": write_executorch}
READERS = {".onnx": read_onnx, ".pt2": read_program, ".pte": read_executorch}


@contextlib.contextmanager
def quiet_exporters() -> Iterator[None]:
    """Keep the exporters' warnings about their own packages off standard error."""
    loggers = [python_logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(python_logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


@quiet_decoder()
def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="asm-export",
        description="Export a trained classifier to one file for another runtime.",
        epilog="Exit status: 0, or 2 if nothing could be exported.",
    )
    parser.add_argument("--model", required=True, help="Folder or Hub name of a checkpoint.")
    parser.add_argument("--output", required=True, help=f"File to write; its name ends on {', '.join(WRITERS)}.")
    parser.add_argument("--input", choices=INPUTS, default="waveform", help="What the file takes.")
    parser.add_argument("--int8", action="store_true", help="Quantise an ONNX file to 8 bits.")
    parser.add_argument("--clips", nargs="+", default=[], metavar="FILE", help="Recordings to compare on.")
    args = parser.parse_args(arguments)

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        classifier = load_pipeline(args.model)
        extractor = classifier.feature_extractor
        waveforms = [load_audio(clip, extractor.sampling_rate) for clip in args.clips]
        result = export(classifier.model, extractor, args.output, args.input, waveforms, args.int8)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        print(f"asm-export: {one_line(error)}", file=sys.stderr)
        return 2
    size, clips = Path(args.output).stat().st_size / 1e6, f"the clips ({len(waveforms)})" if waveforms else "noise"
    print(
        f"{args.output}: {size:.1f} MB; on {clips}, the largest difference of the logits is "
        f"{result['largest_difference']:.1e}, and {result['same_label']:.1%} of the best labels are the same."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
