import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from modeling_asm.audio import load_audio
from modeling_asm.embeddings import Embedder, SimilarRecordings, embed_folder, lay_out
from modeling_asm.hear import get_scene_embeddings, load_model


@pytest.fixture
def embedder(checkpoint) -> Embedder:
    return Embedder(str(checkpoint))


def test_a_recording_is_embedded_as_by_hears_api(embedder, checkpoint, tones):
    path = str(tones / "low" / "00.wav")
    embedding = embedder(path)
    assert embedder.size == 16
    audio = torch.from_numpy(load_audio(path))[None]
    np.testing.assert_allclose(embedding.vector, get_scene_embeddings(audio, load_model(str(checkpoint)))[0], atol=1e-5)
    np.testing.assert_allclose(embedding.windows.mean(0), embedding.vector, atol=1e-6)
    assert embedding.times.shape == (len(embedding.windows), 2)
    assert embedding.times[0, 0] == 0


def test_many_windows_in_batches_are_those_of_each_alone(embedder):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48000).astype(np.float32)
    embedding = embedder({"array": noise, "sampling_rate": 16000})
    assert len(embedding.windows) > 16
    first, second = (round(time * 16000) for time in embedding.times[20])
    alone = embedder({"array": noise[first:second], "sampling_rate": 16000})
    np.testing.assert_allclose(embedding.windows[20], alone.windows[0], atol=1e-5)


def test_an_overlap_of_ones_own(checkpoint):
    noise = {"array": np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32), "sampling_rate": 16000}
    few, many = (len(Embedder(str(checkpoint), window_overlap=overlap)(noise).windows) for overlap in (0.0, 0.75))
    assert many > 3 * few
    with pytest.raises(ValueError, match=r"`window_overlap` must be at least 0 and below 1, got 1.5"):
        Embedder(str(checkpoint), window_overlap=1.5)


def test_a_folder(embedder, tones, capsys):
    (tones / "low" / "broken.wav").write_bytes(b"RIFF")
    (tones / "low" / "gone.wav").symlink_to(tones / "nowhere.wav")
    embeddings, errors = embed_folder(str(tones), embedder)
    assert "low/00.wav" in embeddings
    assert list(errors) == ["low/broken.wav"]
    assert "broken.wav" in str(errors["low/broken.wav"])
    assert "41 used; left out: 1 broken links ('low/gone.wav')" in capsys.readouterr().err


def test_folders_without_recordings(embedder, tmp_path):
    with pytest.raises(NotADirectoryError, match="nowhere' is not a folder"):
        embed_folder(str(tmp_path / "nowhere"), embedder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"There are no recordings in .*empty"):
        embed_folder(str(tmp_path / "empty"), embedder)
    (tmp_path / "empty" / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"None of the 1 recordings in .*empty' can be read: "):
        embed_folder(str(tmp_path / "empty"), embedder)


def test_the_most_similar_recordings():
    rng = np.random.default_rng(0)
    centres = 5 * rng.standard_normal((3, 8))
    embeddings = np.repeat(centres, 4, axis=0) + 0.1 * rng.standard_normal((12, 8))
    names = [f"{kind}{number}" for kind in "abc" for number in range(4)]
    similar = SimilarRecordings(names, embeddings)
    found = similar.find(centres[1], 4)
    assert {name for name, _ in found} == {"b0", "b1", "b2", "b3"}
    scores = [score for _, score in similar.find(embeddings[0], 20)]
    assert len(scores) == 12
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= -1 - 1e-6


def test_one_recording_and_none():
    (pair,) = SimilarRecordings(["only"], np.ones((1, 3))).find(np.array([1.0, 2.0, 3.0]), 5)
    assert pair[0] == "only"
    with pytest.raises(ValueError, match="There is no recording to compare with"):
        SimilarRecordings([], np.zeros((0, 3)))


@given(npst.arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=st.floats(-1e3, 1e3)))
def test_every_recording_has_a_place_on_the_map(embeddings):
    places = lay_out(embeddings)
    assert places.shape == (len(embeddings), 2)
    assert np.isfinite(places).all()
    assert places.min() >= 0
    assert places.max() <= 1 + 1e-6


def test_similar_recordings_are_close_on_the_map():
    rng = np.random.default_rng(0)
    embeddings = np.repeat(10 * rng.standard_normal((3, 8)), 20, axis=0) + 0.1 * rng.standard_normal((60, 8))
    places = lay_out(embeddings).reshape(3, 20, 2)
    centres = places.mean(1)
    within = np.linalg.norm(places - centres[:, None], axis=2).mean()
    between = np.linalg.norm(centres[0] - centres[1])
    assert within < between / 3
    np.testing.assert_array_equal(lay_out(embeddings), lay_out(embeddings))


def test_a_stereo_file_and_its_channel(embedder, tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "stereo.wav", rng.uniform(-0.5, 0.5, (8000, 2)), 16000)
    both, right = embedder(str(tmp_path / "stereo.wav")), embedder(str(tmp_path / "stereo.wav"), channel=1)
    assert not np.allclose(both.vector, right.vector)
