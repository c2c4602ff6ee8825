# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Audio Spectrogram Mixer (ASM, https://arxiv.org/abs/2401.11102): AST with an MLP-Mixer in the Transformer's place."""

import math

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


WINDOWS_PER_BLOCK = 32  # windows of a long clip that the model gets at once, so that its memory stays bounded

# Bytes of hidden units that a layer computes together without gradients on a CPU: they stay in the processor's cache.
BYTES_PER_BLOCK = 2**24


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


class ASMStem(nn.Sequential):
    """Convolutions in front of the patches, as in https://arxiv.org/abs/2106.14881; no part of the paper's model.

    Each is 3x3 with batch normalisation and GELU, and halves the mel bins; frames stay.
    """

    def __init__(self, config: ASMConfig):
        widths = [1, *config.stem_channels]
        super().__init__(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, kernel_size=3, stride=(2, 1), padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.GELU(),
                )
                for before, after in zip(widths, config.stem_channels)
            )
        )


class ASMPatchEmbeddings(nn.Module):
    """Cut a spectrogram, or what the stem makes of it, into patches and project each linearly to a token."""

    def __init__(self, config: ASMConfig):
        super().__init__()
        self.max_length = config.max_length
        self.num_mel_bins = config.num_mel_bins
        self.stem = ASMStem(config)
        channels = config.stem_channels[-1] if config.stem_channels else 1
        self.projection = nn.Conv2d(channels, config.hidden_size, **projection_geometry(config))

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
                f"`num_mel_bins`={self.num_mel_bins}. Set both alike in the feature extractor and in the ASMConfig, "
                "cut longer clips by `feature_extractor(..., truncation=True)`, or fit trained weights to the input by "
                "`model.resize_spectrogram(max_length=..., num_mel_bins=...)`."
            )
        spectrogram = (
            input_values.to(self.projection.weight.dtype).transpose(1, 2).unsqueeze(1)
        )  # (batch, 1, mel, time)
        return self.projection(self.stem(spectrogram)).flatten(2).transpose(1, 2).contiguous()

    @torch.no_grad()
    def resize(self, config: ASMConfig):
        """Take over another geometry; see [`ASMPreTrainedModel.resize_spectrogram`]."""
        weight, geometry = self.projection.weight, projection_geometry(config)
        old, new = self.projection.kernel_size, geometry["kernel_size"]
        if old != new:
            inverse = torch.linalg.pinv(resize_pictures(old, new)).to(weight)
            weight = (weight.flatten(2) @ inverse).unflatten(2, new)
            self.projection.weight = nn.Parameter(weight, requires_grad=self.projection.weight.requires_grad)
        self.projection.kernel_size, self.projection.stride = new, geometry["stride"]
        self.max_length, self.num_mel_bins = config.max_length, config.num_mel_bins


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

    @torch.no_grad()
    def resize(self, matrix: Tensor, density: float):
        """Take over another grid of tokens; see [`resize_tokens`] for the arguments."""
        matrix = matrix.to(self.fc1.weight)
        resized = {
            (self.fc1, "weight"): self.fc1.weight @ matrix.T / density,
            (self.fc2, "weight"): matrix @ self.fc2.weight,
            (self.fc2, "bias"): matrix @ self.fc2.bias,
        }
        for (module, name), value in resized.items():
            setattr(module, name, nn.Parameter(value, requires_grad=getattr(module, name).requires_grad))
        self.fc1.in_features = self.fc2.out_features = matrix.shape[0]


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
        self.token_units = config.hidden_size * config.tokens_mlp_dim  # hidden units of an example
        self.channels_mlp_dim = config.channels_mlp_dim

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(batch_size, num_patches, hidden_size)` to the same shape."""
        graph = torch.compiler.is_compiling() or torch.jit.is_tracing()  # it shall take any batch size
        if graph or self.training or torch.is_grad_enabled() or hidden_states.device.type != "cpu":
            return self.mix(hidden_states)
        parts = [part for child in self.children() for part in child.modules()]
        if any(part._forward_hooks or part._forward_pre_hooks for part in parts):  # they expect the whole batch
            return self.mix(hidden_states)
        blocks = self.split_batch(hidden_states)
        return torch.cat([self.mix(block) for block in blocks]) if len(blocks) > 1 else self.mix(hidden_states)

    def split_batch(self, hidden_states: Tensor) -> tuple[Tensor, ...]:
        """Split examples into blocks whose hidden units stay in the processor's cache, of one example at least."""
        units = max(self.token_units, hidden_states.shape[1] * self.channels_mlp_dim)
        return hidden_states.split(max(1, BYTES_PER_BLOCK // (units * hidden_states.element_size())))

    def mix(self, hidden_states: Tensor) -> Tensor:
        """Do the same to all examples at once."""
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

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """Load as any model of transformers; where the weights have another geometry, name the call that fits them."""
        try:
            return super().from_pretrained(*args, **kwargs)
        except RuntimeError as error:
            if "ignore_mismatched_sizes" not in str(error):
                raise
            raise RuntimeError(
                f"{error}\nWhere token mixing or the patch projection differs, the weights have another geometry than "
                "the configuration. Load the checkpoint as it is, then fit it to the new one: "
                "`from_pretrained(checkpoint).resize_spectrogram(max_length=..., num_mel_bins=...)`."
            ) from error

    def resize_spectrogram(
        self,
        max_length: int | None = None,
        num_mel_bins: int | None = None,
        patch_size: int | tuple[int, int] | None = None,
        frequency_stride: int | None = None,
        time_stride: int | None = None,
        stretch: bool = False,
    ) -> "ASMPreTrainedModel":
        """Fit the weights to spectrograms of another geometry, in place; what is `None` stays as it is.

        Token mixing has weights for each patch. New ones are interpolated where the new patches lie: along frequency in
        the band, which stays the same, and along time in frames from the window's start, so that what was learnt of a
        moment stays there; beyond the old window they are 0. Where patches become denser, the weights that sum over
        them are scaled down, so that pre-activations keep their size. Where the patch changes, its projection gives a
        resized patch the token of the original (by the pseudo-inverse of https://arxiv.org/abs/2212.08013).
        The feature extractor needs the same `max_length` and `num_mel_bins`.

        Args:
            max_length: Number of frames of the new window.
            num_mel_bins: Number of mel bins.
            patch_size: Side of a square patch, or its (mel bins, frames).
            frequency_stride: Step from one patch to the next along frequency, in mel bins.
            time_stride: Step from one patch to the next along time, in frames.
            stretch: Whether the new window holds what the old one held, only slower or faster; for another
                `frame_shift` of the feature extractor.

        Returns:
            The model itself. The same geometry leaves its weights as they are, bit by bit.

        Raises:
            ValueError: If the geometry is impossible; the model is then unchanged.

        Example:

        ```python
        >>> model = ASMForAudioClassification.from_pretrained("my-model").resize_spectrogram(max_length=198)
        >>> feature_extractor = ASMFeatureExtractor.from_pretrained("my-model", max_length=198)
        ```"""
        given = {"max_length": max_length, "num_mel_bins": num_mel_bins, "patch_size": patch_size}
        given |= {"frequency_stride": frequency_stride, "time_stride": time_stride}
        changes = {name: value for name, value in given.items() if value is not None}
        old = self.config
        new = type(old)(**{**old.to_dict(), **changes})
        if changes == {name: getattr(old, name) for name in changes}:
            return self
        matrix, density = resize_tokens(old, new, stretch)
        self.base_model.patch_embeddings.resize(new)
        for layer in self.base_model.layers:
            layer.token_mixing.resize(matrix, density)
        for name, value in changes.items():
            setattr(old, name, value)  # the parts of the model share this configuration
        return self

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
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        """Classify a batch of spectrograms.

        Where there are more frames than `config.max_length`, the model hears each clip in windows of that length,
        `config.window_shift` frames apart and the last one at the clip's end, and `config.window_aggregation` makes
        one answer of them: with `"mean"`, the logits are such that their softmax (of several labels: sigmoid) is the
        mean of the windows'.

        Args:
            input_values: Float tensor of shape `(batch_size, num_frames, num_mel_bins)`: normalised log-mel features,
                as [`ASMFeatureExtractor`] makes them, of `max_length` frames or more.
            attention_mask: Integer tensor of shape `(batch_size, num_frames)`, 1 where a frame is the clip's and 0
                where it is padding. It matters only beyond `max_length` frames; without it all frames are heard.
            labels: Targets of the loss that `config.problem_type` names. `"single_label_classification"`:
                cross-entropy with class indices, integers of shape `(batch_size,)` in `[0, num_labels - 1]` (-100 is
                left out), or with the classes' probabilities, floats of shape `(batch_size, num_labels)`, as mixup
                makes them. `"multi_label_classification"`: binary cross-entropy with floats of shape
                `(batch_size, num_labels)`. `"regression"`: mean squared error with floats of the logits' shape, or of
                shape `(batch_size,)` where there is one label. Without a problem type, the first labels decide as
                everywhere in transformers.

        Returns:
            `loss`, a scalar, where labels were given; `logits` of shape `(batch_size, num_labels)`; and
            `hidden_states` on demand, if there is one window.

        Raises:
            ValueError: If `input_values` has fewer frames than the configuration, or other mel bins, or the labels do
                not fit the problem type or lie outside the range.
        """
        longest, num_mel_bins = self.config.max_length, self.config.num_mel_bins
        if input_values.ndim == 3 and input_values.shape[1] > longest and input_values.shape[2] == num_mel_bins:
            logits, hidden_states = self._classify_windows(input_values, attention_mask), None
        else:
            outputs = self.audio_spectrogram_mixer(input_values, return_dict=True, **kwargs)
            logits, hidden_states = self.classifier(outputs.pooler_output), outputs.hidden_states
        loss = None if labels is None else self._compute_loss(logits, labels, **kwargs)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=hidden_states)

    def _classify_windows(self, input_values: Tensor, attention_mask: Tensor | None) -> Tensor:
        batch_size, longest = input_values.shape[:2]
        lengths = [longest] * batch_size if attention_mask is None else attention_mask.sum(1).tolist()
        size, shift = self.config.max_length, self.config.window_shift
        starts = [window_starts(length, size, shift) for length in lengths]
        windows = [(row, start) for row in range(batch_size) for start in starts[row]]
        logits = []
        for first in range(0, len(windows), WINDOWS_PER_BLOCK):
            block = [
                input_values[row, start : start + size] for row, start in windows[first : first + WINDOWS_PER_BLOCK]
            ]
            logits.append(self.classifier(self.audio_spectrogram_mixer(torch.stack(block)).pooler_output))
        clips = torch.cat(logits).split([len(row) for row in starts])
        options = (self.config.window_aggregation, self.config.problem_type)
        return torch.stack([aggregate_windows(clip, *options) for clip in clips])

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


def projection_geometry(config: ASMConfig) -> dict[str, tuple[int, int]]:
    """Return size and step of a patch in rows and columns of what the stem leaves of a spectrogram."""
    rows, (patch_bins, patch_frames) = 2 ** len(config.stem_channels), config.patch_shape
    return {
        "kernel_size": (patch_bins // rows, patch_frames),
        "stride": (config.frequency_stride // rows, config.time_stride),
    }


def resize_tokens(old: ASMConfig, new: ASMConfig, stretch: bool = False) -> tuple[Tensor, float]:
    """Return how values at the patches of one geometry are interpolated at those of another.

    Returns:
        Float64 tensor of shape `(new.num_patches, old.num_patches)`, linear along both axes, smoothed where patches
        become sparser; and how many new patches there are in the place of an old one.
    """
    matrices, density = [], 1.0
    for axis, (size, stride) in enumerate([("num_mel_bins", "frequency_stride"), ("max_length", "time_stride")]):
        relative = axis == 0 or stretch  # positions in the band, or in frames
        positions, steps = [], []
        for config in (old, new):
            unit = getattr(config, size) if relative else 1
            steps.append(getattr(config, stride) / unit)
            centres = torch.arange(config.patch_grid[axis], dtype=torch.float64, device="cpu") * steps[-1]
            positions.append(centres + config.patch_shape[axis] / 2 / unit)
        if relative:
            positions[1] = positions[1].clamp(positions[0][0], positions[0][-1])
        width = max(steps)
        weights = (1 - (positions[1][:, None] - positions[0]).abs() / width).clamp(min=0)
        inside = (positions[1] >= positions[0][0]) & (positions[1] <= positions[0][-1])
        matrices.append(weights / torch.where(inside, weights.sum(1), width / steps[0])[:, None])
        density *= steps[0] / steps[1]
    return torch.kron(*matrices), density


def resize_pictures(old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Return the matrix `(pixels of new, pixels of old)`, in float64, that resizes a flattened picture bilinearly."""
    pictures = torch.eye(math.prod(old), dtype=torch.float64, device="cpu").unflatten(1, (1, *old))
    return nn.functional.interpolate(pictures, size=new, mode="bilinear", antialias=True).flatten(1).T


def window_starts(num_frames: int, max_length: int, shift: int) -> list[int]:
    """Return the first frames of the windows of a clip: `shift` frames apart, and the last one at the clip's end."""
    last = max(num_frames - max_length, 0)
    return [*range(0, last, shift), last]


def aggregate_windows(logits: Tensor, aggregation: str = "mean", problem_type: str | None = None) -> Tensor:
    """Make one answer of a clip's windows.

    Args:
        logits: Float tensor of shape `(num_windows, num_labels)`.
        aggregation: See `window_aggregation` of [`ASMConfig`].
        problem_type: Tells whether scores are a softmax, sigmoids or the logits themselves.

    Returns:
        Logits of shape `(num_labels,)`, whose scores are those of the clip.
    """
    if len(logits) == 1:
        return logits[0]
    if aggregation == "logits":
        return logits.mean(0)
    several, mean = problem_type == "multi_label_classification", aggregation == "mean"
    regression = problem_type == "regression" or (problem_type is None and logits.shape[1] == 1)
    if regression or (several and not mean):
        return logits.mean(0) if mean else logits.amax(0)
    if several:  # the logit of the mean of p is log(mean of p) - log(mean of 1 - p)
        on, off = nn.functional.logsigmoid(logits.float()), nn.functional.logsigmoid(-logits.float())
        return (on.logsumexp(0) - off.logsumexp(0)).to(logits.dtype)
    sums = logits.float().logsumexp(-1, keepdim=True)  # what softmax takes away; its mean keeps the logits' level
    log_scores = logits.float() - sums
    log_scores = log_scores.logsumexp(0) - math.log(len(logits)) if mean else log_scores.amax(0)
    return (log_scores + sums.mean()).to(logits.dtype)


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
