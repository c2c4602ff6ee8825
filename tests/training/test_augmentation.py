import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_asm.fbank import fbank
from modeling_asm.training.augmentation import (
    Augmentation,
    add_noise,
    change_speed,
    equalizer_curve,
    mask,
    mixup,
    shift,
    warp,
)


OFF = Augmentation(
    time_shift=0,
    speed=0,
    gain=0,
    noise=100,
    equalizer=0,
    time_warp=0,
    frequency_warp=0,
    frequency_mask=0,
    time_mask=0,
    mixup=0,
)


def peak_frequency(waveform: torch.Tensor) -> float:
    return torch.fft.rfft(waveform).abs().argmax().item() * 16000 / waveform.shape[0]


def test_everything_off_changes_nothing():
    waveform, features = torch.randn(1000), torch.randn(3, 20, 24)
    assert torch.equal(OFF.augment_waveform(waveform, 16000), waveform)
    assert torch.equal(OFF.augment_features(features, 0.1), features)


@pytest.mark.parametrize("arguments", [{"gain": -1.0}, {"speed": 1.0}, {"time_warp": 1.5}])
def test_impossible_strengths(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}` must be at least 0"):
        Augmentation(**arguments)


def test_a_seed_repeats_the_draws():
    augmentation, waveform, features = Augmentation(), torch.randn(8000), torch.randn(3, 20, 24)
    draws = []
    for _ in range(2):
        torch.manual_seed(1)
        draws.append((augmentation.augment_waveform(waveform, 16000), augmentation.augment_features(features, 0.1)))
    torch.testing.assert_close(draws[0], draws[1], atol=0, rtol=0)
    assert not torch.equal(augmentation.augment_features(features, 0.1), draws[0][1])


@given(num_samples=st.integers(1, 20000))
def test_any_length_survives(num_samples):
    waveform = Augmentation(time_shift=0.5, speed=0.3).augment_waveform(torch.rand(num_samples), 16000)
    assert waveform.ndim == 1
    assert waveform.shape[0] >= 1
    assert torch.isfinite(waveform).all()


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_speed_changes_length_and_pitch(speed):
    tone = torch.sin(2 * math.pi * 500 * torch.arange(16000) / 16000)
    changed = change_speed(tone, speed)
    assert changed.shape == (round(16000 / speed),)
    assert peak_frequency(changed) == pytest.approx(500 * speed, abs=2)


def test_shift():
    waveform = torch.arange(1.0, 11.0)
    assert shift(waveform, 3).tolist() == [0, 0, 0, *range(1, 11)]
    assert shift(waveform, -3).tolist() == [*range(4, 11)]
    assert shift(waveform, -9).tolist() == [*range(6, 11)]


def test_gain_stays_within_its_range():
    augmentation = Augmentation(**{**vars(OFF), "gain": 6.0})
    gains = [20 * math.log10(augmentation.augment_waveform(torch.ones(1), 16000).item()) for _ in range(200)]
    assert -6 <= min(gains) < -5
    assert 5 < max(gains) <= 6


def test_noise_has_the_signal_to_noise_ratio():
    tone = torch.sin(torch.arange(100000) / 10)
    for snr in (0.0, 20.0):
        noise = add_noise(tone, snr) - tone
        assert 10 * math.log10(tone.square().mean() / noise.square().mean()) == pytest.approx(snr, abs=0.2)
    assert (add_noise(torch.zeros(10), 0.0) == 0).all()


def test_equalizer_is_a_smooth_curve_within_its_strength():
    curves = equalizer_curve(torch.zeros(50, 10, 64), 2.0)
    assert curves.shape == (50, 1, 64)
    assert 1.5 < curves.abs().max() <= 2.0
    steps = curves.diff(dim=2)
    assert steps.abs().max() <= 4.0 / 21 + 1e-5  # from one knot to the next, 21 bins on
    assert len(np.unique(steps[0].numpy().round(4))) <= 5


def test_a_decibel_of_the_equalizer_is_one_of_the_waveform():
    """Amplifying by 1 dB adds log(10) / 10 to a log-energy: what `augment_features` is told, times 2 std."""
    waveform = torch.rand(1, 1600) - 0.5
    difference = fbank(waveform * 10 ** (1 / 20), num_mel_bins=64) - fbank(waveform, num_mel_bins=64)
    torch.testing.assert_close(difference, torch.full_like(difference, math.log(10) / 10), atol=1e-4, rtol=0)


def test_warp_stretches_from_the_first_frame_and_the_lowest_bin():
    ramp = torch.arange(10.0)[:, None] + 100 * torch.arange(8.0)
    warped = warp(ramp.expand(300, 10, 8), 0.2, 0.1)
    assert (warped[:, 0, 0] == 0).all()
    time, frequency = warped[:, 1, 0], warped[:, 0, 1] / 100  # the slopes are the factors
    assert 0.8 <= time.min() < 0.82
    assert 1.18 < time.max() <= 1.2001
    assert 0.9 <= frequency.min() < 0.91
    assert 1.09 < frequency.max() <= 1.1001
    torch.testing.assert_close(warp(ramp[None], 0.0, 0.0), ramp[None], atol=1e-3, rtol=0)


@pytest.mark.parametrize("axis", [1, 2])
def test_mask_covers_one_span_of_at_most_its_width(axis):
    masked = mask(torch.ones(200, 30, 40), 8, axis) == 0
    assert (masked.any(3 - axis) == masked.all(3 - axis)).all()
    widths = masked.any(3 - axis).sum(1)
    assert (widths.min(), widths.max()) == (0, 8)
    spans = masked.any(3 - axis).int().diff(dim=1).abs().sum(1)
    assert spans.max() <= 2
    assert masked.any(3 - axis).any(0).all()  # every frame or bin is hidden at some time


def test_mixup_blends_features_and_targets_alike():
    features = torch.eye(6)[:, :, None].expand(6, 6, 4)
    mixed, targets = mixup(features, torch.eye(6), 0.3)
    torch.testing.assert_close(mixed[..., 0], targets)
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    assert (targets.diagonal() >= 0.5).all()
    assert ((targets > 0) & (targets < 1)).any()
