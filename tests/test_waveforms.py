"""What users pass as waveforms; its shapes, types and errors are tested through the feature extractor."""

import numpy as np
import pytest
import soundfile
import torch

from modeling_asm import ASMFeatureExtractor, ASMStreamingClassifier, waveforms
from modeling_asm.audio import load_audio, open_audio
from modeling_asm.waveforms import as_samples, as_tensor, as_waveform, check_finite, fill_up, split_clips


@pytest.fixture(autouse=True)
def unwarned(monkeypatch):
    monkeypatch.setattr(waveforms, "scale_warned", False)


@pytest.fixture
def integers() -> np.ndarray:
    """A tone in the range of 16-bit integers, as floats."""
    return (20000 * np.sin(np.arange(4000) / 20)).astype(np.float32)


ENTRANCES = {
    "extractor": lambda clip, path, model: ASMFeatureExtractor()([clip * 1e-5, clip], 16000),
    "tensor": lambda clip, path, model: ASMFeatureExtractor()(torch.from_numpy(clip), 16000),
    "list": lambda clip, path, model: ASMFeatureExtractor()(clip.tolist(), 16000),
    "array": lambda clip, path, model: list(open_audio(clip, 16000)),
    "stream": lambda clip, path, model: ASMStreamingClassifier(model, ASMFeatureExtractor()).push(clip),
    "file": lambda clip, path, model: load_audio(path),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_floats_in_the_range_of_integers_are_pointed_out_once(integers, model, tmp_path, caplog, entrance):
    soundfile.write(tmp_path / "loud.wav", integers, 16000, subtype="FLOAT")
    for gain in (1, 0.5):
        ENTRANCES[entrance](gain * integers, tmp_path / "loud.wav", model)
    (record,) = [record for record in caplog.records if "has a peak of" in record.message]
    assert "has a peak of 20000, but floating point samples are in [-1, 1]" in record.message
    assert "Divide 16-bit samples by 32768" in record.message


@pytest.mark.parametrize("peak", [0.0, 1.0, 10.0, 32.0])
def test_loud_and_silent_floats_are_not(caplog, peak):
    """Mixing and augmentation may exceed full scale; -60 dB of 16 bits is not a recording."""
    as_samples(torch.tensor([0.0, -peak]), "Clip 0")
    as_samples(torch.zeros(0), "Clip 1")
    as_samples(torch.tensor([20000], dtype=torch.int16), "Clip 2")
    assert not [record for record in caplog.records if "peak" in record.message]


def test_a_negative_peak_counts(caplog):
    as_samples(torch.tensor([0.0, -300.0]), "Clip 3")
    assert "Clip 3 has a peak of 300" in caplog.text


def test_samples_whose_sum_overflows_are_finite():
    check_finite(torch.full((2, 3), 3e38))
    with pytest.raises(ValueError, match="Clip 1 has the value inf at sample 2"):
        check_finite(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, float("inf")]]))


@pytest.mark.parametrize(
    ("mode", "expected"), [("repeat", [1, 2, 3, 1, 2, 3, 1]), ("reflect", [1, 2, 3, 3, 2, 1, 1]), ("zero", [1, 2, 3])]
)
def test_filling_up(mode, expected):
    assert fill_up(torch.tensor([1, 2, 3]), 7, mode).tolist() == expected
    assert fill_up(torch.arange(9), 7, mode).tolist() == list(range(9))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [(torch.uint8, [0, 128, 192]), (torch.int16, [-(2**15), 0, 2**14]), (torch.int32, [-(2**31), 0, 2**30])],
)
def test_pcm_is_scaled_to_full_scale(dtype, values):
    """Source: RIFF, https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE: 8 bits are unsigned, around 128."""
    assert as_samples(torch.tensor(values, dtype=dtype), "Clip 0").tolist() == [-1.0, 0.0, 0.5]


def test_arrays_of_any_layout():
    """Read-only, backwards, of the other byte order and in Fortran's order; the original is never written to."""
    plain = np.arange(12, dtype=np.float32).reshape(3, 4) / 12
    read_only = plain.copy()
    read_only.flags.writeable = False
    for array in (read_only, np.asfortranarray(plain), plain[::-1, ::-1][::-1, ::-1], plain.astype(">f4")):
        tensor = as_tensor(array, "Clip 0")
        assert tensor.is_contiguous()
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, torch.from_numpy(plain))
    assert torch.equal(as_tensor(plain[::-1], "Clip 0"), torch.from_numpy(plain).flip(0))
    tensor = as_tensor(read_only, "Clip 0")
    tensor.zero_()
    assert read_only.any()
    assert as_tensor(plain, "Clip 0").data_ptr() == plain.ctypes.data  # no copy where none is needed


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], r"^`raw_speech` is empty, expected at least one clip with at least one sample\.$"),
        (torch.zeros(9, 8), r"`raw_speech` has 9 rows of 8 numbers, which looks like \(num_samples, num_channels\)"),
        (torch.zeros(9, 1), r"`raw_speech` has 9 rows of 1 numbers"),
    ],
)
def test_what_is_no_list_of_clips(clips, message):
    with pytest.raises(ValueError, match=message):
        split_clips(clips)


def test_few_or_long_rows_are_clips():
    assert len(split_clips(torch.zeros(8, 8))) == 8
    assert len(split_clips(torch.zeros(9, 9))) == 9


def test_errors_name_the_clip():
    with pytest.raises(ValueError, match=r"^Clip 3 has shape \(2, 3, 4\), expected \(num_samples,\)\.$"):
        as_waveform(torch.zeros(2, 3, 4), 3)
    with pytest.raises(TypeError, match=r"^Clip 3 holds torch\.int8 samples, whose full scale is unknown"):
        as_waveform(torch.zeros(4, dtype=torch.int8), 3)
    with pytest.raises(TypeError, match=r"^Clip 3 holds bool values"):
        as_waveform([True, False], 3)


def test_an_infinite_peak_is_no_scale(caplog):
    as_samples(torch.tensor([0.0, float("inf")]), "Clip 0")
    assert caplog.records == []
