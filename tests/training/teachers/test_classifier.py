import numpy as np
import pytest
import torch

from modeling_asm.training.teachers.classifier import Classifier


WAVEFORMS = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 16000)).astype(np.float32)


def test_asm(checkpoint, model, feature_extractor):
    teacher = Classifier(str(checkpoint))
    assert teacher.sizes == (3, 16)
    short = WAVEFORMS[:, :2000]
    logits, hidden = teacher(short)
    inputs = feature_extractor(list(short), sampling_rate=16000, return_tensors="pt").input_values
    outputs = model(inputs, output_hidden_states=True)
    np.testing.assert_allclose(logits, outputs.logits.detach(), atol=1e-5)
    np.testing.assert_allclose(hidden, outputs.hidden_states[-1].mean(1).detach(), atol=1e-5)


@pytest.mark.parametrize(("name", "sizes"), [("ast", (3, 16)), ("wav2vec2", (2, 16))])
def test_others(request, name, sizes):
    teacher = Classifier(str(request.getfixturevalue(name)))
    assert teacher.sizes == sizes
    logits, hidden = teacher(WAVEFORMS)
    assert logits.shape == (2, sizes[0])
    assert hidden.shape == (2, sizes[1])
    assert torch.isfinite(torch.from_numpy(hidden)).all()


def test_a_clip_longer_than_a_window_of_asm(checkpoint):
    with pytest.raises(ValueError, match="`output_hidden_states=True` is for clips of one window"):
        Classifier(str(checkpoint))(np.zeros((1, 16000), np.float32))


def test_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError):
        Classifier(str(tmp_path / "nothing"))
