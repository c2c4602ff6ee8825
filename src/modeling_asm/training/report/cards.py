"""The model card of a checkpoint, written from the results of its run with the template beside this file."""

from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..tasks import METRICS


TEMPLATE = Path(__file__).with_name("card_template.md")
ENCODER_TEMPLATE = Path(__file__).with_name("encoder_template.md")  # of what teachers taught


def write_model_card(
    folder: str | Path, results: dict, repository: str | None = None, template: str | Path | None = None
):
    """Render the card of a checkpoint as `README.md` in its folder.

    Every figure comes from `results`; what `results` lacks is omitted. `datasets` and `base_model` of the front matter
    are names on the Hub, never local paths.

    Args:
        folder: The checkpoint.
        results: The dictionary in `results.json`, with the keys `data`, `model`, `training`, `metrics` and
            `environment`.
        repository: Name of the model on the Hub, owner/name; by default the name of the folder.
        template: A Jinja template, by default the one for such results. `card_data` is the front matter.
    """
    template = template or (ENCODER_TEMPLATE if "teachers" in results else TEMPLATE)
    folder, data, metrics = Path(folder), results["data"], results["metrics"]
    repository = repository or folder.resolve().name
    name = repository.split("/")[-1]
    scores = {metric.hub_name: metrics[key] for key, metric in METRICS.items() if key in metrics}
    card_data = ModelCardData(
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["audio-classification", *results["model"].get("tags", [])],
        license=data.get("licence"),
        datasets=[data["dataset_name"]] if data.get("dataset_name") else None,
        base_model=results["model"].get("base_model"),
        metrics=list(scores) or None,
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="audio-classification",
                dataset_type=data.get("dataset_name") or data["name"],
                dataset_name=data["name"],
                dataset_config=data.get("dataset_config"),
                dataset_revision=data.get("dataset_revision"),
                dataset_split=data["test_split"],
                metric_type=metric,
                metric_value=round(value, 4),
            )
            for metric, value in scores.items()
        ]
        or None,
    )
    card = ModelCard.from_template(
        card_data, template_path=str(template), model_name=name, repository=repository, results=results
    )
    card.save(folder / "README.md")
