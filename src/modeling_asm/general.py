"""General encoders, those that come with the package above all: they tag any sound, and are a start for other tasks."""

import json
from pathlib import Path


ENCODERS = Path(__file__).with_name("encoders")
DEFAULT_ENCODER = "asm-small-general"


def find_encoder(name: str = DEFAULT_ENCODER) -> str:
    """Return the folder of a general encoder.

    Args:
        name: Its name.

    Raises:
        FileNotFoundError: If it is not there.
    """
    folder = ENCODERS / name
    if not (folder / "config.json").is_file():
        known = sorted(path.name for path in ENCODERS.glob("*") if (path / "config.json").is_file())
        links = " It is a file: a clone on Windows needs `git config core.symlinks true`." if folder.is_file() else ""
        raise FileNotFoundError(f"There is no general encoder {name!r} in {str(ENCODERS)!r}, only {known}.{links}")
    return str(folder)


def resolve_checkpoint(name: str) -> str:
    """Return the folder of an encoder of the package by its name; any other checkpoint, and a folder, as it is."""
    is_name = name == Path(name).name and name not in ("", ".", "..") and not Path(name).exists()
    return find_encoder(name) if is_name and (ENCODERS / name / "config.json").is_file() else name


def is_encoder(checkpoint: str) -> bool:
    """Whether a checkpoint is a general encoder: one of the package, or the folder that `asm-distil` wrote."""
    results = Path(resolve_checkpoint(checkpoint)) / "results.json"
    return results.is_file() and "teachers" in json.loads(results.read_text(encoding="utf-8"))
