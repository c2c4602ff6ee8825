import pytest
from datasets import Dataset, DatasetDict

from modeling_asm.training.run import choose_reported, kept_weights


def test_which_weights_are_kept(make_arguments):
    assert kept_weights(make_arguments().training, None) == "the best epoch by loss"
    assert kept_weights(make_arguments().training, 5) == "the mean of the last 5 checkpoints"
    assert kept_weights(make_arguments(load_best_model_at_end=False).training, None) == "the last epoch"


def test_a_regression_is_reported_with_one_output(make_arguments, config, tmp_path):
    config.problem_type = "regression"
    config.save_pretrained(tmp_path / "several")
    args = make_arguments({"evaluate_only": True}, model={"model_name_or_path": str(tmp_path / "several")})
    clips = Dataset.from_dict({"audio": [{"path": "a.wav", "bytes": None}], "label": [0.5]})
    with pytest.raises(ValueError, match="'several' has 3 outputs, expected the one of a regression"):
        choose_reported(args, DatasetDict(test=clips))
