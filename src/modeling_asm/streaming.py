"""Classification of a stream: chunks of any size go in as they come, scores for each hop come out."""

import numpy as np
import soxr
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from .audio import SAMPLING_RATES
from .feature_extraction_asm import ASMFeatureExtractor, as_samples, as_tensor
from .modeling_asm import ASMForAudioClassification
from .pipeline_asm import ASMAudioClassificationPipeline
from .windows import FrameStream, WindowStream


class ASMStreamingClassifier:
    """Classify audio while it is recorded: a window of the model, then one more for each hop.

    Each frame of the filterbank is computed once, and only what later windows need is kept, so it can run for ever. A
    window's scores are those that [`ASMAudioClassificationPipeline`] gives for its samples alone, whatever the chunks.

    Args:
        model: The model.
        feature_extractor: Its feature extractor.
        hop: Seconds from one window to the next; rounded to whole frames, at least one.
        sampling_rate: Samples per second of the chunks, in hertz; by default the feature extractor's. Another one is
            resampled, which holds back a part of what came last, more of it at lower rates.
        top_k: How many labels to return, best first; `None` for all.
        function_to_apply: `"softmax"`, `"sigmoid"` or `"none"`; by default what `config.problem_type` says.

    Raises:
        ValueError: If the hop or the sampling rate is impossible.

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
        self.pipeline = ASMAudioClassificationPipeline(model=model.eval(), feature_extractor=feature_extractor)
        self.feature_extractor = feature_extractor
        self.sampling_rate = sampling_rate or feature_extractor.sampling_rate
        self.hop = hop
        self.top_k = model.config.num_labels if top_k is None else min(top_k, model.config.num_labels)
        self.function_to_apply = function_to_apply
        self.reset()

    @classmethod
    def from_pretrained(cls, checkpoint: str, **arguments) -> "ASMStreamingClassifier":
        """Load model and feature extractor from a folder or the Hub; the arguments are those of the class."""
        model = AutoModelForAudioClassification.from_pretrained(checkpoint)
        return cls(model, AutoFeatureExtractor.from_pretrained(checkpoint), **arguments)

    def reset(self):
        """Forget what was heard, and start again at 0 seconds."""
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
            chunk: Array or tensor of shape `(num_samples,)` or `(num_samples, num_channels)`, of any length, none
                included: floats in [-1, 1], or PCM of `uint8`, `int16` or `int32`.

        Returns:
            A list of dictionaries with `start` and `end`, in seconds from the first sample, and `scores`, a list of
            dictionaries with `label` and `score`.

        Raises:
            ValueError: If the chunk has another shape, or a sample is not finite; the chunk is then not heard.
            TypeError: If it is not of samples; nor is it heard.
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
        """Return the windows that are left at the stream's end, the last one of which ends there; then [`reset`].

        A stream that was shorter than one window has none.
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
        pipeline, shift, rate = self.pipeline, self.frames.shift, self.feature_extractor.sampling_rate
        outputs = []
        for start, window in windows:
            times = {"start": start * shift / rate, "error": None}
            times["end"] = times["start"] + self.feature_extractor.nb_max_samples / rate
            inputs = {"input_values": window[None].to(pipeline.dtype or window.dtype), **times}
            outputs.append(pipeline.forward(inputs))
        return pipeline.postprocess(outputs, self.top_k, self.function_to_apply, return_timestamps=True)
