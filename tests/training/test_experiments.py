from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from modeling_asm.training.experiments import check_arguments, check_streamable, plan_runs


@pytest.fixture
def dataset() -> DatasetDict:
    rows = {"label": [0, 1] * 4, "fold": [1, 1, 2, 2, 10, 10, 2, 2]}
    return DatasetDict(train=Dataset.from_dict(rows).cast_column("label", ClassLabel(names=["a", "b"])))


def test_a_run_for_each_seed_and_fold(make_arguments, dataset, tmp_path):
    runs = plan_runs(make_arguments({"seeds": [1, 2], "cross_validate": True}, {"fold_column": "fold"}), dataset)
    folders = [str(Path(run.training.output_dir).relative_to(tmp_path / "run")) for run in runs]
    assert folders == [f"seed-{seed}/fold-{fold}" for seed in (1, 2) for fold in (1, 2, 10)]
    assert [run.split.hold_out for run in runs][:3] == ["fold=1", "fold=2", "fold=10"]
    assert [run.training.seed for run in runs] == [1, 1, 1, 2, 2, 2]
    (alone,) = plan_runs(make_arguments(), dataset)
    assert alone.training.output_dir == str(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"experiment": {"evaluate_only": True}}, "--evaluate_only needs the checkpoint"),
        ({"resume_from_checkpoint": "x"}, "Omit --resume_from_checkpoint: the same command continues"),
        (
            {"experiment": {"cross_validate": True}, "teachers": ["x"]},
            "Omit --teachers: --evaluate_only trains nothing",
        ),
        ({"teacher_share": 0.5}, r"--teacher_share 0\.5 would have no effect without --teachers"),
        (
            {"split": {"fold_column": "fold"}},
            r"--fold_column fold would have no effect: add --cross_validate, or .* with --hold_out fold=\.\.\.",
        ),
        (
            {"experiment": {"cross_validate": True}, "split": {"fold_column": "fold", "hold_out": "speaker=ann"}},
            "--cross_validate holds out each fold in turn. Omit --hold_out speaker=ann",
        ),
        (
            {"split": {"hold_out": "fold=1", "test_split": "validation"}},
            "--test_split would have no effect: --hold_out divides all clips",
        ),
        (
            {"experiment": {"cross_validate": True}, "split": {"fold_column": "fold", "train_split": "all"}},
            "--train_split would have no effect: --cross_validate divides all clips",
        ),
        (
            {"split": {"hold_out": "fold=1", "test_fraction": 0.4}},
            "--test_fraction would have no effect: --hold_out divides all clips",
        ),
    ],
    ids=str,
)
def test_arguments_that_contradict_each_other(make_arguments, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_arguments(make_arguments(**arguments))


def test_a_recipe_may_name_the_folds_and_the_one_to_hold_out(make_arguments):
    """With `--cross_validate`, each is held out; without it, the one."""
    split = {"fold_column": "fold", "hold_out": "fold=1"}
    for cross_validate in (False, True):
        check_arguments(make_arguments({"cross_validate": cross_validate}, split))


@pytest.mark.parametrize(
    ("split", "option"), [({"group_column": "speaker"}, "--group_column"), ({"test_fraction": 0.4}, "--test_fraction")]
)
def test_a_stream_is_not_divided(make_arguments, split, option):
    with pytest.raises(ValueError, match=f"{option} needs the whole data set. It cannot be combined with --streaming"):
        check_streamable(make_arguments(split=split, max_steps=10))
    check_streamable(make_arguments(max_steps=10))
