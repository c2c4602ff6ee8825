"""Classify a stream: push chunks of any size, and get the scores of each hop."""

import math
import numbers

import numpy as np
import soxr
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
from transformers.utils import logging

from .audio.channels import Downmix, as_channels, holds_channels_first
from .audio.files import SAMPLING_RATES
from .audio.windows import FrameStream, WindowStream
from .feature_extraction_asm import ASMFeatureExtractor
from .general import resolve_checkpoint
from .modeling_asm import ASMForAudioClassification
from .pipeline_asm import ASMAudioClassificationPipeline, Span, check_arguments
from .waveforms import as_tensor


logger = logging.get_logger(__name__)

CHUNK_TYPES = ("int16", "int32", "uint8", "float32")


class ASMStreamingClassifier:
    """Classify audio while it is recorded: first one window of the model, then one more for each hop.

    Each frame of the filterbank is computed once, and only what later windows need is kept, so a stream may run
    forever. The scores of a window equal those of [`ASMAudioClassificationPipeline`] for its samples alone, whatever
    the chunks.

    Args:
        model: The model.
        feature_extractor: Its feature extractor.
        hop: Distance between windows, in seconds, rounded to whole frames. If it is longer than a window, what lies
            between two windows is not heard, with a warning.
        sampling_rate: Samples per second of the chunks, in hertz; by default the feature extractor's. Other rates are
            resampled, which holds back some of the latest samples, more at lower rates.
        top_k: Number of labels to return, best first; `None` for all.
        function_to_apply: `"softmax"`, `"sigmoid"` or `"none"`; by default what `config.problem_type` implies.
        dtype: Type of the samples in chunks of bytes, as a microphone delivers them: `"int16"`, `"int32"`, `"uint8"`
            or `"float32"`, in the byte order of this machine.
        channels: Number of channels. Samples of several channels in one row are interleaved. By default, one row is
            one channel, and the shorter of two axes holds the channels.
        channel: Number of a channel, from 0, to take instead of the mean of all.

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
        dtype: str | None = None,
        channels: int | None = None,
        channel: int | None = None,
    ):
        low, high = SAMPLING_RATES
        window = feature_extractor.nb_max_samples / feature_extractor.sampling_rate
        if not isinstance(hop, numbers.Real) or not 0 < hop < math.inf:
            raise ValueError(f"`hop` must be above 0 seconds and finite, got {hop!r}.")
        if hop > window:
            logger.warning(
                f"`hop` is {hop} s, and the window {window:.3g} s: what lies between two windows is not heard."
            )
        if sampling_rate is not None and not low <= sampling_rate <= high:
            raise ValueError(f"`sampling_rate` must be between {low} and {high} Hz, got {sampling_rate}.")
        if dtype is not None and dtype not in CHUNK_TYPES:
            raise ValueError(f"`dtype` must be one of {CHUNK_TYPES}, got {dtype!r}.")
        if channels is not None and (not isinstance(channels, int) or channels < 1):
            raise ValueError(f"`channels` must be a whole number of at least 1, got {channels!r}.")
        if channel is not None and channels is not None and channel >= channels:
            raise ValueError(f"`channel` must be below the number of channels, {channels}, got {channel!r}.")
        check_arguments(top_k=top_k, function_to_apply=function_to_apply, channel=channel)
        self.pipeline = ASMAudioClassificationPipeline(model=model.eval(), feature_extractor=feature_extractor)
        self.feature_extractor = feature_extractor
        self.sampling_rate = sampling_rate or feature_extractor.sampling_rate
        self.hop = hop
        self.top_k = top_k
        self.function_to_apply = function_to_apply
        self.dtype, self.channels, self.channel = dtype, channels, channel
        self.reset()

    @classmethod
    def from_pretrained(cls, checkpoint: str, **arguments) -> "ASMStreamingClassifier":
        """Load model and feature extractor from a folder, the Hub, or by the name of an encoder of the package.

        Further arguments are those of the class.
        """
        checkpoint = resolve_checkpoint(checkpoint)
        model = AutoModelForAudioClassification.from_pretrained(checkpoint)
        return cls(model, AutoFeatureExtractor.from_pretrained(checkpoint), **arguments)

    def reset(self):
        """Forget all samples, and start again at 0 s."""
        rate = self.feature_extractor.sampling_rate
        self.downmix, self.warned = Downmix("The stream", self.channel), False
        self.channels_first, self.layout = None, None  # of the chunks before
        self.frames = FrameStream(self.feature_extractor)
        hop = max(round(self.hop * rate / self.frames.shift), 1)
        self.windows = WindowStream(self.feature_extractor.max_length, hop)
        same = self.sampling_rate == rate
        self.resampler = None if same else soxr.ResampleStream(self.sampling_rate, rate, 1, dtype="float32")

    @torch.inference_mode()
    def push(self, chunk) -> list[dict]:
        """Take the next samples, and return the windows that they complete: none, one or several.

        Args:
            chunk: Array or tensor of shape `(num_samples,)`, or with channels on either axis, the same in all chunks,
                of any length, including 0: floats in [-1, 1], or PCM of type `uint8`, `int16` or `int32`. Or bytes,
                with `dtype`. The first chunk must have more samples than channels.

        Returns:
            A list of dictionaries with `start` and `end`, in seconds from the first sample, and `scores`, a list of
            dictionaries with `label` and `score`.

        Raises:
            ValueError: If the chunk has another shape, or other axes or channels than those before it, or a shape that
                can mean two things, or if a sample is not finite. The chunk is then discarded.
            TypeError: If the chunk does not consist of samples, or of others than declared. It is then discarded.
        """
        chunk = self._typed(chunk)
        if chunk.numel() == 0:
            return []
        shape, first = tuple(chunk.shape), self.channels_first
        if chunk.ndim == 2 and first is None:
            first = holds_channels_first(shape, "The chunk", self.channels)
        layout = "(num_samples,)"
        if chunk.ndim == 2:
            layout = f"({shape[0]}, num_samples)" if first else f"(num_samples, {shape[1]})"
        if self.layout not in (None, layout):
            raise ValueError(f"The chunk has shape {shape}, expected {self.layout}, as those before it.")
        samples = torch.from_numpy(self.downmix(as_channels(chunk, "The chunk", self.channels, first)))
        self.channels_first, self.layout = first, layout
        if self.downmix.samples > self.sampling_rate and not self.warned:  # what one second says
            self.warned = self.downmix.cancels
            self.downmix.warn()
        if self.resampler is not None:
            samples = torch.from_numpy(self.resampler.resample_chunk(np.ascontiguousarray(samples.numpy())))
        return self._classify(self.windows.push(self.frames.push(samples)))

    def _typed(self, chunk) -> torch.Tensor:
        """Return a chunk as a tensor, if the type of its samples is known."""
        if isinstance(chunk, (bytes, bytearray)) or (isinstance(chunk, memoryview) and chunk.format in "Bbc"):
            if self.dtype is None:
                raise TypeError(
                    f"The chunk is a {type(chunk).__name__}, whose samples could be of any type. Declare it, such as "
                    "`ASMStreamingClassifier(..., dtype='int16')`, or use `numpy.frombuffer(chunk, 'int16')`."
                )
            size = np.dtype(self.dtype).itemsize
            if memoryview(chunk).nbytes % size:
                raise ValueError(
                    f"The chunk has {memoryview(chunk).nbytes} bytes, expected a multiple of {size}, the size of a "
                    f"sample of {self.dtype}."
                )
            chunk = np.frombuffer(chunk, self.dtype)
        tensor = as_tensor(chunk, "The chunk")
        if self.dtype is not None and tensor.numel() and str(tensor.dtype).removeprefix("torch.") != self.dtype:
            raise TypeError(f"The chunk holds {tensor.dtype} samples, expected the declared {self.dtype}.")
        return tensor

    @torch.inference_mode()
    def finish(self) -> list[dict]:
        """Return the remaining windows, the last of which ends with the stream, and [`reset`].

        A stream shorter than one window has none.
        """
        windows = []
        if not self.warned:
            self.downmix.warn()
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
