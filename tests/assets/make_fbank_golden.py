"""Make `fbank.safetensors`: waveforms and the features that torchaudio computes for them.

Run once, in an environment of its own (`pip install torch==2.11.0 torchaudio==2.11.0 numpy safetensors`):

    python tests/assets/make_fbank_golden.py
"""

from pathlib import Path

import numpy as np
import torch
import torchaudio.compliance.kaldi as kaldi
from safetensors.torch import save_file


# name: (sampling rate in hertz, mel bins, frame length and shift in milliseconds)
CASES = {
    "noise": (16000, 128, 25.0, 10.0),
    "chirp": (16000, 128, 25.0, 10.0),
    "offset": (16000, 64, 25.0, 10.0),
    "silence": (16000, 40, 25.0, 10.0),
    "rate_8000": (8000, 80, 25.0, 10.0),
    "rate_22050": (22050, 128, 25.0, 10.0),
    "rate_44100": (44100, 64, 25.0, 10.0),
    "long_frames": (16000, 64, 32.0, 16.0),
}


def make_waveform(name: str, sampling_rate: int) -> torch.Tensor:
    """A tenth of a second in [-1, 1], float32 of shape `(num_samples,)`."""
    rng = np.random.default_rng(sum(map(ord, name)))
    t = np.arange(sampling_rate // 10) / sampling_rate
    chirp = 0.5 * np.sin(2 * np.pi * (100 + 0.2 * sampling_rate * t) * t)
    noise = rng.uniform(-1, 1, t.shape)
    waveform = {"noise": noise, "chirp": chirp, "offset": 0.4 + 0.01 * noise, "silence": np.zeros_like(t)}.get(
        name, chirp + 0.1 * noise
    )
    return torch.from_numpy(waveform.astype(np.float32))


def main():
    tensors = {}
    for name, (sampling_rate, num_mel_bins, frame_length, frame_shift) in CASES.items():
        waveform = make_waveform(name, sampling_rate)
        tensors[f"{name}.waveform"] = waveform
        tensors[f"{name}.features"] = kaldi.fbank(
            waveform[None],
            sample_frequency=sampling_rate,
            num_mel_bins=num_mel_bins,
            frame_length=frame_length,
            frame_shift=frame_shift,
            window_type="hanning",
            dither=0.0,
        )
        tensors[f"{name}.arguments"] = torch.tensor(CASES[name], dtype=torch.float64)
    save_file(tensors, Path(__file__).parent / "fbank.safetensors")


if __name__ == "__main__":
    main()
