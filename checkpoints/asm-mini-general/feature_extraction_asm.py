# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Feature extractor of the Audio Spectrogram Mixer: waveforms to padded, normalised log-mel spectrograms."""

import difflib
import math
import numbers

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import logging

from .fbank import EPSILON, fbank, frame_sizes, num_frames
from .waveforms import as_waveform, check_finite, fill_up, split_clips
from .windowing import mask_frames


logger = logging.get_logger(__name__)

FIELDS = ("num_mel_bins", "sampling_rate", "max_length", "frame_length", "frame_shift")
FIELDS += ("padding_mode", "padding_value", "do_normalize", "mean", "std")
# Names that the base class takes or transformers saves in addition to the fields; any other is taken for a typo.
ACCEPTED_NAMES = {"feature_size", "return_attention_mask", "padding_side", "processor_class", "feature_extractor_type"}
ACCEPTED_NAMES |= {"auto_map", "image_processor_type", "name_or_path"}

# What other extractors take as `padding`, and whether it fills a batch up.
PADDINGS = {True: True, "longest": True, "max_length": True, None: True, False: False, "do_not_pad": False}

PADDING_MODES = ("zero", "mean", "silence", "repeat", "reflect")


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
            `mean` and `std`. With `"repeat"` and `"reflect"`, these are only the frames beyond the window.
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
        if kwargs.setdefault("feature_size", num_mel_bins) != num_mel_bins:  # what `pad` calls the last axis
            raise ValueError(
                f"`feature_size` is {kwargs['feature_size']}, but it is the number of values in a frame: "
                f"`num_mel_bins`={num_mel_bins}. Leave it out, or set `num_mel_bins`."
            )
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
        if self.padding_side not in ("left", "right"):
            raise ValueError(f"`padding_side` must be 'left' or 'right', got {self.padding_side!r}.")
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
        saved = {name: value for name, value in feature_extractor_dict.items() if name != "feature_size"}
        if "padding_mode" not in saved:
            saved |= {"padding_mode": "zero", "return_attention_mask": True}
        if "padding_mode" in kwargs:  # a new mode: the value saved for the old one no longer applies
            saved["padding_value"] = None
        elif kwargs.get("padding_value") is not None:  # a new value: it pads, as it does in a new feature extractor
            saved["padding_mode"] = None
        return super().from_dict(saved, **kwargs)

    def __call__(
        self,
        raw_speech,
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        device: str | torch.device | None = None,
        truncation: bool = False,
        return_attention_mask: bool | None = None,
        padding: bool | str | None = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> BatchFeature:
        """Extract features of one clip or of a batch of clips of any lengths.

        A row does not depend on its neighbours, except for the padding that makes all as long as the longest.
        `padding`, `max_length` and `pad_to_multiple_of` are those of transformers' other extractors.

        Args:
            raw_speech: One clip (a sequence of numbers, or an array or tensor of shape `(num_samples,)`) or several (a
                sequence of clips, or an array or tensor of shape `(batch_size, num_samples)`; never channels). Floating
                point samples are in [-1, 1]; `uint8`, `int16` and `int32` are PCM and are scaled to that range. A clip
                shorter than one frame is padded to one frame: with zeros, or as `padding_mode` says.
            sampling_rate: Samples per second of `raw_speech`. Pass it, so that a wrong rate is an error.
            return_tensors: `"pt"` for torch tensors, `"np"` for NumPy arrays, `None` for lists of NumPy arrays.
            device: Where to compute, and where to leave the result of `return_tensors="pt"`; by default the device of
                the clips.
            truncation: Whether to cut longer clips after the model's window, or after `max_length` samples.
            return_attention_mask: Whether to return the mask; by default the setting of the feature extractor.
            padding: `True`, `"longest"` or `"max_length"` fill all clips up to the longest, and at least to the model's
                window (and to `max_length` samples with the latter); `False` or `"do_not_pad"` fill each up to the
                window alone, so that longer clips keep their own lengths.
            max_length: Number of samples after which `truncation` cuts, and to which `padding="max_length"` fills up.
                The field of the same name counts frames.
            pad_to_multiple_of: Pad to a multiple of this many frames.

        Returns:
            `input_values`, float32 of shape `(batch_size, num_frames, num_mel_bins)`, and `attention_mask`, int64 of
            shape `(batch_size, num_frames)`, 1 for frames of the clip. `num_frames` is the field `max_length` or, if
            that is more, the number of frames of the longest clip.

        Raises:
            ValueError: If the sampling rate is wrong, a clip has several channels, no samples, or samples that are not
                finite, or an argument has an impossible value or no effect.
            TypeError: If a clip does not consist of numbers.
        """
        self._check_sampling_rate(sampling_rate)
        if return_tensors not in (None, "np", "pt"):
            raise ValueError(f"`return_tensors` is {return_tensors!r}, expected 'pt', 'np' or None.")
        padding = getattr(padding, "value", padding)  # of transformers' `PaddingStrategy`
        self._check_lengths(padding, max_length, pad_to_multiple_of, truncation)
        waveforms = [as_waveform(clip, index) for index, clip in enumerate(split_clips(raw_speech))]
        if truncation:
            waveforms = [waveform[: max_length or self.nb_max_samples] for waveform in waveforms]
        device = torch.device(device) if device is not None else waveforms[0].device
        least = num_frames(max_length, *self.frame_samples) if max_length and padding == "max_length" else 0
        input_values, attention_mask = self._extract(waveforms, device, least, pad_to_multiple_of or 1)
        outputs = {"input_values": input_values}
        if self.return_attention_mask if return_attention_mask is None else return_attention_mask:
            outputs["attention_mask"] = attention_mask
        if not PADDINGS[padding]:
            lengths = attention_mask.sum(1).clamp(min=self.max_length).tolist()
            outputs = {name: self._cut(rows, lengths, return_tensors) for name, rows in outputs.items()}
        if return_tensors == "np":
            outputs = {name: rows.cpu().numpy() for name, rows in outputs.items()}
        if return_tensors is None:
            outputs = {name: [row.cpu().numpy() for row in rows] for name, rows in outputs.items()}
        return BatchFeature(outputs)

    def pad(
        self,
        processed_features,
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Pad features that were extracted before, as data collators do: see the base class. Lengths are in frames.

        Features that come without a mask may be padded already: their frames of one constant value at either end get a
        mask of 0, as in [`ASMForAudioClassification`].
        """
        if max_length is not None and not truncation and getattr(padding, "value", padding) != "max_length":
            raise ValueError(
                f"`max_length={max_length}` would have no effect: pass `truncation=True` to cut longer features, "
                '`padding="max_length"` to fill shorter ones up, or both.'
            )
        if isinstance(processed_features, (list, tuple)) and processed_features:
            names = processed_features[0].keys()
            processed_features = {name: [example[name] for example in processed_features] for name in names}
        clips, wanted = processed_features.get(self.model_input_names[0], ()), return_attention_mask
        wanted = self.return_attention_mask if wanted is None else wanted
        if wanted and len(clips) > 0 and "attention_mask" not in processed_features:
            processed_features = {**processed_features, "attention_mask": [mask_frames(clip) for clip in clips]}
        lengths = (padding, max_length, truncation, pad_to_multiple_of)
        return super().pad(processed_features, *lengths, return_attention_mask, return_tensors)

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

    def _extract(
        self, waveforms: list[Tensor], device: torch.device, least: int, multiple: int
    ) -> tuple[Tensor, Tensor]:
        """Return features and mask of clips, padded to `least` frames or more and to a multiple of `multiple`."""
        window, shift = self.frame_samples
        own = [num_frames(max(len(waveform), window), window, shift) for waveform in waveforms]
        waveforms = [fill_up(waveform, self.nb_max_samples, self.padding_mode) for waveform in waveforms]
        filled = [num_frames(max(len(waveform), window), window, shift) for waveform in waveforms]
        batch = pad_sequence(waveforms, batch_first=True).to(device)
        batch = pad(batch, (0, max(0, window - batch.shape[1])))
        check_finite(batch)

        size = -(-max(self.max_length, least, *filled) // multiple) * multiple
        input_values = batch.new_empty(len(batch), size, self.num_mel_bins)
        self.extract_frames(batch, out=input_values[:, : max(filled)])
        frames = torch.arange(size, device=device)
        if min(filled) < size:
            padding = frames >= torch.tensor(filled, device=device)[:, None]
            input_values.masked_fill_(padding[..., None], self.padding_value)
        attention_mask = frames < torch.tensor(own, device=device)[:, None]
        if self.padding_side == "left":
            rows = zip(input_values, own, filled)
            input_values = torch.stack([torch.cat([row[end:], row[clip:end], row[:clip]]) for row, clip, end in rows])
            attention_mask = attention_mask.flip(1)
        return input_values, attention_mask.long()

    def _check_lengths(self, padding, max_length: int | None, pad_to_multiple_of: int | None, truncation: bool):
        if not isinstance(padding, (bool, str, type(None))) or padding not in PADDINGS:
            raise ValueError(f"`padding` must be one of {tuple(PADDINGS)}, got {padding!r}.")
        if not isinstance(truncation, bool):
            raise ValueError(f"`truncation` must be True or False, got {truncation!r}.")
        for name, value in (("max_length", max_length), ("pad_to_multiple_of", pad_to_multiple_of)):
            if value is not None and (not isinstance(value, numbers.Integral) or value < 1):
                raise ValueError(f"`{name}` must be a positive integer, got {value!r}.")
        if pad_to_multiple_of is not None and not PADDINGS[padding]:
            raise ValueError(
                f"`pad_to_multiple_of`={pad_to_multiple_of} would have no effect with `padding={padding!r}`."
            )
        if max_length is None:
            return
        if max_length < min(self.nb_max_samples, self.sampling_rate / 4):  # meant as frames, most likely
            raise ValueError(
                f"`max_length` is {max_length}, but as an argument it counts samples, as with transformers' other "
                f"extractors: {1000 * max_length / self.sampling_rate:.0f} ms. Leave it out for the model's window of "
                f"{self.max_length} frames, {self.nb_max_samples} samples."
            )
        if not truncation and padding != "max_length":
            raise ValueError(
                f"`max_length`={max_length} would have no effect: pass `truncation=True` to cut longer clips, "
                '`padding="max_length"` to fill shorter ones up, or both.'
            )

    def _cut(self, rows: Tensor, lengths: list[int], return_tensors: str | None) -> list[Tensor] | Tensor:
        """Return rows without what makes them as long as the longest, as a tensor if one is wanted and possible."""
        if self.padding_side == "left":
            clips = [row[len(row) - length :] for row, length in zip(rows, lengths)]
        else:
            clips = [row[:length] for row, length in zip(rows, lengths)]
        if return_tensors is None:
            return clips
        if min(lengths) != max(lengths):
            raise ValueError(
                f"Without padding, clips of {min(lengths)} to {max(lengths)} frames make no tensor. Pass "
                "`padding=True`, or `return_tensors=None` for a list."
            )
        return torch.stack(clips)

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


__all__ = ["ASMFeatureExtractor"]
