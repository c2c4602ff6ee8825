import pytest


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"learning_rate": 0.5}, False),
        ({"adam_beta2": 0.5}, False),
        ({"seed": 7}, False),
        ({"fp16_full_eval": True}, False),
        ({"auto_find_batch_size": True}, False),
        ({"logging_steps": 7}, True),
        ({"dataloader_num_workers": 1}, True),
        ({"per_device_eval_batch_size": 3}, True),
    ],
    ids=str,
)
def test_what_decides_a_result_and_what_does_not(make_arguments, changed, same):
    assert (make_arguments().settings() == make_arguments(**changed).settings()) == same


def test_another_order_of_a_stream_is_another_run(make_arguments):
    args = make_arguments(experiment={"shuffle_buffer": 10})
    assert args.settings() != make_arguments().settings()


def test_settings_have_no_path_of_this_machine(make_arguments, tmp_path):
    args = make_arguments(split={"train_also": [str(tmp_path)]}, model={"model_name_or_path": str(tmp_path)})
    args.data.data_dir = str(tmp_path)
    assert str(tmp_path.parent) not in str(args.settings())


def test_settings_of_the_data_and_the_teachers(make_arguments, checkpoint, tmp_path):
    (tmp_path / "lists").mkdir()
    args = make_arguments(data={"manifest": str(tmp_path / "lists" / "clips.csv")}, teachers=[str(checkpoint)])
    args.clips = "0123"
    settings = args.settings()
    assert settings["dataset_name"] is None
    assert settings["manifest"] == "clips.csv"
    assert settings["clips"] == "0123"
    assert settings["teachers"] == ["checkpoint"]
    assert len(settings["teacher_weights"]) == 16
    assert make_arguments().settings()["manifest"] == ""
    assert make_arguments().settings()["teacher_weights"] is None
    published = make_arguments(data={"dataset_name": "ann/tones"}).settings()
    assert published["dataset_name"] == "ann/tones"
    (checkpoint / "model.safetensors").write_bytes(b"others")
    assert args.settings()["teacher_weights"] != settings["teacher_weights"]


def test_other_weights_of_the_same_name_are_another_start(make_arguments, checkpoint):
    settings = make_arguments(model={"model_name_or_path": str(checkpoint)}).settings()
    (checkpoint / "model.safetensors").write_bytes(b"others")
    again = make_arguments(model={"model_name_or_path": str(checkpoint)}).settings()
    assert {name for name in settings if settings[name] != again[name]} == {"start_weights"}


def test_the_general_encoder_has_defaults_of_its_own(make_arguments):
    general, other = (make_arguments(model={"model_name_or_path": name}) for name in ("general", "scratch"))
    assert (general.training.num_train_epochs, other.training.num_train_epochs) == (10, 40)
    assert (general.training.start_share, other.training.start_share) == (0.5, 0.0)
    assert (general.augmentation.noise, other.augmentation.noise) == (100.0, 10.0)
    given = make_arguments(model={"model_name_or_path": "general"}, num_train_epochs=3)
    assert given.training.num_train_epochs == 3
