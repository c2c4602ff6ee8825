import json

import pytest
import torch
from safetensors.torch import save_file
from speech_files import write_speech_files

from modeling_asm import ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.training.teachers.efficientat import EfficientAT


@pytest.mark.slow
@pytest.mark.long
def test_encoders_beside_their_teachers(run, config, tmp_path):
    config.token_mixing = "conv"
    ASMForAudioClassification(config).save_pretrained(tmp_path / "tiny")
    ASMFeatureExtractor(num_mel_bins=24, max_length=16).save_pretrained(tmp_path / "tiny")
    torch.manual_seed(0)
    save_file(EfficientAT().state_dict(), tmp_path / "mn04.safetensors")
    arguments = ("--models", tmp_path / "tiny", "--mn04", tmp_path / "mn04.safetensors")
    arguments += ("--speech", *write_speech_files(tmp_path))
    outcome = run("time_encoders.py", *arguments, "--rounds", 2, "--output", tmp_path / "out.json")
    assert outcome.error is None
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["model"], row["seconds"]) for row in rows] == [
        (name, seconds) for seconds in (1.0, 10.0) for name in ("tiny", "tiny, in windows", "mn04", "speech_embedding")
    ]
    mn04 = rows[6]
    assert mn04["parameters"] == sum(value.numel() for value in EfficientAT().parameters())
    assert mn04["of_mn04"] == 1.0
    assert rows[7]["parameters"] == 96 * 76 * 32
    assert rows[4]["gmacs"] > 5 * rows[0]["gmacs"]  # ten seconds, not one
    assert rows[5]["gmacs"] > 1.5 * rows[4]["gmacs"]  # windows overlap by half
    assert "| tiny | " in outcome.stdout
