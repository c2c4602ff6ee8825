# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Audio Spectrogram Mixer (ASM, https://arxiv.org/abs/2401.11102): AST with an MLP-Mixer in the Transformer's place."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_asm import ASMConfig


class ASMAconC(nn.Module):
    """Acon-C of https://arxiv.org/abs/2009.04759: `(p1 - p2) x sigmoid(beta (p1 - p2) x) + p2 x`, learnt per unit.

    It starts as Swish (`p1 = beta = 1`, `p2 = 0`), or with `config.acon_c_init = "random"` from random `p1` and `p2`.

    Args:
        num_units: Number of hidden units, each with its own `p1`, `p2` and `beta`.
    """

    def __init__(self, num_units: int):
        super().__init__()
        self.p1 = nn.Parameter(torch.ones(num_units))
        self.p2 = nn.Parameter(torch.zeros(num_units))
        self.beta = nn.Parameter(torch.ones(num_units))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(..., num_units)` to the same shape and dtype."""
        difference = (self.p1 - self.p2) * hidden_states
        return difference * torch.sigmoid(self.beta * difference) + self.p2 * hidden_states


class ASMPatchEmbeddings(nn.Module):
    """Cut a spectrogram into patches and project each linearly to a token."""

    def __init__(self, config: ASMConfig):
        super().__init__()
        self.max_length = config.max_length
        self.num_mel_bins = config.num_mel_bins
        stride = (config.frequency_stride, config.time_stride)
        self.projection = nn.Conv2d(1, config.hidden_size, kernel_size=config.patch_shape, stride=stride)

    def forward(self, input_values: Tensor) -> Tensor:
        """Map float `(batch_size, max_length, num_mel_bins)` to `(batch_size, num_patches, hidden_size)`.

        Tokens run along time first, then along frequency, from low to high. Any float dtype is cast to the weights'.

        Raises:
            ValueError: If frames or mel bins are not the configuration's, on which the token mixing is built.
        """
        if input_values.ndim != 3 or input_values.shape[1:] != (self.max_length, self.num_mel_bins):
            raise ValueError(
                f"`input_values` has shape {tuple(input_values.shape)}, but the model is configured for "
                f"(batch_size, {self.max_length}, {self.num_mel_bins}): `max_length`={self.max_length} frames and "
                f"`num_mel_bins`={self.num_mel_bins}. Set both alike in the feature extractor and in the ASMConfig."
            )
        spectrogram = (
            input_values.to(self.projection.weight.dtype).transpose(1, 2).unsqueeze(1)
        )  # (batch, 1, mel, time)
        return self.projection(spectrogram).flatten(2).transpose(1, 2)


class ASMMLP(nn.Module):
    """Two linear maps with an activation between them, along the last axis."""

    def __init__(self, config: ASMConfig, size: int, hidden_size: int):
        super().__init__()
        self.fc1 = nn.Linear(size, hidden_size)
        self.activation_fn = ASMAconC(hidden_size) if config.hidden_act == "acon_c" else ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(hidden_size, size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(..., size)` to the same shape."""
        hidden_states = self.dropout(self.activation_fn(self.fc1(hidden_states)))
        return self.dropout(self.fc2(hidden_states))


class ASMDropPath(nn.Module):
    """Stochastic depth (https://arxiv.org/abs/1603.09382): in training, drop a residual branch per example."""

    def __init__(self, drop_prob: float):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Zero whole rows of `(batch_size, ...)`, and scale the others so that the expectation stays."""
        if self.drop_prob == 0.0 or not self.training:
            return hidden_states
        shape = (hidden_states.shape[0],) + (1,) * (hidden_states.ndim - 1)
        keep = hidden_states.new_empty(shape).bernoulli_(1 - self.drop_prob)
        return hidden_states * keep / (1 - self.drop_prob)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob}"


class ASMLayer(GradientCheckpointingLayer):
    """A Mixer layer: one MLP mixes along the tokens, one along the channels, each a normalised residual branch."""

    def __init__(self, config: ASMConfig, drop_path_prob: float = 0.0):
        super().__init__()
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.token_mixing = ASMMLP(config, config.num_patches, config.tokens_mlp_dim)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.channel_mixing = ASMMLP(config, config.hidden_size, config.channels_mlp_dim)
        self.drop_path = ASMDropPath(drop_path_prob)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(batch_size, num_patches, hidden_size)` to the same shape."""
        tokens = self.layernorm_before(hidden_states).transpose(1, 2)  # (batch_size, hidden_size, num_patches)
        hidden_states = hidden_states + self.drop_path(self.token_mixing(tokens).transpose(1, 2))
        channels = self.layernorm_after(hidden_states)
        return hidden_states + self.drop_path(self.channel_mixing(channels))


class ASMPreTrainedModel(PreTrainedModel):
    """Weight initialisation, and what transformers asks of every model."""

    config: ASMConfig
    base_model_prefix = "audio_spectrogram_mixer"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["ASMPatchEmbeddings", "ASMLayer"]
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": ASMLayer}

    def __init__(self, config: ASMConfig, *args, **kwargs):
        config.validate()  # fields may have been set since the configuration was made
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, ASMAconC):
            if self.config.acon_c_init == "random":
                init.normal_(module.p1)
                init.normal_(module.p2)
            else:
                init.ones_(module.p1)
                init.zeros_(module.p2)
            init.ones_(module.beta)

    def save_pretrained(self, save_directory, **kwargs):
        """Save as any model of transformers; with the code, name both classes in `auto_map`, not this one alone."""
        if self.is_remote_code():
            classes = {"AutoModel": ASMModel, "AutoModelForAudioClassification": ASMForAudioClassification}
            auto_map = {auto_class: f"modeling_asm.{cls.__name__}" for auto_class, cls in classes.items()}
            self.config.auto_map = {**(getattr(self.config, "auto_map", None) or {}), **auto_map}
        return super().save_pretrained(save_directory, **kwargs)


