import numpy as np
import pytest
import torch
from transformers import ASTConfig, ASTFeatureExtractor

from modeling_asm.training.teachers.classifier import Classifier, Timeline


WAVEFORMS = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 16000)).astype(np.float32)


def test_asm(checkpoint, model, feature_extractor):
    teacher = Classifier(str(checkpoint))
    assert teacher.sizes == (3, 16)
    short = WAVEFORMS[:, :2000]
    logits, hidden = teacher(short)
    inputs = feature_extractor(list(short), sampling_rate=16000, return_tensors="pt").input_values
    outputs = model(inputs, output_hidden_states=True)
    np.testing.assert_allclose(logits, outputs.logits.detach(), atol=1e-5)
    rows, columns = model.config.patch_grid
    tokens = outputs.hidden_states[-1].reshape(2, rows, columns, 16).mean(1).detach()
    assert hidden.shape[1] <= columns
    np.testing.assert_allclose(hidden, tokens[:, : hidden.shape[1]], atol=1e-5)
    assert teacher.timeline.hop == pytest.approx(0.01 * model.config.time_stride)


@pytest.mark.parametrize(
    ("name", "sizes", "steps"),
    [("ast", (3, 16), 2), ("wav2vec2", (2, 16), 238)],  # 32 frames, each 10; (4800 - 10) // 5 + 1 = 959, // 4 - 1
)
def test_others(request, name, sizes, steps):
    teacher = Classifier(str(request.getfixturevalue(name)))
    assert teacher.sizes == sizes
    logits, hidden = teacher(WAVEFORMS[:, :4800])
    assert logits.shape == (2, sizes[0])
    assert hidden.shape == (2, steps, sizes[1])
    assert torch.isfinite(torch.from_numpy(hidden)).all()


def test_ast_hears_a_change_where_it_is(ast):
    """The patches of a column are averaged over the frequencies: only those of the second half change with it."""
    timeline = Timeline.of(ASTConfig(), ASTFeatureExtractor())
    assert timeline.grid == (12, 101)
    tokens = torch.zeros(1, 2 + 12 * 101, 1)
    tokens[0, 2:].view(12, 101)[:, 50] = 1.0
    (place,) = timeline(tokens, 10.0)[0, :, 0].nonzero()
    assert place * timeline.hop + timeline.first == pytest.approx(5.08)
    with pytest.raises(ValueError, match=r"A sound of 1\.00 s is longer than the window of the teacher, about 0\.36 s"):
        Classifier(str(ast))(WAVEFORMS)


def test_a_rate_that_is_not_stated(wav2vec2):
    path = wav2vec2 / "preprocessor_config.json"
    path.write_text(path.read_text().replace("16000", "null"))
    with pytest.raises(ValueError, match="does not say at which sampling rate the model hears"):
        Classifier(str(wav2vec2))


def test_a_clip_longer_than_a_window_of_asm(checkpoint):
    with pytest.raises(ValueError, match="`output_hidden_states=True` is for clips of one window"):
        Classifier(str(checkpoint))(np.zeros((1, 16000), np.float32))


def test_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError):
        Classifier(str(tmp_path / "nothing"))
