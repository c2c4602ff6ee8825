"""The weights of MLP-Mixers for pictures: timm's files and Google's, from the disk or the Hub, in timm's names."""

import pickle
import re
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor


WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # what timm's repositories on the Hub have

# ASM's names for the modules of a Mixer, by timm's and by Google's.
TIMM_MODULES = {
    "stem.proj": "patch_embeddings.projection",
    "blocks.N.norm1": "layers.N.layernorm_before",
    "blocks.N.mlp_tokens.fc1": "layers.N.token_mixing.fc1",
    "blocks.N.mlp_tokens.fc2": "layers.N.token_mixing.fc2",
    "blocks.N.norm2": "layers.N.layernorm_after",
    "blocks.N.mlp_channels.fc1": "layers.N.channel_mixing.fc1",
    "blocks.N.mlp_channels.fc2": "layers.N.channel_mixing.fc2",
    "norm": "layernorm",
    "head": "classifier",
}
GOOGLE_MODULES = {
    "stem": "patch_embeddings.projection",
    "MixerBlock_N/LayerNorm_0": "layers.N.layernorm_before",
    "MixerBlock_N/token_mixing/Dense_0": "layers.N.token_mixing.fc1",
    "MixerBlock_N/token_mixing/Dense_1": "layers.N.token_mixing.fc2",
    "MixerBlock_N/LayerNorm_1": "layers.N.layernorm_after",
    "MixerBlock_N/channel_mixing/Dense_0": "layers.N.channel_mixing.fc1",
    "MixerBlock_N/channel_mixing/Dense_1": "layers.N.channel_mixing.fc2",
    "pre_head_layer_norm": "layernorm",
    "head": "classifier",
}


class ConversionError(ValueError):
    """Weights that are no Mixer's, that are damaged or unsafe to read, or that cannot be fitted; it says what to do."""


def read_weights(file: str | Path) -> dict[str, Tensor]:
    """Read the weights of a Mixer into float32 tensors with timm's names.

    Args:
        file: timm's `.safetensors`, `.pth`, `.pt` or `.bin`, or Google's `.npz`. Nothing in it is executed.

    Raises:
        ConversionError: If the file is cut or damaged, is a pickle of more than tensors, or of another kind.
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
            raise ConversionError(f"{file.name!r} is none of .safetensors, .pth, .pt, .bin and .npz.")
    except pickle.UnpicklingError as error:
        raise ConversionError(
            f"{file.name!r} is a pickle of more than tensors, which could run a stranger's code, or is damaged: it is "
            "not read. Ask its maker for safetensors."
        ) from error
    except (ConversionError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # what the readers raise at a damaged file has no common name
        if "allow_pickle" in str(error):
            raise ConversionError(f"{file.name!r} has a pickled object, which is not read: {error}") from error
        raise ConversionError(f"{file.name!r} is cut or damaged ({error}). Fetch it again.") from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ConversionError(f"{file.name!r} has no dictionary of tensors, which a Mixer's weights are.")
    if broken := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise ConversionError(
            f"{file.name!r} has values in {broken[0]!r} that are infinite or no numbers: fetch it again."
        )
    return {name: tensor.float() for name, tensor in weights.items()}


def from_google(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Give Google's arrays timm's names and axes."""
    to_timm = dict(zip(GOOGLE_MODULES.values(), TIMM_MODULES))  # both tables are in the order of the model
    modules = {google: to_timm[asm] for google, asm in GOOGLE_MODULES.items()}
    weights = {}
    for key, array in arrays.items():
        module, _, kind = rename(key, modules, "/").rpartition(".")
        tensor = torch.from_numpy(array)
        if kind == "kernel":  # (in, out), or (side, side, channels, width)
            tensor = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T
        name = f"{module}.{'bias' if kind == 'bias' else 'weight'}"
        if name in weights:
            raise ConversionError(f"The weights have {key!r} and another array in its place: no whole Mixer.")
        weights[name] = tensor.contiguous()
    return weights


def find_weights(source: str, revision: str = "main") -> Path:
    """Return the file of the weights: a file, one in a folder, or one of a model on the Hub, `timm/mixer_...`."""
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
            f"There is no file {source!r}; a model on the Hub is owner/name: timm/mixer_b16_224.goog_in21k."
        )
    for name in WEIGHT_FILES:
        try:
            return Path(hf_hub_download(source, name, revision=revision))
        except LocalEntryNotFoundError as error:
            raise ConversionError(
                f"The Hub cannot be reached for {source!r}, and there is no copy of it here."
            ) from error
        except EntryNotFoundError:
            continue
        except HfHubHTTPError as error:
            raise ConversionError(f"The Hub does not give {source!r}: {error}") from error
    raise ConversionError(f"{source!r} on the Hub has none of {', '.join(WEIGHT_FILES)}.")


def rename(key: str, modules: dict[str, str], separator: str = ".") -> str:
    """Return a tensor's new name by a table of modules, in which `N` stands for a layer's number."""
    module, _, kind = key.rpartition(separator)
    number = re.search(r"(?<=[._])\d+(?=[./])", module)
    pattern = module if number is None else f"{module[: number.start()]}N{module[number.end() :]}"
    if pattern not in modules or kind not in ("weight", "bias", "kernel", "scale"):
        raise ConversionError(
            f"The weights have {key!r}, which no Mixer has: this is another architecture, or a variant that ASM cannot "
            "hold. Convert timm's mixer_* or Google's Mixer-*.npz."
        )
    return f"{modules[pattern].replace('N', number.group() if number else '')}.{kind}"
