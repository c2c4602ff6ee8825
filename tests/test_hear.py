import pytest
import torch

from modeling_asm import ASMFeatureExtractor, ASMModel
from modeling_asm.hear import ASMEmbedding, get_scene_embeddings, get_timestamp_embeddings, load_model


@pytest.fixture
def embedder(checkpoint):
    return load_model(str(checkpoint))


def test_what_hear_asks_of_a_model(embedder):
    assert isinstance(embedder, torch.nn.Module)
    assert (embedder.sample_rate, embedder.scene_embedding_size, embedder.timestamp_embedding_size) == (16000, 16, 16)


@pytest.mark.parametrize("num_samples", [100, 2800, 16000])
def test_shapes_and_times(embedder, num_samples):
    audio = torch.rand(3, num_samples) * 2 - 1
    scenes = get_scene_embeddings(audio, embedder)
    assert (scenes.shape, scenes.dtype) == ((3, 16), torch.float32)
    embeddings, timestamps = get_timestamp_embeddings(audio, embedder)
    number = num_samples // 800 + 1
    assert embeddings.shape == (3, number, 16)
    assert timestamps.shape == (3, number)
    assert timestamps[1].tolist() == [50.0 * index for index in range(number)]
    assert timestamps[0, -1] <= num_samples / 16


def test_a_row_does_not_depend_on_its_neighbours(embedder):
    audio = torch.rand(3, 9000) * 2 - 1
    for function in (get_scene_embeddings, lambda *arguments: get_timestamp_embeddings(*arguments)[0]):
        torch.testing.assert_close(function(audio, embedder)[1:2], function(audio[1:2], embedder), atol=1e-5, rtol=0)


def test_one_window_is_the_pooler_output(embedder, checkpoint):
    audio = torch.rand(1, 2800) * 2 - 1
    inputs = embedder.feature_extractor(audio, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = ASMModel.from_pretrained(checkpoint).eval()(inputs.input_values).pooler_output
    torch.testing.assert_close(get_scene_embeddings(audio, embedder), expected)


def test_a_timestamp_is_in_the_middle_of_its_window(embedder):
    audio = torch.rand(1, 16000) * 2 - 1
    embeddings, _ = get_timestamp_embeddings(audio, embedder)
    start = 10 * 800 - 1400  # 500 ms
    torch.testing.assert_close(
        embeddings[:, 10], get_scene_embeddings(audio[:, start : start + 2800], embedder), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("audio", [torch.zeros(9), torch.zeros(1, 9, dtype=torch.int16), torch.zeros(2, 0)], ids=str)
def test_bad_audio(embedder, audio):
    for function in (get_scene_embeddings, get_timestamp_embeddings):
        with pytest.raises(ValueError, match=r"expected floats of \(n_sounds, n_samples\)"):
            function(audio, embedder)


def test_times_are_those_of_whole_samples(embedder):
    """At 22,050 Hz a step of 10 ms is 220 samples: nominal times would be beyond the end after a minute."""
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=16, sampling_rate=22050)
    other = ASMEmbedding(embedder.model, extractor)
    _, timestamps = get_timestamp_embeddings(torch.rand(1, 60 * 22050), other)
    assert timestamps[0, 1].item() == pytest.approx(5000 * 220 / 22050)
    assert timestamps[0, -1] <= 60_000


@pytest.mark.parametrize("embed", [get_scene_embeddings, get_timestamp_embeddings])
def test_samples_that_are_not_finite(embed, embedder):
    audio = torch.zeros(2, 4000)
    audio[1, 7] = torch.nan
    with pytest.raises(ValueError, match="Clip 1 has the value nan at sample 7"):
        embed(audio, embedder)


def test_a_checkpoint_of_another_model_is_no_embedding(ast):
    """Its weights would be left out, and the Mixer's drawn at random."""
    with pytest.raises(ValueError, match="is a model of the type 'audio-spectrogram-transformer', expected"):
        load_model(str(ast))
