"""EfficientAT's mn04 (Schmid et al. 2023, https://arxiv.org/abs/2211.04772): a MobileNetV3 trained on AudioSet.

The network is torchvision's MobileNetV3-large at width 0.4 (https://arxiv.org/abs/1905.02244), with the names of its
tensors, on log-mel features of 32 kHz audio.
"""

import functools
import math

import torch
from torch import Tensor, nn


SAMPLING_RATE, FFT_LENGTH, FRAME_LENGTH, FRAME_SHIFT = 32000, 1024, 800, 320  # hertz; samples: 25 ms and 10 ms
NUM_MEL_BINS, HIGHEST = 128, 15000.0  # of the filters, from 0 Hz
PREEMPHASIS, LOG_OFFSET = 0.97, 1e-5
STRIDE = 32  # frames between embeddings
# Kernel, input, expanded and output channels, hidden units of squeeze-excitation, whether hardswish, and stride.
BLOCKS = (
    (3, 8, 8, 8, 0, False, 1),
    (3, 8, 24, 16, 0, False, 2),
    (3, 16, 32, 16, 0, False, 1),
    (5, 16, 32, 16, 8, False, 2),
    (5, 16, 48, 16, 16, False, 1),
    (5, 16, 48, 16, 16, False, 1),
    (3, 16, 96, 32, 0, True, 2),
    (3, 32, 80, 32, 0, True, 1),
    (3, 32, 72, 32, 0, True, 1),
    (3, 32, 72, 32, 0, True, 1),
    (3, 32, 192, 48, 48, True, 1),
    (3, 48, 272, 48, 72, True, 1),
    (5, 48, 272, 64, 72, True, 2),
    (5, 64, 384, 64, 96, True, 1),
    (5, 64, 384, 64, 96, True, 1),
)
EMBEDDING_SIZE, CLASSIFIER_SIZE, NUM_LABELS = 384, 512, 527


@functools.cache
def mel_filters() -> Tensor:
    """Return Kaldi's triangular filters, linear in mel: float32 of shape `(num_mel_bins, FFT bins)`."""
    hertz = torch.arange(FFT_LENGTH // 2 + 1) * SAMPLING_RATE / FFT_LENGTH
    mel = 1127 * torch.log1p(hertz / 700)
    edges = torch.linspace(0, 1127 * math.log1p(HIGHEST / 700), NUM_MEL_BINS + 2)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = torch.minimum((mel - low) / (centre - low), (high - mel) / (high - centre)).clamp(min=0)
    filters[:, -1] = 0  # the Nyquist frequency
    return filters


def log_mel(waveform: Tensor) -> Tensor:
    """Compute the features of waveforms `(batch_size, num_samples)` at 32 kHz: `(batch_size, num_mel_bins, frames)`."""
    waveform = waveform[:, 1:] - PREEMPHASIS * waveform[:, :-1]
    window = torch.hann_window(FRAME_LENGTH, periodic=False, device=waveform.device)
    spectrum = torch.stft(
        waveform, FFT_LENGTH, FRAME_SHIFT, FRAME_LENGTH, window, center=True, pad_mode="reflect", return_complex=True
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return ((mel_filters().to(power) @ power + LOG_OFFSET).log() + 4.5) / 5


def convolve(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1, activation: type | None = None):
    """Return a convolution without bias, its batch normalisation, and an activation if there is one."""
    convolution = nn.Conv2d(before, after, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    layers = [convolution, nn.BatchNorm2d(after, eps=0.001, momentum=0.01)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Scales channels by a function of their means (https://arxiv.org/abs/1709.01507)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        layers = nn.ModuleDict({"fc1": nn.Linear(channels, hidden), "fc2": nn.Linear(hidden, channels)})
        self.conc_se_layers = nn.ModuleList([layers])  # the names of the file

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(batch_size, channels, mel, time)` to the same shape."""
        layers = self.conc_se_layers[0]
        scales = layers["fc2"](layers["fc1"](hidden_states.mean((2, 3))).relu()).sigmoid()
        return hidden_states * scales[:, :, None, None]


class InvertedResidual(nn.Module):
    """A block of MobileNetV3: expand the channels, convolve each, weigh them, and project back."""

    def __init__(self, kernel: int, before: int, expanded: int, after: int, hidden: int, hardswish: bool, stride: int):
        super().__init__()
        activation = nn.Hardswish if hardswish else nn.ReLU
        layers = [convolve(before, expanded, 1, activation=activation)] if expanded != before else []
        layers.append(convolve(expanded, expanded, kernel, stride, groups=expanded, activation=activation))
        layers += [SqueezeExcitation(expanded, hidden)] if hidden else []
        self.block = nn.Sequential(*layers, convolve(expanded, after, 1))
        self.residual = stride == 1 and before == after

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(batch_size, before, mel, time)` to `(batch_size, after, mel / stride, time / stride)`."""
        output = self.block(hidden_states)
        return hidden_states + output if self.residual else output


class EfficientAT(nn.Module):
    """mn04: from waveforms at 32 kHz to AudioSet's logits and embeddings along time."""

    def __init__(self):
        super().__init__()
        blocks = [InvertedResidual(*row) for row in BLOCKS]
        first = convolve(1, BLOCKS[0][1], 3, 2, activation=nn.Hardswish)
        last = convolve(BLOCKS[-1][3], EMBEDDING_SIZE, 1, activation=nn.Hardswish)
        self.features = nn.Sequential(first, *blocks, last)
        head = [nn.Linear(EMBEDDING_SIZE, CLASSIFIER_SIZE), nn.Hardswish(), nn.Dropout(0.2)]
        self.classifier = nn.Sequential(nn.Identity(), nn.Identity(), *head, nn.Linear(CLASSIFIER_SIZE, NUM_LABELS))

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Label waveforms.

        Args:
            waveform: Float32 tensor of shape `(batch_size, num_samples)`, at 32 kHz, in [-1, 1].

        Returns:
            Logits of shape `(batch_size, 527)`, and embeddings of shape `(batch_size, steps, 384)`, one for each 320
            ms, the first at the start; their mean over the steps is the embedding of the whole.
        """
        # Channels last is twice as fast on a CPU.
        features = log_mel(waveform)[:, None].contiguous(memory_format=torch.channels_last)
        hidden_states = self.features(features)  # (batch_size, 384, 4, frames / 32)
        embeddings = hidden_states.mean(2).transpose(1, 2)
        return self.classifier(embeddings.mean(1)), embeddings
