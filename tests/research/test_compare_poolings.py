import json
import sys

import pytest
import torch
from files import write_tones

from modeling_asm import ASMConfig, ASMFeatureExtractor, ASMForAudioClassification


@pytest.fixture
def poolings(repository):
    sys.path.append(str(repository / "research"))
    import compare_poolings

    return compare_poolings


@pytest.fixture
def encoder(student, tmp_path):
    torch.manual_seed(0)
    config = ASMConfig(**student, pooling_dim=12, embedding_dim=5, num_labels=2)
    ASMForAudioClassification(config).save_pretrained(tmp_path / "encoder")
    ASMFeatureExtractor(num_mel_bins=24, max_length=48).save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_table_of_all(run, encoder, tmp_path):
    write_tones(tmp_path / "data" / "drum_sounds", ("train", "validation"), {})
    arguments = ("--data_dir", tmp_path / "data", "--model", encoder, "--sets", "drum_sounds")
    outcome = run("compare_poolings.py", *arguments, "--output", tmp_path / "poolings.json")
    assert outcome.error is None
    results = json.loads((tmp_path / "poolings.json").read_text())
    sizes = {"mean": 12, "mean and deviation": 24, "thirds": 36, "mean and deviation, halves": 48, "embedding": 5}
    assert sizes.items() <= results["sizes"].items()
    assert all(0 <= cells["all"]["accuracy"] <= 1 for cells in results["accuracy"]["drum_sounds"].values())
    assert "| mean and deviation | 24 | " in outcome.stdout


def test_what_each_pooling_is(poolings):
    tokens = torch.tensor([[1.0], [2.0], [6.0], [7.0]])
    heard = poolings.Heard(tokens, tokens[:2], torch.tensor([-99.0, 0.0, 0.0, -99.0]))
    made = {name: [round(value, 3) for value in function(heard).tolist()] for name, function in
            poolings.POOLINGS.items()}  # fmt: skip
    assert made["mean"] == made["mean weighted by energy"] == [4.0]
    assert made["maximum"] == [7.0]
    assert made["mean and deviation"] == [4.0, 2.55]  # sqrt((9 + 4 + 4 + 9) / 4)
    assert made["halves"] == [1.0, 2.0]  # of the sound, without its repetition
    assert made["thirds"] == [1.0, 1.0, 2.0]


def test_the_embedding_is_the_encoders(poolings, encoder, tmp_path):
    waveform = torch.rand(8000).numpy() - 0.5
    pooled = poolings.pool(encoder, [waveform])
    model = ASMForAudioClassification.from_pretrained(encoder).eval()
    features = ASMFeatureExtractor.from_pretrained(encoder)(waveform, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        windows = features.input_values[0].unfold(0, 48, model.config.window_shift).transpose(1, 2)
        assert len(features.input_values[0]) == 48
        output = model.base_model(windows)
    torch.testing.assert_close(torch.from_numpy(pooled["embedding"]), output.pooler_output.mean(0, keepdim=True))
    whole = model.base_model.pooling.project(output.last_hidden_state).mean(1)
    torch.testing.assert_close(torch.from_numpy(pooled["mean"]), whole, atol=1e-5, rtol=0)
