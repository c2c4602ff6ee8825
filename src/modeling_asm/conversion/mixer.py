"""Turn an MLP-Mixer that was trained on images, timm's (`mixer_*`) or Google's (`.npz`), into an ASM.

The result is a checkpoint without a classifier, to be fine-tuned on labelled audio.
"""

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import ModelCard, ModelCardData
from torch import Tensor

from ..configuration_asm import ASMConfig
from ..feature_extraction_asm import ASMFeatureExtractor
from ..modeling_asm import ASMForAudioClassification, ASMModel
from .weights import TIMM_TO_ASM, ConversionError, find_weights, read_weights, rename


# Weight of each colour channel. "luma" is the paper's choice, with the coefficients of ITU-R BT.601, which sum to 1.
# "sum" is AST's, three times the mean.
RGB_TO_MONO = {"luma": (0.299, 0.587, 0.114), "sum": (1.0, 1.0, 1.0), "mean": (1 / 3, 1 / 3, 1 / 3)}
PROJECTION, HEAD = "stem.proj.weight", "head.weight"
TOKENS, CHANNELS = "blocks.0.mlp_tokens.fc1.weight", "blocks.0.mlp_channels.fc1.weight"


class Axes(NamedTuple):
    """The axes of a tensor from which sizes are inferred, and whether every Mixer has it."""

    names: tuple[str, ...]
    required: bool = True


AXES = {
    PROJECTION: Axes(("width", "channels", "side", "side")),
    TOKENS: Axes(("units", "tokens")),
    CHANNELS: Axes(("units", "width")),
    HEAD: Axes(("classes", "width"), required=False),
}
CARD = """# {name}

An Audio Spectrogram Mixer (ASM, [arXiv 2401.11102](https://arxiv.org/abs/2401.11102)) of {parameters:,} parameters
with the weights of an MLP-Mixer ([arXiv 2105.01601](https://arxiv.org/abs/2105.01601)) that was trained on images.
**It has not been trained on audio.** Fine-tune it on labelled recordings, with `asm-train --model_name_or_path {name}`
of modeling_asm or `AutoModelForAudioClassification.from_pretrained`. Input: log-mel spectrograms with {num_mel_bins}
mel bins and {max_length} frames, from its feature extractor.

## Provenance

- Weights: `{source}`, SHA-256 `{digest}`.
- Patches of {patch}x{patch}; token mixing resized from a grid of {old_grid} to {new_grid}; strides {strides} (mel bins,
  frames).
- Patch weights of the colour channels reduced to one: {mono}.
- The image classifier was removed.
- Converted with `asm-convert` of modeling_asm. The licence of the weights is that of their source: {licence}.
"""


