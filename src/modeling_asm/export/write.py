"""Write a trained classifier to a file for another runtime, and keep it only if it computes the same."""

import contextlib
import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ..feature_extraction_asm import ASMFeatureExtractor
from ..modeling_asm import ASMForAudioClassification
from ..waveforms import as_waveform, check_finite
from .executorch import EXECUTORCH
from .formats import Examples
from .graphs import ASMFeatureClassifier, ASMWaveformClassifier
from .onnx import ONNX, quantise
from .torch_export import TORCH_EXPORT


FORMATS = {written.suffix: written for written in (ONNX, TORCH_EXPORT, EXECUTORCH)}
TOLERANCE = 1e-4  # largest difference of the logits
INPUTS = ("waveform", "features")
PLACES = {"_name_or_path", "name_or_path", "auto_map"}  # fields with the location of a checkpoint


def export(
    model: ASMForAudioClassification,
    feature_extractor: ASMFeatureExtractor,
    path: str | Path,
    inputs: str = "waveform",
    waveforms: list[np.ndarray] | None = None,
    int8: bool = False,
) -> dict[str, float]:
    """Write a model to one file for another runtime, and compare the two.

    | extension | written by | read by |
    | --- | --- | --- |
    | `.onnx` | `torch.onnx.export(dynamo=True)` | ONNX Runtime and others: [`ASMOnnxClassifier`] |
    | `.pt2` | `torch.export.save` | `torch.export.load` |
    | `.pte` | ExecuTorch with XNNPACK | ExecuTorch, also on phones; one clip at a time |

    Args:
        model: The model. A copy of it is exported in float32.
        feature_extractor: Its feature extractor.
        path: File to write.
        inputs: What the file takes: `"waveform"` (see [`ASMWaveformClassifier`]), or `"features"`, the output of the
            feature extractor.
        waveforms: Clips for the comparison, float32 of shape `(num_samples,)`, cut after one window. By default, noise
            of several lengths.
        int8: Whether to quantise an ONNX file to 8-bit weights and activations.

    Returns:
        `largest_difference` of the logits, and `same_label`, the share of clips with the same best label.

    Raises:
        ValueError: If an argument is invalid.
        ImportError: If a package is missing; the message says how to install it.
        RuntimeError: If the file's logits differ by more than 1e-4 (without int8). Nothing is written then.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"The file must end in one of {', '.join(FORMATS)}, got {path.name!r}.")
    if inputs not in INPUTS:
        raise ValueError(f"`inputs` must be one of {INPUTS}, got {inputs!r}.")
    if int8 and path.suffix != ONNX.suffix:
        raise ValueError(f"int8 is for ONNX files, got {path.name!r}. Use a name that ends in .onnx.")
    FORMATS[path.suffix].check_packages()
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {str(path.parent)!r}. Create it first.")
    model = copy.deepcopy(model).float().cpu().eval().requires_grad_(False)
    module = ASMWaveformClassifier(model, feature_extractor) if inputs == "waveform" else ASMFeatureClassifier(model)
    waveforms = waveforms or make_noise(feature_extractor)
    examples = make_inputs(feature_extractor, waveforms, inputs)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder, quiet_exporters():
        file = Path(folder) / path.name
        FORMATS[path.suffix].write(module.eval(), examples, file, describe(model, feature_extractor, inputs))
        if int8:
            quantise(file)
        logits = FORMATS[path.suffix].read(file, examples)
        (features,) = make_inputs(feature_extractor, waveforms, "features")
        expected = model(torch.from_numpy(features)).logits.numpy()
        difference = float(np.abs(logits - expected).max())
        if not int8 and not difference <= TOLERANCE:
            raise RuntimeError(
                f"The logits of the exported model differ by {difference:.1e}, more than {TOLERANCE:.0e}, so {path} "
                "was not written. Compare on other clips, or use other versions of torch and of the runtime."
            )
        file.replace(path)
    same = float((logits.argmax(1) == expected.argmax(1)).mean())
    return {"largest_difference": difference, "same_label": same}


def make_noise(feature_extractor: ASMFeatureExtractor) -> list[np.ndarray]:
    """Return clips of white noise: one frame, half a window and a whole window long."""
    generator, whole = np.random.default_rng(0), feature_extractor.nb_max_samples
    frame, _ = feature_extractor.frame_samples
    lengths = [frame, max(whole // 2, frame), whole]
    return [generator.uniform(-0.5, 0.5, length).astype(np.float32) for length in lengths]


def make_inputs(feature_extractor: ASMFeatureExtractor, waveforms: list[np.ndarray], inputs: str) -> Examples:
    """Return the inputs of an exported model, float32 and int64 arrays: features, or waveforms and their lengths."""
    if inputs == "features":
        options = {"sampling_rate": feature_extractor.sampling_rate, "truncation": True, "return_tensors": "np"}
        return (feature_extractor(waveforms, **options)["input_values"],)
    batch = np.zeros((len(waveforms), feature_extractor.nb_max_samples), np.float32)
    waveforms = [as_waveform(waveform, index).numpy() for index, waveform in enumerate(waveforms)]
    for row, waveform in zip(batch, waveforms):
        row[: len(waveform)] = waveform[: len(row)]
    check_finite(torch.from_numpy(batch))
    return batch, np.array([min(len(waveform), batch.shape[1]) for waveform in waveforms])


def describe(model: ASMForAudioClassification, feature_extractor: ASMFeatureExtractor, inputs: str) -> dict[str, str]:
    """Return the metadata of an exported file."""
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


@contextlib.contextmanager
def quiet_exporters() -> Iterator[None]:
    """Keep the exporters' warnings about their own packages off standard error."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
