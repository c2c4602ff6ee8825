import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_asm import ASMConfig, ASMForAudioClassification
from modeling_asm.windowing import aggregate_windows, window_starts


@pytest.mark.parametrize(
    ("problem_type", "scores"),
    [
        (None, lambda logits: logits.softmax(-1)),
        ("multi_label_classification", torch.sigmoid),
        ("regression", lambda logits: logits),
    ],
)
def test_windows_of_a_long_clip_are_averaged(model, problem_type, scores):
    """16 frames a window, 8 to the next: 37 frames are heard in windows from 0, 8, 16 and, at the end, 21."""
    model.eval()
    model.config.problem_type = problem_type
    long = torch.randn(1, 37, 24)
    with torch.no_grad():
        windows = torch.cat([model(long[:, start : start + 16]).logits for start in (0, 8, 16, 21)])
        torch.testing.assert_close(scores(model(long).logits)[0], scores(windows).mean(0))
        model.config.window_aggregation = "max"
        best = scores(windows).amax(0)
        best = best / best.sum() if problem_type is None else best
        torch.testing.assert_close(scores(model(long).logits)[0], best)
        model.config.window_aggregation = "logits"
        torch.testing.assert_close(model(long).logits[0], windows.mean(0))
        model.config.window_overlap = 0
        assert window_starts(37, 16, model.config.window_shift) == [0, 16, 21]


@pytest.mark.parametrize("aggregation", ["mean", "max", "logits"])
@pytest.mark.parametrize("problem_type", [None, "multi_label_classification", "regression"])
def test_windows_that_agree_have_the_logits_of_one(problem_type, aggregation):
    """So that a sigmoid over a softmax's logits, or the logits themselves, do not jump beyond one window."""
    logits = torch.tensor([2.0, -1.0, 0.5])
    torch.testing.assert_close(aggregate_windows(logits.expand(4, 3), aggregation, problem_type), logits)


def test_one_label_without_a_problem_type_is_a_regression():
    assert aggregate_windows(torch.tensor([[1.0], [3.0]])).tolist() == [2.0]
    assert aggregate_windows(torch.tensor([[1.0], [3.0]]), "max").tolist() == [3.0]


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=4), row=st.integers(0, 3))
def test_a_clip_in_a_padded_batch_is_heard_as_if_alone(lengths, row):
    torch.manual_seed(0)
    config = ASMConfig(
        hidden_size=8, num_hidden_layers=1, tokens_mlp_dim=4, channels_mlp_dim=8, patch_size=4, frequency_stride=4,
        time_stride=4, max_length=16, num_mel_bins=8, num_labels=3,
    )  # fmt: skip
    model, row = ASMForAudioClassification(config).eval(), row % len(lengths)
    frames = max(16, *lengths)
    batch, mask = torch.full((len(lengths), frames, 8), 7.0), torch.zeros(len(lengths), frames, dtype=torch.long)
    for index, length in enumerate(lengths):
        batch[index, :length] = torch.randn(length, 8)
        mask[index, :length] = 1
    with torch.no_grad():
        alone = model(batch[row : row + 1, : max(16, lengths[row])]).logits
        torch.testing.assert_close(model(batch, attention_mask=mask).logits[row : row + 1], alone, atol=1e-5, rtol=0)
