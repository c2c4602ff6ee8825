import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import ASTFeatureExtractor, AutoFeatureExtractor, DataCollatorWithPadding
from transformers.utils import PaddingStrategy

from modeling_asm import ASMFeatureExtractor
from modeling_asm.fbank import fbank


RATE = 16000


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples).astype(np.float32)


def extract(clips, **arguments) -> torch.Tensor:
    return ASMFeatureExtractor(max_length=40)(clips, sampling_rate=RATE, return_tensors="pt", **arguments).input_values


@pytest.mark.parametrize(("num_samples", "frames"), [(16000, 98), (5000, 29), (170000, 1024)])
def test_equals_ast_inside_the_clip(num_samples, frames):
    """Source: transformers' ASTFeatureExtractor, with AudioSet's mean and standard deviation, as is the default."""
    clip = noise(num_samples)
    ast = ASTFeatureExtractor()(clip, sampling_rate=RATE, return_tensors="np")["input_values"]
    asm = ASMFeatureExtractor()(clip, sampling_rate=RATE, return_tensors="np", truncation=True)["input_values"]
    assert asm.shape == ast.shape == (1, 1024, 128)
    np.testing.assert_allclose(asm[:, :frames], ast[:, :frames], atol=1e-4, rtol=0)


def test_normalisation_and_padding():
    clip = noise(4000)
    features = ASMFeatureExtractor(max_length=40, mean=-7.0, std=3.0, padding_value=-1.5)(clip, RATE)["input_values"][0]
    expected = (fbank(torch.from_numpy(clip)[None])[0] + 7.0) / 6.0
    np.testing.assert_allclose(features[:23], expected.numpy(), atol=1e-5)
    assert (features[23:] == -1.5).all()
    raw = ASMFeatureExtractor(max_length=40, do_normalize=False, padding_value=9.0)(clip, RATE)["input_values"][0]
    np.testing.assert_allclose(raw[:23], expected.numpy() * 6.0 - 7.0, atol=1e-4)
    assert (raw[23:] == 9.0).all()


def test_padding_with_zero_is_asts():
    extractor, options = ASMFeatureExtractor(max_length=40, padding_mode="zero"), {"return_tensors": "np"}
    ast = ASTFeatureExtractor(max_length=40)(noise(3000), sampling_rate=RATE, **options)["input_values"]
    asm = extractor(noise(3000), sampling_rate=RATE, **options)["input_values"]
    np.testing.assert_allclose(asm, ast, atol=1e-4, rtol=0)
    assert round(float(asm[0, -1, 0]), 3) == 0.467
    assert ASMFeatureExtractor(padding_mode="zero", do_normalize=False).padding_value == 0


def test_a_short_clip_is_repeated_unless_a_value_is_given():
    assert ASMFeatureExtractor().padding_mode == "repeat"
    assert ASMFeatureExtractor(padding_value=-1.5).padding_mode == "zero"
    assert ASMFeatureExtractor(padding_value=-1.5, padding_mode="reflect").padding_mode == "reflect"


def test_padding_with_silence_is_what_recorded_silence_gives():
    """The floor of the energies, normalised, continues a clip as zeros after it would."""
    extractor = ASMFeatureExtractor(max_length=60, mean=-7.0, std=3.0, padding_mode="silence")
    assert extractor.padding_value == pytest.approx((math.log(2**-23) + 7.0) / 6.0)
    clip = noise(160 * 20 + 400)
    short = extractor(clip, RATE, return_tensors="pt").input_values
    silent = extractor(np.pad(clip, (0, 8000)), RATE, return_tensors="pt", truncation=True).input_values
    same = torch.tensor([frame < 21 or frame >= 23 for frame in range(60)])  # two frames lie across the clip's end
    torch.testing.assert_close(short[:, same], silent[:, same], atol=1e-5, rtol=0)
    assert round(ASMFeatureExtractor(padding_mode="silence").padding_value, 3) == -1.278  # as the docstring says


