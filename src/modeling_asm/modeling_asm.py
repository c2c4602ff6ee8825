# Copyright 2026 The modeling_asm authors.
# SPDX-License-Identifier: Apache-2.0

"""Audio Spectrogram Mixer (ASM, https://arxiv.org/abs/2401.11102): AST with an MLP-Mixer instead of a Transformer."""

import copy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from .configuration_asm import ASMConfig
from .cpu_blocks import run_layer
from .mixing import ASMAconC, ASMChannelMixing, ASMPooling, ASMTokenConvolution, make_token_mixing
from .resizing import projection_geometry, resize_projection, resize_tokens
from .scoring import ClipLogits, predict_clip
from .stem import ASMStem
from .targets import compute_loss
from .windowing import check_mask, cut_windows, find_clips, run_in_blocks


class ASMPatchEmbeddings(nn.Module):
    """Cut a spectrogram, or the output of the stem, into patches, and project each linearly to a token."""

    def __init__(self, config: ASMConfig):
        super().__init__()
        self.max_length = config.max_length
        self.num_mel_bins = config.num_mel_bins
        self.stem = ASMStem(config)
        channels = config.stem_channels[-1] if config.stem_channels else 1
        self.projection = nn.Conv2d(channels, config.hidden_size, **projection_geometry(config))

    def forward(self, input_values: Tensor) -> Tensor:
        """Map float `(batch_size, max_length, num_mel_bins)` to `(batch_size, num_patches, hidden_size)`.

        Tokens are ordered by frequency, low to high, and by time within a frequency. Input of any float dtype is cast
        to the dtype of the weights.

        Raises:
            ValueError: If the number of frames or mel bins is not the configuration's, which fixes the token mixing.
        """
        self.check(input_values)
        spectrogram = input_values.to(self.projection.weight.dtype).transpose(1, 2)  # (batch_size, mel, time)
        patches = self.projection(self.stem(spectrogram.unsqueeze(1)))  # (batch_size, hidden_size, *patch_grid)
        return patches.flatten(2).transpose(1, 2).contiguous()

    def check(self, input_values: Tensor):
        """Raise `ValueError` if spectrograms do not have the shape of the configuration."""
        if input_values.ndim != 3 or input_values.shape[1:] != (self.max_length, self.num_mel_bins):
            raise ValueError(
                f"`input_values` has shape {tuple(input_values.shape)}, but the model is configured for "
                f"(batch_size, {self.max_length}, {self.num_mel_bins}): `max_length`={self.max_length} frames and "
                f"`num_mel_bins`={self.num_mel_bins}. Use the same values in the feature extractor and the ASMConfig, "
                "cut longer clips with `feature_extractor(..., truncation=True)`, or fit trained weights to the input "
                "with `model.resize_spectrogram(max_length=..., num_mel_bins=...)`."
            )

    def resize(self, config: ASMConfig):
        """Fit the projection to another geometry: see [`ASMPreTrainedModel.resize_spectrogram`]."""
        resize_projection(self.projection, config)
        self.max_length, self.num_mel_bins = config.max_length, config.num_mel_bins


