import copy

import pytest
from huggingface_hub import ModelCard

from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training.report.cards import write_model_card


RESULTS = {
    "command": "asm-train --data_dir tones",
    "data": {
        "name": "tones",
        "dataset_name": None,
        "test_split": "test",
        "clips": {"train": 80, "dev": 10, "test": 40},
        "labels": ["high", "low"],
        "licence": "cc-by-4.0",
        "credit": "Made of sines.",
    },
    "model": {
        "base_model": None,
        "fine_tuned_from": None,
        "architecture": "ASMForAudioClassification",
        "tags": ["audio-spectrogram-mixer", "mlp-mixer"],
        "parameters": 12345,
        "window_seconds": 0.995,
        "feature_extractor": {"sampling_rate": 16000, "mean": -8.25, "std": 4.5},
    },
    "training": {
        "num_train_epochs": 3.0,
        "max_steps": -1,
        "batch_size": 8,
        "optim": "adamw_torch",
        "lr_scheduler_type": "cosine",
        "learning_rate": 0.001,
        "weight_decay": 0.05,
        "label_smoothing_factor": 0.1,
        "class_balance": "sampling",
        "augmentation": {"gain": 6.0, "mixup": 0.3},
        "bf16": False,
        "seed": 42,
        "seconds": 12,
    },
    "metrics": {
        "accuracy": 0.925,
        "accuracy_low": 0.801,
        "accuracy_high": 0.974,
        "macro_f1": 0.9,
        "macro_f1_low": 0.8,
        "macro_f1_high": 1.0,
        "chance": 0.5,
        "by_group": {"column": "speaker", "groups": 7, "accuracy_low": 0.7, "accuracy_high": 0.99}
        | {"macro_f1_low": 0.6, "macro_f1_high": 0.99},
    },
    "cost": {
        "model": {"parameters": 12345, "gmacs": 0.01, "milliseconds": 2.0},
        "ast": {"parameters": 85000000, "gmacs": 5.0, "milliseconds": 50.0},
        "ratio": 25.0,
    },
    "environment": describe_environment(),
}


@pytest.fixture
def results():
    return copy.deepcopy(RESULTS)


@pytest.fixture
def render(tmp_path):
    def write(results, name=None) -> ModelCard:
        write_model_card(tmp_path, results, name)
        return ModelCard.load(tmp_path / "README.md")

    return write


def test_front_matter_is_valid_and_tells_the_results(results, render):
    data = render(results, "ann/tones-tiny").data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "audio-classification", "cc-by-4.0")
    scores = {result.metric_type: result.metric_value for result in data.eval_results}
    assert scores == {"accuracy": 0.925, "f1": 0.9}
    assert data.eval_results[0].dataset_name == "tones"
    assert data.base_model is None
    assert data.datasets is None  # a folder of this machine is no data set of the Hub
    assert data.model_name == "tones-tiny"
    assert "mlp-mixer" in data.tags


def test_what_came_from_the_hub_is_named(results, render):
    results["data"].update(dataset_name="ann/tones", name="ann/tones", dataset_config="loud", dataset_revision="v1")
    results["model"].update(base_model="ann/start", fine_tuned_from="ann/start")
    card = render(results)
    assert (card.data.datasets, card.data.base_model) == (["ann/tones"], "ann/start")
    assert card.data.eval_results[0].dataset_config == "loud"
    assert card.data.eval_results[0].dataset_revision == "v1"
    assert "Initial weights: `ann/start`" in card.text


@pytest.mark.parametrize(
    "words",
    [
        "12,345 parameters",
        "| accuracy | 0.925 | 0.801 to 0.974 | 0.700 to 0.990 |",
        "80 training clips",
        "Made of sines.",
        "gain 6.0, mixup 0.3",
        "classes balanced by sampling",
        "mean -8.250 and standard deviation 4.500",
        "AST takes 25.0 times as long",
        "40 clips of tones, test, seed 42",
        'model="ann/tones-tiny"',
    ],
)
def test_body(results, render, words):
    text = render(results, "ann/tones-tiny").text
    assert words in text
    assert "None" not in text
    assert "{" not in text.split("```bibtex")[0]


def test_the_baseline_has_the_stock_pipeline(results, render):
    """It has no windows of its own; the package registers it."""
    results["model"].update(architecture="ResidualCNNForAudioClassification", tags=[])
    text = render(results).text
    assert "\nimport modeling_asm  # registers the model\n" in text
    assert "An audio classifier (`ResidualCNNForAudioClassification`)" in text
    assert 'pipeline("audio-classification"' in text and "trust_remote_code" not in text


