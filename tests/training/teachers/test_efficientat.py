"""mn04 against the reference outputs of its project's code; weights and references are in `ASM_DATA/teachers`."""

import pytest
import torch
from safetensors.torch import load_file

from modeling_asm.training.teachers.efficientat import EfficientAT, log_mel, mel_filters


@pytest.fixture
def network(recordings) -> EfficientAT:
    network = EfficientAT()
    network.load_state_dict(load_file(recordings / "teachers" / "mn04_as.safetensors"))
    return network.eval()


@pytest.mark.parametrize("sound", ["tone", "noise", "chirp"])
@torch.inference_mode()
def test_the_outputs_are_those_of_the_original(network, recordings, sound):
    references = load_file(recordings / "teachers" / "mn04_reference.safetensors")
    expected = {name.partition(".")[2]: value for name, value in references.items() if name.startswith(sound)}
    waveform = expected["waveform"][None]
    logits, embeddings = network(waveform)
    assert embeddings.shape == (1, 7, 384)  # 200 frames, one embedding each 32
    torch.testing.assert_close(log_mel(waveform)[0], expected["log_mel"], atol=1e-4, rtol=0)
    torch.testing.assert_close(embeddings.mean(1)[0], expected["embedding"], atol=1e-4, rtol=0)
    torch.testing.assert_close(logits[0], expected["logits"], atol=1e-4, rtol=0)


def test_its_size():
    """Source: the published .98 million parameters of mn04."""
    assert sum(parameter.numel() for parameter in EfficientAT().parameters()) == pytest.approx(0.98e6, rel=0.01)


def test_filters_are_triangles_that_add_up_to_1_between_the_outer_centres():
    filters = mel_filters()
    assert filters.shape == (128, 513)
    inside = filters.argmax(1)
    sums = filters.sum(0)[inside[2] : inside[-2]]
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("samples", "frames"), [(64000, 200), (320000, 1000)])
def test_frames(samples, frames):
    assert log_mel(torch.zeros(1, samples)).shape == (1, 128, frames)
