import json

import pytest
import torch
from accelerate import Accelerator

from modeling_asm.training.run_folder import (
    CheckpointError,
    check_processes,
    checkpoints,
    clear_unfinished,
    delete_checkpoint,
    finished_results,
    load_epoch,
    move_into,
    open_run,
    relocate_best,
    save_epoch,
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


@pytest.fixture
def accelerator() -> Accelerator:
    """A real one, with nothing prepared yet."""
    return Accelerator(cpu=True)


def test_a_plain_loop_continues_after_its_last_epoch(tmp_path, accelerator, capsys):
    model = accelerator.prepare(torch.nn.Linear(2, 1))
    assert load_epoch(accelerator, tmp_path) == (0, [])
    log = []
    for epoch in (9, 10):
        torch.nn.init.constant_(model.weight, epoch)
        log.append({"epoch": epoch, "loss": 0.5})
        save_epoch(accelerator, tmp_path, epoch, log)
        assert [path.name for path in tmp_path.iterdir()] == [f"state-{epoch}"]
    torch.nn.init.zeros_(model.weight)
    (tmp_path / "unfinished-state").mkdir()
    assert load_epoch(accelerator, tmp_path) == (10, log)
    assert model.weight.tolist() == [[10, 10]]
    assert capsys.readouterr().out == "Continuing after epoch 10.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["state-10"]


def test_of_two_states_the_later_one_counts(tmp_path, accelerator):
    """A kill between the renaming of a new state and the deletion of the old one leaves both."""
    model = accelerator.prepare(torch.nn.Linear(2, 1))
    for epoch in (9, 10):
        torch.nn.init.constant_(model.weight, epoch)
        save_epoch(accelerator, tmp_path, epoch, [{"epoch": epoch}])
        if epoch == 9:
            (tmp_path / "state-9").rename(tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "state-9")
    assert load_epoch(accelerator, tmp_path) == (10, [{"epoch": 10}])
    assert model.weight.tolist() == [[10, 10]]


def test_a_state_that_cannot_be_written_names_itself(tmp_path, accelerator):
    accelerator.prepare(torch.nn.Linear(2, 1))
    (tmp_path / "unfinished-state").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match=r"Cannot save state-3: .* run the same command again to continue"):
        save_epoch(accelerator, tmp_path, 3, [])


def test_the_best_checkpoint_is_found_where_the_run_has_moved(tmp_path):
    for step in (4, 8):
        (tmp_path / f"checkpoint-{step}").mkdir()
    state = {"best_global_step": 4, "best_model_checkpoint": "elsewhere/checkpoint-4", "epoch": 2.0}
    file = tmp_path / "checkpoint-8" / "trainer_state.json"
    file.write_text(json.dumps(state))
    relocate_best(tmp_path / "checkpoint-8")
    assert json.loads(file.read_text()) == {**state, "best_model_checkpoint": str(tmp_path / "checkpoint-4")}


@pytest.mark.parametrize("best", [4, 12, None])
def test_the_state_of_trainer_stays_as_it_is(tmp_path, best):
    """Where the path is right, the best checkpoint is gone, or none is the best."""
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "checkpoint-8").mkdir()
    text = json.dumps({"best_global_step": best, "best_model_checkpoint": str(tmp_path / f"checkpoint-{best}")})
    file = tmp_path / "checkpoint-8" / "trainer_state.json"
    file.write_text(text)
    relocate_best(tmp_path / "checkpoint-8")
    assert file.read_text() == text