class ASMLayer(GradientCheckpointingLayer):
    """A Mixer layer: mix the tokens, then the channels, each in a residual branch after a LayerNorm."""

    def __init__(self, config: ASMConfig, drop_path_prob: float = 0.0):
        super().__init__()
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.token_mixing = make_token_mixing(config)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.channel_mixing = ASMChannelMixing(config)
        self.drop_path = ASMDropPath(drop_path_prob)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map `(batch_size, num_patches, hidden_size)` to the same shape."""
        hidden_states = hidden_states + self.drop_path(self.token_mixing(self.layernorm_before(hidden_states)))
        return hidden_states + self.drop_path(self.channel_mixing(self.layernorm_after(hidden_states)))


class ASMDropPath(nn.Module):
    """Stochastic depth (https://arxiv.org/abs/1603.09382): in training, drop a residual branch per example."""

    def __init__(self, drop_prob: float):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Zero whole rows of `(batch_size, ...)`, and scale the others so that the expectation is unchanged."""
        if self.drop_prob == 0.0 or not self.training:
            return hidden_states
        shape = (hidden_states.shape[0],) + (1,) * (hidden_states.ndim - 1)
        keep = hidden_states.new_empty(shape).bernoulli_(1 - self.drop_prob)
        return hidden_states * keep / (1 - self.drop_prob)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob}"


class ASMPreTrainedModel(PreTrainedModel):
    """Weight initialisation, resizing, and the attributes that transformers expects of every model."""

    config: ASMConfig
    base_model_prefix = "audio_spectrogram_mixer"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["ASMPatchEmbeddings", "ASMLayer"]
    _can_compile_fullgraph = True
    # There is no attention: PyTorch's implementations of it are accepted, and change nothing.
    _supports_sdpa = _supports_flex_attn = True

    def __init__(self, config: ASMConfig, *args, **kwargs):
        config.validate()  # fields may have been set since the configuration was created
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, ASMAconC):
            if self.config.acon_c_init == "random":
                nn.init.normal_(module.p1)
                nn.init.normal_(module.p2)
            else:
                nn.init.ones_(module.p1)
                nn.init.zeros_(module.p2)
            nn.init.ones_(module.beta)
        elif isinstance(module, ASMTokenConvolution):
            nn.init.zeros_(module.mean_weight)

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """Load a checkpoint as any model of transformers; an error about shapes says how to change them."""
        try:
            return super().from_pretrained(*args, **kwargs)
        except RuntimeError as error:
            if "ignore_mismatched_sizes" not in str(error):
                raise
            raise RuntimeError(
                f"{error}\nIf `classifier` differs, so does the number of labels. For a new task, pass "
                "`ignore_mismatched_sizes=True`: the classifier then starts from random weights. For an adapter, pass "
                "its `num_labels`, too. If token mixing or the patch projection differs, so does the "
                "geometry: load the checkpoint unchanged, then resize it: "
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
        """Fit the weights to spectrograms of another geometry, in place. Arguments left at `None` do not change.

        Token mixing has weights for each patch. They are interpolated at the positions of the new patches: along
        frequency within the band, which stays the same, and along time in frames from the start of the window, so that
        a frame keeps its weights. Beyond the old window they are 0. Where patches become denser, the weights that sum
        over them are scaled down, so that pre-activations keep their size. If the patch size changes, a resized patch
        gives the token of the original. The feature extractor needs the same `max_length` and `num_mel_bins`.

        Args:
            max_length: Length of the new window, in frames.
            num_mel_bins: Number of mel bins.
            patch_size: Side of a square patch, or a pair (mel bins, frames).
            frequency_stride: Distance between patches along frequency, in mel bins.
            time_stride: Distance between patches along time, in frames.
            stretch: Whether the new window holds what the old one held, only slower or faster; for a feature extractor
                with another `frame_shift`.

        Returns:
            The model itself. Its configuration is replaced, so that other models of the same configuration stay as
            they are. The same geometry leaves everything unchanged, bit by bit.

        Raises:
            ValueError: If the geometry is impossible, adapters are inserted, or this is the base model of a classifier.
                The model is then unchanged.

        Example:

        ```python
        >>> model = ASMForAudioClassification.from_pretrained("my-model").resize_spectrogram(max_length=198)
        >>> feature_extractor = ASMFeatureExtractor.from_pretrained("my-model", max_length=198)
        ```"""
        given = {"max_length": max_length, "num_mel_bins": num_mel_bins, "patch_size": patch_size}
        given |= {"frequency_stride": frequency_stride, "time_stride": time_stride}
        changes = {name: value for name, value in given.items() if value is not None}
        old = self.config
        wanted = type(old)(**{**old.to_dict(), **changes})  # checks them
        if changes == {name: getattr(old, name) for name in changes}:
            return self
        self._check_resizable(wanted)
        new = copy.deepcopy(old)  # another model may have the old one
        for name, value in changes.items():
            setattr(new, name, value)
        matrix, density = resize_tokens(old, new, stretch)
        self.base_model.patch_embeddings.resize(new)
        for layer in self.base_model.layers:
            layer.token_mixing.resize(new, matrix, density)
        for module in self.modules():
            if getattr(module, "config", None) is old:
                module.config = new
        return self

    def _check_resizable(self, wanted: ASMConfig):
        if getattr(self, "_has_head", False):
            raise ValueError(
                "This is the base model of a classifier. Resize the whole: `model.resize_spectrogram(...)`."
            )
        if any(hasattr(module, "base_layer") for module in self.modules()):  # of PEFT
            raise ValueError("Adapters do not fit another geometry. Merge them first: `model.merge_and_unload()`.")

    def save_pretrained(self, save_directory, **kwargs):
        """Save as any model of transformers does; if the code is saved too, `auto_map` names both model classes."""
        if self.is_remote_code():
            classes = {"AutoModel": ASMModel, "AutoModelForAudioClassification": ASMForAudioClassification}
            auto_map = {auto_class: f"modeling_asm.{cls.__name__}" for auto_class, cls in classes.items()}
            self.config.auto_map = {**(getattr(self.config, "auto_map", None) or {}), **auto_map}
        return super().save_pretrained(save_directory, **kwargs)

    def _returns_dict(self, return_dict: bool | None) -> bool:
        return self.config.return_dict if return_dict is None else return_dict


class ASMModel(ASMPreTrainedModel):
    """The Mixer without a head: patch embeddings, layers, a final LayerNorm, and the pooling of the tokens.

    Token mixing depends on position, so there is no position embedding. There is no class or distillation token.
    """

    def __init__(self, config: ASMConfig):
        super().__init__(config)
        last = max(config.num_hidden_layers - 1, 1)
        self.patch_embeddings = ASMPatchEmbeddings(config)
        self.layers = nn.ModuleList(
            ASMLayer(config, config.drop_path_rate * index / last) for index in range(config.num_hidden_layers)
        )
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooling = ASMPooling(config)
        self.post_init()

    def get_input_embeddings(self) -> ASMPatchEmbeddings:
        return self.patch_embeddings

    def forward(
        self,
        input_values: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPooling | tuple[Tensor, ...]:
        """Encode a batch of spectrograms.

        Args:
            input_values: Float tensor of shape `(batch_size, max_length, num_mel_bins)`: normalised log-mel features,
                as [`ASMFeatureExtractor`] returns them.
            output_hidden_states: Whether to also return the output of each layer, before the final LayerNorm.
            return_dict: Whether to return an output object instead of a tuple.
            inputs_embeds: Tokens instead of a spectrogram, as `patch_embeddings` returns them: float tensor of shape
                `(batch_size, num_patches, hidden_size)`.

        Returns:
            `last_hidden_state` of shape `(batch_size, num_patches, hidden_size)`, after the final LayerNorm;
            `pooler_output` of shape `(batch_size, pooled_size)`, by default its mean over the patches; and,
            if requested, `hidden_states`: the patch embeddings and the output of each layer, `num_hidden_layers + 1`
            tensors.

        Raises:
            ValueError: If `input_values` does not have the configuration's number of frames and mel bins, or neither or
                both inputs are given.
        """
        if (input_values is None) == (inputs_embeds is None):
            raise ValueError("Pass either `input_values` or `inputs_embeds`.")
        hidden_states = self.patch_embeddings(input_values) if inputs_embeds is None else inputs_embeds
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        recorded = [hidden_states]
        for layer in self.layers:
            hidden_states = run_layer(layer, hidden_states)
            if wanted:
                recorded.append(hidden_states)
        last_hidden_state = self.layernorm(hidden_states)
        outputs = BaseModelOutputWithPooling(
            last_hidden_state=last_hidden_state,
            pooler_output=self.pooling(last_hidden_state),
            hidden_states=tuple(recorded) if wanted else None,
        )
        return outputs if self._returns_dict(return_dict) else outputs.to_tuple()


class ASMForAudioClassification(ASMPreTrainedModel):
    """ASM with a linear classifier on its pooled tokens."""

    # The losses are means over the batch, so Trainer has to divide them by its accumulation steps. Because `forward`
    # takes `**kwargs`, it would otherwise assume that they are already divided by `num_items_in_batch`.
    accepts_loss_kwargs = False

    def __init__(self, config: ASMConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.audio_spectrogram_mixer = ASMModel(config)
        self.audio_spectrogram_mixer._has_head = True
        self.classifier = nn.Linear(config.pooled_size, config.num_labels)
        self.post_init()

    def freeze_base_model(self):
        """Stop training everything but the classifier: a linear probe."""
        self.audio_spectrogram_mixer.requires_grad_(False)

    def freeze_feature_encoder(self):
        """Stop training the stem and the patch projection."""
        self.audio_spectrogram_mixer.patch_embeddings.requires_grad_(False)

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Classify a batch of spectrograms.

        If there are more frames than `config.max_length`, each clip is classified in windows of that length,
        `config.window_shift` frames apart with the last one at the end of the clip, and `config.window_aggregation`
        combines them. With `"mean"`, the softmax (for several labels: sigmoid) of the logits is the mean of the
        windows' scores.

        Args:
            input_values: Float tensor of shape `(batch_size, num_frames, num_mel_bins)`: normalised log-mel features,
                as [`ASMFeatureExtractor`] returns them, of at least `max_length` frames.
            attention_mask: Integer or boolean tensor of shape `(batch_size, num_frames)`, 1 for frames of the clip and
                0 for padding on either side. It matters only beyond `max_length` frames. Without it, constant frames at
                either end of a clip are padding.
            labels: Targets of the loss that `config.problem_type` names. `"single_label_classification"`:
                cross-entropy with class indices, integers of shape `(batch_size,)` in `[0, num_labels - 1]` (-100 is
                ignored), or with class probabilities, floats of shape `(batch_size, num_labels)`, as mixup produces.
                `"multi_label_classification"`: binary cross-entropy with floats of shape `(batch_size, num_labels)`.
                `"regression"`: mean squared error with floats of the logits' shape, or of shape `(batch_size,)` if
                there is one label. Without a problem type, the first labels decide, as everywhere in transformers.
            output_hidden_states: Whether to also return the output of each layer; only for clips of one window.
            return_dict: Whether to return an output object instead of a tuple.

        Returns:
            `loss`, a scalar, if there are labels; `logits` of shape `(batch_size, num_labels)`; and `hidden_states`,
            if requested.

        Raises:
            ValueError: If `input_values` has fewer frames than the configuration or another number of mel bins, or if
                the mask does not fit them or the labels do not fit the problem type.
        """
        if attention_mask is not None:
            check_mask(attention_mask, input_values)
        longest, num_mel_bins, several = self.config.max_length, self.config.num_mel_bins, False
        windowed = input_values.ndim == 3 and input_values.shape[1] > longest and input_values.shape[2] == num_mel_bins
        if windowed and len(input_values) > 0:
            if self.config.output_hidden_states if output_hidden_states is None else output_hidden_states:
                raise ValueError(
                    f"`output_hidden_states=True` is for clips of one window, got {input_values.shape[1]} frames, more "
                    f"than `max_length`={longest}. Pass the windows of the clip as a batch."
                )
            (logits, several), hidden_states = self._classify_windows(input_values, attention_mask), None
        else:
            encoded = self.audio_spectrogram_mixer(
                input_values, output_hidden_states=output_hidden_states, return_dict=True
            )
            logits, hidden_states = self.classifier(encoded.pooler_output), encoded.hidden_states
        loss = None if labels is None else compute_loss(logits, labels, self.config, self.loss_function)
        logits = ClipLogits.of(logits, self.config) if several else logits
        outputs = SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=hidden_states)
        return outputs if self._returns_dict(return_dict) else outputs.to_tuple()

    def _classify_windows(self, input_values: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, bool]:
        """Return the logits of clips of any length, and whether any of them has several windows."""
        spans = find_clips(input_values, attention_mask)
        clips = cut_windows(input_values, spans, self.config.max_length, self.config.window_shift)
        pooled = run_in_blocks(self._pool, [window for clip in clips for window in clip])
        logits = self.classifier(pooled).split([len(clip) for clip in clips])
        several = max(len(clip) for clip in clips) > 1
        return torch.stack([predict_clip(clip, self.config) for clip in logits]), several

    def _pool(self, input_values: Tensor) -> Tensor:
        return self.audio_spectrogram_mixer(input_values, return_dict=True).pooler_output


__all__ = ["ASMConfig", "ASMForAudioClassification", "ASMModel", "ASMPreTrainedModel"]
