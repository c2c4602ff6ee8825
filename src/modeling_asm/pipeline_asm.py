"""A pipeline for recordings of any length, rate and number of channels, with scores for each window on request."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from transformers import AudioClassificationPipeline
from transformers.pipelines.base import ChunkPipeline

from .audio.files import AudioFileError
from .audio.sources import open_audio
from .audio.windows import read_windows
from .configuration_asm import WINDOW_AGGREGATIONS
from .scoring import SCORE_FUNCTIONS, score_clip


ARGUMENTS = ("top_k", "function_to_apply", "return_timestamps", "window_overlap", "window_aggregation", "on_error")
ARGUMENTS += ("channel",)


@dataclass(frozen=True)
class Span:
    """The part of a recording that a window covers, in seconds."""

    start: float
    end: float


class ASMAudioClassificationPipeline(ChunkPipeline, AudioClassificationPipeline):
    """Audio classification with [`ASMForAudioClassification`], for whole files of any length.

    Files are decoded by soundfile in blocks (no FFmpeg), mixed down, resampled by soxr, and classified in overlapping
    windows. `batch_size` counts windows, which may belong to several files. The result equals that of the stock
    pipeline on the same samples. Of a long file, only the scores of its windows are kept in memory. Arguments of
    `__call__` may also be given once, when the pipeline is made.

    Example:

    ```python
    >>> from transformers import pipeline
    >>> import modeling_asm

    >>> classifier = pipeline("asm-audio-classification", model="my-model")
    >>> classifier("meeting.mp3", top_k=1)
    [{'score': 0.97, 'label': 'speech'}]
    >>> classifier("meeting.mp3", top_k=1, return_timestamps=True)
    [{'start': 0.0, 'end': 1.0, 'scores': [{'score': 0.99, 'label': 'speech'}]}, ...]
    ```"""

    window_inputs = ("input_values",)  # what the model gets of a window

    def __call__(self, inputs, **kwargs):
        """Classify one or several recordings.

        Args:
            inputs: A recording, as [`open_audio`] takes it (a path, URL, bytes, file object, array or dictionary), or
                a list, generator or data set of recordings. Of a data set's rows, the column `audio` is used.
            top_k: Number of labels to return, best first; `None` for all. The default is 5.
            function_to_apply: `"softmax"`, `"sigmoid"` or `"none"`; by default what `config.problem_type` implies. It
                is applied to each window, before windows become one result. (With `"none"`, the stock pipeline returns
                logits whose softmax is the mean of the windows', and this one the mean of the windows' logits.)
            return_timestamps: Whether to return each window instead of one result for the whole file.
            window_overlap: Fraction of a window that overlaps with the next; by default the configuration's.
            window_aggregation: How windows become one result: see [`ASMConfig`], whose value is the default.
            on_error: `"raise"`, or `"return"` to get a dictionary with the key `error` in place of the result of a
                recording that cannot be read, so that the others are still classified.
            channel: Number of a channel of each recording, from 0, to take instead of the mean of all.
            batch_size: Number of windows that the model gets at once.

        Returns:
            For each recording, a list of dictionaries with `label` and `score`; with `return_timestamps`, a list of
            dictionaries with `start` and `end`, in seconds, and `scores`, such a list.

        Raises:
            AudioFileError: If a file or URL cannot be read.
            ValueError: If an argument or a waveform is invalid.
            TypeError: If there is no argument of a name.
        """
        if isinstance(inputs, (list, tuple)) and not inputs:
            return []
        # A data set of datasets, or a column of one.
        if hasattr(inputs, "column_name") or (hasattr(inputs, "features") and hasattr(inputs, "column_names")):
            inputs = (row for row in inputs)
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **arguments):
        for name in arguments.keys() - set(ARGUMENTS):
            nearest = difflib.get_close_matches(name, ARGUMENTS, n=1, cutoff=0)[0]
            raise TypeError(f"The pipeline has no argument `{name}`; did you mean `{nearest}`?")
        given = {name: value for name, value in arguments.items() if value is not None or name == "top_k"}
        check_arguments(**given)
        before = {name: given.pop(name) for name in ("window_overlap", "on_error", "channel") if name in given}
        return before, {}, given

    def preprocess(
        self, inputs, window_overlap: float | None = None, on_error: str = "raise", channel: int | None = None
    ) -> Iterator[dict]:
        """Yield the windows of a recording, each with its [`Span`]; the error of an unreadable one ends them."""
        config = self.model.config
        shift = config.window_shift if window_overlap is None else config.shift_of_overlap(window_overlap)
        pending = None
        try:
            blocks = open_audio(inputs, self.feature_extractor.sampling_rate, channel)
            for window in self._read_windows(blocks, shift):
                if pending is not None:
                    yield {**pending, "is_last": False}
                pending = window
            yield {**pending, "is_last": True}
        except (AudioFileError, TypeError, ValueError) as error:
            if on_error == "raise":
                raise
            # A batch needs a row of the same shape here, which `_forward` does not pass on to the model.
            nothing = next(self._read_windows([np.zeros(1, np.float32)], shift=1))
            yield {**nothing, "span": str(error), "is_last": True}

    def _read_windows(self, blocks: Iterable[np.ndarray], shift: int) -> Iterator[dict]:
        for start, end, window in read_windows(blocks, self.feature_extractor, shift):
            yield {"input_values": window[None].to(self.dtype or window.dtype), "span": Span(start, end)}

    def _forward(self, model_inputs: dict) -> dict:
        inputs = {name: model_inputs.pop(name) for name in list(model_inputs) if name in self.window_inputs}
        span = model_inputs["span"]
        readable = [isinstance(item, Span) for item in (span if isinstance(span, list) else [span])]
        rows = [[0.0] * self.model.config.num_labels] * len(readable)
        if any(readable):
            logits = self.model(**{name: value[readable] for name, value in inputs.items()}).logits
            answers = iter(logits.float().tolist())  # hours of small tensors would fragment the memory
            rows = [next(answers) if known else row for known, row in zip(readable, rows)]
        return {"logits": rows, **model_inputs}

    def postprocess(
        self,
        model_outputs: list[dict],
        top_k: int | None = 5,
        function_to_apply: str | None = None,
        return_timestamps: bool = False,
        window_aggregation: str | None = None,
    ) -> list[dict] | dict:
        """Return the scores of the recording, or of each window, or the error that ended the reading."""
        spans = [window["span"] for window in model_outputs]
        if not isinstance(spans[-1], Span):
            return {"error": spans[-1]}

        def answer(logits: torch.Tensor) -> list[dict]:
            config = self.model.config
            scores = score_clip(logits, config, function_to_apply, window_aggregation)
            values, labels = scores.topk(config.num_labels if top_k is None else min(top_k, config.num_labels))
            pairs = zip(values.tolist(), labels.tolist())
            return [{"score": value, "label": config.id2label[label]} for value, label in pairs]

        logits = torch.tensor([window["logits"] for window in model_outputs]).reshape(len(spans), -1)
        if return_timestamps:
            windows = zip(spans, logits.split(1))
            return [{"start": span.start, "end": span.end, "scores": answer(window)} for span, window in windows]
        return answer(logits)


def check_arguments(
    top_k: int | None = None,
    function_to_apply: str | None = None,
    return_timestamps: bool | None = None,
    window_overlap: float = 0.0,
    window_aggregation: str | None = None,
    on_error: str | None = None,
    channel: int | None = None,
):
    """Raise `ValueError` if an argument of the pipeline has an impossible value."""
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise ValueError(f"`top_k` must be a positive integer, or `None` for all labels, got {top_k!r}.")
    if channel is not None and (isinstance(channel, bool) or not isinstance(channel, int) or channel < 0):
        raise ValueError(f"`channel` must be the number of a channel, from 0, got {channel!r}.")
    if not 0 <= window_overlap < 1:
        raise ValueError(f"`window_overlap` must be at least 0 and below 1, got {window_overlap}.")
    choices = {"function_to_apply": (function_to_apply, tuple(SCORE_FUNCTIONS))}
    choices["return_timestamps"] = (return_timestamps, (True, False))
    choices["window_aggregation"] = (window_aggregation, WINDOW_AGGREGATIONS)
    choices["on_error"] = (on_error, ("raise", "return"))
    for name, (value, allowed) in choices.items():
        if value is not None and value not in allowed:
            raise ValueError(f"`{name}` must be one of {allowed}, got {value!r}.")
    if return_timestamps and window_aggregation is not None:
        raise ValueError(
            f"`window_aggregation={window_aggregation!r}` combines windows, and `return_timestamps=True` returns each. "
            "Leave one of them out."
        )