def test_further_clips(results, render):
    results["data"]["train_also"] = {"names": ["sines", "squares"], "clips": 30}
    assert (
        "80 training clips of tones, including 30 of sines, squares, none of which was tested on"
        in render(results).text
    )


def test_several_runs(results, render):
    spread = {"mean": {"accuracy": 0.91}, "std": {"accuracy": 0.0123}}
    results["repeats"] = {"runs": 3, "seeds": [1, 2, 3], **spread}
    text = render(results).text
    assert "This is the first of 3 runs (seeds 1, 2, 3)." in text
    assert "accuracy 0.910 ± 0.012." in text


def test_an_augmentation_that_is_off_is_not_listed(results, render):
    """Noise of 100 dB is none."""
    results["training"]["augmentation"] = {"gain": 6.0, "noise": 100.0, "mixup": 0.0}
    assert "- Augmentation: gain 6.0.\n" in render(results).text
    results["training"]["augmentation"] = {"gain": 0.0, "noise": 10.0, "mixup": 0.2}
    assert "- Augmentation: noise 10.0, mixup 0.2.\n" in render(results).text
    results["training"]["augmentation"] = {"noise": 100.0}
    assert "- Augmentation: none.\n" in render(results).text


def test_what_is_not_known_is_left_out(results, render):
    results["data"].update(licence=None, credit=None)
    results["training"].update(augmentation=None, seconds=None, class_balance="none")
    results["metrics"] = {"mean_average_precision": 0.5}
    results["metrics"] |= {"mean_average_precision_low": 0.4, "mean_average_precision_high": 0.6}
    del results["cost"]
    text = render(results).text
    for word in (
        "None",
        "icence:",
        "Augmentation",
        "class balance",
        " s on ",
        "AST, 12",
        "Confusion matrix",
        "most frequent",
    ):
        assert word not in text
    assert "occur in a clip" in text


def test_a_stem_and_teachers_are_told(results, render):
    assert "convolutions" not in render(results).text and "Distillation" not in render(results).text
    results["model"]["config"] = {"stem_channels": [16, 32]}
    results["training"].update(teachers=["ann/cnn", "bob-cnn"], teacher_share=0.7)
    text = render(results).text
    assert "AST without attention.\n2 convolutions precede the patches; the paper's model" in text
    assert "70% of the target is the mean score of `ann/cnn`, `bob-cnn`, trained on the same clips" in text


def test_another_architecture_is_no_mixer(results, render):
    results["model"].update(architecture="ASTForAudioClassification", tags=[])
    card = render(results)
    assert "An audio classifier (`ASTForAudioClassification`)" in card.text
    assert "Mixer" not in card.text
    assert card.data.tags == ["audio-classification"]


def test_a_checkpoint_that_was_only_evaluated(results, render):
    results["training"] = None
    results["model"]["fine_tuned_from"] = "my-model"
    text = render(results).text
    assert "`my-model` was evaluated unchanged" in text
    assert "like those that it was trained on" not in text


@pytest.mark.parametrize(
    ("groups", "words"), [(1, "1 value of `kit` that is not in"), (3, "3 values of `kit` that are")]
)
def test_groups_that_were_kept_apart(results, render, groups, words):
    results["data"]["apart"] = {"column": "kit", "groups": groups}
    assert words in render(results).text


def test_cross_validation_is_told(results, render):
    """The published classifier has heard every speaker; that of each score had not."""
    results["data"] |= {"apart": {"column": "speaker", "groups": 4}, "test_split": "cross-validation"}
    card = render(results).text
    assert "the published one is fitted to all of them" in card
    assert "no value of `speaker` was learned from while it was tested." in card
    assert "not in the training data" not in card


def test_environment_tells_versions_and_no_paths():
    environment = describe_environment()
    assert environment["transformers"].startswith("5.")
    assert environment["cores"] >= 1
    assert not any("/" in str(value) for value in environment.values())


def test_a_factor_per_epoch_instead_of_a_schedule(tmp_path):
    results = copy.deepcopy(RESULTS)
    results["training"] |= {"step_factor": 0.85, "step_start": 5}
    write_model_card(tmp_path, results)
    text = (tmp_path / "README.md").read_text()
    assert "learning rate times 0.85 after each epoch from 5, learning rate 0.001" in text
    assert "cosine" not in text