@pytest.mark.parametrize(
    ("mode", "continued"),
    [("repeat", lambda clip: [clip]), ("reflect", lambda clip: [clip, clip[::-1]])],
    ids=["repeat", "reflect"],
)
@pytest.mark.parametrize("length", [1, 300, 2500])
def test_padding_with_the_clip_itself(mode, continued, length):
    clip, extractor = noise(length), ASMFeatureExtractor(max_length=40, padding_mode=mode)
    pieces = continued(clip) * (extractor.nb_max_samples // length + 1)
    expected = extractor(np.concatenate(pieces), RATE, return_tensors="pt", truncation=True).input_values
    outputs = extractor(clip, RATE, return_tensors="pt")
    torch.testing.assert_close(outputs.input_values, expected)
    assert outputs.attention_mask.sum() == max(1 + (length - 400) // 160, 1)


def test_padding_with_the_mean():
    extractor = ASMFeatureExtractor(max_length=40, mean=-7.0, std=3.0, padding_mode="mean")
    assert (extractor(noise(2000), RATE)["input_values"][0][11:] == 0).all()
    extractor.do_normalize = False
    assert extractor.padding_value == -7.0


def test_the_padding_is_saved(tmp_path):
    ASMFeatureExtractor(padding_mode="reflect").save_pretrained(tmp_path)
    assert ASMFeatureExtractor.from_pretrained(tmp_path).padding_mode == "reflect"
    assert ASMFeatureExtractor.from_pretrained(tmp_path, padding_mode="mean").padding_mode == "mean"


def test_truncation_cuts_a_long_clip_at_its_end():
    clip = noise(20000)
    torch.testing.assert_close(extract(clip, truncation=True), extract(clip[: 400 + 39 * 160]))
    assert ASMFeatureExtractor(max_length=40).nb_max_samples == 400 + 39 * 160


def test_a_long_clip_keeps_all_its_frames():
    clip, extractor = noise(20000), ASMFeatureExtractor(max_length=40, padding_mode="silence")
    outputs = extractor([clip, clip[:3000]], RATE, return_tensors="pt")
    assert outputs.input_values.shape == (2, 123, 128)
    assert outputs.attention_mask.sum(1).tolist() == [123, 17]
    torch.testing.assert_close(outputs.input_values[0], extractor.extract_frames(torch.from_numpy(clip)[None])[0])
    assert (outputs.input_values[1, 17:] == extractor.padding_value).all()


@given(lengths=st.lists(st.integers(1, 9000), min_size=1, max_size=5), row=st.integers(0, 4))
def test_a_row_of_a_batch_equals_the_clip_alone(lengths, row):
    clips = [noise(length, seed) for seed, length in enumerate(lengths)]
    row %= len(clips)
    alone = extract(clips[row])
    torch.testing.assert_close(extract(clips)[row : row + 1, : alone.shape[1]], alone, atol=1e-5, rtol=0)


KINDS = {
    "float32": lambda clip: clip,
    "float64": lambda clip: clip.astype(np.float64),
    "big-endian": lambda clip: clip.astype(">f4"),
    "strided": lambda clip: np.repeat(clip, 2)[::2],
    "list": lambda clip: clip.tolist(),
    "tuple": lambda clip: tuple(clip.tolist()),
    "torch": lambda clip: torch.from_numpy(clip.copy()),
    "torch-double": lambda clip: torch.from_numpy(clip.astype(np.float64)),
    "torch-with-gradient": lambda clip: torch.from_numpy(clip.copy()).requires_grad_(),
}


@given(kind=st.sampled_from(sorted(KINDS)), num_samples=st.integers(1, 5000), batched=st.booleans())
def test_every_kind_of_input_gives_the_same(kind, num_samples, batched):
    clip = noise(num_samples)
    converted = KINDS[kind](clip)
    torch.testing.assert_close(extract([converted] if batched else converted), extract(clip))


@pytest.mark.parametrize("make", [np.stack, lambda clips: torch.from_numpy(np.stack(clips)), list, tuple])
def test_a_batch_in_one_array_or_in_many(make):
    clips = [noise(3000, seed) for seed in range(3)]
    torch.testing.assert_close(extract(make(clips)), torch.cat([extract(clip) for clip in clips]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "zero", "full_scale"), [(np.int16, 0, 2**15), (np.int32, 0, 2**31), (np.uint8, 128, 2**7)]
)
def test_integer_pcm_is_scaled(dtype, zero, full_scale):
    samples = np.round(noise(3000).astype(np.float64) * full_scale) + zero
    expected = ((samples - zero) / full_scale).astype(np.float32)
    for pcm in (samples.astype(dtype), torch.from_numpy(samples.astype(dtype))):
        torch.testing.assert_close(extract(pcm), extract(expected), atol=1e-5, rtol=0)


def test_half_precision_is_computed_in_float32():
    clip = torch.from_numpy(noise(3000)).half()
    assert extract(clip).dtype == torch.float32
    torch.testing.assert_close(extract(clip), extract(clip.float()))


def test_return_types():
    extractor, clips = ASMFeatureExtractor(max_length=40), [noise(3000), noise(2000)]
    as_list = extractor(clips, RATE)["input_values"]
    assert isinstance(as_list, list)
    assert [(type(row), row.shape, row.dtype) for row in as_list] == [(np.ndarray, (40, 128), np.float32)] * 2
    assert isinstance(extractor(clips, RATE, return_tensors="np")["input_values"], np.ndarray)
    assert isinstance(extractor(clips, RATE, return_tensors="pt")["input_values"], torch.Tensor)
    assert list(extractor(clips, RATE)) == extractor.model_input_names == ["input_values", "attention_mask"]
    assert list(extractor(clips, RATE, return_attention_mask=False)) == ["input_values"]
    assert extractor(clips, RATE, return_tensors="pt")["attention_mask"].dtype == torch.int64
    with pytest.raises(ValueError, match=r"return_tensors.*'tf'.*'pt'"):
        extractor(clips, RATE, return_tensors="tf")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_of_the_computation():
    clip = noise(3000)
    on_gpu = extract(clip, device="cuda")
    assert on_gpu.device.type == extract(torch.from_numpy(clip).cuda()).device.type == "cuda"
    torch.testing.assert_close(on_gpu.cpu(), extract(clip), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("sampling_rate", "num_mel_bins"), [(8000, 64), (22050, 80), (44100, 128)])
def test_other_rates_and_mel_bins(sampling_rate, num_mel_bins):
    extractor = ASMFeatureExtractor(sampling_rate=sampling_rate, num_mel_bins=num_mel_bins, max_length=50)
    clip = noise(sampling_rate // 4)
    features = extractor(clip, sampling_rate=sampling_rate, return_tensors="pt").input_values
    assert features.shape == (1, 50, num_mel_bins)
    expected = fbank(torch.from_numpy(clip)[None], sampling_rate, num_mel_bins)
    expected = (expected - extractor.mean) / (2 * extractor.std)
    torch.testing.assert_close(features[:, : expected.shape[1]], expected)


def test_a_clip_shorter_than_a_frame_is_filled_up_with_zeros():
    clip, extractor = noise(100), ASMFeatureExtractor(max_length=40, padding_mode="silence")
    filled = extractor(np.pad(clip, (0, 300)), RATE, return_tensors="pt").input_values
    torch.testing.assert_close(extractor(clip, RATE, return_tensors="pt").input_values, filled)


@pytest.mark.parametrize(
    ("clips", "error", "words"),
    [
        pytest.param(np.zeros((16000, 2)), ValueError, ["mono", "Mix the channels down", "axis=1"], id="channels-last"),
        pytest.param([[0.0, 0.1]] * 900, ValueError, ["mono", "900 rows of 2", "Mix"], id="list-of-pairs"),
        pytest.param([[0.0, [0.1]]], ValueError, ["Clip 0", "plain sequence"], id="ragged"),
        pytest.param(np.zeros((16000, 0)), ValueError, ["Clip 0 is empty"], id="no-channels"),
        pytest.param(np.zeros((1, 2, 16000)), ValueError, ["mono", "(1, 2, 16000)", "Mix the channels"], id="3-axes"),
        pytest.param([np.zeros((2, 16000))], ValueError, ["mono", "clip.mean(0)"], id="channels-first-in-list"),
        pytest.param([np.zeros((16000, 2))], ValueError, ["mono", "clip.mean(1)"], id="channels-last-in-list"),
        pytest.param([np.zeros(800), []], ValueError, ["Clip 1 is empty", "at least one sample"], id="empty-clip"),
        pytest.param(np.zeros(0), ValueError, ["Clip 0 is empty"], id="empty-array"),
        pytest.param(np.zeros((0, 16000)), ValueError, ["empty", "at least one clip"], id="no-rows"),
        pytest.param([], ValueError, ["empty", "at least one clip"], id="empty-list"),
        pytest.param([[0.0] * 500, [0.0, math.nan]], ValueError, ["Clip 1", "nan", "sample 1", "finite"], id="nan"),
        pytest.param(np.array([0, 0, -np.inf]), ValueError, ["Clip 0", "-inf", "sample 2", "finite"], id="inf"),
        pytest.param("speech.wav", TypeError, ["str", "waveform", "soundfile.read"], id="path"),
        pytest.param(None, TypeError, ["NoneType", "waveform"], id="none"),
        pytest.param({"array": np.zeros(9)}, TypeError, ["dict", "waveform"], id="dict"),
        pytest.param(["a", "b"], TypeError, ["Clip 0", "list", "numbers"], id="words"),
        pytest.param([np.zeros(9), None], TypeError, ["Clip 1", "NoneType", "numbers"], id="none-in-batch"),
        pytest.param(np.zeros(9, bool), TypeError, ["bool", "numbers"], id="bool"),
        pytest.param(torch.zeros(9, dtype=torch.bool), TypeError, ["bool", "full scale"], id="torch-bool"),
        pytest.param(np.zeros(9, complex), TypeError, ["complex128", "numbers"], id="complex"),
        pytest.param([1, 2, 3], TypeError, ["int64", "full scale", "int16"], id="int64"),
    ],
)
def test_bad_input_is_a_clear_error(clips, error, words):
    with pytest.raises(error) as raised:
        extract(clips)
    for word in words:
        assert word in str(raised.value)


def test_a_wrong_sampling_rate_says_how_to_resample():
    with pytest.raises(ValueError, match=r"44100 Hz.*16000 Hz.*soxr\.resample\(waveform, 44100, 16000\)"):
        ASMFeatureExtractor()(noise(4000), sampling_rate=44100)


def test_a_missing_sampling_rate_warns(caplog):
    from transformers.utils import logging

    logging.enable_propagation()
    ASMFeatureExtractor(sampling_rate=12345)(noise(4000))
    assert "sampling_rate" in caplog.text
    assert "12345" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_mel_bins": 0}, "`num_mel_bins` must be a positive integer, got 0"),
        ({"max_length": 2.5}, r"`max_length` must be a positive integer, got 2\.5"),
        ({"sampling_rate": -1}, "`sampling_rate` must be a positive integer, got -1"),
        ({"std": 0}, "`std` must be above 0, got 0"),
        ({"padding_mode": "noise"}, r"`padding_mode` must be one of .*'silence'.*, got 'noise'"),
        ({"frame_shift": 0.01}, "`frame_shift` of 0.01 ms is 0 samples at 16000 Hz, expected at least 1"),
        ({"frame_length": 0.01}, "`frame_length` of 0.01 ms is 0 samples at 16000 Hz, expected at least 2"),
    ],
    ids=str,
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ASMFeatureExtractor(**arguments)


def test_a_misspelt_argument_warns(caplog):
    ASMFeatureExtractor(num_mel_bin=64)
    assert "`num_mel_bin`" in caplog.text
    assert "`num_mel_bins`" in caplog.text


def test_the_padding_follows_mean_and_deviation(tmp_path):
    extractor = ASMFeatureExtractor(mean=-7.0, std=3.0, padding_mode="zero")
    extractor.mean, extractor.std = -2.0, 1.0
    assert extractor.padding_value == 1.0
    extractor.save_pretrained(tmp_path)
    again = ASMFeatureExtractor.from_pretrained(tmp_path, mean=-1.0)
    assert again.padding_value == 0.5
    extractor.padding_value = 0.25
    extractor.save_pretrained(tmp_path)
    assert ASMFeatureExtractor.from_pretrained(tmp_path, mean=-1.0).padding_value == 0.25


def test_the_callers_torch_state_does_not_matter():
    clip, expected = noise(3000), extract(noise(3000))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(extract(clip), expected)
    try:
        torch.set_default_dtype(torch.float64)
        torch.testing.assert_close(extract(clip), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_round_trip(feature_extractor, tmp_path):
    feature_extractor.save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is ASMFeatureExtractor
    assert loaded.to_dict() == feature_extractor.to_dict()
    clip = noise(2000)
    assert np.array_equal(loaded(clip, RATE)["input_values"], feature_extractor(clip, RATE)["input_values"])


def test_pad_of_the_base_class(feature_extractor):
    """`pad` batches features of different lengths, as data collators use it."""
    features = [{"input_values": np.random.default_rng(length).random((length, 24))} for length in (5, 9)]
    padded = feature_extractor.pad(features, padding=True, return_tensors="np")
    assert padded["attention_mask"].sum(1).tolist() == [5, 9]
    assert padded["input_values"].shape == (2, 9, 24)
    assert (padded["input_values"][0, 5:] == feature_extractor.padding_value).all()


def test_an_extractor_from_before_the_padding_modes_keeps_asts():
    """Fields that were saved when there was one way to pad, AST's, and no mask."""
    saved = {"feature_size": 64, "max_length": 98, "padding_value": None, "return_attention_mask": False}
    extractor = ASMFeatureExtractor.from_dict(saved)
    assert (extractor.padding_mode, extractor.return_attention_mask) == ("zero", True)
    assert ASMFeatureExtractor.from_dict(saved, padding_mode="reflect").padding_mode == "reflect"
    assert "padding_mode" not in saved


def test_another_padding_mode_does_not_keep_the_old_value(tmp_path):
    ASMFeatureExtractor(padding_value=0.467).save_pretrained(tmp_path)
    assert ASMFeatureExtractor.from_pretrained(tmp_path).padding_value == 0.467
    other = ASMFeatureExtractor.from_pretrained(tmp_path, padding_mode="silence")
    assert round(other.padding_value, 3) == -1.278
    assert ASMFeatureExtractor.from_pretrained(tmp_path, padding_mode="mean", padding_value=2.0).padding_value == 2.0


def test_seconds_per_frame_are_whole_samples():
    assert ASMFeatureExtractor().seconds_per_frame == 0.01
    assert ASMFeatureExtractor(sampling_rate=22050).seconds_per_frame == 220 / 22050


@pytest.mark.parametrize("clip", [np.ones(1, np.float32)[::-1], np.linspace(0, 1, 500, dtype=np.float32)[::-1]])
def test_arrays_that_run_backwards(feature_extractor, clip):
    options = {"sampling_rate": 16000, "return_tensors": "pt"}
    expected = feature_extractor(clip.copy(), **options)["input_values"]
    assert torch.equal(feature_extractor(clip, **options)["input_values"], expected)


FRAMES = ASMFeatureExtractor(max_length=40, padding_mode="silence")


@pytest.mark.parametrize("padding", [True, "longest", "max_length", None, PaddingStrategy.LONGEST], ids=str)
def test_padding_as_other_extractors_take_it(padding):
    """All fill the batch up to the longest clip, and to the window of the model."""
    clips = [noise(20000), noise(3000)]
    expected = FRAMES(clips, RATE, return_tensors="pt")
    outputs = FRAMES(clips, RATE, return_tensors="pt", padding=padding)
    assert torch.equal(outputs["input_values"], expected["input_values"])
    assert torch.equal(outputs["attention_mask"], expected["attention_mask"])
    assert FRAMES(clips[1], RATE, padding=padding)["input_values"][0].shape == (40, 128)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("padding", [False, "do_not_pad", PaddingStrategy.DO_NOT_PAD], ids=str)
def test_without_padding_clips_keep_their_lengths(padding, side):
    """Each is as it is alone: filled up to the window of the model, and no further."""
    extractor = ASMFeatureExtractor(max_length=40, padding_side=side)
    clips = [noise(20000), noise(3000)]
    outputs = extractor(clips, RATE, padding=padding)
    assert [len(row) for row in outputs["input_values"]] == [123, 40]
    assert [mask.sum() for mask in outputs["attention_mask"]] == [123, 17]
    for place, clip in enumerate(clips):
        alone = extractor(clip, RATE, return_tensors="np")
        np.testing.assert_allclose(outputs["input_values"][place], alone["input_values"][0], atol=1e-5)
        np.testing.assert_array_equal(outputs["attention_mask"][place], alone["attention_mask"][0])
    assert extractor(clips[1], RATE, padding=padding, return_tensors="pt")["input_values"].shape == (1, 40, 128)
    with pytest.raises(ValueError, match=r"Without padding, clips of 40 to 123 frames make no tensor. Pass `padding=T"):
        extractor(clips, RATE, padding=padding, return_tensors="pt")


@pytest.mark.parametrize("mode", ["repeat", "zero"])
def test_clips_that_a_collator_pads_are_heard_as_if_alone(model, mode):
    """Extracted without padding, and padded batch by batch."""
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=16, padding_mode=mode)
    clips = [noise(8000), noise(1000), noise(2900)]
    features = extractor(clips, RATE, padding=False, return_attention_mask=False)
    batch = DataCollatorWithPadding(extractor)([{"input_values": row} for row in features["input_values"]])
    logits = model(**batch).logits
    for row, clip in zip(logits, clips):
        alone = model(**extractor(clip, RATE, return_tensors="pt")).logits
        torch.testing.assert_close(row[None], alone, atol=1e-5, rtol=0)


def test_max_length_counts_samples_as_in_every_tutorial():
    """`max_length=int(extractor.sampling_rate * max_duration), truncation=True`."""
    clips, options = [noise(30000), noise(3000)], {"sampling_rate": RATE, "return_tensors": "pt"}
    cut = FRAMES(clips, max_length=np.int64(16000), truncation=True, **options)
    assert torch.equal(cut["input_values"], FRAMES([clips[0][:16000], clips[1]], **options)["input_values"])
    assert cut["attention_mask"].sum(1).tolist() == [98, 17]
    filled = FRAMES(clips[1], max_length=16000, padding="max_length", **options)
    assert filled["input_values"].shape == (1, 98, 128)
    assert filled["attention_mask"].sum() == 17
    both = FRAMES(clips, max_length=32000, padding="max_length", truncation=True, **options)
    assert both["input_values"].shape == (2, 198, 128)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"max_length": 16000},
            r"`max_length`=16000 would have no effect: pass `truncation=True`.*`padding=\"max_length\"`",
        ),
        ({"max_length": 40, "truncation": True}, "it counts samples.* 2 ms.* window of 40 frames, 6640 samples"),
        ({"max_length": 1024, "truncation": True}, "it counts samples.* 64 ms.* window of 40 frames, 6640 samples"),
        ({"truncation": "longest_first"}, "`truncation` must be True or False, got 'longest_first'"),
        ({"padding": [1]}, r"`padding` must be one of .*, got \[1\]"),
        (
            {"padding": False, "pad_to_multiple_of": 8},
            "`pad_to_multiple_of`=8 would have no effect with `padding=False`",
        ),
        ({"max_length": 0, "truncation": True}, "`max_length` must be a positive integer, got 0"),
        ({"max_length": 1e5, "truncation": True}, "`max_length` must be a positive integer, got 100000.0"),
        ({"pad_to_multiple_of": -8}, "`pad_to_multiple_of` must be a positive integer, got -8"),
        ({"padding": "shortest"}, "`padding` must be one of .*'longest'.*'do_not_pad'.*, got 'shortest'"),
    ],
    ids=str,
)
def test_arguments_of_other_extractors_that_cannot_be_meant(arguments, message):
    with pytest.raises(ValueError, match=message):
        FRAMES(noise(3000), RATE, **arguments)


