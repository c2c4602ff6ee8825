import math

import pytest
import torch
from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor

from modeling_asm import ASMFeatureExtractor
from modeling_asm.training.frontend import Frontend


def test_windows_of_three_kinds_of_input():
    """ASM's and AST's of the same frames are the same; a waveform's is the seconds that were asked for."""
    ours = Frontend(ASMFeatureExtractor(max_length=48), 9.0)
    assert ours.window_samples == 400 + 47 * 160
    assert Frontend(ASTFeatureExtractor(max_length=48), 9.0).window_samples == ours.window_samples
    assert Frontend(Wav2Vec2FeatureExtractor(), 0.5).window_samples == 8000


def test_a_decibel():
    """Source: a power ratio of 10 is 10 dB, and features are natural logarithms, divided by 2 std."""
    step = math.log(10) / 10
    assert Frontend(ASMFeatureExtractor(std=2.0), 1.0).units_per_decibel == pytest.approx(step / 4)
    assert Frontend(ASMFeatureExtractor(do_normalize=False), 1.0).units_per_decibel == pytest.approx(step)
    assert Frontend(ASTFeatureExtractor(std=3.0), 1.0).units_per_decibel == pytest.approx(step / 6)
    assert Frontend(Wav2Vec2FeatureExtractor(), 1.0).units_per_decibel is None


def test_ten_decibels_are_ten_steps():
    """Of the features themselves: ten times the power."""
    extractor, noise = ASMFeatureExtractor(max_length=98), 0.01 * torch.randn(16000)
    quiet, loud = (
        extractor(x, sampling_rate=16000, return_tensors="pt").input_values for x in (noise, noise * 10**0.5)
    )
    steps = (loud - quiet)[:, :, 10:].median() / extractor.units_per_decibel
    assert steps.item() == pytest.approx(10, abs=1e-3)


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize(
    ("extractor", "shape"),
    [
        (ASMFeatureExtractor(num_mel_bins=24, max_length=16), (2, 16, 24)),
        (ASTFeatureExtractor(max_length=32), (2, 32, 128)),
        (Wav2Vec2FeatureExtractor(), (2, 1600)),
    ],
    ids=["asm", "ast", "wav2vec2"],
)
def test_inputs_are_one_window(extractor, shape):
    """Of a longer and of a shorter clip; and no argument that the model has no use for."""
    inputs = Frontend(extractor, 0.1).extract([torch.randn(50000), torch.randn(600)])
    assert inputs["input_values"].shape == shape
    assert set(inputs) <= {"input_values", "attention_mask"}
