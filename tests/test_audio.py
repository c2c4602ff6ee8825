import numpy as np
import pytest
import soundfile

from modeling_asm.audio import AudioFileError, load_audio


def tone(sampling_rate: int, seconds: float = 0.5, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(sampling_rate * seconds)) / sampling_rate)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(16000), 16000)
    waveform = load_audio(path)
    assert waveform.dtype == np.float32
    assert abs(np.abs(np.fft.rfft(waveform)).argmax() * 16000 / waveform.size - 440) < 3


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_the_tone(tmp_path, rate):
    soundfile.write(tmp_path / "tone.wav", tone(rate), rate, subtype="FLOAT")
    waveform = load_audio(tmp_path / "tone.wav", 16000)
    assert waveform.size == pytest.approx(8000, abs=1)
    np.testing.assert_allclose(waveform[500:-500], tone(16000)[500 : waveform.size - 500], atol=2e-3)


def test_channels_are_averaged(tmp_path):
    left, right = tone(16000), 0.2 * tone(16000, frequency=1000)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], 1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "stereo.wav"), (left + right) / 2, atol=1e-6)


def test_names_with_spaces_quotes_and_other_letters(tmp_path):
    path = tmp_path / "ça 'fait' \"beau\" 天气.wav"
    soundfile.write(path, tone(16000), 16000)
    assert load_audio(str(path)).size == 8000


def write_not_finite(path):
    soundfile.write(path, np.array([0.0, np.nan, 0.1]), 16000, subtype="FLOAT")


def write_truncated(path):
    soundfile.write(path, tone(16000), 16000, format="FLAC")
    path.write_bytes(path.read_bytes()[:30])


def write_short(path, kind="WAV"):
    soundfile.write(path, tone(16000), 16000, format=kind)
    path.write_bytes(path.read_bytes()[:-1000])


BAD = {
    "text": (lambda path: path.write_text("this is not audio"), "Cannot decode"),
    "nothing": (lambda path: path.write_bytes(b""), "is an empty file"),
    "truncated": (write_truncated, "Cannot decode"),
    "short-wav": (write_short, "is truncated: it ends before its header says"),
    "short-aiff": (lambda path: write_short(path, "AIFF"), "is truncated"),
    "short-mp3": (lambda path: write_short(path, "MP3"), "is truncated|Cannot decode|no samples"),
    "short-flac": (lambda path: write_short(path, "FLAC"), "Cannot decode"),
    "no-samples": (lambda path: soundfile.write(path, np.zeros(0), 16000), "has no samples"),
    "not-finite": (write_not_finite, "not finite"),
    "too-short": (
        lambda path: soundfile.write(path, [0.1], 48000),
        "too short: 1 samples at 48000 Hz",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named(tmp_path, kind):
    write, message = BAD[kind]
    path = tmp_path / "bad.wav"
    write(path)
    with pytest.raises(AudioFileError, match=message) as error:
        load_audio(path)
    assert "bad.wav" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioFileError, match=r"nowhere\.wav' is not there, expected an audio file"):
        load_audio(tmp_path / "nowhere.wav")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(AudioFileError, match="is a folder, expected an audio file"):
        load_audio(tmp_path)


def test_a_name_that_promises_headerless_audio(tmp_path):
    (tmp_path / "bare.raw").write_bytes(bytes(100))
    with pytest.raises(AudioFileError, match=r"Cannot decode .*bare\.raw"):
        load_audio(tmp_path / "bare.raw")


def test_a_length_that_the_recorder_did_not_know(tmp_path):
    """What a program writes into a pipe: the sizes in the header are as large as they can be."""
    soundfile.write(tmp_path / "tone.wav", tone(16000), 16000)
    content = bytearray((tmp_path / "tone.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "piped.wav").write_bytes(content)
    np.testing.assert_array_equal(load_audio(tmp_path / "piped.wav"), load_audio(tmp_path / "tone.wav"))


def test_the_content_of_a_file(tmp_path):
    soundfile.write(tmp_path / "tone.flac", tone(8000), 8000)
    content = (tmp_path / "tone.flac").read_bytes()
    np.testing.assert_array_equal(load_audio("a name", data=content), load_audio(tmp_path / "tone.flac"))
    with pytest.raises(AudioFileError, match="Cannot decode 'a name'"):
        load_audio("a name", data=content[:20])
    with pytest.raises(AudioFileError, match="'a name' is an empty file"):
        load_audio("a name", data=b"")