@pytest.mark.parametrize(("multiple", "frames"), [(1, 123), (16, 128), (123, 123), (124, 124)])
def test_pad_to_a_multiple(multiple, frames):
    outputs = FRAMES([noise(20000), noise(3000)], RATE, return_tensors="pt", pad_to_multiple_of=multiple)
    assert outputs["input_values"].shape == (2, frames, 128)
    assert outputs["attention_mask"].sum(1).tolist() == [123, 17]


@pytest.mark.parametrize("mode", ["repeat", "zero"])
def test_padding_on_the_left(mode):
    """The clip is at the end of its row, and what fills it up before it."""
    left, right = (ASMFeatureExtractor(max_length=40, padding_mode=mode, padding_side=s) for s in ("left", "right"))
    clips = [noise(20000), noise(3000)]
    expected, outputs = right(clips, RATE, return_tensors="pt"), left(clips, RATE, return_tensors="pt")
    assert torch.equal(outputs["attention_mask"], expected["attention_mask"].flip(1))
    assert torch.equal(outputs["input_values"][0], expected["input_values"][0])
    assert torch.equal(outputs["input_values"][1, -17:], expected["input_values"][1, :17])
    assert torch.equal(outputs["input_values"][1, -40:-17], expected["input_values"][1, 17:40])
    assert torch.equal(outputs["input_values"][1, :-40], expected["input_values"][1, 40:])
    with pytest.raises(ValueError, match="`padding_side` must be 'left' or 'right', got 'top'"):
        ASMFeatureExtractor(padding_side="top")


