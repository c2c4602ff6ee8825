"""The model card of a checkpoint, written from the results of its run."""

import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData


PACKAGES = ("torch", "transformers", "datasets", "accelerate", "huggingface-hub", "numpy")

# Our metrics, and what the Hub calls them.
HUB_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "unweighted_average_recall": "recall",
    "mean_average_precision": "mean_average_precision",
    "mean_squared_error": "mse",
    "r2": "r_squared",
}


def describe_environment() -> dict:
    """Say when, on what machine and with which versions a result was made; no names, no paths."""
    return {
        "date": date.today().isoformat(),
        "processor": platform.machine(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def write_model_card(folder: str | Path, template: str | Path, results: dict, repository: str | None = None):
    """Render the card of a checkpoint as `README.md` in its folder.

    Every number comes from `results`, and what `results` does not have is left out. Paths of a machine are no names on
    the Hub: `datasets` and `base_model` have what was loaded from there, or nothing.

    Args:
        folder: The checkpoint.
        template: A Jinja template; `card_data` is the front matter, `results` what `examples/train.py` measured.
        results: With the keys `data`, `model`, `training`, `metrics` and `environment`.
        repository: The model's name on the Hub, owner/name; by default the folder's name.
    """
    folder, data, metrics = Path(folder), results["data"], results["metrics"]
    repository = repository or folder.resolve().name
    name = repository.split("/")[-1]
    scores = {key: metrics[key] for key in HUB_METRICS if key in metrics}
    card_data = ModelCardData(
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["audio-classification", *results["model"].get("tags", [])],
        license=data.get("licence"),
        datasets=[data["dataset_name"]] if data.get("dataset_name") else None,
        base_model=results["model"].get("base_model"),
        metrics=[HUB_METRICS[key] for key in scores],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="audio-classification",
                dataset_type=data.get("dataset_name") or data["name"],
                dataset_name=data["name"],
                dataset_config=data.get("dataset_config"),
                dataset_revision=data.get("dataset_revision"),
                dataset_split=data["test_split"],
                metric_type=HUB_METRICS[key],
                metric_value=round(value, 4),
            )
            for key, value in scores.items()
        ],
    )
    card = ModelCard.from_template(
        card_data, template_path=str(template), model_name=name, repository=repository, results=results
    )
    card.save(folder / "README.md")
