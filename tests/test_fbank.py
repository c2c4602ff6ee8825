from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from modeling_asm import fbank as fbank_module
from modeling_asm.fbank import EPSILON, fbank, frame_sizes, frames_per_block, mel_bands, mel_filters, num_frames


GOLDEN = load_file(Path(__file__).parent / "assets" / "fbank.safetensors")


@pytest.mark.parametrize("name", sorted({key.split(".")[0] for key in GOLDEN}))
def test_equals_torchaudio(name):
    """Source: `torchaudio.compliance.kaldi.fbank` 2.11.0, by tests/assets/make_fbank_golden.py."""
    sampling_rate, num_mel_bins, frame_length, frame_shift = GOLDEN[f"{name}.arguments"].tolist()
    waveform = GOLDEN[f"{name}.waveform"][None]
    features = fbank(waveform, int(sampling_rate), int(num_mel_bins), frame_length, frame_shift)
    golden = GOLDEN[f"{name}.features"]
    # Processors round the spectrum differently, by some float32 epsilons of the loudest bin of a frame. In the
    # logarithm of a quiet bin, that grows with the ratio of their amplitudes. torchaudio's filters are float32 as well.
    rounding = 16 * EPSILON * ((golden.amax(1, keepdim=True) - golden) / 2).exp()
    assert ((features[0] - golden).abs() <= 3e-5 + rounding).all()


@given(
    batch_size=st.integers(1, 5), num_samples=st.integers(400, 4000), block=st.integers(1, 40), row=st.integers(0, 4)
)
def test_a_row_does_not_depend_on_batch_or_block(batch_size, num_samples, block, row):
    waveform = torch.rand(batch_size, num_samples) - 0.5
    row %= batch_size
    alone = fbank(waveform[row : row + 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fbank_module, "frames_per_block", lambda *_: block)
        batched = fbank(waveform)
    torch.testing.assert_close(batched[row : row + 1], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("num_samples", "frames"), [(400, 1), (559, 1), (560, 2), (16000, 98), (160000, 998)])
def test_number_of_frames(num_samples, frames):
    """Source: Kaldi's snip_edges; 1 s has 98 frames, 10 s have 998."""
    assert fbank(torch.zeros(1, num_samples)).shape == (1, frames, 128)
    assert num_frames(num_samples, 400, 160) == frames


def test_no_whole_frame():
    assert num_frames(399, 400, 160) == 0
    with pytest.raises(ValueError, match=r"at least one frame of 400 samples.*got 399"):
        fbank(torch.zeros(1, 399))


@pytest.mark.parametrize("waveform", [torch.zeros(400), torch.zeros(1, 1, 400), torch.zeros(1, 400).double()])
def test_wrong_shape_or_dtype_is_an_error(waveform):
    with pytest.raises(ValueError, match="expects a float32 waveform of shape"):
        fbank(waveform)


def test_silence_is_the_floor():
    """Source: the natural logarithm of float32's epsilon, 2 ** -23."""
    torch.testing.assert_close(fbank(torch.zeros(1, 400)), torch.full((1, 1, 128), -15.942385), atol=1e-5, rtol=0)


def test_the_input_is_left_alone():
    waveform = torch.rand(2, 1000)
    copy = waveform.clone()
    fbank(waveform)
    assert torch.equal(waveform, copy)


def test_a_constant_offset_changes_nothing():
    waveform = 0.1 * (torch.rand(1, 1600) - 0.5)
    torch.testing.assert_close(fbank(waveform + 0.25), fbank(waveform), atol=1e-3, rtol=0)


def test_mel_filters():
    filters = mel_filters(16000, 128, 512)
    assert filters.shape == (257, 128)
    assert filters.min() == 0
    assert filters.max() <= 1
    assert int((filters.sum(0) == 0).sum()) == 1  # Kaldi's 128 filters at 16 kHz have an empty one, too
    assert (filters[-1] == 0).all()


@pytest.mark.parametrize(("sampling_rate", "num_mel_bins"), [(16000, 128), (16000, 1), (8000, 3), (44100, 80)])
def test_bands_are_the_filters(sampling_rate, num_mel_bins):
    """Parity of the product band by band with the plain one: what a band leaves out is zero."""
    filters, whole = mel_filters(sampling_rate, num_mel_bins, 512), torch.zeros(257, num_mel_bins)
    for mels, bins, part in mel_bands(sampling_rate, num_mel_bins, 512, torch.device("cpu")):
        whole[bins, mels] = part
    assert torch.equal(whole, filters)


def test_writes_where_it_is_told():
    waveform, whole = torch.rand(2, 1600) - 0.5, torch.full((2, 9, 40), 7.0)
    features = fbank(waveform, num_mel_bins=40, out=whole[:, :8])
    assert features.data_ptr() == whole.data_ptr()
    assert torch.equal(whole[:, :8], fbank(waveform, num_mel_bins=40))
    assert (whole[:, 8] == 7).all()


@pytest.mark.parametrize("out", [torch.zeros(2, 5, 24), torch.zeros(2, 8, 24).double()])
def test_another_place_to_write_to_is_an_error(out):
    with pytest.raises(ValueError, match=r"`out` is .* of shape .*, expected float32 of \(2, 8, 24\)"):
        fbank(torch.rand(2, 1600), num_mel_bins=24, out=out)


def test_the_filters_are_kept_for_training():
    mel_filters.cache_clear()
    with torch.inference_mode():
        fbank(torch.rand(1, 400))
    assert not mel_filters(16000, 128, 512).is_inference()


def test_blocks():
    """Source: measured on two cores; a GPU takes all at once."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [frames_per_block(number, cpu) for number in (98, 4000, 8000)] == [512, 512, 1024]
    assert frames_per_block(8000, gpu) >= 8000


def test_rows_of_a_large_batch_are_those_of_a_clip():
    """Blocks of another size."""
    waveform = torch.rand(5, 160_000) - 0.5  # 998 frames each
    for row, features in zip(waveform, fbank(waveform), strict=True):
        torch.testing.assert_close(fbank(row[None])[0], features, atol=1e-5, rtol=0)


def test_frame_sizes_cut_fractions():
    assert frame_sizes(16000, 25.0, 10.0) == (400, 160)
    assert frame_sizes(22050, 25.0, 10.0) == (551, 220)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_on_a_gpu():
    waveform = torch.rand(3, 20000) - 0.5
    torch.testing.assert_close(fbank(waveform.cuda()).cpu(), fbank(waveform), atol=1e-4, rtol=0)


def test_fewer_samples_than_a_frame():
    assert [num_frames(size, 400, 160) for size in (0, 1, 399, 400, 559, 560)] == [0, 0, 0, 1, 1, 2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("block", [3, 7, 1000])
def test_buffers_have_the_shapes_of_what_they_hold(monkeypatch, block):
    """PyTorch would resize others, with a warning, each time anew."""
    monkeypatch.setattr(fbank_module, "frames_per_block", lambda *_: block)
    fbank(torch.randn(2, 4000), num_mel_bins=24)


def test_the_waveform_is_left_as_it_was():
    waveform = torch.randn(2, 4000)
    before = waveform.clone()
    fbank(waveform)
    assert torch.equal(waveform, before)
