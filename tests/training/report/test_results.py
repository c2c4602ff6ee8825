from dataclasses import asdict

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers.trainer_utils import TrainOutput

from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.loading import DataArguments
from modeling_asm.training.frontend import Frontend
from modeling_asm.training.models import ModelArguments
from modeling_asm.training.report.results import (
    count_confusions,
    describe_data,
    describe_model,
    describe_training,
    format_summary,
    is_score,
    kept_weights,
    repeats,
    score,
    summarise,
)


SINGLE = Features({"label": ClassLabel(names=["cat", "dog"])})
LOGITS, REFERENCES = np.array([[1.0, 0], [0, 1], [1, 0], [1, 0]] * 5), np.array([0, 1, 1, 0] * 5)


def run(seed, accuracy, steps=500) -> dict:
    return {
        "command": "asm-train",
        "data": {"name": "tones", "test_split": "test", "clips": {"train": 8, "test": 4}},
        "model": {"parameters": 1234, "fine_tuned_from": None},
        "training": {"seed": seed, "seconds": 3, "steps": steps},
        "metrics": {"accuracy": accuracy, "accuracy_low": 0.1, "accuracy_high": 0.9, "chance": 0.5},
        "environment": {},
    }


def test_scores_with_groups():
    clips = Dataset.from_dict({"speaker": [f"speaker {row % 5}" for row in range(20)]})
    scores = score(SINGLE, LOGITS, REFERENCES, 50, clips, "speaker")
    assert scores["accuracy"] == 0.75
    assert scores["chance"] == 0.5
    assert (scores["by_group"]["column"], scores["by_group"]["groups"]) == ("speaker", 5)
    few = Dataset.from_dict({"speaker": ["ann", "bob"] * 10})
    assert "by_group" not in score(SINGLE, LOGITS, REFERENCES, 50, few, "speaker")
    assert "by_group" not in score(SINGLE, LOGITS, REFERENCES, 50, clips, None)
    assert "accuracy_low" not in score(SINGLE, LOGITS, REFERENCES, 0, clips, "speaker")


def test_confusions():
    assert count_confusions(SINGLE, LOGITS, REFERENCES) == {"confusion_matrix": [[10, 0], [5, 5]]}
    assert count_confusions(Features({"label": Value("float32")}), LOGITS, REFERENCES) == {}
    assert count_confusions(Features({"label": List(ClassLabel(names=["a", "b"]))}), LOGITS, REFERENCES) == {}


def test_data_without_paths_of_this_machine(tmp_path, monkeypatch):
    args = DataArguments(data_dir=str(tmp_path / "tones"))
    described = describe_data(args, SINGLE, "test", {"test": 3}, [f"'{tmp_path}/tones/a.wav' is truncated"])
    assert described["name"] == "tones"
    assert described["dataset_name"] is None
    assert described["skipped_files"] == ["'a.wav' is truncated"]
    monkeypatch.chdir(tmp_path)
    for folder in ("tones", "../" + tmp_path.name + "/tones", str(tmp_path / "tones")):
        problems = [f"Cannot decode '{tmp_path}/tones/b/a.wav': Error opening {str(tmp_path / 'tones/b/a.wav')!r}"]
        described = describe_data(DataArguments(data_dir=folder), SINGLE, "test", {"test": 3}, problems)
        assert described["skipped_files"] == ["Cannot decode 'b/a.wav': Error opening 'b/a.wav'"]
    assert described["labels"] == ["cat", "dog"]


def test_models(model, feature_extractor, checkpoint):
    described = describe_model(ModelArguments(model_name_or_path="scratch"), model, Frontend(feature_extractor, 1.0))
    assert described["parameters"] == model.num_parameters()
    assert described["window_seconds"] == feature_extractor.nb_max_samples / 16000
    assert described["tags"] == ["audio-spectrogram-mixer", "mlp-mixer"]
    local = describe_model(ModelArguments(model_name_or_path=str(checkpoint)), model, Frontend(feature_extractor, 1.0))
    assert (local["base_model"], local["fine_tuned_from"]) == (None, "checkpoint")
    remote = describe_model(ModelArguments(model_name_or_path="ann/tones"), model, Frontend(feature_extractor, 1.0))
    assert (remote["base_model"], remote["fine_tuned_from"]) == ("ann/tones", "ann/tones")


