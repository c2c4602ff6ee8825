import io
import sys
from fractions import Fraction

import numpy as np
import pytest
from recordings import NEED_PYAV, RECORDINGS, decode, parts_of, read, samples_of

from modeling_asm.audio import AudioFileError, load_audio
from modeling_asm.audio.containers import Foreign
from modeling_asm.audio.ffmpeg import decode_foreign


LOSSLESS = {"wavpack.wv", "ffmpeg.wv", "flac.mka", "eight.wv"}
av = pytest.importorskip("av")


@pytest.mark.parametrize("name", sorted(NEED_PYAV))
def test_a_whole_file(name):
    """As many samples as the program `ffmpeg` decodes, and the rising tone in them."""
    samples, entry = samples_of(read(name)), RECORDINGS[name]
    assert samples.dtype == np.float32
    assert abs(len(samples) - entry["samples"]) <= (0 if name in LOSSLESS else 1024)
    assert decode(read(name))[0][1] == entry["rate"]
    waveform = load_audio(name, 8000, data=read(name))
    frequencies = [np.abs(np.fft.rfft(piece, 8000)).argmax() for piece in np.array_split(waveform, 6)[1:5]]
    assert frequencies == sorted(frequencies)
    assert 200 < frequencies[0] < frequencies[-1] < 2100


@pytest.mark.parametrize("name", ["eight.m4a", "eight.wv"])
def test_more_channels_than_planes_in_a_frame(name):
    samples = samples_of(read(name))
    assert samples.shape[1] == 8
    assert np.abs(samples[:, :2]).max() > 0.1  # the source's two
    assert not np.abs(samples[:, 2:]).max() > 0.1


@pytest.mark.parametrize("name", sorted(NEED_PYAV - {"sox_8000.amr-nb", "ima.caf"}))
def test_a_cut_file_is_refused(name):
    content = read(name)
    for place in np.random.default_rng(0).integers(len(content) // 10, len(content) - 50, 8):
        with pytest.raises(AudioFileError, match=r"^Cannot decode 'x': |^'x' can be decoded up to|no samples"):
            load_audio("x", data=content[:place])


@pytest.mark.parametrize("name", ["sox_8000.amr-nb", "ima.caf"])
def test_a_cut_file_without_a_length_is_read_to_its_end_or_refused(name):
    content = read(name)
    whole = len(samples_of(content))
    for place in np.random.default_rng(0).integers(len(content) // 4, len(content), 8):
        try:
            assert len(samples_of(content[:place])) > whole * (place / len(content)) - 400
        except AudioFileError as error:
            assert "can be decoded up to" in str(error)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("aac.m4a", r"MPEG-4 or QuickTime \(M4A, MP4, MOV, 3GP\)"),
        ("aac.aac", "AAC"),
        ("wma2.wma", r"Windows Media \(WMA\)"),
        ("opus.webm", "Matroska or WebM"),
        ("wavpack.wv", "WavPack"),
        ("speexenc_16000.spx", "Ogg Speex"),
        ("sox_8000.amr-nb", "AMR"),
        ("wma.wav", "WAV with the codec 0x0161"),
    ],
)
def test_without_pyav(name, format, monkeypatch):
    """The message names the format, the command, and what is read without it."""
    monkeypatch.setitem(sys.modules, "av", None)
    message = (
        rf"^Cannot decode 'x': {format} needs PyAV: `pip install av`. Without it, WAV, FLAC, Ogg Vorbis, Opus, MP3, "
        r"AIFF and more can be read\.$"
    )
    with pytest.raises(AudioFileError, match=message):
        load_audio("x", data=read(name))


def test_settings_of_pyav_are_left_alone():
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    with pytest.raises(AudioFileError):
        decode(read("aac.m4a")[:-2000])
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before


def test_several_streams_of_sound():
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        streams = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(stream.encode(frame))
    with pytest.raises(AudioFileError, match=r"it has 2 streams of sound, expected one; extract one with FFmpeg"):
        decode(file.getvalue())


def test_pictures_alone():
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("rawvideo", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(16, 16, "yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        container.mux(stream.encode(frame))
    with pytest.raises(AudioFileError, match="it has 0 streams of sound"):
        decode(file.getvalue())


def test_ffmpeg_is_told_the_format():
    """It would find others by itself, some of which open files and addresses that they name."""
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"
    with pytest.raises(ValueError, match=r"FFmpeg says|Invalid data"):
        list(decode_foreign(io.BytesIO(playlist), Foreign("MPEG-4", "mov")))
    assert parts_of(playlist)[0].foreign is None


@pytest.mark.parametrize("name", ["aac.aac", "aac.m4a", "wavpack.wv", "wma2.wma", "sox_8000.amr-nb", "opus.webm"])
def test_tags_around_a_file(name):
    tag = b"ID3\4\0\0\0\0\0\x14" + bytes(20)
    for content in (tag + read(name), tag + tag + read(name) + b"TAG" + bytes(125)):
        np.testing.assert_array_equal(samples_of(content), samples_of(read(name)))
