"""Make an ASM of an MLP-Mixer that was trained on pictures: timm's weights (`mixer_*`), or Google's `.npz`.

    python -m modeling_asm.convert_mixer timm/mixer_b16_224.goog_in21k_ft_in1k asm-base-pictures
    python -m modeling_asm.convert_mixer Mixer-B_16.npz asm-base-pictures --max_length 512

The result is a checkpoint without a classifier, to be fine-tuned on labelled audio:
`python examples/train.py --model_name_or_path asm-base-pictures --data_dir recordings --output_dir my-model`.
"""

import argparse
import hashlib
import math
import sys
from pathlib import Path

import torch
from huggingface_hub import ModelCard, ModelCardData
from torch import Tensor

from . import ASMConfig, ASMFeatureExtractor, ASMForAudioClassification, ASMModel
from .mixer_weights import TIMM_MODULES, ConversionError, find_weights, read_weights, rename


# What a channel of the picture contributes. "luma" is the paper's choice, by the coefficients of ITU-R BT.601, which
# sum to 1; "sum" is AST's, three times the mean.
RGB_TO_MONO = {"luma": (0.299, 0.587, 0.114), "sum": (1.0, 1.0, 1.0), "mean": (1 / 3, 1 / 3, 1 / 3)}
AXES = {  # of the tensors that tell a Mixer's sizes, the last of which may be missing
    "stem.proj.weight": ("width", "channels", "side", "side"),
    "blocks.0.mlp_tokens.fc1.weight": ("units", "tokens"),
    "blocks.0.mlp_channels.fc1.weight": ("units", "width"),
    "head.weight": ("classes", "width"),
}
CARD = """# {name}

An Audio Spectrogram Mixer (ASM, [arXiv 2401.11102](https://arxiv.org/abs/2401.11102)) of {parameters:,} parameters
with the weights of an MLP-Mixer ([arXiv 2105.01601](https://arxiv.org/abs/2105.01601)) that was trained on pictures.
**It has heard no sound yet**: fine-tune it on labelled recordings, by `examples/train.py --model_name_or_path {name}`
of modeling_asm or by `AutoModelForAudioClassification.from_pretrained`. Input: log-mel spectrograms of {num_mel_bins}
mel bins and {max_length} frames, as its feature extractor makes them.

## Provenance

- Weights: `{source}`, SHA-256 `{digest}`.
- Patches of {patch}x{patch}; token mixing resized from a grid of {old_grid} to {new_grid}; strides {strides} (mel bins,
  frames).
- Patch weights of the picture's channels brought to one: {mono}.
- The head for pictures was left out.
- Converted by `modeling_asm.convert_mixer`. The licence of the weights is that of their source: {licence}.
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
    """Make an ASM of the weights of a Mixer for pictures.

    A picture's rows become mel bins and its columns frames; the picture is stretched over the spectrogram, and token
    mixing is resized from its grid of patches to the spectrogram's (see `resize_spectrogram`).

    Args:
        weights: timm's tensors, as [`read_weights`] returns them, also of Google's files.
        rgb_to_mono: How patch weights of three channels become weights of one: `"luma"`, the paper's grey formula;
            `"sum"`, AST's; `"mean"`. `None` promises that the weights have one channel already.
        max_length: Number of frames of the spectrogram.
        num_mel_bins: Number of mel bins of the spectrogram.
        frequency_stride: Step from patch to patch along frequency, in mel bins; by default the patch's side.
        time_stride: Step from patch to patch along time, in frames; by default the patch's side.
        keep_head: Whether to keep the classifier of pictures, for comparisons with the original.

    Returns:
        The encoder, or, with `keep_head`, a classifier; float32.

    Raises:
        ConversionError: If a key is unknown or missing, a shape does not fit, or the channels are not those promised.
        ValueError: If the geometry is impossible; the message names the field.
    """
    if "stem.proj.weight" not in weights:
        raise ConversionError(
            "The weights have no 'stem.proj.weight', as a Mixer's have: this is another architecture "
            f"({', '.join(sorted(weights)[:3])}). Convert timm's mixer_* or Google's Mixer-*.npz."
        )
    config = infer_config(weights)
    mixer = ASMForAudioClassification(config) if keep_head else ASMModel(config)
    prefix = "audio_spectrogram_mixer." if keep_head else ""
    renamed = {}
    for key in weights:
        name, _, kind = rename(key, TIMM_MODULES).rpartition(".")
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
    """Return the config of a Mixer for square pictures, from the shapes of its weights in timm's names."""
    for key in weights:
        rename(key, TIMM_MODULES)
    for key in list(AXES)[:3]:
        if key not in weights:
            raise ConversionError(f"The weights lack {key!r}, which every Mixer has: the file is not whole.")
    for key, axes in AXES.items():
        shape = tuple(weights[key].shape) if key in weights else None
        if shape is not None and (len(shape) != len(axes) or (len(shape) == 4 and shape[2] != shape[3])):
            raise ConversionError(f"{key!r} has shape {shape}, expected ({', '.join(axes)}): no whole Mixer.")
    projection, tokens, channels = (weights[key] for key in list(AXES)[:3])
    hidden_size, patch, num_patches = projection.shape[0], projection.shape[2], tokens.shape[1]
    side = math.isqrt(num_patches)
    if side**2 != num_patches:
        raise ConversionError(f"{num_patches} tokens are no square grid; only Mixers for square pictures convert.")
    head = weights.get("head.weight")
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
    """Bring patch weights of shape `(width, channels, side, side)` to one channel."""
    channels = weight.shape[1]
    if rgb_to_mono is None:
        if channels != 1:
            raise ConversionError(
                f"The weights have a stem of {channels} channels, but rgb_to_mono=None promises one. Choose how "
                f"{channels} become one: {', '.join(RGB_TO_MONO)}."
            )
        return weight
    if rgb_to_mono not in RGB_TO_MONO:
        raise ConversionError(f"`rgb_to_mono` is {rgb_to_mono!r}, expected {', '.join(RGB_TO_MONO)} or None.")
    if channels != 3:
        raise ConversionError(
            f"The weights have a stem of {channels} channels, but rgb_to_mono={rgb_to_mono!r} is for three. "
            "For a stem of one channel give rgb_to_mono=None (`--rgb_to_mono none`)."
        )
    coefficients = torch.tensor(RGB_TO_MONO[rgb_to_mono], dtype=weight.dtype)
    return (weight * coefficients[:, None, None]).sum(1, keepdim=True)