def test_a_feature_size_that_is_not_the_number_of_bins():
    """AST's files have a 1 there."""
    with pytest.raises(ValueError, match=r"`feature_size` is 1, but it is .*`num_mel_bins`=128. Leave it out, or set"):
        ASMFeatureExtractor(feature_size=1)
    assert ASMFeatureExtractor(feature_size=64, num_mel_bins=64).feature_size == 64
    loaded = ASMFeatureExtractor.from_dict({**ASTFeatureExtractor().to_dict(), "num_mel_bins": 64})
    assert loaded.feature_size == 64


def test_a_changed_number_of_bins_changes_the_feature_size(feature_extractor, tmp_path):
    feature_extractor.save_pretrained(tmp_path)
    assert ASMFeatureExtractor.from_pretrained(tmp_path, num_mel_bins=40).feature_size == 40


def test_features_that_were_padded_before_get_their_mask(feature_extractor):
    """As collators pad what a script kept of a batch: `input_values` alone."""
    clips = [noise(5000), noise(3000)]
    batch = feature_extractor(clips, RATE)
    features = [{"input_values": row} for row in batch["input_values"]]
    padded = feature_extractor.pad(features, padding=True, return_tensors="pt")
    assert padded["attention_mask"].tolist() == [[1] * 29, [1] * 17 + [0] * 12]
    assert "attention_mask" not in feature_extractor.pad(features, return_attention_mask=False)
    nested = feature_extractor.pad(
        {"input_values": [row.tolist() for row in batch["input_values"]]}, return_tensors="np"
    )
    assert nested["attention_mask"].sum(1).tolist() == [29, 17]
    kept = feature_extractor.pad({"input_values": batch["input_values"], "attention_mask": [np.ones(29)] * 2})
    assert np.sum(kept["attention_mask"]) == 58


