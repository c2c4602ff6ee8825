"""Classify a stream: push chunks of any size, and get the scores of each hop."""

import numpy as np
import soxr
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from .audio.files import SAMPLING_RATES
from .audio.windows import FrameStream, WindowStream
from .feature_extraction_asm import ASMFeatureExtractor
from .modeling_asm import ASMForAudioClassification
from .pipeline_asm import ASMAudioClassificationPipeline, Span, check_arguments
from .waveforms import as_samples, as_tensor


class ASMStreamingClassifier:
    """Classify audio while it is recorded: first one window of the model, then one more for each hop.

    Each frame of the filterbank is computed once, and only what later windows need is kept, so a stream may run
    forever. The scores of a window equal those of [`ASMAudioClassificationPipeline`] for its samples alone, whatever
    the chunks.

    Args:
        model: The model.
        feature_extractor: Its feature extractor.
        hop: Distance between windows, in seconds, rounded to whole frames.
        sampling_rate: Samples per second of the chunks, in hertz; by default the feature extractor's. Other rates are
            resampled, which holds back some of the latest samples, more at lower rates.
        top_k: Number of labels to return, best first; `None` for all.
        function_to_apply: `"softmax"`, `"sigmoid"` or `"none"`; by default what `config.problem_type` implies.

    Raises:
        ValueError: If an argument has an impossible value.

    Example:

    ```python
    >>> classifier = ASMStreamingClassifier.from_pretrained("my-model", hop=0.25, top_k=1)
    >>> for chunk in microphone:
    ...     for window in classifier.push(chunk):
    ...         print(window)
    {'start': 0.0, 'end': 0.995, 'scores': [{'score': 0.97, 'label': 'yes'}]}
    ```"""

    def __init__(
        self,
        model: ASMForAudioClassification,
        feature_extractor: ASMFeatureExtractor,
        hop: float = 0.25,
        sampling_rate: int | None = None,
        top_k: int | None = 5,
        function_to_apply: str | None = None,
    ):
        low, high = SAMPLING_RATES
        if not hop > 0:
            raise ValueError(f"`hop` must be above 0 seconds, got {hop}.")
        if sampling_rate is not None and not low <= sampling_rate <= high:
            raise ValueError(f"`sampling_rate` must be between {low} and {high} Hz, got {sampling_rate}.")
        check_arguments(top_k=top_k, function_to_apply=function_to_apply)
        self.pipeline = ASMAudioClassificationPipeline(model=model.eval(), feature_extractor=feature_extractor)
        self.feature_extractor = feature_extractor
        self.sampling_rate = sampling_rate or feature_extractor.sampling_rate
        self.hop = hop
        self.top_k = top_k
        self.function_to_apply = function_to_apply
        self.reset()

    @classmethod
    def from_pretrained(cls, checkpoint: str, **arguments) -> "ASMStreamingClassifier":
        """Load model and feature extractor from a folder or the Hub. Further arguments are those of the class."""
        model = AutoModelForAudioClassification.from_pretrained(checkpoint)
        return cls(model, AutoFeatureExtractor.from_pretrained(checkpoint), **arguments)

    def reset(self):
        """Forget all samples, and start again at 0 s."""
        rate = self.feature_extractor.sampling_rate
        self.frames = FrameStream(self.feature_extractor)
        hop = max(round(self.hop * rate / self.frames.shift), 1)
        self.windows = WindowStream(self.feature_extractor.max_length, hop)
        same = self.sampling_rate == rate
        self.resampler = None if same else soxr.ResampleStream(self.sampling_rate, rate, 1, dtype="float32")

    @torch.inference_mode()
    def push(self, chunk) -> list[dict]:
        """Take the next samples, and return the windows that they complete: none, one or several.

        Args:
            chunk: Array or tensor of shape `(num_samples,)` or `(num_samples, num_channels)`, of any length, including
                0: floats in [-1, 1], or PCM of type `uint8`, `int16` or `int32`.

        Returns:
            A list of dictionaries with `start` and `end`, in seconds from the first sample, and `scores`, a list of
            dictionaries with `label` and `score`.

        Raises:
            ValueError: If the chunk has another shape or a sample is not finite. The chunk is then discarded.
            TypeError: If the chunk does not consist of samples. It is then discarded.
        """
        samples = as_tensor(chunk, "The chunk")
        if samples.ndim not in (1, 2):
            raise ValueError(
                f"The chunk has shape {tuple(samples.shape)}, expected (num_samples,) or (num_samples, num_channels)."
            )
        if samples.numel() == 0:
            return []
        samples = as_samples(samples, "The chunk").cpu()
        samples = samples.mean(1) if samples.ndim == 2 else samples
        if not torch.isfinite(samples).all():
            raise ValueError("The chunk has samples that are not finite.")
        if self.resampler is not None:
            samples = torch.from_numpy(self.resampler.resample_chunk(np.ascontiguousarray(samples.numpy())))
        return self._classify(self.windows.push(self.frames.push(samples)))

    @torch.inference_mode()
    def finish(self) -> list[dict]:
        """Return the remaining windows, the last of which ends with the stream, and [`reset`].

        A stream shorter than one window has none.
        """
        windows = []
        if self.resampler is not None:
            rest = self.resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            windows = self.windows.push(self.frames.push(torch.from_numpy(rest)))
        windows = self._classify(windows + self.windows.finish())
        self.reset()
        return windows

    def _classify(self, windows: list[tuple[int, torch.Tensor]]) -> list[dict]:
        if not windows:
            return []
        pipeline, outputs = self.pipeline, []
        for start, window in windows:
            span = Span(*self.feature_extractor.window_times(start))
            outputs.append(
                pipeline.forward({"input_values": window[None].to(pipeline.dtype or window.dtype), "span": span})
            )
        return pipeline.postprocess(outputs, self.top_k, self.function_to_apply, return_timestamps=True)
