import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_asm.fbank import fbank
from modeling_asm.training.augmentation import Augmentation, add_noise, equalizer_curve, mask, mixup, move, warp


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


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def column(*values) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def peak_frequency(waveform: torch.Tensor) -> float:
    return torch.fft.rfft(waveform).abs().argmax().item() * 16000 / waveform.shape[0]


def test_everything_off_changes_nothing(rng):
    waveforms, features = [torch.randn(1000), torch.randn(700)], torch.randn(3, 20, 24)
    assert all(map(torch.equal, OFF.augment_waveforms(waveforms, 16000, rng), waveforms))
    assert torch.equal(OFF.augment_features(features, 0.1, rng), features)


@pytest.mark.parametrize("arguments", [{"gain": -1.0}, {"speed": 1.0}, {"time_warp": 1.5}])
def test_impossible_strengths(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}` must be at least 0"):
        Augmentation(**arguments)


def test_a_seed_repeats_the_draws():
    augmentation, waveforms, features = Augmentation(), [torch.randn(8000)], torch.randn(3, 20, 24)
    draws = []
    for seed in (1, 1, 2):
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed + len(draws))  # torch's own generator has no say
        waveform = augmentation.augment_waveforms(waveforms, 16000, rng)[0]
        draws.append((waveform, augmentation.augment_features(features, 0.1, rng)))
    torch.testing.assert_close(draws[0], draws[1], atol=0, rtol=0)
    assert not torch.equal(draws[0][1], draws[2][1])


@given(lengths=st.lists(st.integers(1, 20000), min_size=1, max_size=5))
def test_any_lengths_survive(lengths):
    augmentation = Augmentation(time_shift=0.5, speed=0.3)
    augmented = augmentation.augment_waveforms([torch.rand(n) for n in lengths], 16000, np.random.default_rng(1))
    assert len(augmented) == len(lengths)
    for waveform in augmented:
        assert waveform.ndim == 1
        assert waveform.shape[0] >= 1
        assert torch.isfinite(waveform).all()


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_speed_changes_length_and_pitch(speed):
    tone = torch.sin(2 * math.pi * 500 * torch.arange(16000) / 16000)
    batch, lengths = move(torch.stack([tone, tone]), column(16000, 16000), column(speed, 1.0), column(0.0, 0.0))
    assert lengths.tolist() == [[round(16000 / speed)], [16000]]
    assert peak_frequency(batch[0, : lengths[0]]) == pytest.approx(500 * speed, abs=2)
    torch.testing.assert_close(batch[1, :16000], tone)


def test_shift_within_a_batch():
    batch = torch.arange(1.0, 11.0).expand(4, 10)
    moved, lengths = move(batch, column(10, 10, 10, 6), column(1.0, 1.0, 1.0, 1.0), column(3.0, -3.0, -9.0, 2.0))
    rows = [row[:length].tolist() for row, length in zip(moved, lengths[:, 0])]
    assert rows[0] == [0, 0, 0, *range(1, 11)]
    assert rows[1] == [*range(4, 11)]
    assert rows[2] == [*range(6, 11)]  # at least half of it stays
    assert rows[3] == [0, 0, *range(1, 7)]  # a shorter clip keeps its own end


def test_gain_stays_within_its_range(rng):
    augmentation = Augmentation(**{**asdict(OFF), "gain": 6.0})
    ones = [torch.ones(1)] * 200
    gains = [20 * math.log10(clip.item()) for clip in augmentation.augment_waveforms(ones, 16000, rng)]
    assert -6 <= min(gains) < -5
    assert 5 < max(gains) <= 6


def test_noise_has_the_signal_to_noise_ratio_of_each_clip(rng):
    tone = torch.sin(torch.arange(100000) / 10)
    batch = torch.stack([tone, 0.01 * tone, torch.zeros(100000)])
    batch[1, 50000:] = 0  # behind its end
    noisy = add_noise(batch, column(100000, 50000, 100000), column(0.0, 20.0, 0.0), rng)
    for row, (length, snr) in enumerate(((100000, 0), (50000, 20))):
        clean, noise = batch[row, :length], (noisy - batch)[row, :length]
        assert 10 * math.log10(clean.square().mean() / noise.square().mean()) == pytest.approx(snr, abs=0.2)
    assert (noisy[2] == 0).all()


def test_equalizer_is_a_smooth_curve_within_its_strength(rng):
    curves = equalizer_curve(torch.zeros(50, 10, 64), 2.0, rng)
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


def test_warp_stretches_from_the_first_frame_and_the_lowest_bin(rng):
    ramp = torch.arange(10.0)[:, None] + 100 * torch.arange(8.0)
    warped = warp(ramp.expand(300, 10, 8), 0.2, 0.1, rng)
    assert (warped[:, 0, 0] == 0).all()
    time, frequency = warped[:, 1, 0], warped[:, 0, 1] / 100  # the slopes are the factors
    assert 0.8 <= time.min() < 0.82
    assert 1.18 < time.max() <= 1.2001
    assert 0.9 <= frequency.min() < 0.91
    assert 1.09 < frequency.max() <= 1.1001
    torch.testing.assert_close(warp(ramp[None], 0.0, 0.0, rng), ramp[None], atol=1e-3, rtol=0)


@pytest.mark.parametrize("axis", [1, 2])
def test_mask_covers_one_span_of_at_most_its_width(axis, rng):
    masked = mask(torch.ones(200, 32, 40), 8, axis, rng) == 0
    assert (masked.any(3 - axis) == masked.all(3 - axis)).all()
    widths = masked.any(3 - axis).sum(1)
    assert (widths.min(), widths.max()) == (0, 8)
    spans = masked.any(3 - axis).int().diff(dim=1).abs().sum(1)
    assert spans.max() <= 2
    assert masked.any(3 - axis).any(0).all()  # every frame or bin is hidden at some time


def test_a_mask_leaves_something_of_a_short_window(rng):
    masked = mask(torch.ones(200, 20, 8), 100, 1, rng) == 0
    assert masked.any(2).sum(1).max() == 5
    assert not (mask(torch.ones(50, 3, 4), 100, 1, rng) == 0).any()


def test_mixup_blends_features_and_targets_alike(rng):
    features = torch.eye(6)[:, :, None].expand(6, 6, 4)
    mixed, targets = mixup(features, torch.eye(6), 0.3, rng)
    torch.testing.assert_close(mixed[..., 0], targets)
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    assert (targets.diagonal() >= 0.5).all()
    assert ((targets > 0) & (targets < 1)).any()


def test_mixup_of_waveforms_and_numbers(rng):
    waveforms, numbers = torch.arange(5.0)[:, None].expand(5, 100), torch.arange(5.0)
    mixed, targets = mixup(waveforms, numbers, 1.0, rng)
    torch.testing.assert_close(mixed[:, 7], targets)


@pytest.mark.parametrize(("name", "axis"), [("time_mask", 1), ("frequency_mask", 2)])
def test_masks_lie_along_the_axis_that_they_are_named_for(rng, name, axis):
    """A masked frame loses all of its bins, a masked bin all of its frames."""
    features = torch.randn(50, 40, 32)
    masked = replace(OFF, **{name: 8}).augment_features(features, 0.1, rng) == 0
    whole = masked.all(3 - axis)
    assert whole.any()
    assert torch.equal(masked, whole.unsqueeze(3 - axis).expand_as(masked))


def lengths_of(rng, number=400, **strengths) -> np.ndarray:
    clips = [torch.randn(1600) for _ in range(number)]
    return np.array([len(clip) for clip in replace(OFF, **strengths).augment_waveforms(clips, 16000, rng)])


def test_speed_alone_and_shift_alone(rng):
    """Speeds from 0.8 to 1.2 times, and shifts by up to 20 ms to either side, each without the other."""
    lengths = lengths_of(rng, speed=0.2)
    assert 1600 / 1.2 - 1 <= lengths.min() < 1600 / 1.18
    assert 1600 / 0.82 < lengths.max() <= 1600 / 0.8 + 1
    lengths = lengths_of(rng, time_shift=0.02)
    assert 1280 <= lengths.min() < 1290 and 1910 < lengths.max() <= 1920


def test_gain_and_noise_reach_their_limits(rng):
    clips = [torch.ones(100) for _ in range(1000)]
    gains = torch.stack(replace(OFF, gain=10.0).augment_waveforms(clips, 16000, rng))[:, 0].log10() * 20
    assert -10 <= gains.min() < -9.9 and 9.9 < gains.max() <= 10.001
    weak = torch.stack(replace(OFF, gain=0.5).augment_waveforms(clips, 16000, rng))
    assert weak.std() > 0.01
    clips = [torch.sin(torch.arange(20000) / 5) for _ in range(200)]
    noisy = torch.stack(replace(OFF, noise=10.0).augment_waveforms(clips, 16000, rng)) - torch.stack(clips)
    ratios = 10 * torch.log10(torch.stack(clips).square().mean(1) / noisy.square().mean(1))
    assert 9.8 < ratios.min() < 11.5 and 58.5 < ratios.max() < 60.2


@pytest.mark.parametrize(("name", "axis"), [("time_warp", 1), ("frequency_warp", 2)])
def test_each_warp_stretches_its_own_axis(rng, name, axis):
    """The other axis stays as it is, also if the other warp is off; edges are repeated."""
    ramp = torch.arange(40.0).reshape([1, -1, 1] if axis == 1 else [1, 1, -1]).expand(60, 40, 40)
    warped = replace(OFF, **{name: 0.2}).augment_features(ramp, 0.1, rng)
    torch.testing.assert_close(warped, warped.narrow(3 - axis, 0, 1).expand_as(warped), atol=1e-4, rtol=0)
    slopes = warped.select(axis, 10).select(1, 0) / 10
    assert 0.8 <= slopes.min() < 0.83 and 1.17 < slopes.max() <= 1.2001
    assert warped.max() <= 39 and warped.min() >= 0


def test_the_equalizer_has_its_strength_in_decibels(rng):
    changed = replace(OFF, equalizer=6.0).augment_features(torch.zeros(300, 5, 24), 0.1, rng)
    assert 0.55 < changed.abs().max() <= 0.6001
    assert replace(OFF, equalizer=0.5).augment_features(torch.zeros(300, 5, 24), 0.1, rng).std() > 0.01


@pytest.mark.parametrize(("name", "axis"), [("time_mask", 1), ("frequency_mask", 2)])
def test_two_masks_at_most(rng, name, axis):
    features = torch.ones(400, 64, 64)
    masked = (replace(OFF, **{name: 4}).augment_features(features, 0.1, rng) == 0).all(3 - axis)
    starts = masked & ~torch.nn.functional.pad(masked, (1, -1))
    assert set(starts.sum(1).tolist()) == {0, 1, 2}
    assert masked.any(0).all()  # from the first to the last


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frequency_warp": 1.0}, r"`frequency_warp` must be at least 0 and below 1, got 1\.0\."),
        ({"gain": -1.0}, r"`gain` must be at least 0, got -1\.0\."),
    ],
)
def test_relative_strengths_stay_below_1(arguments, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**arguments)


def test_very_short_clips_are_moved_too():
    moved, lengths = move(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), column(4), column(1.5), column(0.0))
    assert lengths.tolist() == [[3]]
    torch.testing.assert_close(moved, torch.tensor([[0.0, 1.5, 3.0]]))
    moved, lengths = move(torch.tensor([[5.0]]), column(1), column(1.9), column(0.0))
    assert (moved.tolist(), lengths.tolist()) == ([[5.0]], [[1]])
