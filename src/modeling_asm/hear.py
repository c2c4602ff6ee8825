"""Embeddings of whole sounds and along time, through HEAR's API (https://hearbenchmark.com/hear-api.html).

model = load_model("my-model")
embeddings = get_scene_embeddings(audio, model)  # (n_sounds, model.scene_embedding_size)
embeddings, timestamps = get_timestamp_embeddings(audio, model)  # timestamps in milliseconds
"""

import torch
from torch import Tensor, nn

from .feature_extraction_asm import ASMFeatureExtractor
from .loading import load_encoder
from .modeling_asm import ASMModel
from .waveforms import check_finite
from .windowing import cut_windows, run_in_blocks


TIMESTAMP_HOP = 50.0  # milliseconds between timestamps, the largest step that HEAR recommends


class ASMEmbedding(nn.Module):
    """A Mixer with its feature extractor, and the attributes that HEAR expects of a model.

    Args:
        model: The Mixer without a head.
        feature_extractor: Its feature extractor.
    """

    def __init__(self, model: ASMModel, feature_extractor: ASMFeatureExtractor):
        super().__init__()
        self.model, self.feature_extractor = model, feature_extractor
        self.sample_rate = feature_extractor.sampling_rate
        self.scene_embedding_size = self.timestamp_embedding_size = model.config.pooled_size

    @torch.no_grad()
    def forward(self, windows: list[Tensor]) -> Tensor:
        """Embed windows of shape `(max_length, num_mel_bins)`; return `(num_windows, pooled_size)`."""
        return run_in_blocks(lambda block: self.model(block).pooler_output.float(), windows)


def load_model(model_file_path: str) -> ASMEmbedding:
    """Load a checkpoint.

    Args:
        model_file_path: Its folder, its name on the Hub, or that of an encoder of this package.

    Returns:
        A module with the integers `sample_rate` (hertz), `scene_embedding_size` and `timestamp_embedding_size`.

    Raises:
        OSError: If there is no such checkpoint, or it is a file.
        ValueError: If it is not an ASM, or lacks weights.
    """
    return ASMEmbedding(*load_encoder(model_file_path))


def get_scene_embeddings(audio: Tensor, model: ASMEmbedding) -> Tensor:
    """Embed whole sounds: the mean over windows that overlap by the configuration's `window_overlap`.

    Args:
        audio: Float32 tensor of shape `(n_sounds, n_samples)`, in [-1, 1], at `model.sample_rate`.
        model: The result of [`load_model`].

    Returns:
        Float32 tensor of shape `(n_sounds, model.scene_embedding_size)`, on the audio's device.

    Raises:
        ValueError: If the audio has another shape.
    """
    check_audio(audio)
    config = model.model.config
    inputs = model.feature_extractor(audio, sampling_rate=model.sample_rate, return_tensors="pt").input_values
    sounds = cut_windows(inputs, [(0, inputs.shape[1])] * len(inputs), config.max_length, config.window_shift)
    embeddings = model([window for windows in sounds for window in windows])
    return embeddings.unflatten(0, (len(audio), len(sounds[0]))).mean(1)


def get_timestamp_embeddings(audio: Tensor, model: ASMEmbedding) -> tuple[Tensor, Tensor]:
    """Embed sounds along time: at each timestamp, the window centred on it, with zeros beyond the ends.

    Args:
        audio: Float32 tensor of shape `(n_sounds, n_samples)`, in [-1, 1], at `model.sample_rate`.
        model: The result of [`load_model`].

    Returns:
        Float32 tensors of shape `(n_sounds, n_timestamps, model.timestamp_embedding_size)` and
        `(n_sounds, n_timestamps)`: the embeddings, and their times in milliseconds, 50 ms apart.

    Raises:
        ValueError: If the audio has another shape.
    """
    check_audio(audio)
    extractor, size = model.feature_extractor, model.model.config.max_length
    half = extractor.nb_max_samples // 2
    hop = max(round(TIMESTAMP_HOP / extractor.frame_shift), 1)
    features = extractor.extract_frames(nn.functional.pad(audio, (half, extractor.nb_max_samples - half)))
    starts = range(0, features.shape[1] - size + 1, hop)
    windows = [sound[start : start + size] for sound in features for start in starts]
    embeddings = model(windows).unflatten(0, (len(audio), len(starts)))
    step = 1000 * extractor.seconds_per_frame
    timestamps = torch.tensor([start * step for start in starts], device=audio.device)
    return embeddings, timestamps.expand(len(audio), -1)


def check_audio(audio: Tensor):
    """Raise `ValueError` if audio does not have the shape and type that HEAR passes, or is not finite."""
    if audio.ndim != 2 or not audio.is_floating_point() or 0 in audio.shape:
        raise ValueError(
            f"The audio is {audio.dtype} of shape {tuple(audio.shape)}, expected floats of (n_sounds, n_samples)."
        )
    check_finite(audio)
