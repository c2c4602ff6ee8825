"""The pipeline on an ONNX file, which ONNX Runtime runs instead of PyTorch."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from ..audio.windows import read_waveforms
from ..configuration_asm import ASMConfig
from ..feature_extraction_asm import ASMFeatureExtractor
from ..pipeline_asm import ASMAudioClassificationPipeline, Span


class ASMOnnxModel:
    """An ONNX file with the interface that a pipeline expects of a model.

    Args:
        path: ONNX file that [`modeling_asm.export.export`] wrote.
        providers: Execution providers of ONNX Runtime, in order of preference.
        session_options: `onnxruntime.SessionOptions`, such as the number of threads.

    Raises:
        ImportError: If onnxruntime is missing.
        OSError: If the file does not exist.
        ValueError: If it is not an ONNX file, or not one that [`modeling_asm.export.export`] wrote.
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
            raise ImportError("ONNX files need onnxruntime: `pip install 'modeling_asm[onnx]'`.") from error
        if isinstance(providers, str):
            providers = [providers]
        path = os.fspath(path)
        if not os.path.isfile(path):
            raise OSError(f"There is no file {path!r}, expected an ONNX file that `asm-export` wrote.")
        try:
            self.session = onnxruntime.InferenceSession(path, session_options, providers=list(providers))
        except Exception as error:  # its errors have no common class
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
        """Compute the logits of a batch from the inputs of the file: features, or waveforms and their lengths."""
        arrays = {name: value.numpy() for name, value in inputs.items()}
        return SequenceClassifierOutput(logits=torch.from_numpy(self.session.run(["logits"], arrays)[0]))

    def can_generate(self) -> bool:
        return False


class ASMOnnxClassifier(ASMAudioClassificationPipeline):
    """[`ASMAudioClassificationPipeline`] on an ONNX file: the same inputs, arguments and results.

    Args:
        path: ONNX file that `asm-export` wrote, for waveforms or features.
        providers: Execution providers of ONNX Runtime, in order of preference.
        session_options: `onnxruntime.SessionOptions`, such as the number of threads.
        **kwargs: As for any pipeline: `top_k`, `batch_size`.

    Raises:
        ImportError: If onnxruntime is missing.
        OSError: If the file does not exist.
        ValueError: If it is not an ONNX file that `asm-export` wrote, or a `device` is given.

    Example:

    ```python
    >>> from modeling_asm.export.onnx_runtime import ASMOnnxClassifier

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
                f"`device` is {kwargs['device']!r}, but ONNX Runtime uses providers: pass for example "
                "`providers=['CUDAExecutionProvider']`."
            )
        model = ASMOnnxModel(path, providers, session_options)
        super().__init__(model=model, feature_extractor=model.feature_extractor, device="cpu", **kwargs)

    def check_model_type(self, supported_models):
        """Accept the model, which is not a class of transformers."""

    @property
    def window_inputs(self) -> tuple[str, ...]:
        return self.model.inputs

    def _read_windows(self, blocks: Iterable[np.ndarray], shift: int) -> Iterator[dict]:
        if "waveform" not in self.window_inputs:
            yield from super()._read_windows(blocks, shift)
            return
        for start, end, samples, length in read_waveforms(blocks, self.feature_extractor, shift):
            yield {"waveform": samples[None], "num_samples": torch.tensor([length]), "span": Span(start, end)}


__all__ = ["ASMOnnxClassifier"]
