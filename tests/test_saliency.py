import numpy as np
import pytest
import torch

from modeling_asm.saliency import explain


def test_integrated_gradients_sum_to_the_difference_from_silence(model, feature_extractor, input_values):
    silence = (np.log(2**-23) - feature_extractor.mean) / (2 * feature_extractor.std)
    with torch.no_grad():
        expected = model(input_values[:1]).logits - model(torch.full_like(input_values[:1], silence)).logits
    for label in range(3):
        saliency = explain(model, feature_extractor, input_values[:1], label)
        assert saliency.shape == input_values.shape[1:]
        assert saliency.sum().item() == pytest.approx(expected[0, label].item(), abs=0.01)


def test_occlusion_finds_the_only_values_that_matter(model, feature_extractor, input_values):
    """A model that hears nothing but the lowest eight mel bins."""
    projection = model.audio_spectrogram_mixer.patch_embeddings.projection
    projection.register_forward_pre_hook(
        lambda module, inputs: (torch.nn.functional.pad(inputs[0][:, :, :8], (0, 0, 0, 16)),)
    )
    saliency = explain(model, feature_extractor, input_values[:1], 1, method="occlusion")
    assert saliency[:, :8].abs().sum() > 0
    assert (saliency[:, 10:] == 0).all()


def test_there_is_no_such_method(model, feature_extractor, input_values):
    with pytest.raises(ValueError, match="`method` must be one of 'integrated_gradients', 'occlusion', got 'lime'"):
        explain(model, feature_extractor, input_values, 0, method="lime")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(model, feature_extractor, input_values):
    expected = explain(model, feature_extractor, input_values[:1], 1)
    saliency = explain(model.to("cuda"), feature_extractor, input_values[:1], 1)
    torch.testing.assert_close(saliency, expected, atol=1e-3, rtol=1e-3)
