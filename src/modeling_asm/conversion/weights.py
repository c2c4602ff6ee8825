"""Read the weights of image Mixers, timm's or Google's, from disk or the Hub, under timm's names."""

import pickle
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor


WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # in timm's repositories on the Hub


class Module(NamedTuple):
    """A module of a Mixer under its three names, in which `N` stands for the number of a layer."""

    asm: str
    timm: str
    google: str


MODULES = (
    Module("patch_embeddings.projection", "stem.proj", "stem"),
    Module("layers.N.layernorm_before", "blocks.N.norm1", "MixerBlock_N/LayerNorm_0"),
    Module("layers.N.token_mixing.fc1", "blocks.N.mlp_tokens.fc1", "MixerBlock_N/token_mixing/Dense_0"),
    Module("layers.N.token_mixing.fc2", "blocks.N.mlp_tokens.fc2", "MixerBlock_N/token_mixing/Dense_1"),
    Module("layers.N.layernorm_after", "blocks.N.norm2", "MixerBlock_N/LayerNorm_1"),
    Module("layers.N.channel_mixing.fc1", "blocks.N.mlp_channels.fc1", "MixerBlock_N/channel_mixing/Dense_0"),
    Module("layers.N.channel_mixing.fc2", "blocks.N.mlp_channels.fc2", "MixerBlock_N/channel_mixing/Dense_1"),
    Module("layernorm", "norm", "pre_head_layer_norm"),
    Module("classifier", "head", "head"),
)
TIMM_TO_ASM = {module.timm: module.asm for module in MODULES}
GOOGLE_TO_TIMM = {module.google: module.timm for module in MODULES}
ASM_TO_TIMM = {module.asm: module.timm for module in MODULES}


class ConversionError(ValueError):
    """Weights of another architecture, or that are damaged, unsafe to read or impossible to fit; it says what to do."""


def read_weights(file: str | Path) -> dict[str, Tensor]:
    """Read the weights of a Mixer into float32 tensors under timm's names.

    Args:
        file: timm's `.safetensors`, `.pth`, `.pt` or `.bin`, or Google's `.npz`. Nothing in it is executed.

    Raises:
        ConversionError: If the file is truncated or damaged, is a pickle of more than tensors, or is of another kind.
    """
    file = Path(file)
    try:
        if file.suffix == ".safetensors":
            weights = load_file(file)
        elif file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                weights = from_google({name: arrays[name] for name in arrays.files})
        elif file.suffix in (".pth", ".pt", ".bin"):
            weights = torch.load(file, map_location="cpu", weights_only=True)
            weights = weights.get("state_dict", weights) if isinstance(weights, dict) else weights
        else:
            raise ConversionError(f"{file.name!r} must end in .safetensors, .pth, .pt, .bin or .npz.")
    except pickle.UnpicklingError as error:
        raise ConversionError(
            f"{file.name!r} is a pickle of more than tensors, which could run a stranger's code, or it is damaged. It "
            "was not loaded. Ask its author for safetensors."
        ) from error
    except (ConversionError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # the readers' errors for damaged files have no common class
        if "allow_pickle" in str(error):
            raise ConversionError(f"{file.name!r} holds a pickled object, which is not loaded: {error}") from error
        raise ConversionError(f"{file.name!r} is truncated or damaged ({error}). Download it again.") from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ConversionError(f"{file.name!r} does not hold a dictionary of tensors, as the weights of a Mixer are.")
    if broken := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise ConversionError(
            f"{file.name!r} has values in {broken[0]!r} that are infinite or not a number. Download it again."
        )
    return {name: tensor.float() for name, tensor in weights.items()}


def from_google(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Give Google's arrays timm's names and axes."""
    weights = {}
    for key, array in arrays.items():
        module, _, kind = rename(key, GOOGLE_TO_TIMM, "/").rpartition(".")
        tensor = torch.from_numpy(array)
        if kind == "kernel" and tensor.ndim == 4:  # (side, side, channels, width)
            tensor = tensor.permute(3, 2, 0, 1)
        elif kind == "kernel" and tensor.ndim == 2:  # (in, out); any other number of axes fails the check of shapes
            tensor = tensor.T
        name = f"{module}.{'bias' if kind == 'bias' else 'weight'}"
        if name in weights:
            raise ConversionError(f"The weights hold {key!r} and another array for the same module: not a Mixer.")
        weights[name] = tensor.contiguous()
    return weights


def find_weights(source: str, revision: str = "main") -> Path:
    """Return the file with the weights: a file, one in a folder, or one of a model on the Hub, `timm/mixer_...`."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        found = [path / name for name in WEIGHT_FILES if (path / name).is_file()]
        if not found:
            raise ConversionError(f"The folder {source!r} has none of {', '.join(WEIGHT_FILES)}.")
        return found[0]
    if source.count("/") != 1 or path.suffix in (".npz", ".pth", ".pt", ".safetensors", ".bin"):
        raise ConversionError(
            f"There is no file {source!r}. A model on the Hub has the form timm/mixer_b16_224.goog_in21k."
        )
    for name in WEIGHT_FILES:
        try:
            return Path(hf_hub_download(source, name, revision=revision))
        except LocalEntryNotFoundError as error:
            raise ConversionError(f"The Hub cannot be reached for {source!r}, and there is no local copy.") from error
        except EntryNotFoundError:
            continue
        except HfHubHTTPError as error:
            raise ConversionError(f"The Hub refuses {source!r}: {error}") from error
    raise ConversionError(f"{source!r} on the Hub has none of {', '.join(WEIGHT_FILES)}.")


def rename(key: str, modules: dict[str, str], separator: str = ".") -> str:
    """Return the new name of a tensor, from a table of modules in which `N` stands for the number of a layer."""
    module, _, kind = key.rpartition(separator)
    number = re.search(r"(?<=[._])\d+(?=[./])", module)
    pattern = module if number is None else f"{module[: number.start()]}N{module[number.end() :]}"
    if pattern not in modules or kind not in ("weight", "bias", "kernel", "scale"):
        raise ConversionError(
            f"The weights hold {key!r}, which a Mixer does not have: this is another architecture, or a variant that "
            "ASM does not support. Convert timm's mixer_* or Google's Mixer-*.npz."
        )
    return f"{modules[pattern].replace('N', number.group() if number else '')}.{kind}"
