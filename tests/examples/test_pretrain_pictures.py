import runpy

import pytest
import torch

from modeling_asm.convert_mixer import convert_mixer
from modeling_asm.mixer_weights import read_weights


def test_weights_of_pictures_become_an_asm(run_script, tmp_path, repository):
    outcome = run_script("pretrain_pictures.py", tmp_path / "pictures.safetensors", "--epochs", 0)
    assert outcome.error is None
    weights = read_weights(tmp_path / "pictures.safetensors")
    assert weights["stem.proj.weight"].shape == (64, 3, 16, 16)
    script = runpy.run_path(str(repository / "examples" / "pretrain_pictures.py"))
    torch.manual_seed(42)
    config = script["ASMConfig"](**script["SHAPE"], num_labels=8)
    original = script["PictureMixer"](config).eval()
    model = convert_mixer(weights, "sum", 128, 128, keep_head=True)
    grey = torch.rand(2, 1, 128, 128)
    with torch.no_grad():
        expected = original(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(model(grey[:, 0].transpose(1, 2)).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.fixture
def script(repository, monkeypatch):
    return runpy.run_path(str(repository / "examples" / "pretrain_pictures.py"))


def test_crops_are_pictures_and_turned_as_labelled(script):
    gradient = torch.linspace(-1, 1, 500)[None, :, None].expand(3, 500, 500).clone()  # brighter from top to bottom
    pictures, labels = script["draw"]([gradient], 32)
    assert pictures.shape == (64, 3, 32, 32) and pictures.abs().max() <= 1
    for picture, label in zip(pictures.mean(1), labels.tolist()):
        down, right = (picture[-1] - picture[0]).mean(), (picture[:, -1] - picture[:, 0]).mean()
        strongest = max((abs(down), "vertical"), (abs(right), "horizontal"))[1]
        assert strongest == ("vertical", "horizontal")[label % 2]


def test_it_learns(script):
    """Two photographs of one colour each are told apart after a few steps."""
    torch.manual_seed(0)
    model = script["PictureMixer"](script["ASMConfig"](**script["SHAPE"], num_labels=8))
    photographs = [torch.full((3, 427, 640), value) for value in (-0.8, 0.8)]
    script["train"].__globals__.update(STEPS_PER_EPOCH=10, BATCH=16)
    script["train"](model, photographs, 2)
    assert script["test"](model, photographs) > 0.2  # 1 in 8 by chance; turns look alike, 1 in 4 at best
