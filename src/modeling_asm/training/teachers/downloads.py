"""Files of teachers that can be had by address: each is downloaded once, and checked before it is used."""

import hashlib
import os
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor


FOLDER = "modeling_asm"  # within the folder of torch.hub: $TORCH_HOME/hub
EFFICIENTAT = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/mn04_as_mAP_432.pt"
AUDIOSET_LABELS = "https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/class_labels_indices.csv"
OPEN_WAKE_WORD = "https://github.com/dscripka/openWakeWord/releases/download/v0.5.1/"
# SHA-256 of a file, or, for weights, of their names and values: the same in any format.
SHA256 = {
    EFFICIENTAT: "59c219860a19d4c136d92b14874abe90413f64e0a62a3bdc6eb29fb02ffc2c1a",
    AUDIOSET_LABELS: "cdd1049833c4b86127c2773ac0d14a2754b6a6d0d1798002ed5c66e699708429",
    f"{OPEN_WAKE_WORD}melspectrogram.onnx": "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
    f"{OPEN_WAKE_WORD}embedding_model.onnx": "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
}


def find_file(path: str) -> str:
    """Return the path of a file; one of the known addresses is downloaded first, unless it has been.

    Args:
        path: A path, or an address above.

    Raises:
        FileNotFoundError: If there is no such file, or it cannot be downloaded.
        ValueError: If it has other content than expected, or the address is not a known one.
    """
    if not path.startswith(("http://", "https://")):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"There is no file {path!r} of a teacher.")
        return path
    if path not in SHA256:
        raise ValueError(f"{path!r} is not a known address of a teacher's file. Download it, and give its path.")
    file = Path(torch.hub.get_dir()) / FOLDER / path.rpartition("/")[2]
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(path, str(file))  # under another name until it is complete
        except OSError as error:
            raise FileNotFoundError(
                f"{path} cannot be downloaded: {error}. Download it elsewhere, and give its path."
            ) from error
    digest = digest_weights(load_weights(str(file))) if file.suffix == ".pt" else digest_file(file)
    if digest != SHA256[path]:
        raise ValueError(
            f"{str(file)!r} has the digest {digest}, expected {SHA256[path]}: it is not the file that is known by "
            f"{path}. Delete it, and try again, or give the path of another one."
        )
    return str(file)


def load_weights(path: str) -> dict[str, Tensor]:
    """Load the weights of a safetensors file, or of PyTorch's own kind of file, which may hold nothing but tensors.

    Raises:
        ValueError: If it is damaged, or has anything else.
    """
    try:
        weights = load_file(path) if path.endswith(".safetensors") else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{path!r} cannot be read as weights. Expected a safetensors file, or one of PyTorch with nothing but "
            "tensors. Download it again."
        ) from error
    return {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest_weights(weights: dict[str, Tensor]) -> str:
    """Return the SHA-256 of weights, by their names."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()
