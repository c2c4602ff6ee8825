"""Masked prediction: ASM learns from unlabelled audio, without a teacher, to fill in patches that it did not hear."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from .configuration_asm import ASMConfig
from .modeling_asm import ASMModel, ASMPreTrainedModel


VARIANCE_FLOOR = 1e-2  # of a patch, in squared units of the normalised features


@dataclass
class ASMForPreTrainingOutput(ModelOutput):
    """Output of [`ASMForPreTraining`].

    Args:
        loss: Mean squared error over the masked patches.
        reconstruction: What the model says of each patch, `(batch_size, num_patches, mel bins * frames)`.
        hidden_states: As in [`ASMModel`].
    """

    loss: Tensor | None = None
    reconstruction: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class ASMForPreTraining(ASMPreTrainedModel):
    """ASM with a linear decoder that predicts the patches that were masked (https://arxiv.org/abs/2111.06377).

    Token mixing has a place for each patch, so that a Mixer cannot leave patches out as a Transformer can: a learned
    token takes the place of a masked one. The features of masked patches are 0, so that convolutions before the patches
    do not tell them to their neighbours. Only the tokens are trained: what `pooling_dim` maps them to is not.
    """

    def __init__(self, config: ASMConfig):
        super().__init__(config)
        self.audio_spectrogram_mixer = ASMModel(config)
        self.audio_spectrogram_mixer._has_head = True
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        bins, frames = config.patch_shape
        self.decoder = nn.Linear(config.hidden_size, bins * frames)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if module is self:
            nn.init.zeros_(self.mask_token)

    def _check_resizable(self, wanted: ASMConfig):
        super()._check_resizable(wanted)
        if wanted.patch_shape != self.config.patch_shape:
            raise ValueError(
                f"The decoder predicts patches of {self.config.patch_shape} mel bins and frames, so `patch_size` "
                f"cannot become {wanted.patch_shape}. Save the model, and resize what `ASMModel.from_pretrained` loads."
            )

    def forward(
        self,
        input_values: Tensor,
        bool_masked_pos: Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> ASMForPreTrainingOutput | tuple[Tensor, ...]:
        """Predict the masked patches of a batch of spectrograms.

        Args:
            input_values: Float tensor of shape `(batch_size, max_length, num_mel_bins)`: normalised log-mel features,
                as [`ASMFeatureExtractor`] returns them.
            bool_masked_pos: Boolean tensor of shape `(batch_size, num_patches)`, true for patches to predict.
            output_hidden_states: Whether to also return the output of each layer, before the final LayerNorm.
            return_dict: Whether to return an output object instead of a tuple.

        Returns:
            `loss`, a scalar; `reconstruction` of shape `(batch_size, num_patches, mel bins * frames)`; and, if
            requested, `hidden_states`.

        Raises:
            ValueError: If the mask has another shape or type, or masks nothing.
        """
        shape = (len(input_values), self.config.num_patches)
        if bool_masked_pos.dtype != torch.bool or tuple(bool_masked_pos.shape) != shape:
            raise ValueError(
                f"`bool_masked_pos` is {bool_masked_pos.dtype} of shape {tuple(bool_masked_pos.shape)}, expected "
                f"torch.bool of shape {shape}: true for each patch to predict."
            )
        if not bool_masked_pos.any():
            raise ValueError("`bool_masked_pos` masks no patch, so there is nothing to learn from.")
        base, masked = self.audio_spectrogram_mixer, bool_masked_pos.unsqueeze(2)
        base.patch_embeddings.check(input_values)
        tokens = base.patch_embeddings(self.hide(input_values, bool_masked_pos))
        tokens = torch.where(masked, self.mask_token.to(tokens.dtype), tokens)
        outputs = base(inputs_embeds=tokens, output_hidden_states=output_hidden_states, return_dict=True)
        reconstruction = self.decoder(outputs.last_hidden_state)
        target = self.patches(input_values.to(reconstruction.dtype))
        if self.config.norm_patch_loss:
            variance, mean = torch.var_mean(target, 2, correction=0, keepdim=True)
            target = (target - mean) / (variance + VARIANCE_FLOOR).sqrt()
        errors = (reconstruction - target).square().mean(2)
        loss = errors[bool_masked_pos].mean()
        output = ASMForPreTrainingOutput(loss, reconstruction, outputs.hidden_states)
        return output if self._returns_dict(return_dict) else output.to_tuple()

    def patches(self, input_values: Tensor) -> Tensor:
        """Cut spectrograms into patches: `(batch_size, num_patches, mel bins * frames)`."""
        return nn.functional.unfold(input_values.transpose(1, 2).unsqueeze(1), **self.geometry).transpose(1, 2)

    def hide(self, input_values: Tensor, bool_masked_pos: Tensor) -> Tensor:
        """Set the features of masked patches to 0, the mean."""
        bins, frames = self.config.patch_shape
        columns = bool_masked_pos[:, None].to(input_values.dtype).expand(-1, bins * frames, -1)
        size = (self.config.num_mel_bins, self.config.max_length)
        covered = nn.functional.fold(columns, size, **self.geometry)[:, 0].transpose(1, 2)
        return input_values.masked_fill(covered > 0, 0.0)

    @property
    def geometry(self) -> dict[str, tuple[int, int]]:
        """Size and stride of the patches, in mel bins and frames."""
        return {"kernel_size": self.config.patch_shape,
                "stride": (self.config.frequency_stride, self.config.time_stride)}  # fmt: skip


def draw_mask(
    config: ASMConfig, batch_size: int, share: float = 0.5, span: int = 5, generator: torch.Generator | None = None
) -> Tensor:
    """Mask stretches of time in all mel bins, since the next patch tells most of a single one.

    A stretch is no longer than what may be masked, so that something is heard.

    Args:
        config: The configuration of the model.
        batch_size: Number of spectrograms.
        share: Share of the columns of patches that are masked, at most: stretches may overlap.
        span: Length of a stretch, in patches.
        generator: Source of random numbers; by default torch's own.

    Returns:
        Boolean tensor of shape `(batch_size, num_patches)`; at least one stretch of each row is masked.
    """
    rows, columns = config.patch_grid
    most = max(int(share * columns), 1)
    span = min(span, most)
    starts = torch.randint(0, columns - span + 1, (batch_size, most // span, 1), generator=generator)
    places = torch.arange(columns)
    masked = ((places >= starts) & (places < starts + span)).any(1)
    return masked.repeat(1, rows)