def test_several_runs():
    summary = summarise([run(1, 0.5), run(2, 0.7), run(3, 0.9)])
    assert summary["mean"] == {"accuracy": pytest.approx(0.7)}
    assert summary["std"] == {"accuracy": pytest.approx(0.2)}
    assert [part["seed"] for part in summary["runs"]] == [1, 2, 3]
    assert repeats(summary)["seeds"] == [1, 2, 3]
    text = format_summary(summary)
    assert "seed 2, test" in text
    assert "0.700 +- 0.200" in text


def test_one_run():
    text = format_summary(run(1, 0.5, steps=20))
    assert "4 clips of tones, test" in text
    assert "0.500 (95% interval 0.100 to 0.900)" in text
    assert "always the most frequent class  0.500" in text
    assert "Training took only 20 steps, from random weights." in text
    assert "steps only" not in format_summary(run(1, 0.5))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("accuracy", 0.5, True), ("accuracy_low", 0.5, False), ("chance", 0.5, False), ("by_group", {}, False)],
)
def test_what_is_a_score(name, value, expected):
    assert is_score(name, value) == expected


def test_clips_without_a_speaker_are_groups_of_their_own():
    clips = Dataset.from_dict({"speaker": ["ann"] * 10 + [None] * 10})
    assert score(SINGLE, LOGITS, REFERENCES, 50, clips, "speaker")["by_group"]["groups"] == 11


def test_what_the_clips_do_not_define_is_left_out():
    features = Features({"label": Value("float32")})
    scores = score(features, np.array([[0.5], [0.7]]), np.array([0.5, 0.5]), 10)
    assert {name.removesuffix("_low").removesuffix("_high") for name in scores} == {"mean_squared_error"}
    first, second = run(1, 0.5), run(2, 0.7)
    del second["metrics"]["accuracy"]
    assert summarise([first, second])["mean"] == {}


def test_the_licence_of_a_start(model, feature_extractor, checkpoint):
    args, frontend = ModelArguments(model_name_or_path=str(checkpoint)), Frontend(feature_extractor, 1.0)
    assert describe_model(args, model, frontend)["start_licence"] is None
    (checkpoint / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    assert describe_model(args, model, frontend)["start_licence"] == "cc-by-4.0"


def test_outputs_that_are_not_finite_have_no_score():
    logits = LOGITS.copy()
    logits[[3, 5], 1] = np.nan
    with pytest.raises(FloatingPointError, match=r"for 2 of 20 clips are not finite: for clip 3, \[1\.0, nan\]"):
        score(SINGLE, logits, REFERENCES, 0)


def test_the_description_of_a_training(make_arguments, checkpoint):
    output = TrainOutput(7, 0.5, {"train_runtime": 2.6})
    options = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "teacher_share": 0.25}
    args = make_arguments({"augment": True}, model={"freeze_encoder": True}, teachers=[str(checkpoint)], **options)
    described = describe_training(args, output, None, None)
    assert described["teachers"] == ["checkpoint"]
    assert (described["teacher_share"], described["steps"], described["batch_size"]) == (0.25, 7, 12)
    assert described["augmentation"].keys() == asdict(Augmentation()).keys()
    assert (described["freeze_encoder"], described["seconds"]) == (True, 3)
    assert described["lr_scheduler_type"] == "cosine"
    assert "step_factor" not in described
    assert describe_training(args, output, "checkpoint-3", None)["seconds"] is None
    plain = describe_training(make_arguments({"augment": False}), output, None, 2)
    assert plain["augmentation"] is None
    assert plain["kept"] == "the mean of the last 2 checkpoints"
    assert not {"teachers", "teacher_share"} & set(plain)
    assert describe_training(args, None, None, None) is None


def test_which_weights_are_kept(make_arguments):
    assert kept_weights(make_arguments().training, None) == "the best epoch by loss"
    assert kept_weights(make_arguments().training, 5) == "the mean of the last 5 checkpoints"
    assert kept_weights(make_arguments(average_last=2).training, 2) == "the mean of the last 2 checkpoints"
    assert kept_weights(make_arguments(average_last=2).training, 1) == "the last checkpoint"
    general = make_arguments(model={"model_name_or_path": "general"}, start_share=0.25)
    assert kept_weights(general.training, None) == "75% of the best epoch by loss, 25% of the start"
