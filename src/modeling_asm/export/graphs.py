"""Classifiers as graphs for other runtimes: from features or waveforms to logits."""

import math

import torch
from torch import Tensor, nn

from ..fbank import EPSILON, PREEMPHASIS, fft_length_of, mel_filters
from ..feature_extraction_asm import ASMFeatureExtractor
from ..modeling_asm import ASMForAudioClassification


class ASMWaveformClassifier(nn.Module):
    """A classifier with its feature extraction as one graph of plain operators, for runtimes that have no FFT.

    The spectrum is a product with the matrix of the discrete Fourier transform, which includes the window function. Its
    power does not depend on where time begins: from the middle of a frame, the real part is that of the frame's even
    half and the imaginary part that of its odd half, which takes half of the work. Everything else is [`fbank`], step
    by step. Features agree within 1e-4, except in bins whose energy is some 100 dB
    below that of the frame, such as those between the harmonics of a tone.

    Args:
        model: The model.
        feature_extractor: Its rate, frames, normalisation and padding.

    Raises:
        ValueError: If clips are padded on the left.
    """

    def __init__(self, model: ASMForAudioClassification, feature_extractor: ASMFeatureExtractor):
        super().__init__()
        if feature_extractor.padding_side != "right":
            raise ValueError(
                "The graph pads clips on the right, but `padding_side` is 'left'. Export from features: "
                '`export(..., inputs="features")`.'
            )
        self.model = model
        self.feature_extractor = feature_extractor
        self.window, self.shift = feature_extractor.frame_samples
        fft_length = fft_length_of(self.window)
        bins = fft_length // 2  # without the Nyquist frequency, which no filter reaches
        self.half = -(-self.window // 2)
        time = (self.window - 1) / 2 - torch.arange(self.half, dtype=torch.float64)  # samples before the middle
        angles = 2 * math.pi / fft_length * torch.outer(time, torch.arange(bins, dtype=torch.float64))
        hann = torch.hann_window(self.window, periodic=False, dtype=torch.float64)[: self.half, None]
        cosine = (
            angles.cos() * hann * torch.where(time > 0, 1.0, 0.5)[:, None]
        )  # a sample in the middle is its own pair
        self.register_buffer("cosine", cosine.float(), persistent=False)  # (half, bins)
        self.register_buffer("sine", (angles.sin() * hann).float(), persistent=False)
        filters = mel_filters(feature_extractor.sampling_rate, feature_extractor.num_mel_bins, fft_length)[:-1]
        self.register_buffer("filters", filters, persistent=False)  # (bins, num_mel_bins)

    def forward(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Classify clips that are at most as long as the model's window.

        Args:
            waveform: Float32 tensor of shape `(batch_size, nb_max_samples)`, mono, in [-1, 1]. Samples after the end
                of a clip are ignored.
            num_samples: Integer tensor of shape `(batch_size,)`: the length of each clip, clamped to the range from 1
                to `nb_max_samples`.

        Returns:
            Logits of shape `(batch_size, num_labels)`.
        """
        return self.model(self.extract(waveform, num_samples)).logits

    def extract(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Return the features of the clips, `(batch_size, max_length, num_mel_bins)`, as the feature extractor does."""
        extractor, length = self.feature_extractor, num_samples[:, None].clamp(1, waveform.shape[1])
        time = torch.arange(waveform.shape[1], device=waveform.device)[None]
        if extractor.padding_mode == "repeat":
            waveform = waveform.gather(1, time % length)
        elif extractor.padding_mode == "reflect":
            phase = time % (2 * length)
            waveform = waveform.gather(1, torch.minimum(phase, 2 * length - 1 - phase))
        else:
            waveform = torch.where(time < length, waveform, 0.0)
        frames = self._frame(waveform)
        frames = frames - frames.mean(-1, keepdim=True)
        # The window is zero at the first sample, whose neighbour belongs to another frame.
        frames = frames - PREEMPHASIS * nn.functional.pad(frames[..., :-1], (1, 0))
        first, last = frames[..., : self.half], frames[..., -self.half :].flip(-1)
        power = ((first + last) @ self.cosine).square() + ((first - last) @ self.sine).square()
        features = (power @ self.filters).clamp(min=EPSILON).log()
        if extractor.do_normalize:
            features = (features - extractor.mean) / (2 * extractor.std)
        if extractor.padding_mode in ("repeat", "reflect"):
            return features
        own = 1 + (length.clamp(min=self.window) - self.window) // self.shift  # frames of the clip
        frame = torch.arange(extractor.max_length, device=waveform.device)[None]
        return torch.where((frame < own)[..., None], features, extractor.padding_value)

    def _frame(self, waveform: Tensor) -> Tensor:
        # A frame consists of consecutive rows of `shift` samples.
        rows, frames = -(-self.window // self.shift), self.feature_extractor.max_length
        missing = (frames + rows - 1) * self.shift - waveform.shape[1]
        hops = nn.functional.pad(waveform, (0, missing)).unflatten(1, (frames + rows - 1, self.shift))
        return torch.cat([hops[:, row : row + frames] for row in range(rows)], -1)[..., : self.window]


class ASMFeatureClassifier(nn.Module):
    """A classifier that returns only logits."""

    def __init__(self, model: ASMForAudioClassification):
        super().__init__()
        self.model = model

    def forward(self, input_values: Tensor) -> Tensor:
        """Map float32 features `(batch_size, max_length, num_mel_bins)` to logits `(batch_size, num_labels)`."""
        return self.model(input_values).logits
