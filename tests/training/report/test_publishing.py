"""What is published; tests/test_hub.py publishes it."""

import pytest
from hub import TOKEN

from modeling_asm.training.report.publishing import (
    PublishingError,
    code_license,
    first_line,
    open_repository,
    published_files,
    push_to_hub,
)


def test_the_licence_is_the_packages(repository):
    assert code_license() == (repository / "LICENSE").read_text()


def test_pickles_and_settings_stay_here(tmp_path):
    names = ["model.safetensors", "README.md", "LICENSE", "fbank.py", "results.json", "per_class.csv", "per_class.png"]
    private = ["training_args.bin", "run.json", "optimizer.pt", "rng_state.pth", ".env", "notes.txt"]
    for name in (*names, *private):
        (tmp_path / name).touch()
    assert published_files(tmp_path) == sorted(names)


def test_without_a_network(tmp_path):
    with pytest.raises(PublishingError, match="is not a checkpoint: it has no config"):
        push_to_hub(tmp_path, "me/x")
    (tmp_path / "config.json").touch()
    with pytest.raises(PublishingError, match=r"Cannot write to 'me/x' on the Hub: .*log in with `hf auth login`"):
        push_to_hub(tmp_path, "me/x")


@pytest.mark.parametrize(
    ("error", "line"), [(OSError("one.\ntwo"), "one"), (KeyError(), "KeyError"), (ValueError("  x  "), "x")]
)
def test_one_line(error, line):
    assert first_line(error) == line


def test_nothing_from_sub_folders(tmp_path):
    for name in ("model.safetensors", "state-4/model.safetensors", "checkpoint-4/config.json", "data/metadata.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert published_files(tmp_path) == ["model.safetensors"]


def test_a_name_and_a_private_repository(make_arguments, hub):
    arguments = {"hub_token": TOKEN, "hub_private_repo": True}
    assert open_repository(make_arguments(**arguments).training) is None
    assert not hub.repositories
    training = make_arguments(push_to_hub=True, hub_model_id="ann/tones", **arguments).training
    assert open_repository(training) == "ann/tones"
    assert training.push_to_hub is False  # Trainer would push each checkpoint
    assert hub.repositories["models", "ann/tones"].private
    with pytest.raises(PublishingError):
        open_repository(make_arguments(push_to_hub=True, hub_token="hf_wrong").training)


def test_whoever_may_only_read_is_refused_before_the_training(make_arguments, hub):
    """The Hub's `exist_ok` hands an existing public repository to anyone."""
    arguments = {"push_to_hub": True, "hub_model_id": "ann/tones"}
    open_repository(make_arguments(**arguments, hub_token=TOKEN).training)
    with pytest.raises(PublishingError, match="log in with `hf auth login` and a token with write access"):
        open_repository(make_arguments(**arguments, hub_token="hf_wrong").training)
