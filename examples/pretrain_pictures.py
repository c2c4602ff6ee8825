"""Train a small three-channel MLP-Mixer on pictures, without a label or a download: a start for `convert_mixer`.

    python examples/pretrain_pictures.py build/pictures.safetensors
    python -m modeling_asm.convert_mixer build/pictures.safetensors my-start --num_mel_bins 128 --max_length 98

The pictures are the two colour photographs that scikit-learn brings along (a temple and a flower, 427x640). Random
crops of any size are turned by 0, 90, 180 or 270 degrees, and the Mixer tells which photograph and which turn (RotNet,
https://arxiv.org/abs/1803.07728). That is real, and far from ImageNet: it stands in where that cannot be had. The
weights have timm's names.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from modeling_asm import ASMConfig
from modeling_asm.mixer_weights import TIMM_MODULES
from modeling_asm.modeling_asm import ASMLayer


BATCH, STEPS_PER_EPOCH, TURNS = 64, 50, 4
# The Mixer of plans/small.yaml, on pictures of 128x128 pixels.
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
    parser.add_argument("--epochs", type=int, default=40, help="Of 50 batches of 64 crops; 0 leaves random weights.")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    photographs = [
        torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 127.5 - 1 for picture in load_sample_images().images
    ]
    model = PictureMixer(ASMConfig(**SHAPE, num_labels=len(photographs) * TURNS))
    if args.epochs > 0:
        train(model, photographs, args.epochs)
        print(f"accuracy on new crops: {test(model, photographs):.3f}, by chance {1 / len(photographs) / TURNS:.3f}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(timm_weights(model), args.output)


def train(model: PictureMixer, photographs: list[Tensor], epochs: int):
    """Train with AdamW and one cycle of the learning rate."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * STEPS_PER_EPOCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        pictures, labels = draw(photographs)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pictures)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if (step + 1) % (10 * STEPS_PER_EPOCH) == 0:
            print(f"epoch {(step + 1) // STEPS_PER_EPOCH}: loss {loss.item():.3f}", flush=True)


def draw(photographs: list[Tensor], size: int = 128) -> tuple[Tensor, Tensor]:
    """Draw a batch of turned crops, of a side of 96 to 400 pixels and a little off in colour, and their labels."""
    pictures, labels = torch.empty(BATCH, 3, size, size), torch.randint(len(photographs) * TURNS, (BATCH,))
    for picture, label in zip(pictures, labels.tolist()):
        photograph, turn = photographs[label // TURNS], label % TURNS
        side = int(torch.randint(96, 401, ()))
        top, left = (int(torch.randint(length - side + 1, ())) for length in photograph.shape[1:])
        crop = photograph[:, top : top + side, left : left + side]
        crop = nn.functional.interpolate(crop[None], size=(size, size), mode="bilinear", antialias=True)[0]
        colour = 1 + 0.4 * (torch.rand(3, 1, 1) - 0.5)
        picture.copy_(torch.rot90(crop * colour, turn, (1, 2)).clamp(-1, 1))
    return pictures, labels


@torch.inference_mode()
def test(model: PictureMixer, photographs: list[Tensor]) -> float:
    """Return the accuracy on ten new batches; there are no other photographs to test on."""
    hits = [
        (model.eval()(pictures).argmax(1) == labels).float().mean()
        for pictures, labels in (draw(photographs) for _ in range(10))
    ]
    return torch.stack(hits).mean().item()


def timm_weights(model: PictureMixer) -> dict[str, Tensor]:
    """Return the weights under timm's names."""
    timm = {asm: name for name, asm in TIMM_MODULES.items()}
    weights = {}
    for name, tensor in model.state_dict().items():
        module, _, kind = name.rpartition(".")
        parts = module.split(".")
        number = parts[1] if parts[0] == "layers" else ""
        pattern = module.replace(f"layers.{number}.", "layers.N.") if number else module
        weights[f"{timm[pattern].replace('N', number)}.{kind}"] = tensor.contiguous()
    return weights


if __name__ == "__main__":
    main()
