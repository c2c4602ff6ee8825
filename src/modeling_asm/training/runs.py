"""A run's folder: what was asked for, whether it is done, and checkpoints that are whole or not there."""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


SETTINGS_FILE = "run.json"
RESULTS_FILE = "results.json"
UNFINISHED = "unfinished-"  # starts the names of folders that a killed run may leave half written or half deleted


class CheckpointError(RuntimeError):
    """Something could not be saved; what was saved before it is whole."""


@contextmanager
def saving(what: str):
    """Say of what cannot be written, for want of room in most cases, what it was and what to do.

    Raises:
        CheckpointError: If the code inside cannot write.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch's and safetensors' own, beside Python's
        raise CheckpointError(
            f"Cannot save {what}: {error}. What was saved before it is whole: make room, and run the same command "
            "again to go on from there."
        ) from error


def check_processes(count: int):
    """Raise `ValueError` where a launcher started processes that do not know of each other.

    Args:
        count: How many processes work together, as accelerate sees it.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != count:
        raise ValueError(
            f"{launched} processes were launched, but each would work alone, in the same folder. On processors without "
            "a GPU give the script --use_cpu."
        )


def open_run(folder: str | Path, settings: dict, progress: str = "checkpoint-*"):
    """Start a run in a folder, or go on with one.

    Args:
        folder: The run's own folder.
        settings: What decides its result. The same command must give the same ones to go on.
        progress: Pattern of the files that would be lost to another run's; `results.json` is one always.

    Raises:
        ValueError: If the folder has another run, or files that no run wrote.
    """
    folder, settings = Path(folder), json.loads(json.dumps(settings, default=str))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / SETTINGS_FILE
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        if changed and (finished_results(folder) is not None or any(folder.glob(progress))):
            changes = ", ".join(f"{name} {before.get(name)!r} -> {settings.get(name)!r}" for name in changed)
            raise ValueError(
                f"{str(folder)!r} holds a run with other settings ({changes}), and nothing is overwritten. Repeat its "
                "command to go on with it, or choose another --output_dir."
            )
        if not changed:
            return
    elif any(child for child in folder.iterdir() if not child.name.startswith(UNFINISHED)):
        raise ValueError(
            f"{str(folder)!r} holds files already, and nothing is overwritten. Choose another --output_dir."
        )
    write_whole(file, json.dumps(settings, indent=2) + "\n")


def finished_results(folder: str | Path) -> dict | None:
    """Return the results of a run that is done."""
    file = Path(folder) / RESULTS_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def write_whole(file: Path, text: str):
    """Write a file such that it is never there half."""
    part = file.with_name(UNFINISHED + file.name)
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)


def clear_unfinished(folder: str | Path):
    """Remove what a killed run left half written or half deleted."""
    for child in Path(folder).glob(f"{UNFINISHED}*"):
        shutil.rmtree(child) if child.is_dir() else child.unlink()


def delete_checkpoint(checkpoint: Path):
    """Delete a checkpoint such that it is never there half: it loses its name first."""
    doomed = checkpoint.with_name(UNFINISHED + "deleted-" + checkpoint.name)
    os.replace(checkpoint, doomed)
    shutil.rmtree(doomed)


def checkpoints(folder: str | Path) -> list[Path]:
    """Return the whole checkpoints of a run, the oldest first."""
    found = [child for child in Path(folder).glob("checkpoint-*") if child.name.split("-")[-1].isdigit()]
    return sorted(found, key=lambda path: int(path.name.split("-")[-1]))


def move_into(source: Path, folder: Path):
    """Move finished files into a folder one by one: the weights late, as nothing loads before, the results last."""
    files = sorted(source.iterdir(), key=lambda file: (file.name == RESULTS_FILE, file.suffix == ".safetensors"))
    for file in files:
        if not file.is_dir():
            os.replace(file, folder / file.name)
    shutil.rmtree(source)
