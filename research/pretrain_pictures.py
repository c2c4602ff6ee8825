"""Train a small three-channel MLP-Mixer on pictures, offline: weights for `asm-convert`.

    python research/pretrain_pictures.py build/pictures.safetensors --pictures /usr/share/tuxpaint/stamps
    asm-convert build/pictures.safetensors my-start --num_mel_bins 128 --max_length 98

The folder has one sub-folder per class, with PNG or JPEG files at any depth. Tux Paint's stamps (Debian's package
tuxpaint-stamps-default) are about eight hundred photographs, drawings and signs of sixteen subjects on transparent
backgrounds, some nearly identical. They are a substitute where ImageNet is not available, and far from it. The weights
are named as in timm.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from modeling_asm import ASMConfig
from modeling_asm.conversion.weights import ASM_TO_TIMM
from modeling_asm.modeling_asm import ASMLayer


BATCH, STEPS_PER_EPOCH = 64, 50
LARGEST = 256  # pixels of a picture's longer side as it is kept
TEST_EVERY = 5  # every fifth picture is not trained on, and tells how well the others were learned
# The Mixer of research/plans/small.yaml, on pictures of 128x128 pixels.
SHAPE = {"hidden_size": 64, "num_hidden_layers": 6, "tokens_mlp_dim": 32, "channels_mlp_dim": 256}
SHAPE |= {"patch_size": 16, "num_mel_bins": 128, "max_length": 128}


class PictureMixer(nn.Module):
    """MLP-Mixer of three channels (https://arxiv.org/abs/2105.01601), of ASM's layers and with their names."""

    def __init__(self, config: ASMConfig):
        super().__init__()
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(3, config.hidden_size, 16, stride=16)})
        self.layers = nn.ModuleList(ASMLayer(config, 0.0) for _ in range(config.num_hidden_layers))
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures `(batch_size, 3, 128, 128)` in [-1, 1] to logits."""
        tokens = self.patch_embeddings["projection"](pictures).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.classifier(self.layernorm(tokens).mean(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("output", type=Path, help="File for the weights: .safetensors.")
    parser.add_argument("--pictures", type=Path, required=True, help="Folder with a folder of pictures for each class.")
    parser.add_argument("--epochs", type=int, default=40, help="Of 50 batches of 64 crops; 0 leaves random weights.")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    try:
        classes, pictures = read_pictures(args.pictures)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    model = PictureMixer(ASMConfig(**SHAPE, num_labels=len(classes)))
    if args.epochs > 0:
        trained = [picture for number, picture in enumerate(pictures) if number % TEST_EVERY]
        train(model, trained, args.epochs)
        accuracy, most = test(model, pictures[::TEST_EVERY])
        print(f"accuracy on other pictures: {accuracy:.3f}, of the most frequent class: {most:.3f}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(timm_weights(model), args.output)


def read_pictures(folder: Path) -> tuple[list[str], list[tuple[Tensor, int]]]:
    """Read a folder with a folder of pictures for each class.

    Returns:
        The names of the classes, and each picture with the index of its class: `uint8` of shape `(4, height, width)`,
        red, green, blue and opacity.

    Raises:
        ValueError: If there are not two classes.
    """
    files = sorted(file for file in folder.glob("*/**/*") if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    classes = sorted({file.relative_to(folder).parts[0] for file in files})
    if len(classes) < 2:
        raise ValueError(
            f"{str(folder)!r} has {len(classes)} folders of PNG or JPEG files, expected one for each of two or more "
            "classes."
        )
    pictures = []
    for file in files:
        with Image.open(file) as image:
            image = image.convert("RGBA")
            image.thumbnail((LARGEST, LARGEST))
        pictures.append(
            (torch.from_numpy(np.array(image)).permute(2, 0, 1), classes.index(file.relative_to(folder).parts[0]))
        )
    return classes, pictures


def train(model: PictureMixer, pictures: list[tuple[Tensor, int]], epochs: int):
    """Train with AdamW and one cycle of the learning rate."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * STEPS_PER_EPOCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        chosen = [pictures[int(number)] for number in torch.randint(len(pictures), (BATCH,))]
        crops = torch.stack([crop(picture, 0.5 + 0.5 * torch.rand(())) for picture, _ in chosen])
        labels = torch.tensor([label for _, label in chosen])
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(crops)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if (step + 1) % (10 * STEPS_PER_EPOCH) == 0:
            print(f"epoch {(step + 1) // STEPS_PER_EPOCH}: loss {loss.item():.3f}", flush=True)


def crop(picture: Tensor, share: float, size: int = 128) -> Tensor:
    """Cut a random part with `share` of each side, mirrored or not, on ground of a random colour.

    Returns:
        Float tensor of shape `(3, size, size)` in [-1, 1].
    """
    height, width = (max(1, int(share * side)) for side in picture.shape[1:])
    top, left = (int(torch.randint(whole - part + 1, ())) for whole, part in zip(picture.shape[1:], (height, width)))
    part = picture[:, top : top + height, left : left + width].float() / 255
    part = part[:3] * part[3:] + torch.rand(3, 1, 1) * (1 - part[3:])
    part = nn.functional.interpolate(part[None], size=(size, size), mode="bilinear", antialias=True)[0]
    part = part.flip(2) if torch.rand(()) < 0.5 else part
    return 2 * part - 1


@torch.inference_mode()
def test(model: PictureMixer, pictures: list[tuple[Tensor, int]]) -> tuple[float, float]:
    """Return the accuracy on whole pictures, and that of always naming the most frequent class."""
    labels = torch.tensor([label for _, label in pictures])
    logits = model.eval()(torch.stack([crop(picture, 1.0) for picture, _ in pictures]))
    most = labels.bincount().max() / len(labels)
    return (logits.argmax(1) == labels).float().mean().item(), most.item()


def timm_weights(model: PictureMixer) -> dict[str, Tensor]:
    """Return the weights under timm's names."""
    weights = {}
    for name, tensor in model.state_dict().items():
        module, _, kind = name.rpartition(".")
        parts = module.split(".")
        number = parts[1] if parts[0] == "layers" else ""
        pattern = module.replace(f"layers.{number}.", "layers.N.") if number else module
        weights[f"{ASM_TO_TIMM[pattern].replace('N', number)}.{kind}"] = tensor.contiguous()
    return weights


if __name__ == "__main__":
    main()
