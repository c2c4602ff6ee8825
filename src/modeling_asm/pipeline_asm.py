"""A pipeline for recordings of any length, rate and number of channels, with the time of each window's scores."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from transformers import AudioClassificationPipeline
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.pipelines.base import ChunkPipeline

from .audio import AudioFileError
from .configuration_asm import WINDOW_AGGREGATIONS
from .modeling_asm import aggregate_windows
from .read_ahead import ReadAhead
from .sources import open_audio
from .windows import read_windows


class ASMAudioClassificationPipeline(ChunkPipeline, AudioClassificationPipeline):
    """Audio classification with [`ASMForAudioClassification`], on whole files of any length.

    A file is decoded in blocks by soundfile, without FFmpeg, mixed down, resampled by soxr, and heard in overlapping
    windows; `batch_size` counts windows, of one file or of several. The result is the stock pipeline's on the same
    samples, and of a long file no more is kept than the scores of its windows.

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
        """Classify one recording or several.

        Args:
            inputs: A recording, as [`open_audio`] takes it: path, URL, bytes, file object, array, dictionary; or a
                list, generator or data set of recordings (of datasets' rows, the column `audio`).
            top_k: How many labels to return, best first, as in the stock pipeline.
            function_to_apply: `"softmax"`, `"sigmoid"` or `"none"`; by default what `config.problem_type` says.
            return_timestamps: Whether to return the windows one by one instead of one answer for the whole file.
            window_overlap: Share of a window that the next one hears again; by default the configuration's.
            window_aggregation: How the windows become one answer: see [`ASMConfig`], whose value is the default.
            on_error: `"raise"`, or `"return"` a dictionary with the key `error` in the place of the result of a
                recording that cannot be read, so that the others are classified all the same.
            batch_size: How many windows the model gets at once.
            read_ahead: How many batches a thread makes while the model computes: it goes through `inputs`, decodes and
                extracts. By default 2 where the model is on an accelerator, and 0 on a CPU, all of whose cores the
                model has use for itself.

        Returns:
            For each recording a list of dictionaries with `label` and `score`; with `return_timestamps`, a list of
            dictionaries with `start` and `end`, in seconds, and `scores`, such a list.

        Raises:
            AudioFileError: If a file or URL cannot be read.
            ValueError: If an argument or a waveform is impossible.
        """
        # A data set of datasets, or a column of one.
        if hasattr(inputs, "column_name") or (hasattr(inputs, "features") and hasattr(inputs, "column_names")):
            inputs = (row for row in inputs)
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self,
        return_timestamps=None,
        window_overlap=None,
        window_aggregation=None,
        on_error=None,
        read_ahead=None,
        **kwargs,
    ):
        preprocess, forward, postprocess = super()._sanitize_parameters(**kwargs)
        if window_overlap is not None:
            if not 0 <= window_overlap < 1:
                raise ValueError(f"`window_overlap` must be at least 0 and below 1, got {window_overlap}.")
            preprocess["window_overlap"] = window_overlap
        if on_error is not None:
            if on_error not in ("raise", "return"):
                raise ValueError(f"`on_error` must be 'raise' or 'return', got {on_error!r}.")
            preprocess["on_error"] = on_error
        if read_ahead is not None:
            if read_ahead < 0:
                raise ValueError(f"`read_ahead` must be at least 0 batches, got {read_ahead}.")
            preprocess["read_ahead"] = read_ahead
        if return_timestamps is not None:
            postprocess["return_timestamps"] = return_timestamps
        if window_aggregation is not None:
            if window_aggregation not in WINDOW_AGGREGATIONS:
                raise ValueError(
                    f"`window_aggregation` must be one of {WINDOW_AGGREGATIONS}, got {window_aggregation!r}."
                )
            postprocess["window_aggregation"] = window_aggregation
        return preprocess, forward, postprocess

    def get_iterator(self, inputs, num_workers, batch_size, preprocess_params, *params):
        """Return the results one by one, where asked for with a thread that reads ahead of the model."""
        preprocess_params = dict(preprocess_params)
        read_ahead = preprocess_params.pop("read_ahead", 0 if self.device.type == "cpu" else 2)
        results = super().get_iterator(inputs, num_workers, batch_size, preprocess_params, *params)
        if read_ahead > 0:
            batches = results.loader  # below the scores, which are made of the model's answers to these
            batches.loader = ReadAhead(batches.loader, read_ahead)
        return results

    def preprocess(self, inputs, window_overlap: float | None = None, on_error: str = "raise") -> Iterator[dict]:
        """Yield the windows of a recording, each with its times."""
        pending = None
        try:
            for window in self._windows(inputs, window_overlap):
                if pending is not None:
                    yield {**pending, "is_last": False}
                pending = window
            yield {**pending, "is_last": True}
        except (AudioFileError, TypeError, ValueError) as error:
            if on_error == "raise":
                raise
            nothing = next(self._read_windows([np.zeros(1, np.float32)], shift=1))
            yield {**nothing, "error": str(error), "is_last": True}

    def _windows(self, inputs, window_overlap: float | None) -> Iterator[dict]:
        extractor, config = self.feature_extractor, self.model.config
        overlap = config.window_overlap if window_overlap is None else window_overlap
        shift = max(round(config.max_length * (1 - overlap)), 1)
        for window in self._read_windows(open_audio(inputs, extractor.sampling_rate), shift):
            yield {**window, "error": None}

    def _read_windows(self, blocks: Iterable[np.ndarray], shift: int) -> Iterator[dict]:
        for start, end, window in read_windows(blocks, self.feature_extractor, shift):
            yield {"input_values": window[None].to(self.dtype or window.dtype), "start": start, "end": end}

    def _forward(self, model_inputs: dict) -> dict:
        windows = {name: model_inputs.pop(name) for name in list(model_inputs) if name in self.window_inputs}
        logits = self.model(**windows).logits
        return {"logits": logits.float().tolist(), **model_inputs}  # hours of small tensors would scatter the memory

    def postprocess(
        self,
        model_outputs: list[dict],
        top_k: int = 5,
        function_to_apply: str | None = None,
        return_timestamps: bool = False,
        window_aggregation: str | None = None,
    ) -> list[dict] | dict:
        """Return the scores of each window, or of all together, or the error that the reading ended with."""
        if model_outputs[-1]["error"] is not None:
            return {"error": model_outputs[-1]["error"]}

        def score(logits: torch.Tensor) -> list[dict]:
            return AudioClassificationPipeline.postprocess(
                self, SequenceClassifierOutput(logits=logits), top_k, function_to_apply
            )

        rows = torch.tensor([window["logits"] for window in model_outputs]).reshape(len(model_outputs), 1, -1)
        if return_timestamps:
            return [
                {"start": window["start"], "end": window["end"], "scores": score(logits)}
                for window, logits in zip(model_outputs, rows)
            ]
        config = self.model.config
        return score(
            aggregate_windows(rows[:, 0], window_aggregation or config.window_aggregation, config.problem_type)[None]
        )
