"""Pretraining on pictures: that they are read and cropped as described, learned, and saved under timm's names."""

import runpy

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_asm.conversion.mixer import convert_mixer
from modeling_asm.conversion.weights import read_weights


@pytest.fixture
def script(repository):
    return runpy.run_path(str(repository / "research" / "pretrain_pictures.py"))


@pytest.fixture
def pictures(tmp_path):
    """A class of red pictures in a folder of a folder, and one of blue ones, the first of each transparent."""
    rng = np.random.default_rng(0)
    for name, channel in (("fire/small", 0), ("sea", 2)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            array = rng.integers(0, 80, (40, 60, 4), dtype=np.uint8)
            array[..., channel] += 150
            array[..., 3] = 255 if number else 0
            Image.fromarray(array).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def test_weights_of_pictures_become_an_asm(run, pictures, tmp_path, script):
    arguments = (tmp_path / "pictures.safetensors", "--pictures", pictures, "--epochs", 0)
    assert run("pretrain_pictures.py", *arguments).error is None
    weights = read_weights(tmp_path / "pictures.safetensors")
    assert weights["stem.proj.weight"].shape == (64, 3, 16, 16)
    torch.manual_seed(42)
    original = script["PictureMixer"](script["ASMConfig"](**script["SHAPE"], num_labels=2)).eval()
    model = convert_mixer(weights, "sum", 128, 128, keep_head=True)
    grey = torch.rand(2, 1, 128, 128)
    with torch.no_grad():
        expected = original(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(model(grey[:, 0].transpose(1, 2)).logits, expected, atol=1e-5, rtol=1e-5)


def test_a_folder_is_a_class(script, pictures):
    classes, read = script["read_pictures"](pictures)
    assert classes == ["fire", "sea"] and len(read) == 20
    picture, label = read[-1]
    assert picture.shape == (4, 40, 60) and picture.dtype == torch.uint8 and label == 1
    assert picture[2].float().mean() > 150 > picture[0].float().mean()


def test_a_folder_without_classes(run, tmp_path):
    outcome = run("pretrain_pictures.py", tmp_path / "a.safetensors", "--pictures", tmp_path)
    assert "has 0 folders of PNG or JPEG files, expected one for each of two or more classes." in outcome.error


def test_a_crop_is_a_part_of_the_picture_on_new_ground(script):
    gradient = torch.linspace(0, 255, 100)[None, :, None].expand(4, 100, 100).to(torch.uint8).clone()
    gradient[3] = 255
    whole, half = script["crop"](gradient, 1.0, 32), script["crop"](gradient, 0.5, 32)
    assert whole.shape == (3, 32, 32) and whole.abs().max() <= 1
    assert whole[0, -1, 0] - whole[0, 0, 0] == pytest.approx(2, abs=0.1)  # from black to white
    assert half[0, -1, 0] - half[0, 0, 0] == pytest.approx(1, abs=0.1)
    gradient[3] = 0
    ground = script["crop"](gradient, 1.0, 32)
    assert ground.std((1, 2)).max() < 1e-6 and ground.mean((1, 2)).std() > 0


def test_it_learns(script, pictures):
    torch.manual_seed(0)
    model = script["PictureMixer"](script["ASMConfig"](**script["SHAPE"], num_labels=2))
    _, read = script["read_pictures"](pictures)
    script["train"].__globals__.update(STEPS_PER_EPOCH=10, BATCH=16)
    script["train"](model, [item for item in read if item[0][3].any()], 2)
    accuracy, most = script["test"](model, [item for item in read if item[0][3].any()])
    assert accuracy > 0.9 and most == pytest.approx(0.5)
