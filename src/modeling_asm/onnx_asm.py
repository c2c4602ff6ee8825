"""The pipeline on an ONNX file, run by ONNX Runtime instead of PyTorch."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_asm import ASMConfig
from .feature_extraction_asm import ASMFeatureExtractor
from .pipeline_asm import ASMAudioClassificationPipeline
from .windows import read_waveforms


class ASMOnnxModel:
    """What a pipeline asks of a model, answered by ONNX Runtime.

    Args:
        path: ONNX file of [`modeling_asm.export.export`].
        providers: Execution providers of ONNX Runtime, the preferred one first.
        session_options: `onnxruntime.SessionOptions`, such as the number of threads.

    Raises:
        ImportError: If onnxruntime is missing.
        OSError: If there is no such file.
        ValueError: If it is not an ONNX file, or not one of [`modeling_asm.export.export`].
    """

    device, dtype, input_modalities = torch.device("cpu"), torch.float32, ("audio",)

    def __init__(
        self,
        path: str | os.PathLike,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        session_options=None,
    ):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("Running an ONNX file needs onnxruntime: `pip install 'modeling_asm[onnx]'`.") from error
        if isinstance(providers, str):
            providers = [providers]
        path = os.fspath(path)
        if not os.path.isfile(path):
            raise OSError(f"There is no file {path!r}, expected an ONNX file that `asm-export` wrote.")
        try:
            self.session = onnxruntime.InferenceSession(path, session_options, providers=list(providers))
        except Exception as error:  # the package has no common class for what a file can have
            raise ValueError(f"ONNX Runtime cannot load {path!r}: {error}") from error
        metadata = self.session.get_modelmeta().custom_metadata_map
        missing = {"config", "feature_extractor"} - set(metadata)
        if missing:
            raise ValueError(
                f"{path!r} has no metadata {', '.join(sorted(missing))}, expected an ONNX file that `asm-export` wrote."
            )
        self.config = ASMConfig.from_dict(json.loads(metadata["config"]))
        self.feature_extractor = ASMFeatureExtractor.from_dict(json.loads(metadata["feature_extractor"]))
        self.inputs = tuple(value.name for value in self.session.get_inputs())

    def __call__(self, **inputs: torch.Tensor) -> SequenceClassifierOutput:
        """Compute the logits of a batch from what the file takes: features, or waveforms and their lengths."""
        arrays = {name: value.numpy() for name, value in inputs.items()}
        return SequenceClassifierOutput(logits=torch.from_numpy(self.session.run(["logits"], arrays)[0]))

    def can_generate(self) -> bool:
        return False


class ASMOnnxClassifier(ASMAudioClassificationPipeline):
    """[`ASMAudioClassificationPipeline`] on an ONNX file: the same inputs, arguments and results.

    Args:
        path: ONNX file of `asm-export`, of either form.
        providers: Execution providers of ONNX Runtime, the preferred one first.
        session_options: `onnxruntime.SessionOptions`, such as the number of threads.
        **kwargs: As for any pipeline: `top_k`, `batch_size`.

    Raises:
        ImportError: If onnxruntime is missing.
        OSError: If there is no such file.
        ValueError: If it is not an ONNX file, or not one of `asm-export`, or a `device` is given.

    Example:

    ```python
    >>> from modeling_asm.onnx_asm import ASMOnnxClassifier

    >>> classifier = ASMOnnxClassifier("my-model.onnx")
    >>> classifier("meeting.mp3", top_k=1)
    [{'score': 0.97, 'label': 'speech'}]
    ```"""

    def __init__(
        self,
        path: str | os.PathLike,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        session_options=None,
        **kwargs,
    ):
        if "device" in kwargs:
            raise ValueError(
                f"`device` is {kwargs['device']!r}, but ONNX Runtime chooses by providers: give "
                "`providers=['CUDAExecutionProvider']`, for example."
            )
        model = ASMOnnxModel(path, providers, session_options)
        super().__init__(model=model, feature_extractor=model.feature_extractor, device="cpu", **kwargs)

    def check_model_type(self, supported_models):
        """Accept the model: it is no class of transformers."""

    @property
    def window_inputs(self) -> tuple[str, ...]:
        return self.model.inputs

    def _read_windows(self, blocks: Iterable[np.ndarray], shift: int) -> Iterator[dict]:
        if "waveform" not in self.window_inputs:
            yield from super()._read_windows(blocks, shift)
            return
        for start, end, samples, length in read_waveforms(blocks, self.feature_extractor, shift):
            yield {"waveform": samples[None], "num_samples": torch.tensor([length]), "start": start, "end": end}


__all__ = ["ASMOnnxClassifier"]