def check_weights(weights: dict[str, Tensor], expected: dict[str, Tensor], prefix: str):
    """Raise `ConversionError` where a tensor is missing, too many, or of another shape."""
    missing = sorted(set(expected) - set(weights))
    unknown = sorted(set(weights) - set(expected))
    for names, what in ((missing, "lack"), (unknown, "have one too many,")):
        if names:
            raise ConversionError(f"The weights {what} that of {names[0].removeprefix(prefix)!r}: no whole Mixer.")
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise ConversionError(
                f"The weights of {name.removeprefix(prefix)!r} have shape {tuple(weights[name].shape)}, but the other "
                f"layers ask for {tuple(tensor.shape)}: no whole Mixer."
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
    """Write an ASM checkpoint of a Mixer for pictures: encoder, feature extractor, and a card with its provenance.

    Args:
        source: A file ([`read_weights`] says of what kinds), a folder with one, or a model on the Hub, owner/name.
        output_dir: Folder for the checkpoint; it must not hold anything.
        rgb_to_mono: See [`convert_mixer`], and there for the geometry.
        revision: Branch, tag or commit of a model on the Hub.
        licence: Licence of the weights, for the card.

    Returns:
        The encoder.

    Raises:
        ConversionError: If there are no such weights, they are no whole Mixer's, or the folder holds files.
        ValueError: If the geometry is impossible; the message names the field.
    """
    folder = Path(output_dir)
    if folder.exists() and any(folder.iterdir()):
        raise ConversionError(f"{str(output_dir)!r} holds files already, and nothing is overwritten.")
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
        mono=f"`{rgb_to_mono}`, {RGB_TO_MONO[rgb_to_mono]}" if rgb_to_mono else "they had one already",
        licence=licence or "not known here",
    )
    ModelCard(f"---\n{data}\n---\n\n{text}").save(folder / "README.md")
    return mixer


def main():
    parser = argparse.ArgumentParser(
        prog="python -m modeling_asm.convert_mixer", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "source", help="File of weights (.safetensors, .pth, .npz), or a model on the Hub: timm/mixer_..."
    )
    parser.add_argument("output_dir", help="Folder for the checkpoint; it must not hold anything.")
    parser.add_argument("--rgb_to_mono", default="luma", choices=[*RGB_TO_MONO, "none"], help="Default: luma.")
    parser.add_argument("--max_length", type=int, default=1024, help="Frames of the spectrogram; 100 are about 1 s.")
    parser.add_argument("--num_mel_bins", type=int, default=128, help="Mel bins of the spectrogram.")
    parser.add_argument("--frequency_stride", type=int, help="Step of the patches in mel bins; by default their side.")
    parser.add_argument("--time_stride", type=int, help="Step of the patches in frames; by default their side.")
    parser.add_argument("--revision", default="main", help="Branch, tag or commit of a model on the Hub.")
    parser.add_argument("--licence", help="Licence of the weights, for the card: apache-2.0.")
    args = vars(parser.parse_args())
    if args["rgb_to_mono"] == "none":
        args["rgb_to_mono"] = None
    try:
        mixer = convert_checkpoint(**args)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(f"{args['output_dir']}: {mixer.num_parameters():,} parameters, a grid of {mixer.config.patch_grid} patches.")


if __name__ == "__main__":
    main()
