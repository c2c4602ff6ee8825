import logging

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from modeling_asm import ASMConfig, ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.windowing import cut_windows, find_clips, mask_frames, window_starts


@pytest.mark.parametrize(
    ("problem_type", "scores"),
    [
        (None, lambda logits: logits.softmax(-1)),
        ("multi_label_classification", torch.sigmoid),
        ("regression", lambda logits: logits),
    ],
)
def test_windows_of_a_long_clip_are_averaged(model, problem_type, scores):
    """16 frames a window, 8 to the next: 37 frames are heard in windows from 0, 8, 16 and, at the end, 21."""
    model.eval()
    model.config.problem_type = problem_type
    long = torch.randn(1, 37, 24)
    with torch.no_grad():
        windows = torch.cat([model(long[:, start : start + 16]).logits for start in (0, 8, 16, 21)])
        torch.testing.assert_close(scores(model(long).logits)[0], scores(windows).mean(0))
        model.config.window_aggregation = "max"
        best = scores(windows).amax(0)
        best = best / best.sum() if problem_type is None else best
        torch.testing.assert_close(scores(model(long).logits)[0], best)
        model.config.window_aggregation = "logits"
        torch.testing.assert_close(model(long).logits[0], windows.mean(0))
        model.config.window_overlap = 0
        assert window_starts(37, 16, model.config.window_shift) == [0, 16, 21]


TINY = ASMConfig(
    hidden_size=8, num_hidden_layers=1, tokens_mlp_dim=4, channels_mlp_dim=8, patch_size=4, frequency_stride=4,
    time_stride=4, max_length=16, num_mel_bins=8, num_labels=3,
)  # fmt: skip


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    row=st.integers(0, 3),
    left=st.booleans(),
    masked=st.sampled_from([None, torch.long, torch.int32, torch.bool]),
)
def test_a_clip_in_a_padded_batch_is_heard_as_if_alone(lengths, row, left, masked):
    """With a mask or without, and on whichever side the padding is."""
    torch.manual_seed(0)
    model, row, frames = ASMForAudioClassification(TINY).eval(), row % len(lengths), max(16, *lengths)
    batch, mask = torch.full((len(lengths), frames, 8), 7.0), torch.zeros(len(lengths), frames)
    for index, length in enumerate(lengths):
        span = slice(frames - length, frames) if left else slice(0, length)
        batch[index, span], mask[index, span] = torch.randn(length, 8), 1
    own = max(16, lengths[row])
    alone = batch[row : row + 1, frames - own :] if left else batch[row : row + 1, :own]
    with torch.no_grad():
        together = model(batch, attention_mask=None if masked is None else mask.to(masked)).logits[row : row + 1]
        torch.testing.assert_close(together, model(alone).logits, atol=1e-5, rtol=0)


@given(
    lengths=st.lists(st.integers(1, 8000), min_size=1, max_size=4),
    row=st.integers(0, 3),
    mode=st.sampled_from(["repeat", "reflect", "zero", "mean", "silence"]),
    side=st.sampled_from(["left", "right"]),
)
@example(lengths=[800, 6000], row=0, mode="repeat", side="left")
@example(lengths=[800, 6000], row=0, mode="reflect", side="left")
def test_a_lost_mask_changes_nothing(lengths, row, mode, side):
    """From samples to logits, for scripts that keep `model_input_names[0]` alone; windows are 2800 samples long."""
    torch.manual_seed(0)
    model, row = ASMForAudioClassification(TINY).eval(), row % len(lengths)
    extractor = ASMFeatureExtractor(num_mel_bins=8, max_length=16, padding_mode=mode, padding_side=side)
    clips, options = [0.1 * torch.randn(length) for length in lengths], {"return_tensors": "pt"}
    with torch.no_grad():
        batch = extractor(clips, 16000, **options)
        logits = model(batch["input_values"]).logits
        torch.testing.assert_close(logits, model(**batch).logits, atol=1e-5, rtol=0)
        alone = model(**extractor(clips[row], 16000, **options)).logits
        torch.testing.assert_close(logits[row : row + 1], alone, atol=1e-5, rtol=0)


def test_padding_that_is_recognised_without_a_mask_is_pointed_out_once(model, caplog):
    logging.Logger.warning_once.cache_clear()
    batch = torch.randn(2, 40, 24)
    model.eval()(batch)
    assert "attention_mask" not in caplog.text  # nothing looks like padding
    batch[1, 20:] = 0.3
    for _ in range(2):
        model(batch)
    (record,) = [record for record in caplog.records if "attention_mask" in record.message]
    assert "Keep the `attention_mask` of the feature extractor" in record.message


