"""Masked prediction against its definition, and through transformers' own interfaces."""

import pytest
import torch
from transformers import AutoModel, AutoModelForPreTraining

from modeling_asm import ASMConfig, ASMForPreTraining
from modeling_asm.pretraining import draw_mask


@pytest.fixture
def pretraining(config):
    torch.manual_seed(0)
    return ASMForPreTraining(config).eval()


def mask_of(config, *patches) -> torch.Tensor:
    mask = torch.zeros(4, config.num_patches, dtype=torch.bool)
    mask[:, list(patches)] = True
    return mask


def test_patches_are_those_of_the_projection(pretraining, config, input_values):
    """Each token is the product of its patch and the weights of the convolution."""
    projection = pretraining.audio_spectrogram_mixer.patch_embeddings.projection
    tokens = pretraining.patches(input_values) @ projection.weight.flatten(1).T + projection.bias
    torch.testing.assert_close(tokens, pretraining.audio_spectrogram_mixer.patch_embeddings(input_values))


@pytest.mark.parametrize("standardize", [True, False])
def test_the_loss_is_that_of_the_masked_patches(pretraining, config, input_values, standardize):
    mask, pretraining.config.norm_patch_loss = mask_of(config, 1, 5), standardize
    output = pretraining(input_values, mask)
    target = pretraining.patches(input_values)
    if standardize:
        target = (target - target.mean(2, keepdim=True)) / (target.var(2, correction=0, keepdim=True) + 1e-2).sqrt()
    expected = (output.reconstruction - target)[mask].square().mean()
    torch.testing.assert_close(output.loss, expected)


def test_what_is_masked_is_not_heard(pretraining, config, input_values):
    """Nor through a stem, whose convolutions reach beyond a patch."""
    mask = mask_of(config, 2)
    hidden = pretraining.hide(torch.ones_like(input_values), mask)
    assert hidden.sum() == hidden.numel() - 4 * config.patch_shape[0] * config.patch_shape[1]
    changed = torch.where(pretraining.hide(torch.ones_like(input_values), mask) == 0, 9.0, input_values)
    first, second = (pretraining(values, mask).reconstruction for values in (input_values, changed))
    torch.testing.assert_close(first, second)
    model = ASMForPreTraining(ASMConfig(**{**config.to_dict(), "stem_channels": [4]})).eval()
    first, second = (model(values, mask).reconstruction for values in (input_values, changed))
    torch.testing.assert_close(first, second)


def test_everything_learns(pretraining, config, input_values):
    pretraining.train()(input_values, mask_of(config, 0, 3)).loss.backward()
    idle = {name for name, parameter in pretraining.named_parameters() if parameter.grad is None}
    assert idle == set()
    assert pretraining.mask_token.grad.abs().sum() > 0


def test_what_is_pooled_does_not_learn(config, input_values):
    model = ASMForPreTraining(ASMConfig(**{**config.to_dict(), "pooling_dim": 5}))
    model(input_values, mask_of(config, 0, 3)).loss.backward()
    idle = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert idle == {f"audio_spectrogram_mixer.pooling.projection.0.{name}" for name in ("weight", "bias")}


def test_its_encoder_is_a_start(pretraining, config, tmp_path, input_values):
    pretraining.save_pretrained(tmp_path)
    again = AutoModelForPreTraining.from_pretrained(tmp_path)
    assert isinstance(again, ASMForPreTraining)
    mask = mask_of(config, 1)
    torch.testing.assert_close(again.eval()(input_values, mask).loss, pretraining(input_values, mask).loss)
    encoder = AutoModel.from_pretrained(tmp_path).eval()
    expected = pretraining.audio_spectrogram_mixer(input_values).pooler_output
    torch.testing.assert_close(encoder(input_values).pooler_output, expected)


def test_a_tuple(pretraining, config, input_values):
    loss, reconstruction = pretraining(input_values, mask_of(config, 1), return_dict=False)
    assert loss.shape == ()
    assert reconstruction.shape == (4, config.num_patches, config.patch_shape[0] * config.patch_shape[1])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(4, 3, dtype=torch.bool), r"is torch.bool of shape \(4, 3\), expected torch.bool of shape \(4, "),
        (torch.ones(4, 12), "is torch.float32 of shape"),
        (torch.zeros(4, 12, dtype=torch.bool), "masks no patch, so there is nothing to learn from"),
    ],
    ids=["shape", "dtype", "empty"],
)
def test_masks_that_do_not_fit(pretraining, input_values, mask, message):
    with pytest.raises(ValueError, match=message):
        pretraining(input_values, mask)


def test_stretches_of_time_are_masked(config):
    generator = torch.Generator().manual_seed(0)
    mask = draw_mask(config, 200, span=2, generator=generator)
    rows, columns = config.patch_grid
    grid = mask.unflatten(1, (rows, columns))
    assert (grid == grid[:, :1]).all()  # all mel bins alike
    assert grid[:, 0].sum(1).min() >= 2
    assert grid[:, 0].float().mean() <= 0.5
    assert draw_mask(config, 3, span=99).float().mean() <= 0.5  # something is heard


def test_a_classifier_is_a_start_of_masked_prediction(checkpoint):
    model = ASMForPreTraining.from_pretrained(checkpoint)
    assert (model.mask_token == 0).all()


def test_spectrograms_that_do_not_fit(pretraining, config):
    with pytest.raises(ValueError, match=r"`input_values` has shape \(4, 15, 24\), but the model is configured for"):
        pretraining(torch.zeros(4, 15, 24), mask_of(config, 1))


def test_another_patch_is_not_that_of_the_decoder(pretraining, config):
    bins, frames = config.patch_shape
    before = {name: value.clone() for name, value in pretraining.state_dict().items()}
    with pytest.raises(ValueError, match=r"decoder predicts patches of .* cannot become .*ASMModel.from_pre"):
        pretraining.resize_spectrogram(patch_size=(2 * bins, frames // 2))
    assert all(torch.equal(value, before[name]) for name, value in pretraining.state_dict().items())
    longer = pretraining.resize_spectrogram(max_length=2 * config.max_length)
    spectrogram = torch.randn(2, 2 * config.max_length, config.num_mel_bins)
    assert torch.isfinite(longer(spectrogram, draw_mask(longer.config, 2)).loss)
