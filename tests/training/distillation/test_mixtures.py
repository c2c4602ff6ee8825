import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from modeling_asm.training.distillation.mixtures import (
    MixtureMaker,
    MixtureSettings,
    coloured_noise,
    equalize,
    reverberate,
    root_mean_square,
    set_level,
)


QUIET = {"second_source": 0, "speed_probability": 0, "equalizer_probability": 0, "reverberation_probability": 0}
QUIET |= {"noise_probability": 0, "alone": 0}


def make(pool, **changes) -> MixtureMaker:
    return MixtureMaker(pool, pool.recordings, MixtureSettings(**{"seconds": 1.0, **changes}))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_every_mixture_is_finite_and_fills_its_window(pool_folder, seed):
    from modeling_asm.training.distillation.pool import AudioPool

    wave = make(AudioPool(pool_folder))(np.random.default_rng(seed))
    assert wave.shape == (16000,)
    assert wave.dtype == np.float32
    assert np.isfinite(wave).all()
    assert 0 < np.abs(wave).max() <= 1


def test_a_mixture_follows_from_the_seed(pool):
    maker = make(pool)
    np.testing.assert_array_equal(maker(np.random.default_rng(3)), maker(np.random.default_rng(3)))
    assert not np.array_equal(maker(np.random.default_rng(3)), maker(np.random.default_rng(4)))


def test_the_level_is_what_was_asked_for(pool):
    for seed in range(5):
        wave = make(pool, **QUIET, level=(-30.0, -30.0))(np.random.default_rng(seed))
        assert 20 * np.log10(root_mean_square(wave)) == pytest.approx(-30, abs=0.1)


def test_a_short_sound_is_not_distorted(pool):
    """It is louder than its window, whose level was asked for: then it is softened as a whole."""
    maker = make(pool, **QUIET, level=(0.0, 0.0))
    for seed in range(5):
        wave = maker(np.random.default_rng(seed))
        assert np.abs(wave).max() == pytest.approx(1.0)
        assert (np.abs(wave) > 0.999).mean() < 0.05


def test_kinds_are_drawn_by_their_weights(pool):
    """With weight only for music, every mixture is one tone: one peak of the spectrum."""
    maker = make(pool, **QUIET, kind_weights={"effects": 0.0, "speech": 0.0})
    for seed in range(5):
        spectrum = np.abs(np.fft.rfft(maker(np.random.default_rng(seed)) * np.hanning(16000))) ** 2
        peak = spectrum.argmax()
        assert spectrum[max(peak - 3, 0) : peak + 4].sum() > 0.95 * spectrum.sum()


def test_speed_changes_pitch(pool):
    """A recording at twice the speed sounds an octave higher."""
    recording = next(row for row in pool.recordings if row.kind == "music")
    peaks = {}
    for speed in (1.0, 2.0):
        maker = make(pool, **{**QUIET, "speed_probability": 1.0}, speed=(speed, speed))
        peaks[speed] = np.abs(np.fft.rfft(maker.read(recording, np.random.default_rng(0))[:16000])).argmax()
    assert peaks[2.0] == pytest.approx(2 * peaks[1.0], rel=0.01)


def test_short_recordings_follow_each_other_or_stand_alone(pool):
    only = {"kind_weights": {"effects": 0.0, "music": 0.0}, "level": (-20.0, -20.0), "gap": 0.05}
    together = [make(pool, **QUIET, **only)(np.random.default_rng(seed)) for seed in range(5)]
    alone = [make(pool, **{**QUIET, "alone": 1.0}, **only)(np.random.default_rng(seed)) for seed in range(5)]
    assert all(np.mean(np.abs(wave) > 1e-4) > 0.5 for wave in together)
    assert all(0.15 < np.mean(np.abs(wave) > 1e-4) < 0.21 for wave in alone)  # .2 s of a second


def test_a_short_recording_is_repeated_as_the_feature_extractor_pads_it(pool):
    """A recording of .2 s fills a second five times; at a share of 0, mixtures are what they were."""
    only = {"kind_weights": {"effects": 0.0, "music": 0.0}}
    for seed in range(5):
        wave = make(pool, **{**QUIET, "repeated": 1.0}, **only)(np.random.default_rng(seed))
        np.testing.assert_array_equal(wave.reshape(5, -1), np.broadcast_to(wave[:3200], (5, 3200)))
    one, other = (make(pool, alone=0.3, **only, **changes) for changes in ({}, {"repeated": 0.4}))
    chances = [np.random.default_rng(seed).random(2)[1] for seed in range(20)]  # the first draw is the kind
    for seed, chance in enumerate(chances):
        same = one.make_track(np.random.default_rng(seed)), other.make_track(np.random.default_rng(seed))
        assert np.array_equal(*same) == (not 0.3 <= chance < 0.7)


def test_a_recording_is_not_both_alone_and_repeated(pool):
    with pytest.raises(ValueError, match=r"`alone` and `repeated` must be at most 1 together, got 0.6 and 0.5\."):
        make(pool, alone=0.6, repeated=0.5)


def test_the_second_source_is_as_far_below_as_asked(pool):
    maker = make(pool, **{**QUIET, "second_source": 1.0}, level_difference=(200.0, 200.0))
    rng, again = np.random.default_rng(1), np.random.default_rng(1)
    track = maker.make_track(again)
    wave = maker(rng)
    assert np.corrcoef(wave, track)[0, 1] > 0.9999


def test_set_level():
    wave = np.random.default_rng(0).standard_normal(1000)
    assert root_mean_square(set_level(wave, 0.1, -20)) == pytest.approx(0.01)


def test_an_equalizer_changes_levels_within_its_range():
    noise = np.random.default_rng(0).standard_normal(2**17).astype(np.float32)
    _, before = signal.welch(noise, nperseg=512)
    _, after = signal.welch(equalize(noise, 12.0, np.random.default_rng(1)), nperseg=512)
    change = 10 * np.log10(after / before)[1:]
    assert np.abs(change).max() < 13
    assert change.std() > 1


def test_a_room_decays_as_fast_as_asked():
    """The level of a click's echo falls by 60 dB in the reverberation time (the definition of RT60)."""
    click = np.zeros(16000, np.float32)
    click[0] = 1
    echo = reverberate(click, 16000, 0.5, np.random.default_rng(0))[1:]
    level = 10 * np.log10(np.square(echo[:8000]).reshape(10, -1).mean(1))
    slope = np.polyfit(np.arange(10) * 0.05, level, 1)[0]
    assert slope == pytest.approx(-120, rel=0.1)
    assert np.abs(echo[8001:]).max() < 1e-6


def test_noise_is_white_to_brown():
    slopes = []
    for seed in range(20):
        frequencies, power = signal.welch(coloured_noise(2**16, np.random.default_rng(seed)), nperseg=4096)
        slopes.append(np.polyfit(np.log(frequencies[4:-4]), np.log(power[4:-4]), 1)[0])
    assert -2.1 < min(slopes) < -1.2
    assert -0.8 < max(slopes) < 0.1


def test_kinds_that_leave_nothing(pool):
    settings = MixtureSettings(kind_weights=dict.fromkeys(("music", "effects", "speech"), 0))
    with pytest.raises(ValueError, match=r"`kind_weights` leaves nothing to mix of the kinds \['effects', "):
        MixtureMaker(pool, pool.recordings, settings)
