# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Feature extractor of the Audio Spectrogram Mixer: waveforms to padded, normalised log-mel spectrograms."""

import difflib
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import logging

from .fbank import EPSILON, fbank, frame_sizes, num_frames


logger = logging.get_logger(__name__)

FIELDS = ("num_mel_bins", "sampling_rate", "max_length", "frame_length", "frame_shift")
FIELDS += ("padding_mode", "padding_value", "do_normalize", "mean", "std")
# Names that the base class takes or transformers saves in addition to the fields; any other is taken for a typo.
ACCEPTED_NAMES = {"feature_size", "return_attention_mask", "padding_side", "processor_class", "feature_extractor_type"}
ACCEPTED_NAMES |= {"auto_map", "image_processor_type", "name_or_path"}

PADDING_MODES = ("zero", "mean", "silence", "repeat", "reflect")

MAX_CHANNELS = 8  # more rows than this, none longer than this: the channels are on the last axis

# Integer PCM: the values of zero and of full scale.
PCM_SCALES = {torch.uint8: (128, 128), torch.int16: (0, 2**15), torch.int32: (0, 2**31)}


class ASMFeatureExtractor(SequenceFeatureExtractor):
    r"""Turn mono waveforms into the `input_values` of [`ASMModel`].

    A clip shorter than the model's window of `max_length` frames is padded at its end. A longer one keeps all its
    frames, and [`ASMForAudioClassification`] averages its scores over windows:

    ```
    waveform        |~~~~~~~~~ clip ~~~~~~~~~|
    frame           0    1    2    ...   n - 1 | n       ...       max_length - 1
    input_values    (log-mel - mean) / (2 std) | the rest of the window
    attention_mask  1    1    1    ...   1     | 0       ...       0
    ```

    | `padding_mode` | the rest of the window is | with AudioSet's mean and std |
    | --- | --- | --- |
    | `"repeat"` | the clip again, from its start (default) | |
    | `"reflect"` | the clip backwards, then forwards, and so on | |
    | `"zero"` | a log-mel energy of 0, as in AST: louder than most sounds | +0.467 |
    | `"mean"` | the mean of the training clips | 0 |
    | `"silence"` | digital silence | -1.278 |

    Use the mode that the model was trained with.

    Args:
        num_mel_bins: Number of mel bins.
        sampling_rate: Samples per second that the waveforms must have, in hertz.
        max_length: Length of the model's window, in frames. Shorter clips are padded at their end.
        frame_length: Length of the analysis window, in milliseconds.
        frame_shift: Distance between analysis windows, in milliseconds.
        padding_mode: What fills the window after a short clip: see the table. The default is `"repeat"`, which did
            best at mixed lengths, or `padding_value` if that is given.
        padding_value: Value of the padded frames in the units of the output, instead of the table's, which follows
            `mean` and `std`.
        do_normalize: Whether to return `(features - mean) / (2 * std)` instead of log-mel energies.
        mean: Mean of the log-mel energies of the training clips. The default is AudioSet's, as in AST.
        std: Their standard deviation.

    Raises:
        ValueError: If a size or rate is not a positive integer, a frame is too short, `std` is not positive, or
            `padding_mode` is unknown.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self,
        num_mel_bins: int = 128,
        sampling_rate: int = 16000,
        max_length: int = 1024,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        padding_mode: str | None = None,
        padding_value: float | None = None,
        do_normalize: bool = True,
        mean: float = -4.2677393,
        std: float = 4.5689974,
        **kwargs,
    ):
        kwargs["feature_size"] = num_mel_bins  # what `pad` of the base class calls the last axis
        kwargs.setdefault("return_attention_mask", True)
        for name in set(kwargs) - ACCEPTED_NAMES:
            if not name.startswith("_"):
                nearest = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0)[0]
                logger.warning(
                    f"ASMFeatureExtractor has no field `{name}`, so it has no effect; did you mean `{nearest}`?"
                )
        self.padding_mode = padding_mode or ("repeat" if padding_value is None else "zero")
        self.do_normalize = do_normalize
        self.mean = mean
        self.std = std
        super().__init__(sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.num_mel_bins = num_mel_bins
        self.max_length = max_length
        self.frame_length = frame_length
        self.frame_shift = frame_shift
        self._check_fields()

    @property
    def padding_value(self) -> float:
        """Value of padded frames: the one that was set, or that of `padding_mode`, which follows `mean` and `std`."""
        if self._padding_value is not None:
            return self._padding_value
        energy = {"zero": 0.0, "mean": self.mean}.get(self.padding_mode, math.log(EPSILON))
        return (energy - self.mean) / (2 * self.std) if self.do_normalize else energy

    @padding_value.setter
    def padding_value(self, value: float | None):
        self._padding_value = value

    def to_dict(self) -> dict:
        """Return the fields as they were set: a `padding_value` of `None` stays `None`."""
        fields = super().to_dict()
        fields["padding_value"] = fields.pop("_padding_value")
        return fields

    def _check_fields(self):
        for name in ("num_mel_bins", "sampling_rate", "max_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer, got {value!r}.")
        if self.padding_mode not in PADDING_MODES:
            raise ValueError(f"`padding_mode` must be one of {PADDING_MODES}, got {self.padding_mode!r}.")
        if not self.std > 0:
            raise ValueError(f"`std` must be above 0, got {self.std}.")
        for name, samples in zip(("frame_length", "frame_shift"), self.frame_samples):
            least = 2 if name == "frame_length" else 1
            if samples < least:
                raise ValueError(
                    f"`{name}` of {getattr(self, name)} ms is {samples} samples at {self.sampling_rate} Hz, expected "
                    f"at least {least}."
                )

    @property
    def frame_samples(self) -> tuple[int, int]:
        """Length and shift of a frame, in samples."""
        return frame_sizes(self.sampling_rate, self.frame_length, self.frame_shift)

    @property
    def nb_max_samples(self) -> int:
        """Number of samples in the model's window: those of `max_length` frames."""
        window, shift = self.frame_samples
        return window + (self.max_length - 1) * shift

    @property
    def seconds_per_frame(self) -> float:
        """Seconds between frames: `frame_shift` in whole samples."""
        return self.frame_samples[1] / self.sampling_rate

    @property
    def units_per_decibel(self) -> float:
        """How much a feature grows when the sound gets one decibel louder."""
        return units_per_decibel(self.std if self.do_normalize else None)

    def window_times(self, start: int) -> tuple[float, float]:
        """Return start and end, in seconds, of the window whose first frame is `start`."""
        first = start * self.frame_samples[1]
        return first / self.sampling_rate, (first + self.nb_max_samples) / self.sampling_rate

    @classmethod
    def from_dict(cls, feature_extractor_dict: dict, **kwargs):
        """Build from saved fields, which `kwargs` override; those saved before `padding_mode` existed keep AST's."""
        saved = dict(feature_extractor_dict)
        if "padding_mode" not in saved:
            saved |= {"padding_mode": "zero", "return_attention_mask": True}
        if "padding_mode" in kwargs:  # a new mode: the value saved for the old one no longer applies
            saved["padding_value"] = None
        return super().from_dict(saved, **kwargs)

    def __call__(
        self,
        raw_speech,
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        device: str | torch.device | None = None,
        truncation: bool = False,
        return_attention_mask: bool | None = None,
    ) -> BatchFeature:
        """Extract features of one clip or of a batch of clips of any lengths.

        A row does not depend on its neighbours, except for the padding that makes all as long as the longest.

        Args:
            raw_speech: One clip (a sequence of numbers, or an array or tensor of shape `(num_samples,)`) or several (a
                sequence of clips, or an array or tensor of shape `(batch_size, num_samples)`; never channels). Floating
                point samples are in [-1, 1]; `uint8`, `int16` and `int32` are PCM and are scaled to that range. A clip
                shorter than one frame is padded to one frame: with zeros, or as `padding_mode` says.
            sampling_rate: Samples per second of `raw_speech`. Pass it, so that a wrong rate is an error.
            return_tensors: `"pt"` for torch tensors, `"np"` for NumPy arrays, `None` for lists of NumPy arrays.
            device: Where to compute, and where to leave the result of `return_tensors="pt"`; by default the device of
                the clips.
            truncation: Whether to cut longer clips after `max_length` frames.
            return_attention_mask: Whether to return the mask; by default the setting of the feature extractor.

        Returns:
            `input_values`, float32 of shape `(batch_size, num_frames, num_mel_bins)`, and `attention_mask`, int64 of
            shape `(batch_size, num_frames)`, 1 for frames of the clip. `num_frames` is `max_length` or, without
            `truncation`, that of the longest clip if that is more.

        Raises:
            ValueError: If the sampling rate is wrong, or a clip has several channels, no samples, or samples that are
                not finite.
            TypeError: If a clip does not consist of numbers.
        """
        self._check_sampling_rate(sampling_rate)
        if return_tensors not in (None, "np", "pt"):
            raise ValueError(f"`return_tensors` is {return_tensors!r}, expected 'pt', 'np' or None.")
        waveforms = [as_waveform(clip, index) for index, clip in enumerate(split_clips(raw_speech))]
        if truncation:
            waveforms = [waveform[: self.nb_max_samples] for waveform in waveforms]
        device = torch.device(device) if device is not None else waveforms[0].device
        input_values, attention_mask = self._extract(waveforms, device)
        outputs = {"input_values": input_values, "attention_mask": attention_mask}
        if not (self.return_attention_mask if return_attention_mask is None else return_attention_mask):
            del outputs["attention_mask"]
        if return_tensors != "pt":
            outputs = {name: value.cpu().numpy() for name, value in outputs.items()}
        if return_tensors is None:
            outputs = {name: list(value) for name, value in outputs.items()}
        return BatchFeature(outputs)

    def extract_frames(self, waveform: Tensor, out: Tensor | None = None) -> Tensor:
        """Extract the whole frames of a waveform, without padding: `input_values` where the mask is 1.

        Args:
            waveform: Float32 tensor of shape `(batch_size, num_samples)`, in [-1, 1], of at least one frame.
            out: Tensor to write to, instead of a new one.

        Returns:
            Float32 tensor of shape `(batch_size, num_frames, num_mel_bins)` on the same device.
        """
        arguments = (self.sampling_rate, self.num_mel_bins, self.frame_length, self.frame_shift)
        features = fbank(waveform, *arguments, out=out)
        return features.sub_(self.mean).div_(2 * self.std) if self.do_normalize else features

    def _extract(self, waveforms: list[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
        window, shift = self.frame_samples
        own = [num_frames(max(len(waveform), window), window, shift) for waveform in waveforms]
        waveforms = [fill_up(waveform, self.nb_max_samples, self.padding_mode) for waveform in waveforms]
        filled = [num_frames(max(len(waveform), window), window, shift) for waveform in waveforms]
        batch = pad_sequence(waveforms, batch_first=True).to(device)
        batch = pad(batch, (0, max(0, window - batch.shape[1])))
        check_finite(batch)

        size = max(self.max_length, *filled)
        input_values = batch.new_empty(len(batch), size, self.num_mel_bins)
        self.extract_frames(batch, out=input_values[:, : max(filled)])
        frames = torch.arange(size, device=device)
        if min(filled) < size:
            padding = frames >= torch.tensor(filled, device=device)[:, None]
            input_values.masked_fill_(padding[..., None], self.padding_value)
        attention_mask = frames < torch.tensor(own, device=device)[:, None]
        return input_values, attention_mask.long()

    def _check_sampling_rate(self, sampling_rate: int | None):
        if sampling_rate is None:
            logger.warning_once(
                "Pass `sampling_rate` to the feature extractor: without it, audio at another rate than "
                f"{self.sampling_rate} Hz goes unnoticed and is classified wrongly."
            )
        elif sampling_rate != self.sampling_rate:
            raise ValueError(
                f"The waveform has a sampling rate of {sampling_rate} Hz, but this feature extractor needs "
                f"{self.sampling_rate} Hz. Resample it: "
                f"`soxr.resample(waveform, {sampling_rate}, {self.sampling_rate})`."
            )


def units_per_decibel(std: float | None) -> float:
    """Return how much a natural-log power feature grows per decibel; `std` is that of AST's normalisation, if any."""
    return math.log(10) / 10 / (1 if std is None else 2 * std)


def split_clips(raw_speech) -> list:
    """Split the input of the feature extractor into single clips, unconverted."""
    if isinstance(raw_speech, (np.ndarray, Tensor)):
        if raw_speech.ndim == 3:
            raise ValueError(
                f"`raw_speech` of shape {tuple(raw_speech.shape)} has three axes, but only mono audio is supported: "
                "(num_samples,) or (batch_size, num_samples). Mix the channels down: `raw_speech.mean(axis)` with "
                "the axis of the channels."
            )
        clips = list(raw_speech) if raw_speech.ndim == 2 else [raw_speech]
    elif isinstance(raw_speech, (list, tuple)):
        batched = len(raw_speech) == 0 or isinstance(raw_speech[0], (list, tuple, np.ndarray, Tensor))
        clips = list(raw_speech) if batched else [raw_speech]
    else:
        raise TypeError(
            f"`raw_speech` is a {type(raw_speech).__name__}, expected a waveform as a NumPy array, torch tensor or "
            "list of numbers, or a list of waveforms. Decode a file first: `soundfile.read(path)`."
        )
    if not clips:
        raise ValueError("`raw_speech` is empty, expected at least one clip with at least one sample.")
    if len(clips) > MAX_CHANNELS and all(np.ndim(clip) == 1 and 1 <= len(clip) <= MAX_CHANNELS for clip in clips):
        raise ValueError(
            f"`raw_speech` has {len(clips)} rows of {len(clips[0])} numbers, which looks like (num_samples, "
            "num_channels), but only mono audio is supported. Mix the channels down: `numpy.mean(raw_speech, axis=1)`."
        )
    return clips


def as_waveform(clip, index: int) -> Tensor:
    """Convert one clip to a float32 tensor of shape `(num_samples,)` in [-1, 1]; `index` is for the messages."""
    clip = as_tensor(clip, f"Clip {index}")
    if clip.ndim == 2:
        raise ValueError(
            f"Clip {index} has shape {tuple(clip.shape)}, but only mono audio of shape (num_samples,) is supported. "
            f"Mix the channels down: `clip.mean({int(clip.shape[0] > clip.shape[1])})`."
        )
    if clip.ndim != 1:
        raise ValueError(f"Clip {index} has shape {tuple(clip.shape)}, expected (num_samples,).")
    if clip.numel() == 0:
        raise ValueError(f"Clip {index} is empty, expected at least one sample.")
    return as_samples(clip, f"Clip {index}")


def as_tensor(numbers, name: str) -> Tensor:
    """Convert an array of any byte order and strides, or a sequence, to a tensor; `name` is for the messages."""
    if isinstance(numbers, Tensor):
        return numbers
    try:
        array = np.asarray(numbers)
    except ValueError as error:  # nested sequences of different lengths
        raise ValueError(f"{name} is not a plain sequence of numbers: {error}") from error
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} holds {array.dtype} values ({type(numbers).__name__}), expected numbers.")
    copy = not array.flags.writeable or any(stride < 0 for stride in array.strides)
    native = array.dtype.newbyteorder("=")
    return torch.from_numpy(array.astype(native, order="C", copy=copy))


def as_samples(tensor: Tensor, name: str) -> Tensor:
    """Convert a tensor of any shape to float32 samples in [-1, 1]; `name` is for the messages."""
    if tensor.is_floating_point():
        return tensor.detach().float()
    if tensor.dtype not in PCM_SCALES:
        raise TypeError(
            f"{name} holds {tensor.dtype} samples, whose full scale is unknown. Expected floating point samples "
            f"in [-1, 1], or PCM of type {', '.join(str(dtype) for dtype in PCM_SCALES)}."
        )
    zero, full_scale = PCM_SCALES[tensor.dtype]
    return (tensor.float() - zero) / full_scale


def fill_up(waveform: Tensor, num_samples: int, padding_mode: str) -> Tensor:
    """Lengthen a waveform to `num_samples` with its own samples, if `padding_mode` says so."""
    if len(waveform) >= num_samples or padding_mode not in ("repeat", "reflect"):
        return waveform
    period = waveform if padding_mode == "repeat" else torch.cat([waveform, waveform.flip(0)])
    return period.repeat(-(-num_samples // len(period)))[:num_samples]


def check_finite(batch: Tensor):
    """Raise `ValueError` if a sample of `(batch_size, num_samples)` is not finite."""
    if batch.sum().isfinite():  # fast; a sum can overflow although all samples are finite
        return
    finite = torch.isfinite(batch)
    if not finite.all():
        index, sample = (~finite).nonzero()[0].tolist()
        raise ValueError(
            f"Clip {index} has the value {batch[index, sample].item()} at sample {sample}, expected finite samples. "
            "Repair the recording, or replace such samples: `numpy.nan_to_num(waveform)`."
        )


__all__ = ["ASMFeatureExtractor"]
