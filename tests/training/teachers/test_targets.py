import numpy as np
import pytest

from modeling_asm.training.teachers.targets import Target, Teacher


LOUDNESS = Target("loud.embedding", 1)


def teacher(label, targets=(LOUDNESS,), rate=8000) -> Teacher:
    return Teacher("loud", "0", rate, targets, label)


def test_a_teacher_hears_at_its_own_rate():
    heard = []

    def label(waveforms):
        heard.append(waveforms)
        return (np.abs(waveforms).mean(1, keepdims=True),)

    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    output = teacher(label)(np.stack([tone, 0.5 * tone]), 16000)
    assert heard[0].shape == (2, 8000)
    assert heard[0].dtype == np.float32
    half = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    np.testing.assert_allclose(heard[0][0, 100:-100], half[100:-100], atol=1e-3)
    assert output["loud.embedding"].shape == (2, 1)


def test_an_output_of_another_shape():
    with pytest.raises(
        ValueError, match=r"The teacher 'loud' gives 'loud.embedding' of shape \(2, 3\), expected \(batch"
    ):
        teacher(lambda waveforms: (np.zeros((2, 3)),))(np.zeros((2, 8000), np.float32), 8000)
    along = Target("loud.steps", 3, hop=0.1)
    with pytest.raises(ValueError, match=r"of shape \(2, 3\), expected \(batch_size, steps, 3\)"):
        teacher(lambda waveforms: (np.zeros((2, 3)),), (along,))(np.zeros((2, 8000), np.float32), 8000)


def test_an_output_that_is_not_finite():
    with pytest.raises(ValueError, match=r"'loud.embedding' that is not finite"):
        teacher(lambda waveforms: (np.full((2, 1), np.nan),))(np.zeros((2, 8000), np.float32), 8000)


def test_what_a_bank_keeps():
    assert teacher(None).describe() == {
        "name": "loud",
        "digest": "0",
        "targets": [{"name": "loud.embedding", "size": 1, "hop": 0.0, "first": 0.0, "labels": False}],
    }
