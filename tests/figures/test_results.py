"""The committed results: what they reach, and what defaults rest on them. Tests of code are elsewhere."""

import json

import numpy as np
import pytest

from modeling_asm import ASMFeatureExtractor
from modeling_asm.feature_extraction_asm import PADDING_MODES
from modeling_asm.training.models import ModelArguments


def results_of(repository, name) -> dict:
    return json.loads((repository / "research" / "results" / f"{name}.json").read_text())


RECORDED = ("speech_commands_clips", "spoken_digits", "spoken_digits_unseen_speakers", "drum_sounds")
TAUGHT = ("speech_commands_clips_distilled", "speech_commands_clips_distilled_mini")
TAUGHT += ("spoken_digits_unseen_speakers_distilled", "drum_sounds_distilled")
CNNS = ("speech_commands_clips_cnn", "spoken_digits_unseen_speakers_cnn", "drum_sounds_cnn")


@pytest.mark.parametrize("name", [*RECORDED, *CNNS])
def test_trainings_have_three_seeds_and_their_command(repository, name):
    results = results_of(repository, name)
    assert [run["seed"] for run in results["runs"]] == [42, 43, 44]
    assert results["command"].startswith(f"asm-train recipes/{name}.yaml ")


@pytest.mark.parametrize("name", TAUGHT)
def test_taught_models_have_one_seed_and_their_command(repository, name):
    results = results_of(repository, name)
    assert results["training"]["seed"] == 42
    assert results["command"].startswith(f"asm-train recipes/{name}.yaml ")


def test_the_quickstart_is_above_chance(repository):
    metrics = results_of(repository, "quickstart")["metrics"]
    assert metrics["chance"] == 0.1 and metrics["accuracy"] > 0.8


def test_what_the_default_loading_rests_on(repository):
    """Cached samples are faster than decoding again, with any number of workers."""
    rows = results_of(repository, "loading")["loading"]
    speeds = {(row["samples"], row["workers"]): row["clips_per_second"] for row in rows}
    for workers in (0, 1, 2):
        assert speeds["kept", workers] > speeds["decoded in each epoch", workers]


def test_exports_keep_labels_and_accuracy(repository):
    for row in results_of(repository, "exports")["exports"]:
        if row["form"].endswith(" float32"):
            assert row["largest_difference"] < 1e-4
            assert row["same_label"] == 1
        if row["form"] == "bfloat16":
            assert row["same_label"] >= 0.995
        if row["form"] == "onnx int8" and row["data"] == "speech_commands":
            assert row["gain"] >= -0.005


@pytest.mark.parametrize("author", ["Artemio", "Millo", "BJA_Pacific"])
def test_runs_with_an_author_left_out_differ_in_the_sound_fonts_alone(repository, author):
    without, along = (results_of(repository, f"drum_sounds_authors/{name}-{author}") for name in ("without", "with"))
    assert (without["training"]["steps"], along["training"]["steps"]) == (800, 800)
    assert without["data"]["test_split"] == along["data"]["test_split"] == f"rows with author {author}"


def test_the_benchmark_reaches_what_is_asked_of_it(repository):
    """Extraction without torchaudio, forward passes, files to labels, training with AST's strides, and int8."""
    results = results_of(repository, "benchmark")
    ratios = {(row["clips"], row["seconds"]): row["ratio"] for row in results["extract"]["rows"]}
    assert not results["extract"]["torchaudio"]
    assert ratios[32, 1]["ast / asm"] >= 8
    assert ratios[8, 10]["ast / asm"] >= 12
    assert all(ratio["kaldi / asm"] >= 1 for ratio in ratios.values())
    assert all(ratios[case]["limit / asm"] >= 0.5 for case in ((32, 1), (8, 10)))
    for row in results["forward"]["rows"]:
        if row["tokens"] in (512, 64):
            assert row["ratio"]["limit / asm"] >= 0.85
            assert row["ratio"]["limit_bfloat16 / asm_bfloat16"] >= 0.75
            assert row["ratio"]["asm / asm_bfloat16"] >= 2
    ratios = {(row["clips"], row["seconds"]): row["ratio"] for row in results["pipeline"]["rows"]}
    assert ratios[8, 10]["ast / asm"] >= 4
    assert ratios[8, 10]["ast / asm_stride_10"] >= 1.3
    assert all(row["ratio"]["ast / asm_stride_10"] >= 1.3 for row in results["train"]["rows"])
    for row in results["export"]["rows"]:
        if row["model"] == "base":
            assert row["ratio"]["torch / onnx_int8"] >= 2.5
            assert row["file_megabytes"]["int8"] / row["file_megabytes"]["float32"] < 0.26


@pytest.mark.parametrize(
    ("name", "least"),
    [("spoken_digits", 0.98), ("spoken_digits_unseen_speakers", 0.80), ("speech_commands_clips", 0.85)],
)
def test_the_trainings_reach_what_is_asked_of_them(repository, name, least):
    results = results_of(repository, name)
    assert results["mean"]["accuracy"] >= least
    assert results["environment"]["accelerator"] == "none"


def test_the_default_padding_is_the_one_that_did_best(repository):
    sets = results_of(repository, "padding")["accuracy"].values()
    means = {mode: np.mean([np.mean(accuracy[mode]) for accuracy in sets]) for mode in PADDING_MODES}
    assert max(means, key=means.get) == ASMFeatureExtractor().padding_mode == ModelArguments().new("padding")
