import sys

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from modeling_asm.explain import explain, main


@pytest.fixture
def sound(tmp_path):
    soundfile.write(tmp_path / "sound.wav", np.sin(np.arange(16000) / 20), 16000)
    return str(tmp_path / "sound.wav")


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


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_a_picture_from_the_command_line(checkpoint, sound, tmp_path, capsys, method):
    out = tmp_path / "out.png"
    arguments = ["--model", str(checkpoint), sound, "--plot", str(out), "--label", "dog", "--method", method]
    assert main([*arguments, "--start", "0.3"]) == 0
    assert capsys.readouterr().out.startswith("dog ")
    with Image.open(out) as picture:
        assert len(picture.convert("RGB").getcolors(10**6)) > 20


def test_what_is_wrong_is_one_line(checkpoint, sound, tmp_path, capsys, monkeypatch):
    arguments = ["--model", str(checkpoint), "--plot", str(tmp_path / "out.png")]
    assert main([*arguments, "nowhere.wav"]) == 2
    assert main([*arguments, sound, "--label", "horse"]) == 2
    assert main([*arguments, sound, "--start", "9"]) == 2
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    assert main([*arguments, sound]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    for line, words in zip(
        lines, ("is not there", "no label 'horse'; the model has bird, cat, dog", "ends at 0.99 s", "captum")
    ):
        assert words in line


def test_there_is_no_such_method(model, feature_extractor, input_values):
    with pytest.raises(ValueError, match="`method` must be one of 'integrated_gradients', 'occlusion', got 'lime'"):
        explain(model, feature_extractor, input_values, 0, method="lime")


def test_a_checkpoint_in_bfloat16(checkpoint, model, sound, tmp_path):
    model.bfloat16().save_pretrained(checkpoint)
    assert main(["--model", str(checkpoint), "--plot", str(tmp_path / "out.png"), sound]) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(model, feature_extractor, input_values):
    expected = explain(model, feature_extractor, input_values[:1], 1)
    saliency = explain(model.to("cuda"), feature_extractor, input_values[:1], 1)
    torch.testing.assert_close(saliency, expected, atol=1e-3, rtol=1e-3)
