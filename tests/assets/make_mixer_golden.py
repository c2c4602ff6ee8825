"""Write `mixer.safetensors`: logits of timm's Mixers, whose weights come from a seed. Run it where timm is installed:

pip install torch==2.14.1 torchvision==0.29.1 timm safetensors numpy
python tests/assets/make_mixer_golden.py
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file


GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
TINY = {"img_size": 16, "patch_size": 4, "num_blocks": 2, "embed_dim": 8, "num_classes": 5}


def main():
    import timm  # here, so that a test can use the rest of this file
    from timm.models.mlp_mixer import MlpMixer

    models = {
        "tiny": MlpMixer(**TINY),
        "mixer_s32_224": timm.create_model("mixer_s32_224", num_classes=5),
        "mixer_b16_224": timm.create_model("mixer_b16_224", num_classes=5),
    }
    tensors = {}
    for name, model in models.items():
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        model.load_state_dict(seeded_weights(shapes))
        side = 16 if name == "tiny" else 224
        picture = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (1, 1, side, side)).astype(np.float32))
        model.eval()
        with torch.inference_mode():
            tensors[f"{name}.sum"] = model(picture.expand(-1, 3, -1, -1))
            tensors[f"{name}.mean"] = model(picture.expand(-1, 3, -1, -1) / 3)
            tensors[f"{name}.luma"] = model(picture * torch.tensor(GREY)[:, None, None])
        if name == "tiny":
            tensors |= {f"tiny.weights.{key}": value for key, value in model.state_dict().items()}
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, Path(__file__).with_name("mixer.safetensors")
    )


def seeded_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Draw weights of these shapes, each tensor from a generator of its own, so that a test can draw them again."""
    weights = {}
    for number, (key, shape) in enumerate(sorted(shapes.items())):
        values = np.random.default_rng(number).standard_normal(shape, dtype=np.float32)
        values *= 0.1 if "bias" in key else 1 / max(np.prod(shape[1:]), 1) ** 0.5
        weights[key] = torch.from_numpy(values + (1 if "norm" in key and "weight" in key else 0)).float()
    return weights


if __name__ == "__main__":
    main()