class ASMModel(ASMPreTrainedModel):
    """The bare Mixer: patch embeddings, layers, a final LayerNorm, and the mean over the tokens.

    Token mixing knows the positions, so there is no position embedding, and no class or distillation token.
    """

    def __init__(self, config: ASMConfig):
        super().__init__(config)
        last = max(config.num_hidden_layers - 1, 1)
        self.patch_embeddings = ASMPatchEmbeddings(config)
        self.layers = nn.ModuleList(
            ASMLayer(config, config.drop_path_rate * index / last) for index in range(config.num_hidden_layers)
        )
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> ASMPatchEmbeddings:
        return self.patch_embeddings

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, input_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> BaseModelOutputWithPooling:
        """Encode a batch of spectrograms.

        Args:
            input_values: Float tensor of shape `(batch_size, max_length, num_mel_bins)`: normalised log-mel features,
                as [`ASMFeatureExtractor`] makes them.
            output_hidden_states: Whether to return the output of each layer, before the final LayerNorm, too.
            return_dict: Whether to return an output object instead of a tuple.

        Returns:
            `last_hidden_state` of shape `(batch_size, num_patches, hidden_size)`, after the final LayerNorm;
            `pooler_output` of shape `(batch_size, hidden_size)`, its mean over the patches; and, on demand,
            `hidden_states`: the patch embeddings and each layer's output, `num_hidden_layers + 1` tensors.

        Raises:
            ValueError: If `input_values` does not have the configuration's frames and mel bins.
        """
        hidden_states = self.patch_embeddings(input_values)
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        last_hidden_state = self.layernorm(hidden_states)
        return BaseModelOutputWithPooling(
            last_hidden_state=last_hidden_state, pooler_output=last_hidden_state.mean(dim=1)
        )


