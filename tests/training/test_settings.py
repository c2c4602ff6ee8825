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
