"""A small residual network on log-mel features: the convolutional baseline, and a teacher for Mixers.

`asm-train --model_type residual-cnn` trains it. Its checkpoints load wherever `modeling_asm` is imported.
"""

import itertools

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import can_return_tuple

from .configuration_asm import warn_of_unknown_fields
from .stem import ASMBatchNorm2d
from .targets import compute_loss


@strict
class ResidualCNNConfig(PreTrainedConfig):
    """Widths and depths of the network.

    Args:
        hidden_sizes: Channels of each stage, which starts by halving both axes.
        depths: Residual blocks of each stage.
        dropout: Dropout probability before the classifier.
        max_length: Length of the window, in frames.
        num_mel_bins: Number of mel bins.
    """

    model_type = "residual-cnn"

    hidden_sizes: list[int] | tuple[int, ...] = (16, 32, 64, 96)
    depths: list[int] | tuple[int, ...] = (1, 2, 2, 2)
    dropout: float | int = 0.1
    max_length: int = 98
    num_mel_bins: int = 64

    def __post_init__(self, **kwargs):
        warn_of_unknown_fields(self, kwargs)
        super().__post_init__(**kwargs)

    def validate_stages(self):
        """Check that each stage has a width and a depth."""
        if len(self.hidden_sizes) != len(self.depths):
            raise ValueError(f"`hidden_sizes` {self.hidden_sizes} and `depths` {self.depths} must be of equal length.")


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, https://arxiv.org/abs/1512.03385)."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = ASMBatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = ASMBatchNorm2d(after)
        self.shortcut = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), ASMBatchNorm2d(after))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(batch_size, before, frames, bins)` to `(batch_size, after, frames / stride, bins / stride)`."""
        branch = torch.relu(self.norm1(self.conv1(hidden_states)))
        return torch.relu(self.norm2(self.conv2(branch)) + self.shortcut(hidden_states))


class ResidualCNNForAudioClassification(PreTrainedModel):
    """Stages of residual blocks, the mean over time and frequency, and a linear classifier."""

    config: ResidualCNNConfig
    base_model_prefix = "encoder"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    accepts_loss_kwargs = False  # the loss is a mean over the batch, which Trainer divides by its accumulation steps

    def __init__(self, config: ResidualCNNConfig):
        super().__init__(config)
        blocks = []
        for (before, after), depth in zip(itertools.pairwise([1, *config.hidden_sizes]), config.depths):
            blocks += [ResidualBlock(before if n == 0 else after, after, 2 if n == 0 else 1) for n in range(depth)]
        self.encoder = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_sizes[-1], config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Keep PyTorch's initialisation of convolutions, which suits ReLU; the rest is transformers'."""
        if not isinstance(module, nn.Conv2d):
            super()._init_weights(module)

    def freeze_base_model(self):
        """Stop training everything but the classifier: a linear probe."""
        self.encoder.requires_grad_(False)

    @can_return_tuple
    def forward(self, input_values: Tensor, labels: Tensor | None = None, **kwargs) -> SequenceClassifierOutput:
        """Map features `(batch_size, max_length, num_mel_bins)` to `logits` of shape `(batch_size, num_labels)`.

        With `labels`, also return the `loss` of the configuration's `problem_type`.

        Raises:
            ValueError: If there are more or fewer frames or mel bins, if the labels do not fit the problem type, or if
                hidden states are requested, which the network does not return.
        """
        if kwargs.get("output_hidden_states", self.config.output_hidden_states):
            raise ValueError("`output_hidden_states` has no effect: the residual CNN returns none. Leave it out.")
        window = (self.config.max_length, self.config.num_mel_bins)
        if input_values.ndim != 3 or input_values.shape[1:] != window:
            raise ValueError(
                f"`input_values` has shape {tuple(input_values.shape)}, expected (batch_size, {window[0]}, "
                f"{window[1]}). Use a feature extractor with the same `max_length` and `num_mel_bins`, and cut longer "
                "clips with `feature_extractor(..., truncation=True)`."
            )
        features = self.encoder(input_values[:, None].to(self.classifier.weight.dtype))
        logits = self.classifier(self.dropout(features.mean((2, 3))))
        loss = None
        if labels is not None:
            loss = compute_loss(logits, labels, self.config, self.loss_function)
        return SequenceClassifierOutput(loss=loss, logits=logits)
