"""With random weights, as tests/speech_files.py has them."""

import numpy as np
import pytest
from speech_files import write_speech_files

from modeling_asm.training.teachers.speech_embedding import SpeechEmbedding


@pytest.fixture
def files(tmp_path) -> tuple[str, str]:
    return write_speech_files(tmp_path)


def test_along_time_it_gives_what_each_window_gives(files):
    import onnxruntime

    waveforms = np.random.default_rng(1).uniform(-1, 1, (2, 160 * 100)).astype(np.float32)
    embeddings = SpeechEmbedding(*files)(waveforms)
    assert embeddings.shape == (2, 4, 96)  # windows of 76 of the 100 frames, 8 apart
    session = onnxruntime.InferenceSession(files[0])
    bands = [session.run(None, {"input": waveform[None] * 2**15})[0][:, 0] for waveform in waveforms]
    bands = np.concatenate(bands) / 10 + 2
    network = onnxruntime.InferenceSession(files[1])
    for step in range(4):
        window = bands[:, 8 * step : 8 * step + 76, :, None]
        np.testing.assert_allclose(
            embeddings[:, step], network.run(None, {"input": window})[0][:, 0, 0], rtol=1e-4, atol=1e-4
        )


def test_stride(files):
    waveforms = np.random.default_rng(1).uniform(-1, 1, (2, 160 * 100)).astype(np.float32)
    np.testing.assert_array_equal(
        SpeechEmbedding(*files, stride=2)(waveforms), SpeechEmbedding(*files)(waveforms)[:, ::2]
    )


def test_another_network(files):
    with pytest.raises(ValueError, match=r"bands.onnx' has 0 Reshapes, expected the 2 of speech_embedding"):
        SpeechEmbedding(files[0], files[0])


def test_a_loud_sound_does_not_change_what_is_said_of_another(files):
    """The mel bands have a floor, relative to the highest of all that the file gets."""
    waveforms = np.random.default_rng(1).uniform(-1, 1, (3, 160 * 100)).astype(np.float32)
    waveforms *= np.array([[1.0], [0.01], [0.1]], np.float32)
    network = SpeechEmbedding(*files)
    for waveform, embeddings in zip(waveforms, network(waveforms), strict=True):
        np.testing.assert_allclose(network(waveform[None])[0], embeddings, atol=1e-4)


def test_files_that_do_not_fit(files, tmp_path):
    (tmp_path / "other").mkdir()
    others = write_speech_files(tmp_path / "other", num_bands=24)
    with pytest.raises(ValueError, match=r"The mel bands have the shape \(1, .*24\), expected \(\.\.\., 32\)"):
        SpeechEmbedding(others[0], files[1])(np.zeros((1, 16000), np.float32))
    (tmp_path / "page.onnx").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"page.onnx' is not an ONNX file. Download it again"):
        SpeechEmbedding(str(tmp_path / "page.onnx"), files[1])
