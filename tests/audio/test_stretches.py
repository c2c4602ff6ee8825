import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from recordings import noise, read, write

from modeling_asm.audio import AudioFileError, load_audio
from modeling_asm.audio.stretches import load_stretch


FORMATS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("AIFF", "PCM_24"), ("CAF", "PCM_16"), ("W64", "PCM_16")]
FORMATS += [("RF64", "PCM_16"), ("AU", "ULAW"), ("NIST", "PCM_16"), ("FLAC", "PCM_16")]
CONTENT = {rate: write(noise(30_000, 2), rate, "FLAC") for rate in (16000, 44100, 8000, 22050)}


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_formats_that_seek(kind, subtype, monkeypatch):
    """They are not decoded from the start."""
    content = write(noise(50_000), 16000, kind, subtype)
    whole = load_audio("x", data=content)
    monkeypatch.setattr("modeling_asm.audio.stretches.stream_mixed", None)
    np.testing.assert_array_equal(load_stretch("x", 30_001, 500, data=content), whole[30_001:30_501])


@given(rate=st.sampled_from(sorted(CONTENT)), start=st.integers(0, 70_000), length=st.integers(1, 20_000))
def test_a_stretch_is_that_of_the_whole_recording(rate, start, length):
    whole = load_audio("x", data=CONTENT[rate])
    stretch = load_stretch("x", start, length, data=CONTENT[rate])
    expected = whole[start : start + length]
    assert abs(len(stretch) - len(expected)) <= 1  # the resampler may give one more at the end
    size = min(len(stretch), len(expected))
    np.testing.assert_allclose(stretch[:size], expected[:size], atol=2e-4)


@pytest.mark.parametrize("name", ["lame_vbr_bare.mp3", "oggenc.ogg", "mp3.wav", "ms_adpcm.wav"])
def test_formats_that_do_not_seek_exactly_are_decoded_from_the_start(name):
    whole = load_audio(name, data=read(name))
    np.testing.assert_array_equal(load_stretch(name, 1000, 700, data=read(name)), whole[1000:1700])
    np.testing.assert_array_equal(load_stretch(name, len(whole) - 5, 700, data=read(name)), whole[-5:])


def test_joined_files():
    content = write(noise(8000)) + write(noise(4000, 2), 8000)
    whole = load_audio("x", data=content)
    np.testing.assert_array_equal(load_stretch("x", 7900, 300, data=content), whole[7900:8200])


def test_a_file_on_disk_and_its_replacement(tmp_path):
    path = tmp_path / "clip.wav"
    for samples in (noise(5000), noise(9000, 2)):
        soundfile.write(path, samples, 16000)
        np.testing.assert_array_equal(load_stretch(path, 100, 50, channel=0), load_audio(path, channel=0)[100:150])
        np.testing.assert_array_equal(load_stretch(str(path), 100, 50), load_audio(path)[100:150])


def test_errors_name_the_file(tmp_path):
    with pytest.raises(AudioFileError, match=r"nowhere\.wav' is missing"):
        load_stretch(tmp_path / "nowhere.wav", 0, 10)
    with pytest.raises(AudioFileError, match="'x' has 1 channel, numbered from 0, and none is 3"):
        load_stretch("x", 0, 10, data=write(noise()), channel=3)
    with pytest.raises(AudioFileError, match="'x' can be decoded up to"):
        load_stretch("x", 0, 4000, data=write(noise())[:-100])
    with pytest.raises(AudioFileError, match="Cannot decode 'x'"):
        load_stretch("x", 0, 4000, data=b"no audio")


def test_after_the_end():
    assert load_stretch("x", 5000, 10, data=write(noise(4000))).size == 0
    assert load_stretch("x", 50_000, 10, data=CONTENT[44100]).size == 0
