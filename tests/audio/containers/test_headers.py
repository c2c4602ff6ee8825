import io

import numpy as np
import pytest
import soundfile
from recordings import fault_of, noise, parts_of, read, samples_of, write


SUBTYPES = {"AU": "PCM_16", "NIST": "PCM_16", "AVR": "PCM_16", "VOC": "PCM_16"}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", SUBTYPES)
def test_a_whole_file(kind, channels):
    content = write(noise(4000, channels), kind=kind, subtype=SUBTYPES[kind])
    assert fault_of(content) is None
    expected = soundfile.read(io.BytesIO(content), always_2d=True, dtype="float32")[0]
    np.testing.assert_array_equal(samples_of(content), expected)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", SUBTYPES)
def test_a_cut_file(kind, channels):
    content = write(noise(4000, channels), kind=kind, subtype=SUBTYPES[kind])
    assert f"bytes of samples, and {len(content) - 3000 - 44}"[:-5] in fault_of(content[:-3000])
    with pytest.raises(ValueError, match="can be decoded up to"):
        samples_of(content[:-3000])


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("size", [0, 1000, 2**32 - 1], ids=["zero", "part", "unknown"])
def test_an_au_file_that_announces_less_or_nothing(size, order):
    file = io.BytesIO()
    soundfile.write(file, noise(), 16000, "PCM_16", order.upper(), "AU")
    content = file.getvalue()
    changed = content[:8] + size.to_bytes(4, order) + content[12:]
    np.testing.assert_array_equal(samples_of(changed), samples_of(content))


def test_a_nist_file_that_announces_less():
    content = write(noise(), kind="NIST", subtype="PCM_16")
    changed = content.replace(b"sample_count -i 4000", b"sample_count -i 1000")
    assert len(samples_of(changed)) == 4000


@pytest.mark.parametrize("name", ["mulaw.sph", "sox8_8000.voc", "mulaw.au", "piped_mulaw.au"])
def test_files_by_sox(name):
    assert fault_of(read(name)) is None


def test_a_voc_file_with_several_blocks():
    """libsndfile reads the first one."""
    content = write(noise(), kind="VOC", subtype="PCM_16")
    start = int.from_bytes(content[20:22], "little")
    with pytest.raises(ValueError, match="several blocks of sound"):
        parts_of(content[:-1] + content[start:])


def test_a_voc_file_with_a_text():
    content = write(noise(), kind="VOC", subtype="PCM_16")
    assert fault_of(content[:-1] + b"\5\4\0\0text\0") is None
