import io

import numpy as np
import pytest
import soundfile
from items import Item, prepare


def wav(samples: np.ndarray, rate: int = 16000) -> bytes:
    output = io.BytesIO()
    soundfile.write(output, samples, rate, format="WAV")
    return output.getvalue()


def item(audio, **changes) -> Item:
    return Item(
        **{"name": "x", "source": "s", "version": "", "licence": "CC0", "kind": "effects", "audio": audio, **changes}
    )


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)


def test_a_recording_is_decoded_resampled_and_cut():
    prepared = prepare(item(wav(NOISE)), 90)
    assert prepared.samples.dtype == np.int16
    assert len(prepared.samples) == 32000
    assert len(prepared.pairs) > 50
    assert prepare(item(wav(NOISE)), 0.25).samples.shape == (8000,)
    assert prepare(item(wav(NOISE)), 90).sha256 == prepared.sha256


def test_a_long_recording_is_not_decoded_to_its_end():
    cut = wav(np.tile(NOISE, 60))[:-1000]  # damaged at its end
    assert prepare(item(cut), 10).reason == ""
    assert "can be decoded up to" in prepare(item(cut), 90).reason


def test_samples_are_taken_as_they_are():
    prepared = prepare(item(NOISE), 90)
    np.testing.assert_allclose(prepared.samples / 2**15, NOISE, atol=2e-5)


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (wav(NOISE[:800]), "it is shorter than 0.1 s"),
        (wav(np.zeros(16000)), "it is silent"),
        (wav(1e-4 * NOISE), "it is silent"),
        (b"no sound", "Cannot decode 'x'"),
    ],
)
def test_what_is_left_out(audio, reason):
    prepared = prepare(item(audio), 90)
    assert prepared.samples is None
    assert prepared.reason.startswith(reason)


def test_a_reason_is_kept():
    assert prepare(item(b"", reason="the licence does not allow it"), 90).reason == "the licence does not allow it"