FORKS = """
import numpy as np
import torch
from datasets import Dataset
from modeling_asm import ASMFeatureExtractor

torch.set_num_threads(2)
extractor = ASMFeatureExtractor(max_length=98)
clips = [noise.tolist() for noise in np.random.default_rng(0).uniform(-0.5, 0.5, (8, 16000))]
expected = extractor(clips, sampling_rate=16000)["input_values"]  # starts OpenMP's threads
encoded = Dataset.from_dict({"audio": clips}).map(
    lambda batch: {"input_values": extractor(batch["audio"], sampling_rate=16000)["input_values"]},
    batched=True, batch_size=4, num_proc=2,
)
print(np.abs(np.array(encoded["input_values"]) - np.array(expected)).max() < 1e-5, torch.get_num_threads())
"""


@pytest.mark.slow
def test_maps_of_several_processes_end(tmp_path):
    """A forked process does not have the threads that OpenMP started in its parent, and waited for them for ever."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "HF_DATASETS_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", FORKS]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert process.stdout.split() == ["True", "2"], process.stderr


@pytest.mark.parametrize("mode", ["repeat", "reflect", "silence"])
def test_a_padding_value_for_a_saved_extractor_pads(tmp_path, mode):
    """As it does in a new one, whose mode it determines."""
    ASMFeatureExtractor(max_length=50, padding_mode=mode).save_pretrained(tmp_path)
    extractor = ASMFeatureExtractor.from_pretrained(tmp_path, padding_value=0.5)
    padded = extractor(torch.zeros(1600), 16000, return_tensors="pt")["input_values"][0, 10:]
    assert (padded == 0.5).all()
    both = ASMFeatureExtractor.from_pretrained(tmp_path, padding_mode="repeat", padding_value=0.5)
    assert both.padding_mode == "repeat"
    assert ASMFeatureExtractor.from_pretrained(tmp_path).padding_mode == mode


def test_a_length_that_pad_would_ignore(feature_extractor):
    features = {"input_values": [torch.randn(length, 24) for length in (48, 20)]}
    with pytest.raises(ValueError, match="`max_length=30` would have no effect: pass `truncation=True`"):
        feature_extractor.pad(features, padding=True, max_length=30)
    assert feature_extractor.pad(features, padding="max_length", max_length=60)["input_values"][1].shape[0] == 60


def test_how_much_a_decibel_is():
    """Source: a power ratio of 10 is 10 dB, and features are natural logarithms, divided by 2 std."""
    assert ASMFeatureExtractor(std=2.0).units_per_decibel == pytest.approx(math.log(10) / 40)
    assert ASMFeatureExtractor(std=2.0, do_normalize=False).units_per_decibel == pytest.approx(math.log(10) / 10)


def test_pad_takes_what_the_base_class_takes(feature_extractor):
    """The longest by default, transformers' enumeration, and features under no name or without clips."""
    features = [{"input_values": torch.randn(length, 24)} for length in (48, 20)]
    assert feature_extractor.pad(features)["input_values"][1].shape[0] == 48
    padded = feature_extractor.pad(features, padding=PaddingStrategy.MAX_LENGTH, max_length=60)
    assert padded["input_values"][1].shape[0] == 60
    assert padded["attention_mask"][1].sum() == 20
    with pytest.raises(ValueError, match="input_values"):
        feature_extractor.pad({"values": [torch.randn(48, 24)]})
    assert feature_extractor.pad({"input_values": []})["attention_mask"] == []
