import itertools
import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_asm import ASMFeatureExtractor
from modeling_asm.audio.windows import (
    FrameStream,
    WindowStream,
    read_opening,
    read_pieces,
    read_waveforms,
    read_windows,
)
from modeling_asm.windowing import window_starts


EXTRACTOR = ASMFeatureExtractor(num_mel_bins=24, max_length=16, mean=-7.0, std=3.0)


@given(
    cuts=st.lists(st.integers(0, 9000), max_size=8),
    frame_shift=st.sampled_from([10.0, 25.0, 40.0]),  # of 25 ms: overlapping, side by side, with gaps
)
def test_frames_are_those_of_the_whole_for_any_cutting(cuts, frame_shift):
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=16, frame_shift=frame_shift)
    waveform = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, 9000).astype(np.float32))
    stream, edges = FrameStream(extractor), [0, *sorted(cuts), 9000]
    frames = torch.cat([stream.push(waveform[start:end]) for start, end in itertools.pairwise(edges)])
    torch.testing.assert_close(frames, extractor.extract_frames(waveform[None])[0], atol=1e-5, rtol=0)


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    max_length=st.integers(1, 20),
    shift=st.integers(1, 20),
)
def test_windows_are_those_of_the_whole(sizes, max_length, shift):
    shift = min(shift, max_length)
    frames, stream, windows, first = torch.arange(sum(sizes)).float()[:, None], WindowStream(max_length, shift), [], 0
    for size in sizes:
        windows += stream.push(frames[first : first + size])
        first += size
        assert len(stream.frames) < 2 * max_length + 30  # bounded, whatever has come
    windows += stream.finish()
    starts = window_starts(len(frames), max_length, shift) if len(frames) >= max_length else []
    assert [start for start, _ in windows] == starts
    for start, window in windows:
        assert torch.equal(window, frames[start : start + max_length])


@given(
    length=st.integers(1, 12000),
    cuts=st.lists(st.integers(0, 12000), max_size=4),
    shift=st.integers(1, 16),
    frame_shift=st.sampled_from([10.0, 25.0, 40.0]),
)
def test_waveforms_are_those_of_the_windows(length, cuts, shift, frame_shift):
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=16, frame_shift=frame_shift)
    waveform = np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)
    blocks = np.split(waveform, sorted(min(cut, length) for cut in cuts))
    windows, waveforms = (list(read(blocks, extractor, shift)) for read in (read_windows, read_waveforms))
    assert [window[:2] for window in windows] == [window[:2] for window in waveforms]
    for (_, _, window), (_, _, samples, num_samples) in zip(windows, waveforms):
        assert len(samples) == extractor.nb_max_samples
        assert num_samples == min(length, len(samples))
        inputs = extractor(samples[:num_samples], sampling_rate=16000, return_tensors="pt", truncation=True)
        torch.testing.assert_close(inputs["input_values"][0], window, atol=1e-5, rtol=0)


@given(length=st.integers(1, 12000), cuts=st.lists(st.integers(0, 12000), max_size=4), shift=st.integers(1, 16))
def test_windows_of_a_recording(length, cuts, shift):
    waveform = np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)
    blocks = np.split(waveform, sorted(min(cut, length) for cut in cuts))
    whole = EXTRACTOR(waveform, sampling_rate=16000, return_tensors="pt")["input_values"][0]
    windows = list(read_windows(blocks, EXTRACTOR, shift))
    starts = window_starts(len(whole), 16, shift)
    assert [start for start, _, _ in windows] == [pytest.approx(start / 100) for start in starts]
    for start, (_, end, window) in zip(starts, windows):
        torch.testing.assert_close(window, whole[start : start + 16], atol=1e-5, rtol=0)
        assert end == pytest.approx(min(start * 160 + 400 + 15 * 160, length) / 16000)


def test_no_samples_are_an_error():
    with pytest.raises(ValueError, match="empty"):
        list(read_windows([], EXTRACTOR, 8))


def test_a_sample_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match="has the value nan at sample 3, expected finite samples"):
        FrameStream(EXTRACTOR).push(torch.tensor([0.0, 0.1, 0.2, torch.nan]))


def test_the_rate_is_passed_on(caplog):
    """Without it, the feature extractor warns that it cannot check it."""
    logging.Logger.warning_once.cache_clear()
    list(read_windows([np.zeros(100, np.float32)], EXTRACTOR, 8))
    assert caplog.records == []


def test_a_short_recording_that_is_not_finite_is_named():
    for read in (read_windows, read_waveforms):
        with pytest.raises(ValueError, match="Clip 0 has the value nan at sample 1"):
            list(read([np.array([0.0, np.nan], np.float32)], EXTRACTOR, 8))
    with pytest.raises(ValueError, match="Clip 0 is empty"):
        list(read_waveforms([], EXTRACTOR, 8))


def test_what_lies_between_frames_is_skipped_over_several_pieces():
    """Frames of 400 samples, 1600 apart: pieces may lie in a gap as a whole."""
    extractor = ASMFeatureExtractor(num_mel_bins=24, max_length=16, frame_shift=100.0)
    waveform = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, 7000).astype(np.float32))
    stream = FrameStream(extractor)
    frames = torch.cat([stream.push(piece) for piece in waveform.split(300)])
    torch.testing.assert_close(frames, extractor.extract_frames(waveform[None])[0], atol=1e-5, rtol=0)


def test_times_are_numbers_of_seconds():
    for read in (read_windows, read_waveforms):
        times = [window[:2] for window in read([np.zeros(9000, np.float32)], EXTRACTOR, 8)]
        assert times[1] == (8 * 160 / 16000, (8 * 160 + 2800) / 16000)


def test_a_recording_of_one_window_is_not_read_further():
    """Its samples are enough; more are only asked for where they are missing."""
    blocks = iter([np.zeros(1000, np.float32), np.zeros(1800, np.float32), np.ones(1, np.float32)])
    samples, rest = read_opening(blocks, 2800)
    assert len(samples) == 2800
    assert [len(block) for block in rest] == [1]
    nothing, _ = read_opening([], 2800)
    assert nothing.dtype == np.float32


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8), size=st.integers(1, 40))
def test_pieces_cover_a_recording(sizes, size):
    """One after another; the last one ends with it, and a short recording is one piece."""
    samples = np.arange(sum(sizes), dtype=np.float32)
    pieces = [piece.numpy() for piece in read_pieces(np.split(samples, np.cumsum(sizes)[:-1]), size)]
    if len(samples) < size:
        (piece,) = pieces
        np.testing.assert_array_equal(piece, samples)
        return
    assert {len(piece) for piece in pieces} == {size}
    starts = [int(piece[0]) for piece in pieces]
    whole = list(range(0, len(samples) - size + 1, size))
    assert starts == whole + ([len(samples) - size] if len(samples) % size else [])
    for piece in pieces:
        np.testing.assert_array_equal(piece, samples[int(piece[0]) : int(piece[0]) + size])
