import contextlib
import io
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st
from recordings import NEED_PYAV, RECORDINGS, read, write

from modeling_asm.audio import AudioFileError, load_audio, stream_audio


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
    "short-wav": (
        write_short,
        r"can be decoded up to 0\.47 s only: its header announces 16000 bytes of samples, and 15000",
    ),
    "short-aiff": (lambda path: write_short(path, "AIFF"), "its header announces 16008 bytes of samples, and 15008"),
    "short-mp3": (lambda path: write_short(path, "MP3"), "its header announces 16 frames, and 1 are there"),
    "short-flac": (
        lambda path: write_short(path, "FLAC"),
        r"can be decoded up to 0\.\d\d s only: libsndfile says 'flac decoder lost sync'\. Copy or record it again",
    ),
    "no-samples": (lambda path: soundfile.write(path, np.zeros(0), 16000), "has no samples"),
    "not-finite": (write_not_finite, "has the value nan at sample 1, expected finite samples"),
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
    with pytest.raises(AudioFileError, match=r"nowhere\.wav' is missing, expected an audio file"):
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


def header(path, rate: int = 16000, channels: int = 1, claimed: int | None = None):
    """Write a WAV file of 8,000 samples whose header says something else."""
    data = (tone(16000) * 32767).astype("<i2").tobytes()
    size = len(data) if claimed is None else claimed
    chunks = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, channels & 0xFFFF, rate, 2 * rate, 2, 16, b"data", size)
    path.write_bytes(b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVE" + chunks + data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"claimed": 2_000_000_000}, "announces 2000000000 bytes of samples, and 16000 are there"),
        ({"rate": 0}, "Cannot decode|sampling rate of 0 Hz"),
        ({"rate": 1}, "claims a sampling rate of 1 Hz, expected 1000 to 1000000"),
        ({"rate": 2_000_000_000}, "sampling rate of 2000000000 Hz|Cannot decode"),
        ({"channels": 0}, "Cannot decode"),
        ({"channels": 65535}, "Cannot decode"),
    ],
    ids=str,
)
def test_headers_that_lie(tmp_path, damage, message):
    header(tmp_path / "bad.wav", **damage)
    with pytest.raises(AudioFileError, match=message) as error:
        load_audio(tmp_path / "bad.wav")
    assert "bad.wav" in str(error.value)


def test_a_million_channels(tmp_path):
    """CAF has 32 bits for their number."""
    soundfile.write(tmp_path / "bad.caf", tone(16000), 16000, format="CAF", subtype="PCM_16")
    content = (tmp_path / "bad.caf").read_bytes()
    place = content.index(b"lpcm") + 16  # flags, bytes a packet, frames a packet, channels
    (tmp_path / "bad.caf").write_bytes(content[:place] + struct.pack(">I", 1_000_000) + content[place + 4 :])
    with pytest.raises(AudioFileError, match=r"Cannot decode .*bad\.caf"):
        load_audio(tmp_path / "bad.caf")


@given(content=st.binary(max_size=400), kind=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3\x03", b"FORM"]))
def test_any_bytes_are_audio_or_an_error(content, kind):
    with contextlib.suppress(AudioFileError):
        assert load_audio("any", data=kind + content).dtype == np.float32


def test_blocks_are_the_whole(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "noise.flac", rng.uniform(-1, 1, (30000, 2)), 44100)
    whole = load_audio(tmp_path / "noise.flac")
    monkeypatch.setattr("modeling_asm.audio.files.BLOCK_SAMPLES", 1001)
    blocks = list(stream_audio(tmp_path / "noise.flac"))
    assert len(blocks) > 10
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    plain, rate = soundfile.read(tmp_path / "noise.flac", dtype="float32")
    np.testing.assert_array_equal(whole, soxr.resample(plain.mean(1), rate, 16000))


@pytest.mark.slow
@pytest.mark.long
def test_ten_thousand_damaged_files(repository):
    """No crash, no hang, no other exception, of some hundred files; about half a minute."""
    command = [sys.executable, str(repository / "tests" / "fuzz_audio.py"), "10000"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, errors="replace")
    assert process.returncode == 0, process.stderr[-2000:]
    read, refused = (int(word) for word in process.stdout.split() if word.isdigit())
    assert read + refused == 10000
    assert read > 500
    assert refused > 500


FORMATS = sorted(RECORDINGS)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in NEED_PYAV])
def test_recordings_by_encoders(name):
    """As many samples as FFmpeg decodes, within a frame of the format, or a reason."""
    entry = RECORDINGS[name]
    if entry["rate"] is None:
        with pytest.raises(AudioFileError, match=r"its format is not known; WAV, FLAC, .* can be read"):
            load_audio(name, data=read(name))
        return
    number = load_audio(name, entry["rate"], data=read(name)).size
    lossy = name.endswith((".mp3", ".mp2", ".ogg")) or "mp3" in name
    assert abs(number - (entry["samples"] or number)) <= (2 * 1152 if lossy else 0)


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_recording_is_refused_or_read_to_the_cut(name):
    """Without a word, none is heard in part: the formats that announce no length are read to the last whole frame."""
    content, rate = read(name), RECORDINGS[name]["rate"] or 16000
    for place in np.random.default_rng(0).integers(0, len(content), 6):
        try:
            number = load_audio(name, rate, data=content[:place]).size
        except AudioFileError as error:
            assert repr(name) in str(error)
        else:
            whole = load_audio(name, rate, data=content).size
            assert number > whole * place / len(content) - 3 * 1152


def test_a_format_that_cannot_be_checked(tmp_path):
    soundfile.write(tmp_path / "tone.mat", tone(16000), 16000, format="MAT5", subtype="PCM_16")
    with pytest.raises(
        AudioFileError, match="the format MAT5 does not tell whether a file is whole; convert it to WAV"
    ):
        load_audio(tmp_path / "tone.mat")


def test_parts_at_other_rates_are_resampled_on_their_own():
    first, second = write(tone(16000), 16000), write(tone(8000), 8000)
    waveform = load_audio("joined.wav", data=first + second)
    assert waveform.size == 16000
    np.testing.assert_array_equal(waveform[:8000], load_audio("first.wav", data=first))
    np.testing.assert_array_equal(waveform[8000:], load_audio("second.wav", data=second))


def test_joined_parts_are_resampled_as_one():
    """No click where the next part starts."""
    samples = tone(8000, 1.0)
    joined = write(samples[:4000], 8000, subtype="FLOAT") + write(samples[4000:], 8000, subtype="FLOAT")
    expected = load_audio("whole.wav", data=write(samples, 8000, subtype="FLOAT"))
    np.testing.assert_allclose(load_audio("joined.wav", data=joined), expected, atol=1e-6)


class BadDisk(io.BytesIO):
    def read(self, size=-1):
        if self.tell() + size > 3000:
            raise OSError("the disk is broken")
        return super().read(size)


def test_the_error_of_reading_is_told(capfd):
    file = io.BytesIO()
    soundfile.write(file, tone(16000), 16000, format="WAV")
    with pytest.raises(AudioFileError, match=r"^Cannot read The audio: the disk is broken$"):
        list(stream_audio(BadDisk(file.getvalue())))
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are text there")
def test_a_name_that_is_no_text(tmp_path):
    soundfile.write(tmp_path / "tone.wav", tone(16000), 16000)
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/t\xffne.wav")
    os.rename(tmp_path / "tone.wav", strange)
    assert load_audio(strange).size == 8000
