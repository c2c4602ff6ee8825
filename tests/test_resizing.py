import copy

import pytest
import torch
from transformers import AutoModelForAudioClassification

from modeling_asm import ASMConfig, ASMForAudioClassification
from modeling_asm.resizing import resize_pictures, resize_tokens


GEOMETRY = {"max_length": 16, "num_mel_bins": 24, "patch_size": (8, 4), "frequency_stride": 8, "time_stride": 4}


def test_the_same_geometry_leaves_every_bit(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.resize_spectrogram(**GEOMETRY) is model
    assert model.resize_spectrogram(max_length=17) is model  # another window, the same patches
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


CHANGES = {
    "longer": {"max_length": 32},
    "shorter": {"max_length": 8},
    "more-bins": {"num_mel_bins": 40},
    "denser": {"time_stride": 1, "frequency_stride": 4},
    "patch": {"patch_size": (12, 6), "frequency_stride": 12},
}


@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_resized_model_runs_saves_and_loads(model, tmp_path, change, stretch):
    model.eval().resize_spectrogram(**CHANGES[change], stretch=stretch).save_pretrained(tmp_path)
    again = ASMForAudioClassification.from_pretrained(tmp_path).eval()
    config = again.config
    assert (config.patch_grid, config.patch_shape) == (model.config.patch_grid, model.config.patch_shape)
    assert again.audio_spectrogram_mixer.layers[0].token_mixing.fc1.weight.shape == (8, config.num_patches)
    input_values = torch.randn(2, config.max_length, config.num_mel_bins)
    torch.testing.assert_close(again(input_values).logits, model(input_values).logits)


def test_what_was_learnt_of_a_moment_stays_there(model):
    """Twice the window and back: every bit returns, and on the way the new patches have no say."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.resize_spectrogram(max_length=32)
    fc1 = model.audio_spectrogram_mixer.layers[0].token_mixing.fc1.weight.unflatten(1, (3, 8))
    old = before["audio_spectrogram_mixer.layers.0.token_mixing.fc1.weight"].unflatten(1, (3, 4))
    assert torch.equal(fc1[..., :4], old)
    assert (fc1[..., 4:] == 0).all()
    model.resize_spectrogram(max_length=16)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("change", [{"time_stride": 1}, {"num_mel_bins": 72}, {"frequency_stride": 2}], ids=str)
def test_there_and_back_again_loses_little(model, change):
    """Less than a fifth of smooth weights' size, as trained ones are; white noise has no neighbours to ask."""
    smooth = torch.cos(torch.arange(4) / 4) * torch.arange(1, 4)[:, None]
    for layer in model.audio_spectrogram_mixer.layers:
        layer.token_mixing.fc1.weight.data[:] = smooth.flatten()
    before = model.audio_spectrogram_mixer.layers[0].token_mixing.fc1.weight.clone()
    model.resize_spectrogram(**change)
    model.resize_spectrogram(**{name: GEOMETRY[name] for name in change})
    after = model.audio_spectrogram_mixer.layers[0].token_mixing.fc1.weight
    assert (after - before).norm() / before.norm() < 0.2


@pytest.mark.parametrize("change", [{"time_stride": 1}, {"frequency_stride": 4}, {"num_mel_bins": 48}], ids=str)
@pytest.mark.parametrize("stretch", [False, True])
def test_pre_activations_keep_their_size(model, change, stretch):
    """Tokens that are alike everywhere: the sums over more of them are the same, but for the grid's edges."""
    mixing = model.audio_spectrogram_mixer.layers[0].token_mixing
    mixing.fc1.weight.data.uniform_(0.5, 1.0)
    before = mixing.fc1.weight.sum(1)
    model.resize_spectrogram(**change, stretch=stretch)
    ratio = mixing.fc1.weight.sum(1) / before
    assert (ratio > 0.7).all()
    assert (ratio < 1.3).all()


def test_a_resized_patch_gives_the_token_of_the_original(model):
    """Source: https://arxiv.org/abs/2212.08013, equation 4: exact where the patch grows."""
    projection, patches = model.audio_spectrogram_mixer.patch_embeddings.projection, torch.randn(5, 1, 8, 4)
    before = projection(patches)
    model.resize_spectrogram(patch_size=(16, 8))
    larger = torch.nn.functional.interpolate(patches, size=(16, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(projection(larger), before, atol=1e-4, rtol=0)


def test_a_new_window_without_the_call_names_it(model, tmp_path):
    model.save_pretrained(tmp_path)
    for load in (ASMForAudioClassification.from_pretrained, AutoModelForAudioClassification.from_pretrained):
        with pytest.raises(RuntimeError, match=r"so does the geometry.*\.resize_spectrogram\(max_length="):
            load(tmp_path, max_length=32)
    with pytest.raises(ValueError, match="resize_spectrogram"):
        model(torch.zeros(1, 12, 24))


def test_an_impossible_geometry_leaves_the_model_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit"):
        model.resize_spectrogram(max_length=2)
    assert model.config.max_length == 16
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_with_a_stem_is_resized(stemmed, change):
    stemmed.eval().resize_spectrogram(**CHANGES[change])
    config = stemmed.config
    input_values = torch.randn(2, config.max_length, config.num_mel_bins)
    outputs = stemmed.audio_spectrogram_mixer(input_values)
    assert outputs.last_hidden_state.shape == (2, config.num_patches, config.hidden_size)


def test_models_of_one_configuration_are_resized_one_by_one(config, input_values):
    """The configuration that a model was made of may be another model's, too."""
    one, other = ASMForAudioClassification(config).eval(), ASMForAudioClassification(config).eval()
    expected = other(input_values).logits
    one.resize_spectrogram(max_length=32)
    assert (config.max_length, other.config.max_length, one.config.max_length) == (16, 16, 32)
    assert one.audio_spectrogram_mixer.config is one.config
    assert torch.equal(other(input_values).logits, expected)
    assert one(torch.randn(1, 32, 24)).logits.shape == (1, 3)


def geometry(**changes) -> ASMConfig:
    return ASMConfig(**{**GEOMETRY, **changes})


def test_interpolation_by_hand():
    """Patches along time alone, each 4 frames long: what they are interpolated from, and how much denser they are."""
    one_row = {"num_mel_bins": 8, "patch_size": (8, 4)}
    old = geometry(**one_row, max_length=16)  # centres at 2, 6, 10, 14
    same, density = resize_tokens(old, old)
    assert torch.equal(same, torch.eye(4, dtype=torch.float64)) and density == 1
    longer, density = resize_tokens(old, geometry(**one_row, max_length=24))
    assert torch.equal(longer, torch.eye(6, 4, dtype=torch.float64)) and density == 1
    denser, density = resize_tokens(old, geometry(**one_row, time_stride=2))  # centres at 2, 4, 6, ..., 14
    expected = torch.zeros(7, 4, dtype=torch.float64)
    for row in range(7):
        expected[row, row // 2] += 0.5
        expected[row, (row + 1) // 2] += 0.5
    torch.testing.assert_close(denser, expected)
    assert density == 2
    back, density = resize_tokens(geometry(**one_row, time_stride=2), old)  # triangles of twice the old step
    expected = torch.zeros(4, 7, dtype=torch.float64)
    for row in range(4):
        for column, weight in ((2 * row - 1, 0.25), (2 * row, 0.5), (2 * row + 1, 0.25)):
            if 0 <= column < 7:
                expected[row, column] = weight
    torch.testing.assert_close(back, expected / expected.sum(1, keepdim=True))
    assert density == 0.5


def test_positions_are_frames_or_fractions():
    """Twice the window at the same stride: the old patches stay at their frames, or are stretched over the window."""
    one_row = {"num_mel_bins": 8, "patch_size": (8, 4)}
    old, new = geometry(**one_row), geometry(**one_row, max_length=32)
    stretched, density = resize_tokens(old, new, stretch=True)
    # New centres, as fractions of the window, in units of old patches: -0.25, 0.25, 0.75, ..., 3.25, clamped to 0 to 3.
    positions = (torch.arange(8, dtype=torch.float64) / 2 - 0.25).clamp(0, 3)
    expected = (1 - (positions[:, None] - torch.arange(4)).abs()).clamp(min=0)
    torch.testing.assert_close(stretched, expected)
    assert density == 2
    assert not torch.equal(resize_tokens(old, new)[0], stretched)


def test_bins_are_fractions_of_the_band():
    """The band stays the same, whatever the number of bins; what lies beyond its ends repeats what is there."""
    one_column = {"max_length": 4, "patch_size": (8, 4)}
    old, new = geometry(**one_column, num_mel_bins=32), geometry(**one_column, num_mel_bins=64)
    matrix, density = resize_tokens(old, new)
    positions = (torch.arange(8, dtype=torch.float64) / 2 - 0.25).clamp(0, 3)
    torch.testing.assert_close(matrix, (1 - (positions[:, None] - torch.arange(4)).abs()).clamp(min=0))
    assert density == 2
    torch.testing.assert_close(resize_tokens(new, old)[0].sum(1), torch.ones(4, dtype=torch.float64))


def test_pictures_are_smoothed_where_they_shrink():
    """Source: torch's own interpolation of an image, with antialiasing, in float64."""
    image = torch.randn(1, 1, 9, 6, dtype=torch.float64)
    for size in ((4, 3), (12, 10)):
        expected = torch.nn.functional.interpolate(image, size=size, mode="bilinear", antialias=True)
        matrix = resize_pictures((9, 6), size)
        assert matrix.dtype == torch.float64
        torch.testing.assert_close(matrix @ image.flatten(), expected.flatten())


def test_stretching_reaches_the_weights(model):
    other = copy.deepcopy(model)
    model.resize_spectrogram(max_length=32, stretch=True)
    other.resize_spectrogram(max_length=32)
    weights = [m.audio_spectrogram_mixer.layers[0].token_mixing.fc1.weight for m in (model, other)]
    assert not torch.allclose(*weights)
    assert (weights[0].unflatten(1, (3, 8))[..., 4:] != 0).any()


def test_what_cannot_be_resized_stays_as_it_was(model):
    """The base model of a classifier alone, and a model with adapters."""
    with pytest.raises(ValueError, match=r"base model of a classifier\. Resize the whole"):
        model.audio_spectrogram_mixer.resize_spectrogram(max_length=32)
    layer = model.audio_spectrogram_mixer.layers[0].token_mixing
    layer.fc1.base_layer = layer.fc1.weight  # as PEFT's layers have
    with pytest.raises(ValueError, match=r"Merge them first: `model.merge_and_unload\(\)`"):
        model.resize_spectrogram(max_length=32)
    assert model.config.max_length == model.audio_spectrogram_mixer.patch_embeddings.max_length == 16
