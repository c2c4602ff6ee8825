import numpy as np
import pytest
import torch

from modeling_asm import ASMFeatureExtractor
from modeling_asm.audio.statistics import FeatureStatistics, measure_recording


@pytest.fixture
def plain() -> ASMFeatureExtractor:
    return ASMFeatureExtractor(num_mel_bins=24, do_normalize=False)


def test_mean_and_deviation_of_all_values():
    """Source: torch's own, of everything at once."""
    statistics, parts = FeatureStatistics(), [torch.randn(5, 24), 3 + torch.randn(2, 24)]
    for part in parts:
        statistics.add(part)
    values = torch.cat(parts).double()
    assert statistics.result() == pytest.approx((values.mean().item(), values.std(correction=0).item()))


def test_nothing_and_silence_have_none(plain):
    with pytest.raises(ValueError, match=r"^There is no recording to measure\.$"):
        FeatureStatistics().result()
    statistics = FeatureStatistics()
    measure_recording(np.zeros(9000), plain, statistics)
    with pytest.raises(ValueError, match=r"^All clips are digital silence, so there is nothing to learn from them"):
        statistics.result()


def test_a_recording_that_cannot_be_read_adds_nothing(plain):
    statistics = FeatureStatistics()
    with pytest.raises(ValueError):
        measure_recording(np.array([0.1] * 9000 + [np.nan]), plain, statistics)
    assert statistics.count == 0


def test_a_recording_shorter_than_a_frame_is_one_frame(plain):
    statistics = FeatureStatistics()
    measure_recording(np.array([0.5] * 10), plain, statistics)
    assert statistics.count == 24


def test_several_recordings_of_several_rates_count_together(plain):
    """Source: the frames of all of them at once; one is shorter than a frame, and filled up with zeros."""
    rng, statistics = np.random.default_rng(0), FeatureStatistics()
    clips = [rng.uniform(-0.5, 0.5, size) for size in (9000, 300, 4000)]
    frames = []
    for clip in clips:
        measure_recording(clip, plain, statistics)
        filled = torch.from_numpy(np.pad(clip, (0, max(400 - len(clip), 0))).astype(np.float32))
        frames.append(plain.extract_frames(filled[None])[0])
    values = torch.cat(frames).double()
    assert statistics.count == values.numel()
    assert statistics.result() == pytest.approx((values.mean().item(), values.std(correction=0).item()))
    other = FeatureStatistics()
    measure_recording({"array": np.repeat(clips[0], 2), "sampling_rate": 32000}, plain, other)
    assert other.count == 54 * 24  # as many frames as at 16 kHz
