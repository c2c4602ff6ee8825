"""A tiny student and its teacher, for the scripts that teach encoders."""

from pathlib import Path

import pytest
import torch

from modeling_asm import ASMConfig, ASMFeatureExtractor, ASMForAudioClassification


@pytest.fixture
def student() -> dict:
    """Fields of the configuration of a tiny student."""
    return {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "channels_mlp_dim": 32,
        "patch_size": [8, 4],
        "frequency_stride": 8,
        "time_stride": 4,
        "max_length": 48,
        "num_mel_bins": 24,
        "pooling": "mean_std",
        "token_mixing": "conv",
    }


@pytest.fixture
def teacher_folder(student, tmp_path) -> Path:
    """A tiny classifier that was never trained."""
    torch.manual_seed(0)
    config = ASMConfig(**student, id2label={0: "a dog", 1: "a cat"}, problem_type="multi_label_classification")
    ASMForAudioClassification(config).save_pretrained(tmp_path / "teacher")
    ASMFeatureExtractor(num_mel_bins=24, max_length=48).save_pretrained(tmp_path / "teacher")
    return tmp_path / "teacher"
