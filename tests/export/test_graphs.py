import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from modeling_asm import ASMFeatureExtractor
from modeling_asm.export.graphs import ASMFeatureClassifier, ASMWaveformClassifier
from modeling_asm.export.write import make_inputs, make_noise
from modeling_asm.feature_extraction_asm import PADDING_MODES


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)


@given(
    num_samples=st.lists(st.integers(1, 4000), min_size=1, max_size=3),
    padding_mode=st.sampled_from(PADDING_MODES),
    do_normalize=st.booleans(),
    frame_shift=st.sampled_from([10.0, 12.5, 25.0, 40.0]),  # of 25 ms: overlapping, side by side, with gaps
)
def test_the_filterbank_of_the_graph_is_the_feature_extractors(
    model, num_samples, padding_mode, do_normalize, frame_shift
):
    """Parity of the products with the matrix of the discrete Fourier transform with the FFT.

    A repeated clip of less than a frame has a line spectrum, with rounding between its lines: see below.
    """
    assume(padding_mode not in ("repeat", "reflect") or min(num_samples) >= 400)
    options = {"padding_mode": padding_mode, "do_normalize": do_normalize, "frame_shift": frame_shift}
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=16, mean=-8.0, std=4.0, **options)
    clips = [NOISE[:length] for length in num_samples]
    expected = extractor(clips, sampling_rate=16000, truncation=True, return_tensors="pt")["input_values"]
    waveform, lengths = map(torch.from_numpy, make_inputs(extractor, clips, "waveform"))
    features = ASMWaveformClassifier(model, extractor).extract(waveform, lengths)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("padding_mode", ["repeat", "reflect"])
@pytest.mark.parametrize("length", [130, 250, 399])
def test_the_lines_of_a_repeated_clip_are_the_same(model, padding_mode, length):
    """Bins 90 dB below the loudest one of their frame hold rounding."""
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=16, padding_mode=padding_mode, do_normalize=False)
    expected = extractor(NOISE[:length], sampling_rate=16000, return_tensors="pt")["input_values"]
    waveform, lengths = map(torch.from_numpy, make_inputs(extractor, [NOISE[:length]], "waveform"))
    features = ASMWaveformClassifier(model, extractor).extract(waveform, lengths)
    heard = expected > expected.amax(-1, keepdim=True) - 9 * np.log(10)
    assert heard.float().mean() > 0.5
    torch.testing.assert_close(features[heard], expected[heard], atol=1e-4, rtol=0)


@pytest.mark.parametrize("sampling_rate", [8000, 22050, 44100])
def test_the_filterbank_at_other_rates(model, sampling_rate):
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=16, sampling_rate=sampling_rate)
    clips = make_noise(extractor)[1:]  # not the shortest, whose repetition has a line spectrum: rounding between lines
    expected = extractor(clips, sampling_rate=sampling_rate, return_tensors="pt")["input_values"]
    features = ASMWaveformClassifier(model, extractor).extract(
        *map(torch.from_numpy, make_inputs(extractor, clips, "waveform"))
    )
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
def test_what_stands_behind_a_clip_does_not_matter(model, padding_mode):
    feature_extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=16, padding_mode=padding_mode)
    module, size = ASMWaveformClassifier(model, feature_extractor), feature_extractor.nb_max_samples
    clip = torch.from_numpy(NOISE[:size])[None]
    behind = torch.cat([clip[:, :1000], torch.full((1, size - 1000), 7.0)], 1)
    lengths = torch.tensor([1000])
    assert torch.equal(module(clip, lengths), module(behind, lengths))
    for length, nearest in ((0, 1), (-5, 1), (size + 1, size)):
        assert torch.equal(module(clip, torch.tensor([length])), module(clip, torch.tensor([nearest])))


def test_logits_of_the_model(model, feature_extractor):
    features = feature_extractor(NOISE, sampling_rate=16000, truncation=True, return_tensors="pt")["input_values"]
    expected = model(features).logits
    assert torch.equal(ASMFeatureClassifier(model)(features), expected)
    waveform, lengths = map(torch.from_numpy, make_inputs(feature_extractor, [NOISE], "waveform"))
    torch.testing.assert_close(
        ASMWaveformClassifier(model, feature_extractor)(waveform, lengths), expected, atol=1e-4, rtol=0
    )
