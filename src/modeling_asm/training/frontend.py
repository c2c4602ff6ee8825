"""What a model takes, a spectrogram of ours, one of AST's or a waveform, and everything that depends on it."""

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import logging

from ..fbank import frame_sizes
from ..feature_extraction_asm import ASMFeatureExtractor, units_per_decibel


logger = logging.get_logger(__name__)

AST_FRAMES = (25.0, 10.0)  # milliseconds: length and shift of a frame, which AST's extractor does not state


@dataclass(frozen=True)
class Frontend:
    """A feature extractor and how to call it, so that every model gets one window of a fixed length.

    Args:
        feature_extractor: ASM's, AST's, or one that returns waveforms, such as wav2vec2's.
        seconds: Window of a model that takes waveforms. A spectrogram's is `max_length` frames.
    """

    feature_extractor: object
    seconds: float

    @property
    def sampling_rate(self) -> int:
        """Samples per second, in hertz."""
        return self.feature_extractor.sampling_rate

    @property
    def is_ours(self) -> bool:
        """Whether the feature extractor is ASM's."""
        return isinstance(self.feature_extractor, ASMFeatureExtractor)

    @property
    def is_spectrogram(self) -> bool:
        """Whether the model takes a spectrogram, and not the waveform."""
        return hasattr(self.feature_extractor, "num_mel_bins")

    @property
    def window_samples(self) -> int:
        """Length of the model's window, in samples."""
        if self.is_ours:
            return self.feature_extractor.nb_max_samples
        if self.is_spectrogram:
            window, shift = frame_sizes(self.sampling_rate, *AST_FRAMES)
            return window + (self.feature_extractor.max_length - 1) * shift
        return round(self.seconds * self.sampling_rate)

    def check_seconds(self, seconds: float, model: str):
        """Warn if a checkpoint has a window of its own, so that a requested one, as of a recipe, has no effect."""
        if self.is_spectrogram:
            own = self.window_samples / self.sampling_rate
            logger.warning(f"--seconds {seconds:g} has no effect: the window of {model!r} has {own:.2f} s.")

    @property
    def units_per_decibel(self) -> float | None:
        """How much a feature grows when the sound gets one decibel louder; `None` for a waveform."""
        if self.is_ours:
            return self.feature_extractor.units_per_decibel
        if not self.is_spectrogram:
            return None
        return units_per_decibel(self.feature_extractor.std if self.feature_extractor.do_normalize else None)

    @property
    def mean(self) -> float:
        """Mean of the training clips' features: 0 if they are normalised."""
        return 0.0 if self.feature_extractor.do_normalize else self.feature_extractor.mean

    def extract(self, waveforms: list[Tensor]) -> dict[str, Tensor]:
        """Return a model's inputs for float waveforms in [-1, 1], each of shape `(num_samples,)`, at its rate."""
        options = {"sampling_rate": self.sampling_rate, "return_tensors": "pt", "truncation": True}
        if self.is_ours:
            return dict(self.feature_extractor(waveforms, return_attention_mask=False, **options))
        clips = [waveform.numpy() for waveform in waveforms]  # transformers' extractors take no tensors
        if self.is_spectrogram:
            return {"input_values": self.feature_extractor(clips, **options)["input_values"]}
        return dict(self.feature_extractor(clips, padding="max_length", max_length=self.window_samples, **options))
