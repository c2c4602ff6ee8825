import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recordings import noise, write

from modeling_asm.audio import AudioFileError, load_audio, open_audio
from modeling_asm.audio.channels import Downmix, as_channels


STEREO = noise(500, 2).astype(np.float32)


def test_the_mean_of_the_channels_or_one_of_them():
    np.testing.assert_array_equal(Downmix("x")(STEREO), STEREO.mean(1))
    np.testing.assert_array_equal(Downmix("x", 1)(STEREO), STEREO[:, 1])


@pytest.mark.parametrize(("channel", "channels"), [(2, 2), (-1, 2), (1, 1)])
def test_a_channel_that_is_not_there(channel, channels):
    have = f"{channels} channel" + "s" * (channels > 1)
    with pytest.raises(ValueError, match=rf"^x has {have}, numbered from 0, and none is {channel}\.$"):
        Downmix("x", channel)(STEREO[:, :channels])


def test_the_same_check_at_every_entrance():
    """Files, arrays and streams say which sample is not finite; `test_streaming` has the third."""
    wrong = STEREO.copy()
    wrong[300, 1] = np.nan
    for source in (write(wrong, subtype="FLOAT"), wrong, {"array": wrong.T, "sampling_rate": 8000}):
        with pytest.raises(ValueError, match="has the value nan at sample 300, expected finite samples"):
            list(open_audio(source, 16000))
        assert np.isfinite(np.concatenate(list(open_audio(source, 16000, channel=0)))).all()


def test_the_sample_is_counted_from_the_start():
    downmix = Downmix("x")
    downmix(STEREO)
    with pytest.raises(ValueError, match="at sample 501"):
        downmix(np.array([[0, 0], [np.inf, 0]], np.float32))


@pytest.mark.parametrize("source", ["file", "array"])
def test_channels_that_cancel(source, caplog):
    """A cable with crossed wires: the mean of its channels is silence."""
    left = noise()
    crossed = np.stack([left, -0.97 * left], 1)
    content = write(crossed, subtype="FLOAT") if source == "file" else crossed
    with caplog.at_level(logging.WARNING):
        (mixed,) = open_audio(content, 16000)
    assert "has channels that cancel each other: their mean is 36 dB quieter than they are. Use one" in caplog.text
    assert np.abs(mixed).max() < 0.01
    caplog.clear()
    downmix = Downmix("The stream")
    downmix(np.stack([left, -left], 1).astype(np.float32))
    downmix.warn()
    assert caplog.messages == [
        "The stream has channels that cancel each other: their mean is silent. Use one of them, with `--channel 0` or "
        "`channel=0`."
    ]
    caplog.clear()
    (first,) = open_audio(content, 16000, channel=0)
    np.testing.assert_allclose(first, left, atol=1e-6)
    assert caplog.text == ""


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_sound_in_one_of_several_channels_is_no_reason_to_warn(channels, caplog):
    samples = np.zeros((4000, channels))
    samples[:, 0] = noise()
    load_audio("x", data=write(samples))
    load_audio("silence", data=write(np.zeros((400, 2))))
    assert caplog.text == ""


def test_the_channel_of_a_file():
    content = write(STEREO, subtype="FLOAT")
    np.testing.assert_array_equal(load_audio("x", data=content, channel=1), STEREO[:, 1])
    with pytest.raises(AudioFileError, match="'x' has 2 channels, numbered from 0, and none is 2"):
        load_audio("x", data=content, channel=2)


@given(number=st.integers(9, 50), channels=st.integers(1, 8), first=st.booleans(), declared=st.booleans())
def test_either_axis_may_hold_the_channels(number, channels, first, declared):
    samples = torch.rand(number, channels)
    found = as_channels(samples.T if first else samples, "x", channels if declared else None)
    np.testing.assert_array_equal(found, samples.numpy())


def test_interleaved_channels():
    samples = torch.rand(50, 2)
    np.testing.assert_array_equal(as_channels(samples.flatten(), "x", 2), samples.numpy())


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((2, 2), None, r"shape \(2, 2\), and either axis could hold the channels"),
        ((1, 2), None, r"shape \(1, 2\), and either axis could hold the channels"),
        ((3, 8), None, r"shape \(3, 8\), and either axis could hold the channels"),
        ((20, 20), None, r"shape \(20, 20\): 20 channels are more than 8\. Pass several recordings as a list"),
        ((32, 16000), None, r"shape \(32, 16000\): 32 channels are more than 8"),
        ((2, 2), 2, r"shape \(2, 2\), and either axis could hold the channels"),
        ((100, 3), 2, r"shape \(100, 3\), expected one axis of 2 channels"),
        ((101,), 2, r"101 numbers, expected a multiple of 2"),
        ((2, 3, 4), None, r"shape \(2, 3, 4\), expected \(num_samples,\)"),
        ((), None, r"shape \(\), expected \(num_samples,\)"),
    ],
)
def test_what_could_mean_two_things_is_refused(shape, channels, message):
    with pytest.raises(ValueError, match=message):
        as_channels(torch.zeros(shape), "x", channels)
