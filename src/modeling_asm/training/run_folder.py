"""The folder of a run: its settings, whether it is finished, and checkpoints that are complete or absent."""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from safetensors import SafetensorError


SETTINGS_FILE = "run.json"
RESULTS_FILE = "results.json"
CLIPS = "clips"  # the setting that is a digest of the data
NAMED = 3  # settings that a message names
UNFINISHED = "unfinished-"  # prefix of what a killed run may leave half written or half deleted
STATE_FILE = "trainer_state.json"


class CheckpointError(RuntimeError):
    """Something could not be saved; what was saved before is complete."""


@contextmanager
def saving(what: str):
    """Turn errors of writing, mostly of a full disk, into one that names what could not be written and what to do.

    Raises:
        CheckpointError: If the code inside cannot write.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # of Python, torch and safetensors
        raise CheckpointError(
            f"Cannot save {what}: {error}. What was saved before is complete: free some space, and run the same "
            "command again to continue from there."
        ) from error


def check_processes(count: int):
    """Raise `ValueError` if a launcher started processes that do not cooperate.

    Args:
        count: Number of cooperating processes, according to accelerate.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != count:
        raise ValueError(
            f"{launched} processes were launched, but each would work alone, in the same folder. On a machine without "
            "a GPU, pass --use_cpu."
        )


def open_run(folder: str | Path, settings: dict, progress: str = "checkpoint-*"):
    """Start a run in a folder, or continue one.

    Args:
        folder: Folder of the run.
        settings: Everything that decides its result. A run continues only with the same settings.
        progress: Pattern of the files that another run would overwrite, in addition to `results.json`.

    Raises:
        ValueError: If the folder has another run, or files that no run wrote.
    """
    folder, settings = Path(folder), json.loads(json.dumps(settings, default=str))
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / SETTINGS_FILE
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        if changed and (finished_results(folder) is not None or any(folder.glob(progress))):
            values = {name: (before.get(name), settings.get(name)) for name in changed[:NAMED]}
            changes = ", ".join(
                "the clips have changed" if name == CLIPS else f"{name} {old!r} -> {new!r}"
                for name, (old, new) in values.items()
            )
            changes += f", and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            raise ValueError(
                f"{str(folder)!r} holds a run with other settings ({changes}), and nothing is overwritten. Repeat its "
                "command to continue it, or choose another --output_dir."
            )
        if not changed:
            return
    elif any(child for child in folder.iterdir() if not child.name.startswith(UNFINISHED)):
        raise ValueError(
            f"{str(folder)!r} already holds files, and nothing is overwritten. Choose another --output_dir."
        )
    write_whole(file, json.dumps(settings, indent=2) + "\n")


def check_folder(folder: str | Path):
    """Raise `ValueError` if something else than a folder has the name of `--output_dir`."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"--output_dir {str(folder)!r} is a file, expected a folder. Choose another name.")


def finished_results(folder: str | Path) -> dict | None:
    """Return the results of a finished run, or `None`."""
    file = Path(folder) / RESULTS_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def write_whole(file: Path, text: str):
    """Write a file atomically: it is complete or absent."""
    part = file.with_name(UNFINISHED + file.name)
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)


def clear_unfinished(folder: str | Path):
    """Remove what a killed run left half written or half deleted."""
    for child in Path(folder).glob(f"{UNFINISHED}*"):
        shutil.rmtree(child) if child.is_dir() else child.unlink()


def delete_checkpoint(checkpoint: Path):
    """Delete a checkpoint atomically: it loses its name first."""
    doomed = checkpoint.with_name(UNFINISHED + "deleted-" + checkpoint.name)
    os.replace(checkpoint, doomed)
    shutil.rmtree(doomed)


def checkpoints(folder: str | Path) -> list[Path]:
    """Return the complete checkpoints of a run, the oldest first."""
    found = [child for child in Path(folder).glob("checkpoint-*") if child.name.split("-")[-1].isdigit()]
    return sorted(found, key=lambda path: int(path.name.split("-")[-1]))


def relocate_best(checkpoint: Path):
    """Update the path of the best checkpoint in Trainer's state, in case the folder of the run has moved."""
    file = checkpoint / STATE_FILE
    state = json.loads(file.read_text(encoding="utf-8"))
    best = checkpoint.with_name(f"checkpoint-{state.get('best_global_step')}")
    if best.is_dir() and state.get("best_model_checkpoint") != str(best):
        write_whole(file, json.dumps({**state, "best_model_checkpoint": str(best)}, indent=2, sort_keys=True) + "\n")


def move_into(source: Path, folder: Path):
    """Move finished files into a folder one by one: the weights late, since nothing loads before, the results last."""
    files = sorted(source.iterdir(), key=lambda file: (file.name == RESULTS_FILE, file.suffix == ".safetensors"))
    for file in files:
        if not file.is_dir():
            os.replace(file, folder / file.name)
    shutil.rmtree(source)


def save_epoch(accelerator: Accelerator, folder: Path, epoch: int, log: list[dict]):
    """Save the state of a plain training loop after an epoch, under a temporary name until it is complete.

    Args:
        accelerator: What prepared model, optimizer and loaders.
        folder: Folder of the run.
        epoch: Number of finished epochs.
        log: What was logged so far.
    """
    part, final = folder / f"{UNFINISHED}state", folder / f"state-{epoch}"
    with saving(final.name):
        accelerator.save_state(str(part))
        if accelerator.is_main_process:
            write_whole(part / "log.json", json.dumps(log))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        os.replace(part, final)
        for old in folder.glob("state-*"):
            if old != final:
                delete_checkpoint(old)
    accelerator.wait_for_everyone()


def load_epoch(accelerator: Accelerator, folder: Path) -> tuple[int, list[dict]]:
    """Load the last state of a plain training loop; return the number of finished epochs and their log."""
    if accelerator.is_main_process:
        clear_unfinished(folder)
    accelerator.wait_for_everyone()
    epochs = sorted(int(state.name.split("-")[1]) for state in folder.glob("state-*"))
    if not epochs:
        return 0, []
    accelerator.load_state(str(folder / f"state-{epochs[-1]}"))
    accelerator.print(f"Continuing after epoch {epochs[-1]}.")
    return epochs[-1], json.loads((folder / f"state-{epochs[-1]}" / "log.json").read_text(encoding="utf-8"))
