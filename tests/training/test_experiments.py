from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from modeling_asm.training.experiments import check_arguments, plan_runs


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
    ],
    ids=str,
)
def test_arguments_that_contradict_each_other(make_arguments, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_arguments(make_arguments(**arguments))