def convert_mixer(
    weights: dict[str, Tensor],
    rgb_to_mono: str | None = "luma",
    max_length: int = 1024,
    num_mel_bins: int = 128,
    frequency_stride: int | None = None,
    time_stride: int | None = None,
    keep_head: bool = False,
) -> ASMModel | ASMForAudioClassification:
    """Build an ASM from the weights of an image Mixer.

    Rows of an image become mel bins, and columns become frames. The image is stretched over the spectrogram, and
    token mixing is resized from its grid of patches to that of the spectrogram (see `resize_spectrogram`).

    Args:
        weights: Tensors under timm's names, as [`read_weights`] returns them.
        rgb_to_mono: How patch weights of three channels are reduced to one: `"luma"`, the paper's grey formula;
            `"sum"`, AST's; `"mean"`; or `None` if the weights already have one channel.
        max_length: Number of frames of the spectrogram.
        num_mel_bins: Number of mel bins of the spectrogram.
        frequency_stride: Distance between patches along frequency, in mel bins; by default the side of a patch.
        time_stride: Distance between patches along time, in frames; by default the side of a patch.
        keep_head: Whether to keep the image classifier, to compare with the original.

    Returns:
        The encoder or, with `keep_head`, a classifier, in float32.

    Raises:
        ConversionError: If a key is unknown or missing, a shape does not fit, or the number of channels is unexpected.
        ValueError: If the geometry is impossible; the message names the field.
    """
    if PROJECTION not in weights:
        raise ConversionError(
            f"The weights lack {PROJECTION!r}, which every Mixer has: this is another architecture "
            f"({', '.join(sorted(weights)[:3])}). Convert timm's mixer_* or Google's Mixer-*.npz."
        )
    config = infer_config(weights)
    mixer = ASMForAudioClassification(config) if keep_head else ASMModel(config)
    prefix = "audio_spectrogram_mixer." if keep_head else ""
    renamed = {}
    for key in weights:
        name, _, kind = rename(key, TIMM_TO_ASM).rpartition(".")
        if name != "classifier":
            renamed[f"{prefix}{name}.{kind}"] = weights[key]
        elif keep_head:
            renamed[f"{name}.{kind}"] = weights[key]
    projection = f"{prefix}patch_embeddings.projection.weight"
    renamed[projection] = to_mono(renamed[projection], rgb_to_mono)
    check_weights(renamed, mixer.state_dict(), prefix)
    mixer.load_state_dict(renamed)
    patch = config.patch_size
    given = {"frequency_stride": frequency_stride, "time_stride": time_stride}
    strides = {name: patch if stride is None else stride for name, stride in given.items()}
    return mixer.resize_spectrogram(max_length=max_length, num_mel_bins=num_mel_bins, **strides, stretch=True).eval()


def infer_config(weights: dict[str, Tensor]) -> ASMConfig:
    """Return the configuration of a Mixer for square images, from the shapes of its weights under timm's names."""
    for key in weights:
        rename(key, TIMM_TO_ASM)
    for key, axes in AXES.items():
        if key not in weights:
            if axes.required:
                raise ConversionError(f"The weights lack {key!r}, which every Mixer has: the file is incomplete.")
            continue
        shape = tuple(weights[key].shape)
        if len(shape) != len(axes.names) or (key == PROJECTION and shape[2] != shape[3]):
            raise ConversionError(f"{key!r} has shape {shape}, expected ({', '.join(axes.names)}): not a Mixer.")
    projection, tokens, channels = weights[PROJECTION], weights[TOKENS], weights[CHANNELS]
    hidden_size, patch, num_patches = projection.shape[0], projection.shape[2], tokens.shape[1]
    side = math.isqrt(num_patches)
    if side**2 != num_patches:
        raise ConversionError(f"{num_patches} tokens are not a square grid. Only Mixers for square images convert.")
    head = weights.get(HEAD)
    return ASMConfig(
        hidden_size=hidden_size,
        num_hidden_layers=len({key.split(".")[1] for key in weights if key.startswith("blocks.")}),
        tokens_mlp_dim=tokens.shape[0],
        channels_mlp_dim=channels.shape[0],
        patch_size=patch,
        frequency_stride=patch,
        time_stride=patch,
        max_length=side * patch,
        num_mel_bins=side * patch,
        **({} if head is None else {"num_labels": head.shape[0]}),
    )


def to_mono(weight: Tensor, rgb_to_mono: str | None) -> Tensor:
    """Reduce patch weights of shape `(width, channels, side, side)` to one channel."""
    channels = weight.shape[1]
    if rgb_to_mono is None:
        if channels != 1:
            raise ConversionError(
                f"The weights have a stem of {channels} channels, but rgb_to_mono=None expects one. Choose how "
                f"{channels} become one: {', '.join(RGB_TO_MONO)}."
            )
        return weight
    if rgb_to_mono not in RGB_TO_MONO:
        raise ConversionError(f"`rgb_to_mono` is {rgb_to_mono!r}, expected {', '.join(RGB_TO_MONO)} or None.")
    if channels != 3:
        raise ConversionError(
            f"The weights have a stem of {channels} channels, but rgb_to_mono={rgb_to_mono!r} is for three. "
            "For a stem of one channel, use rgb_to_mono=None (`--rgb_to_mono none`)."
        )
    coefficients = torch.tensor(RGB_TO_MONO[rgb_to_mono], dtype=weight.dtype)
    return (weight * coefficients[:, None, None]).sum(1, keepdim=True)


