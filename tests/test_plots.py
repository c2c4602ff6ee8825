import numpy as np
import torch

from modeling_asm import plots
from modeling_asm.plots import average_spectrogram, share_columns


def test_a_long_spectrogram_is_averaged(feature_extractor, monkeypatch):
    monkeypatch.setattr(plots, "COLUMNS", 10)
    waveform = np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32)
    spectrogram = average_spectrogram(waveform, feature_extractor, 1.0)  # 98 frames, ten to a column
    frames = feature_extractor.extract_frames(torch.from_numpy(waveform)[None])[0]
    expected = torch.stack([column.mean(0) for column in frames.split(10)])
    torch.testing.assert_close(torch.from_numpy(spectrogram), expected, atol=1e-4, rtol=1e-4)


def test_a_short_event_in_a_long_recording_stays_in_the_picture(monkeypatch):
    monkeypatch.setattr(plots, "MOST_WINDOWS", 4)
    values = np.zeros((2, 9))
    values[1, 4], values[0, 8] = 0.9, 0.5
    largest, edges = share_columns(values, [float(edge) for edge in range(10)])
    assert largest.tolist() == [[0.0, 0.0, 0.5], [0.0, 0.9, 0.0]]
    assert edges == [0.0, 3.0, 6.0, 9.0]
