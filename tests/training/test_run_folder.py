import json

import pytest

from modeling_asm.training.run_folder import (
    check_processes,
    checkpoints,
    clear_unfinished,
    delete_checkpoint,
    finished_results,
    move_into,
    open_run,
    write_whole,
)


def test_a_new_run_and_the_same_command_again(tmp_path):
    settings = {"learning_rate": 0.1, "data_dir": "tones"}
    open_run(tmp_path / "run", settings)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == settings
    (tmp_path / "run" / "checkpoint-11").mkdir()
    open_run(tmp_path / "run", settings)


def test_another_command_is_refused(tmp_path):
    open_run(tmp_path, {"learning_rate": 0.3})
    open_run(tmp_path, {"learning_rate": 0.1})  # nothing to lose yet
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(ValueError, match=r"other settings \(learning_rate 0\.1 -> 0\.2\), and nothing is overwritten"):
        open_run(tmp_path, {"learning_rate": 0.2})


def test_processes_that_do_not_know_of_each_other(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    check_processes(1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_processes(2)
    with pytest.raises(ValueError, match=r"2 processes were launched, but each would work alone.* --use_cpu"):
        check_processes(1)


def test_files_of_ones_own_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="already holds files, and nothing is overwritten"):
        open_run(tmp_path, {})


def test_results_mean_that_a_run_is_done(tmp_path):
    assert finished_results(tmp_path) is None
    (tmp_path / "results.json").write_text('{"metrics": 1}')
    assert finished_results(tmp_path) == {"metrics": 1}


def test_what_is_half_written_has_another_name(tmp_path):
    write_whole(tmp_path / "a.json", "{}")
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    (tmp_path / "unfinished-model").mkdir()
    (tmp_path / "unfinished-a.json").write_text("{")
    clear_unfinished(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_checkpoints_in_order_and_deleted(tmp_path):
    for step in (100, 9, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-best").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-20", "checkpoint-100"]
    delete_checkpoint(tmp_path / "checkpoint-9")
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-20", "checkpoint-100"]


def test_the_weights_arrive_last(tmp_path, monkeypatch):
    (tmp_path / "staged").mkdir()
    for name in ("model.safetensors", "config.json", "README.md", "results.json"):
        (tmp_path / "staged" / name).write_text(name)
    moved = []
    monkeypatch.setattr("os.replace", lambda source, target: moved.append(target.name) or source.rename(target))
    move_into(tmp_path / "staged", tmp_path)
    assert moved[-2:] == ["model.safetensors", "results.json"]
    assert not (tmp_path / "staged").exists()


@pytest.mark.parametrize(
    ("before", "after"), [({"seed": 1, "teachers": 2}, {"seed": 1}), ({"seed": 1}, {"seed": 1, "x": 2})]
)
def test_a_setting_that_only_one_side_has_is_another_run(tmp_path, before, after):
    open_run(tmp_path, before)
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(ValueError, match=r"holds a run with other settings .(teachers 2 -> None|x None -> 2)"):
        open_run(tmp_path, after)