def check_weights(weights: dict[str, Tensor], expected: dict[str, Tensor], prefix: str):
    """Raise `ConversionError` if a tensor is missing, unexpected, or of another shape."""
    missing = sorted(set(expected) - set(weights))
    unknown = sorted(set(weights) - set(expected))
    for names, what in ((missing, "lack"), (unknown, "have an unexpected")):
        if names:
            raise ConversionError(f"The weights {what} {names[0].removeprefix(prefix)!r}: not a complete Mixer.")
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise ConversionError(
                f"The weights of {name.removeprefix(prefix)!r} have shape {tuple(weights[name].shape)}, but the other "
                f"layers imply {tuple(tensor.shape)}: not a complete Mixer."
            )


def convert_checkpoint(
    source: str | Path,
    output_dir: str | Path,
    rgb_to_mono: str | None = "luma",
    max_length: int = 1024,
    num_mel_bins: int = 128,
    frequency_stride: int | None = None,
    time_stride: int | None = None,
    revision: str = "main",
    licence: str | None = None,
) -> ASMModel:
    """Convert an image Mixer to an ASM checkpoint: encoder, feature extractor, and a card with its provenance.

    Args:
        source: A file that [`read_weights`] reads, a folder with one, or a model on the Hub, owner/name.
        output_dir: Folder for the checkpoint, which must be empty.
        rgb_to_mono: See [`convert_mixer`], also for the geometry.
        max_length: See [`convert_mixer`].
        num_mel_bins: See [`convert_mixer`].
        frequency_stride: See [`convert_mixer`].
        time_stride: See [`convert_mixer`].
        revision: Branch, tag or commit of a model on the Hub.
        licence: Licence of the weights, for the card.

    Returns:
        The encoder.

    Raises:
        ConversionError: If there are no such weights, they are not a complete Mixer, or the folder is not empty.
        ValueError: If the geometry is impossible; the message names the field.
    """
    folder = Path(output_dir)
    if folder.exists() and any(folder.iterdir()):
        raise ConversionError(f"{str(output_dir)!r} is not empty, and nothing is overwritten. Choose another folder.")
    file = find_weights(str(source), revision)
    weights = read_weights(file)
    mixer = convert_mixer(weights, rgb_to_mono, max_length, num_mel_bins, frequency_stride, time_stride)
    mixer.save_pretrained(folder)
    ASMFeatureExtractor(num_mel_bins=num_mel_bins, max_length=max_length).save_pretrained(folder)
    name_on_hub = None if Path(source).exists() else str(source)
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="feature-extraction",  # it has no classifier yet
        license=licence,
        base_model=name_on_hub,
        tags=["audio", "audio-spectrogram-mixer", "mlp-mixer"],
    )
    config, picture = mixer.config, infer_config(weights)
    text = CARD.format(
        name=folder.resolve().name,
        parameters=mixer.num_parameters(),
        source=f"{name_on_hub}` at `{file.parent.name}" if name_on_hub else file.name,  # a snapshot's commit
        digest=hashlib.sha256(file.read_bytes()).hexdigest(),
        patch=config.patch_size,
        old_grid="x".join(map(str, picture.patch_grid)),
        new_grid="x".join(map(str, config.patch_grid)),
        num_mel_bins=num_mel_bins,
        max_length=max_length,
        strides=(config.frequency_stride, config.time_stride),
        mono=f"`{rgb_to_mono}`, {RGB_TO_MONO[rgb_to_mono]}" if rgb_to_mono else "they already had one",
        licence=licence or "unknown",
    )
    ModelCard(f"---\n{data}\n---\n\n{text}").save(folder / "README.md")
    return mixer
