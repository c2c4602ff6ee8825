import contextlib
import functools
import http.server
import io
import os
import subprocess
import threading
import time

import numpy as np
import pytest
import soundfile
import torch
from recordings import noise, write

from modeling_asm.audio import AudioFileError, sources
from modeling_asm.audio.sources import open_audio


WAVEFORM = np.sin(np.arange(8000) / 20).astype(np.float32)


def read(inputs, sampling_rate: int = 16000) -> np.ndarray:
    return np.concatenate(list(open_audio(inputs, sampling_rate)))


@pytest.fixture
def sound(tmp_path):
    soundfile.write(tmp_path / "sound.wav", WAVEFORM, 16000, subtype="FLOAT")
    return tmp_path / "sound.wav"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files, and servers that behave badly."""

    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header(
                "Location", {"file": "file:///etc/passwd", "sound": "/sound.wav", "host": "http://a..b/"}[self.path[4:]]
            )
            self.end_headers()
        elif self.path == "/stalls":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            time.sleep(2)
        elif self.path == "/drips":
            with contextlib.suppress(OSError):
                self.wfile.write(b"HTTP/1.0 200 OK\r\n")
                for number in range(40):
                    self.wfile.write(b"X-%d: drop\r\n" % number)
                    time.sleep(0.1)
        else:
            super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def url(sound):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=sound.parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_url_and_one_that_moved(url):
    np.testing.assert_array_equal(read(f"{url}/sound.wav"), WAVEFORM)
    np.testing.assert_array_equal(read(f"{url}/to/sound"), WAVEFORM)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nowhere.wav", "404"),
        ("/to/file", "(?i)protocol|scheme|file:"),
        ("/stalls", "(?i)time|Cannot download"),
        ("/to/host", "Cannot download"),
        ("/drips", "Gave up on .* after 1 s"),
    ],
)
def test_a_bad_url_is_named(url, path, message, monkeypatch):
    monkeypatch.setattr(sources, "STALLED", 0.3)
    monkeypatch.setattr(sources, "LONGEST_DOWNLOAD", 1.0)
    start = time.monotonic()
    with pytest.raises(AudioFileError, match=message) as error:
        read(url + path)
    assert path in str(error.value)
    assert time.monotonic() - start < 2


def test_a_download_has_limits(url, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST_COPY", 1000)
    with pytest.raises(AudioFileError, match=r"Gave up .*sound\.wav.* after 1000 bytes"):
        read(f"{url}/sound.wav")


def test_a_pipe_has_limits(sound, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST_COPY", 1000)
    process = subprocess.Popen(["cat", sound], stdout=subprocess.PIPE)
    with process, pytest.raises(AudioFileError, match=r"Gave up .* after 1000 bytes"):
        read(process.stdout)


@pytest.mark.parametrize("name", ["http://a..b/x.wav", f"http://{'a' * 70}.com/x.wav", "http://[::1", "http:///x.wav"])
def test_names_that_are_no_hosts(name):
    with pytest.raises(AudioFileError, match="Cannot download") as error:
        read(name)
    assert name in str(error.value)


def test_nobody_is_there():
    with pytest.raises(AudioFileError, match=r"Cannot download 'http://127\.0\.0\.1:9/sound\.wav'"):
        read("http://127.0.0.1:9/sound.wav")


def test_an_url_of_another_scheme_is_a_path(sound):
    with pytest.raises(AudioFileError, match="is missing"):
        read(f"file://{sound}")


def test_a_pipe(sound):
    reading, writing = os.pipe()
    thread = threading.Thread(target=lambda: os.fdopen(writing, "wb").write(sound.read_bytes()))
    thread.start()
    with os.fdopen(reading, "rb") as file:
        np.testing.assert_array_equal(read(file), WAVEFORM)
    thread.join()


def test_a_file_object_stays_open_and_can_be_read_again(sound):
    file = io.BytesIO(sound.read_bytes())
    assert read(file).size == read(file).size == 8000


def test_a_closed_file(sound):
    file = open(sound, "rb")  # noqa: SIM115
    file.close()
    with pytest.raises(AudioFileError, match=r"Cannot read .*sound\.wav.*closed"):
        read(file)


def test_arrays_are_resampled_and_mixed_down():
    assert read({"array": np.zeros((2, 44100)), "sampling_rate": 44100}).shape == (16000,)
    assert read({"raw": np.zeros((48000, 6), np.int16), "sampling_rate": 48000}).shape == (16000,)
    np.testing.assert_allclose(read(np.stack([WAVEFORM, -WAVEFORM, WAVEFORM])), WAVEFORM / 3, atol=1e-6)
    assert read({"array": torch.zeros(48000), "sampling_rate": torch.tensor(48000)}).shape == (16000,)
    np.testing.assert_allclose(read((WAVEFORM * 32767).astype(np.int16)), WAVEFORM, atol=1e-4)


def test_torchcodecs_decoder():
    class Samples:
        data, sample_rate = np.stack([WAVEFORM, WAVEFORM]), 16000

    class Decoder:  # torchcodec's own does not load everywhere
        def get_all_samples(self):
            return Samples

    np.testing.assert_allclose(read(Decoder()), WAVEFORM, atol=1e-6)


def test_a_decoder_of_torchcodec_that_fails():
    class Decoder:
        def get_all_samples(self):
            raise RuntimeError("no frames")

    with pytest.raises(AudioFileError, match="torchcodec cannot decode a recording: no frames"):
        read(Decoder())


def test_arrays_of_other_orders():
    np.testing.assert_array_equal(read(WAVEFORM[::-1]), np.flip(WAVEFORM))
    np.testing.assert_array_equal(read(WAVEFORM.astype(">f4")), WAVEFORM)
    np.testing.assert_array_equal(read(np.frombuffer(WAVEFORM.tobytes(), np.float32)), WAVEFORM)


BAD = {
    "text-file": (
        io.StringIO("abc"),
        TypeError,
        r"is open for text, expected an open binary file: `open\(path, 'rb'\)`",
    ),
    "no-rate": ({"array": WAVEFORM, "sampling_rate": None}, ValueError, "sampling rate of None Hz, expected 1000 to"),
    "no-number": ({"array": WAVEFORM, "sampling_rate": "CD"}, ValueError, "sampling rate of CD Hz, expected 1000 to"),
    "nothing": (np.zeros(0), ValueError, r"^The waveform is empty, expected at least one sample\.$"),
    "not-finite": (
        np.array([0.0, np.inf]),
        ValueError,
        "^The waveform has the value inf at sample 1, expected finite samples. Repair",
    ),
    "true-or-false": (np.array([True, False]), TypeError, "^The waveform holds"),
    "three-axes": (np.zeros((2, 2, 9)), ValueError, r"shape \(2, 2, 9\)"),
    "words": (np.array(["a", "b"]), TypeError, "The waveform holds <U1 values .ndarray., expected numbers"),
    "number": (7, TypeError, "Got a int, expected a path, URL"),
    "keys": ({"waveform": WAVEFORM}, ValueError, r"the keys \['waveform'\], expected 'array'"),
    "rate-of-0": ({"array": WAVEFORM, "sampling_rate": 0}, ValueError, "sampling rate of 0 Hz, expected 1000 to"),
    "too-short": (
        {"array": WAVEFORM[:1], "sampling_rate": 96000},
        ValueError,
        "1 samples at 96000 Hz give none at 16000 Hz: the waveform is too short",
    ),
    "no-audio": (b"this is not audio", AudioFileError, "Cannot decode The file of 17 bytes"),
    "no-bytes": (b"", AudioFileError, "The file of 0 bytes is an empty file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_a_clear_error(kind):
    inputs, error, message = BAD[kind]
    with pytest.raises(error, match=message):
        read(inputs)


def test_many_small_pieces_meet_the_limit_too(monkeypatch):
    """As a slow pipe or server sends them."""
    monkeypatch.setattr(sources, "LARGEST_COPY", 1000)
    with sources.TemporaryCopy("slow.wav") as copy:
        copy.fill([b"x"] * 1000)
    with sources.TemporaryCopy("slow.wav") as copy, pytest.raises(AudioFileError, match="after 1000 bytes"):
        copy.fill([b"x"] * 1001)


def test_the_scale_of_a_waveform_is_told_by_its_name(monkeypatch, caplog):
    monkeypatch.setattr("modeling_asm.waveforms.scale_warned", False)
    read(WAVEFORM * 20000)
    assert caplog.records[0].message.startswith("The waveform has a peak of 20000")


@pytest.mark.parametrize("rate", sources.SAMPLING_RATES)
def test_rates_at_the_limits(rate):
    resampled = read({"array": WAVEFORM, "sampling_rate": rate})
    assert resampled.size == pytest.approx(8000 * 16000 / rate, abs=1)


def test_as_many_channels_as_samples():
    with pytest.raises(ValueError, match=r"shape \(2, 2\), and either axis could hold the channels"):
        read(np.array([[0.0, 0.5], [1.0, 0.25]], np.float32))


def test_the_content_of_a_file_in_a_memoryview():
    content = write(noise())
    np.testing.assert_array_equal(read(memoryview(content)), read(content))


@pytest.mark.parametrize("kind", ["path", "bytes", "file", "array", "dictionary"])
def test_the_channel_of_any_source(kind, tmp_path):
    samples = noise(4000, 2).astype(np.float32)
    content = write(samples, subtype="FLOAT")
    (tmp_path / "stereo.wav").write_bytes(content)
    source = {
        "path": tmp_path / "stereo.wav",
        "bytes": content,
        "file": io.BytesIO(content),
        "array": samples,
        "dictionary": {"audio": {"path": None, "bytes": content}},
    }[kind]
    np.testing.assert_array_equal(np.concatenate(list(open_audio(source, 16000, channel=1))), samples[:, 1])


class Pipe(io.RawIOBase):
    """A file that cannot seek, and counts how much it is asked for."""

    def __init__(self, content: bytes):
        self.content, self.asked = io.BytesIO(content), []

    def readable(self):
        return True

    def read(self, size=-1):
        self.asked.append(size)
        return self.content.read(size)


@pytest.mark.parametrize(("name", "told"), [("speech.wav", "'speech.wav'"), (None, "The file object")])
def test_the_name_of_a_pipe(monkeypatch, name, told):
    """In errors; it is read a mebibyte at a time."""
    pipe = Pipe(b"this is not audio")
    if name:
        pipe.name = name
    with pytest.raises(AudioFileError, match=f"Cannot decode {told}"):
        read(pipe)
    assert set(pipe.asked) == {2**20}
    monkeypatch.setattr(sources, "LARGEST_COPY", 10)
    with pytest.raises(AudioFileError, match=f"Gave up on {told if name else repr(told)} after 10 bytes"):
        read(pipe.__class__(b"this is not audio") if name is None else with_name(Pipe(b"this is not audio"), name))


def with_name(pipe: Pipe, name: str) -> Pipe:
    pipe.name = name
    return pipe


def test_a_closed_file_without_a_name():
    file = io.BytesIO(b"this is not audio")
    file.close()
    with pytest.raises(AudioFileError, match="Cannot read 'The file object': I/O operation on closed file"):
        read(file)