def test_silence_within_a_recording_and_nothing_but_silence(model):
    """Only the ends are taken for padding; of silence alone, one window is heard."""
    clip = torch.randn(1, 40, 24)
    clip[:, 10:30] = -1.3
    mask = torch.ones(1, 40, dtype=torch.long)
    assert torch.equal(model(clip).logits, model(clip, attention_mask=mask).logits)
    silence = torch.full((1, 40, 24), -1.3)
    torch.testing.assert_close(model(silence).logits, model(silence[:, :16]).logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: mask[:, :30], r"`attention_mask` has shape \(2, 30\), expected \(2, 40\): one row for each clip"),
        (lambda mask: mask[:1], r"`attention_mask` has shape \(1, 40\), expected \(2, 40\)"),
        (lambda mask: mask[..., None], r"`attention_mask` has shape \(2, 40, 1\), expected \(2, 40\)"),
        (lambda mask: mask.float(), r"`attention_mask` is torch.float32, expected integers or booleans.*\.long\(\)"),
        (lambda mask: mask * 0, "Row 0 of `attention_mask` is 0 throughout, expected 1 for the frames of one clip"),
        (lambda mask: mask.index_fill(1, torch.tensor([7]), 0), "Row 0 of `attention_mask` has a gap, expected 1 for"),
    ],
    ids=["columns", "rows", "axes", "dtype", "empty", "gap"],
)
def test_masks_that_do_not_fit(model, change, message):
    with pytest.raises(ValueError, match=message):
        model(torch.randn(2, 40, 24), attention_mask=change(torch.ones(2, 40, dtype=torch.long)))


def test_a_mask_of_one_window_is_checked_too(model, input_values):
    with pytest.raises(ValueError, match=r"`attention_mask` has shape \(4, 15\), expected \(4, 16\)"):
        model(input_values, attention_mask=torch.ones(4, 15, dtype=torch.long))


@pytest.mark.slow
def test_a_trainer_scores_clips_alike_in_every_batch(model, feature_extractor, tmp_path):
    """One long clip and eight short ones, as most scripts preprocess them: without the mask, padded by `map`."""
    waveforms = [torch.randn(length).tolist() for length in (8 * 1600, *[1600] * 8)]
    clips = Dataset.from_dict({"audio": waveforms, "labels": [index % 3 for index in range(9)]})
    name = feature_extractor.model_input_names[0]

    def preprocess(batch):
        return {name: feature_extractor(batch["audio"], sampling_rate=16000)[name]}

    alone = [model(**feature_extractor(clip, 16000, return_tensors="pt")).logits[0] for clip in waveforms]
    expected = torch.stack([logits.as_subclass(torch.Tensor) for logits in alone]).detach()
    encoded = clips.map(preprocess, batched=True, batch_size=9, remove_columns="audio")
    for batch_size in (1, 4, 9):
        arguments = TrainingArguments(tmp_path, report_to="none", use_cpu=True, per_device_eval_batch_size=batch_size)
        collator = DataCollatorWithPadding(feature_extractor)
        for trainer in (Trainer(model, arguments), Trainer(model, arguments, data_collator=collator)):
            predictions = torch.from_numpy(trainer.predict(encoded.with_format("torch")).predictions)
            torch.testing.assert_close(predictions, expected, atol=1e-5, rtol=0)


def test_a_silent_clip_in_a_batch_is_heard_as_one_window():
    """Beside a clip that sounds; its window is its first."""
    model = ASMForAudioClassification(TINY).eval()
    batch = torch.full((2, 40, 8), -1.3)
    batch[0] = torch.randn(40, 8)
    batch[1, 30:] = 0.7  # padding of another value
    with torch.no_grad():
        logits = model(batch).logits.as_subclass(torch.Tensor)
        torch.testing.assert_close(logits[1:], model(batch[1:, :16]).logits)
        assert find_clips(batch, None) == [(0, 40), (0, 1)]


def test_features_of_one_or_two_bins():
    """One bin is constant in itself, and never padding."""
    assert find_clips(torch.zeros(1, 40, 1), None) == [(0, 40)]
    assert find_clips(torch.zeros(1, 40, 2), None) == [(0, 1)]


def test_a_graph_takes_all_frames(monkeypatch):
    """It cannot depend on values, so that padding is part of the clip without a mask."""
    padded = torch.zeros(2, 40, 8)
    for name, module in (("is_exporting", torch.compiler), ("is_tracing", torch.jit)):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, lambda: True)
            assert find_clips(padded, None) == [(0, 40), (0, 40)]


@pytest.mark.parametrize(
    ("span", "expected"), [((3, 8), [0]), ((0, 40), [0, 8, 16, 24]), ((30, 40), [24]), ((5, 26), [5, 10])]
)
def test_where_windows_are_cut(span, expected):
    row = torch.arange(40.0)[:, None]
    (windows,) = cut_windows(row[None], [span], 16, 8)
    assert [int(window[0, 0]) for window in windows] == expected


@pytest.mark.slow
@pytest.mark.compiles
def test_a_compiled_model_answers_alike(model):
    """Without a mask, for a padded batch, and with the refusal of the wrong activation."""
    batch = torch.randn(2, 40, 24)
    batch[1, 20:] = 0.3
    with torch.no_grad():
        expected = model(batch).logits
        compiled = torch.compile(model)(batch).logits
    torch.testing.assert_close(compiled.as_subclass(torch.Tensor), expected.as_subclass(torch.Tensor))
    with pytest.raises(ValueError, match="after softmax"):
        torch.sigmoid(compiled)


def test_an_empty_batch_of_long_clips(model):
    with pytest.raises(ValueError, match=r"shape \(0, 40, 24\)"):
        model(torch.zeros(0, 40, 24))


def test_the_mask_of_features_without_one():
    """As NumPy arrays or lists, padded on either side or both; other shapes have no padding to recognise."""
    frames = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    frames[:2], frames[7:] = 0.5, -1.0
    expected = [0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    assert mask_frames(frames).tolist() == mask_frames(frames.tolist()).tolist() == expected
    assert mask_frames(frames).dtype == torch.long
    assert mask_frames(np.zeros(5)).tolist() == [1] * 5
