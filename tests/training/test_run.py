from modeling_asm.training.run import kept_weights


def test_which_weights_are_kept(make_arguments):
    assert kept_weights(make_arguments().training, None) == "the best epoch by loss"
    assert kept_weights(make_arguments().training, 5) == "the mean of the last 5 checkpoints"
    assert kept_weights(make_arguments(load_best_model_at_end=False).training, None) == "the last epoch"