class ASMForAudioClassification(ASMPreTrainedModel):
    """ASM with a linear classifier on the mean of its tokens."""

    # The losses are means over the batch: a Trainer must divide them by its accumulation steps itself. Because
    # `forward` takes `**kwargs`, it would otherwise believe that they are divided by `num_items_in_batch` already.
    accepts_loss_kwargs = False

    def __init__(self, config: ASMConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.audio_spectrogram_mixer = ASMModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self, input_values: Tensor, labels: Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> SequenceClassifierOutput:
        """Classify a batch of spectrograms.

        Args:
            input_values: Float tensor of shape `(batch_size, max_length, num_mel_bins)`: normalised log-mel features,
                as [`ASMFeatureExtractor`] makes them.
            labels: Targets of the loss that `config.problem_type` names. `"single_label_classification"`:
                cross-entropy with class indices, integers of shape `(batch_size,)` in `[0, num_labels - 1]` (-100 is
                left out), or with the classes' probabilities, floats of shape `(batch_size, num_labels)`, as mixup
                makes them. `"multi_label_classification"`: binary cross-entropy with floats of shape
                `(batch_size, num_labels)`. `"regression"`: mean squared error with floats of the logits' shape, or of
                shape `(batch_size,)` where there is one label. Without a problem type, the first labels decide as
                everywhere in transformers.

        Returns:
            `loss`, a scalar, where labels were given; `logits` of shape `(batch_size, num_labels)`; and
            `hidden_states` on demand.

        Raises:
            ValueError: If `input_values` does not have the configuration's frames and mel bins, or the labels do not
                fit the problem type or lie outside the range.
        """
        outputs = self.audio_spectrogram_mixer(input_values, return_dict=True, **kwargs)
        logits = self.classifier(outputs.pooler_output)
        loss = None if labels is None else self._compute_loss(logits, labels, **kwargs)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)

    def _compute_loss(self, logits: Tensor, labels: Tensor, **kwargs) -> Tensor:
        labels, top = labels.to(logits.device), self.num_labels - 1
        if self.config.problem_type is None:
            integers = not labels.is_floating_point()
            several = "single_label_classification" if integers else "multi_label_classification"
            self.config.problem_type = "regression" if self.num_labels == 1 else several
        problem_type = self.config.problem_type
        if problem_type == "single_label_classification" and labels.is_floating_point():
            check_shape(labels, logits.shape, "class probabilities")
            return nn.functional.cross_entropy(logits.float(), labels.float())
        if problem_type == "single_label_classification":
            check_shape(labels, logits.shape[:1], "class indices")
            check_range(labels, 0, top, f"`num_labels`={top + 1} allows 0 to {top}, and -100 for none", ignored=-100)
            labels = labels.long()
        else:
            labels = labels.to(logits.dtype)
            labels = labels[:, None] if self.num_labels == 1 and labels.ndim == 1 else labels
            check_shape(labels, logits.shape, problem_type)
        if problem_type == "multi_label_classification":
            check_range(labels, 0, 1, "multi-label targets are between 0 and 1")
        return self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)


def check_shape(labels: Tensor, shape: torch.Size, kind: str):
    """Raise `ValueError` where labels do not have the shape that the loss needs."""
    if labels.shape != shape:
        raise ValueError(f"`labels` has shape {tuple(labels.shape)}, but {kind} must have shape {tuple(shape)}.")


def check_range(labels: Tensor, low: int, high: int, allowed: str, ignored: int | None = None):
    """Raise `ValueError` where a label is outside the range; compiled graphs, which cannot look, skip this."""
    if torch.compiler.is_compiling():
        return
    wrong = (labels < low) | (labels > high)
    outside = labels[wrong if ignored is None else wrong & (labels != ignored)]
    if outside.numel() > 0:
        raise ValueError(f"`labels` contains {outside[0].item()}, but {allowed}.")


__all__ = ["ASMConfig", "ASMForAudioClassification", "ASMModel", "ASMPreTrainedModel"]
