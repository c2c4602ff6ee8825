"""Write a trained model with its results into the folder of a run, so that everything appears at once or not at all."""

from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from ..frontend import Frontend
from ..run_folder import UNFINISHED, move_into, saving
from ..tasks import TASKS
from .cards import write_model_card
from .publishing import code_license
from .tables import write_json, write_report, write_worst_clips


def write_checkpoint(
    folder: Path,
    results: dict,
    model: PreTrainedModel,
    frontend: Frontend,
    references: np.ndarray,
    logits: np.ndarray,
    log: list[dict],
    clips: Dataset | None = None,
    root: Path | None = None,
    weights: dict | None = None,
    channel: int | None = None,
):
    """Write weights, code, feature extractor, tables, plots, card, licence and `results.json`.

    Args:
        folder: Folder of the run.
        results: The results.
        model: The model.
        frontend: Its feature extractor.
        references: Class indices, rows of 0 and 1, or numbers.
        logits: The model's outputs, of shape `(num_clips, num_labels)`.
        log: Trainer's `state.log_history`, or entries like them.
        clips: The reported clips, in the order of the outputs, for the list of the worst; not for a stream.
        root: Folder of the data, which is left out of the names of the clips.
        weights: The weights, if they are not those of the model.
        channel: Number of a channel of each clip, from 0, to draw instead of the mean of all.

    Raises:
        CheckpointError: If something cannot be written; the folder is then unchanged.
    """
    staging = folder / f"{UNFINISHED}model"
    task, names = TASKS[model.config.problem_type], results["data"]["labels"]
    with saving("the model"):
        model.save_pretrained(staging, **({} if weights is None else {"state_dict": weights}))
        frontend.feature_extractor.save_pretrained(staging)
        write_report(staging, task, names, references, logits, log)
        if clips is not None:
            write_worst_clips(staging, clips, references, logits, frontend.sampling_rate, root, channel)
        write_model_card(staging, results, folder.resolve().name)
        (staging / "LICENSE").write_text(code_license(), encoding="utf-8")
        write_json(results, staging / "results.json")
        move_into(staging, folder)
