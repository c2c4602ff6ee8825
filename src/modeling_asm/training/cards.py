"""Results of a training run as JSON, and the model card that is written from them."""

import json
import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData


PACKAGES = ("torch", "transformers", "datasets", "accelerate", "huggingface-hub", "numpy")


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


def write_json(results: dict, path: str | Path):
    """Write results so that people read them too: indented, one line at the end of the file."""
    Path(path).write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_model_card(folder: str | Path, template: str | Path, results: dict):
    """Render the card of a checkpoint as `README.md` in its folder.

    Every number comes from `results`, and what `results` does not have is left out.

    Args:
        folder: The checkpoint; its name is the model's.
        template: A Jinja template; `card_data` is the front matter, `results` what `examples/train.py` measured.
        results: With the keys `data`, `model`, `training`, `metrics` and `environment`.
    """
    folder, data, metrics = Path(folder), results["data"], results["metrics"]
    scores = {"accuracy": metrics["accuracy"], "f1": metrics["macro_f1"]}
    card_data = ModelCardData(
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["audio-classification", "audio-spectrogram-mixer", "mlp-mixer"],
        license=data.get("licence"),
        base_model=results["model"].get("base_model"),
        metrics=["accuracy", "f1"],
        model_name=folder.resolve().name,
        eval_results=[
            EvalResult(
                task_type="audio-classification",
                dataset_type=data["name"],
                dataset_name=data["name"],
                dataset_split=data["test_split"],
                metric_type=metric,
                metric_value=round(value, 4),
            )
            for metric, value in scores.items()
        ],
    )
    card = ModelCard.from_template(
        card_data, template_path=str(template), model_name=folder.resolve().name, results=results
    )
    card.save(folder / "README.md")
