"""Conversion against timm's own logits (`assets/make_mixer_golden.py`) and Google's own numbers of parameters."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_asm import ASMConfig, ASMForAudioClassification, ASMModel
from modeling_asm.conversion.mixer import convert_mixer
from modeling_asm.conversion.weights import ConversionError


ASSETS = Path(__file__).parents[1] / "assets"

# Layers, width, tokens and channels MLP widths: table 1 of https://arxiv.org/abs/2105.01601.
MIXERS = {
    "S/32": (8, 512, 256, 2048, 32),
    "S/16": (8, 512, 256, 2048, 16),
    "B/32": (12, 768, 384, 3072, 32),
    "B/16": (12, 768, 384, 3072, 16),
    "L/32": (24, 1024, 512, 4096, 32),
    "L/16": (24, 1024, 512, 4096, 16),
}
MILLIONS = {"S/32": 19, "S/16": 18, "B/32": 60, "B/16": 59, "L/32": 206, "L/16": 207}  # the same table
EXACT = {"B/32": 60_293_428, "B/16": 59_880_472, "L/16": 208_196_168}  # vit_jax/models_test.py, 1000 classes


def timm_shapes(layers: int, width: int, tokens_dim: int, channels_dim: int, patch: int, side: int, classes: int):
    """The names and shapes of timm's tensors."""
    tokens = (side // patch) ** 2
    shapes = {"stem.proj.weight": (width, 3, patch, patch), "stem.proj.bias": (width,)}
    for number in range(layers):
        block = f"blocks.{number}"
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
        for mlp, size, hidden in (("mlp_tokens", tokens, tokens_dim), ("mlp_channels", width, channels_dim)):
            shapes |= {f"{block}.{mlp}.fc1.weight": (hidden, size), f"{block}.{mlp}.fc1.bias": (hidden,)}
            shapes |= {f"{block}.{mlp}.fc2.weight": (size, hidden), f"{block}.{mlp}.fc2.bias": (size,)}
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    return shapes | {"head.weight": (classes, width), "head.bias": (classes,)}


@pytest.mark.parametrize("name", ["tiny", "mixer_s32_224", "mixer_b16_224"])
@pytest.mark.parametrize("rgb_to_mono", ["sum", "mean", "luma"])
def test_a_converted_mixer_gives_timms_logits(mixer_golden, name, rgb_to_mono):
    """With `sum` on the picture in three channels, with `mean` on a third of it, with `luma` on its grey parts."""
    side = 16 if name == "tiny" else 224
    if name == "tiny":
        shapes = timm_shapes(2, 8, 4, 32, 4, side, 5)
    else:
        shapes = timm_shapes(*MIXERS[{"mixer_s32_224": "S/32", "mixer_b16_224": "B/16"}[name]], side, 5)
    script = runpy.run_path(str(ASSETS / "make_mixer_golden.py"), run_name="golden")
    picture = np.random.default_rng(1).uniform(-1, 1, (1, 1, side, side)).astype(np.float32)
    model = convert_mixer(
        script["seeded_weights"](shapes), rgb_to_mono, max_length=side, num_mel_bins=side, keep_head=True
    )
    with torch.inference_mode():
        logits = model(torch.from_numpy(picture)[:, 0].transpose(1, 2)).logits
    torch.testing.assert_close(logits, mixer_golden[f"{name}.{rgb_to_mono}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MIXERS)
def test_parameter_counts_are_googles(name):
    layers, width, tokens_dim, channels_dim, patch = MIXERS[name]
    shapes = timm_shapes(layers, width, tokens_dim, channels_dim, patch, 224, 1000)
    with torch.device("meta"):
        model = ASMForAudioClassification(
            ASMConfig(
                num_hidden_layers=layers,
                hidden_size=width,
                tokens_mlp_dim=tokens_dim,
                channels_mlp_dim=channels_dim,
                patch_size=patch,
                frequency_stride=patch,
                time_stride=patch,
                max_length=224,
                num_mel_bins=224,
                num_labels=1000,
            )
        )
    count = sum(math.prod(shape) for shape in shapes.values())
    assert model.num_parameters() + 2 * width * patch**2 == count  # one channel instead of three
    assert count == EXACT.get(name, count)
    assert round(count / 1e6) == pytest.approx(MILLIONS[name], abs=1.01)  # the table rounds, and not always to nearest


@pytest.mark.parametrize("strides", [{}, {"frequency_stride": 3, "time_stride": 2}])
def test_the_grid_is_fitted_to_any_spectrogram(mixer_weights, strides):
    model = convert_mixer(mixer_weights, max_length=50, num_mel_bins=24, **strides)
    assert isinstance(model, ASMModel) and not model.training
    step = (strides.get("frequency_stride", 4), strides.get("time_stride", 4))
    assert model.config.patch_grid == ((24 - 4) // step[0] + 1, (50 - 4) // step[1] + 1)
    assert model(torch.randn(2, 50, 24)).pooler_output.isfinite().all()


def test_sums_over_the_tokens_keep_their_size(mixer_weights):
    """A weight that is the same for all 16 tokens is the same for 256, a sixteenth of it."""
    key = "blocks.0.mlp_tokens.fc1.weight"
    mixer_weights[key] = torch.arange(1.0, 5)[:, None].expand(4, 16).clone()
    resized = convert_mixer(mixer_weights, max_length=64, num_mel_bins=64).layers[0].token_mixing.fc1.weight
    torch.testing.assert_close(resized, torch.arange(1.0, 5)[:, None].expand(4, 256) / 16)


def test_luma_is_about_a_third_of_the_sum():
    """The grey coefficients sum to 1: on equal channels they are the mean."""
    script = runpy.run_path(str(ASSETS / "make_mixer_golden.py"), run_name="golden")
    weights = script["seeded_weights"](timm_shapes(1, 8, 4, 32, 4, 16, 5))
    weights["stem.proj.weight"] = weights["stem.proj.weight"][:, :1].expand(-1, 3, -1, -1).clone()
    luma, mean, total = (
        convert_mixer(weights, how, 16, 16).patch_embeddings.projection.weight for how in ("luma", "mean", "sum")
    )
    torch.testing.assert_close(luma, mean)
    torch.testing.assert_close(3 * luma, total)


def test_a_stem_of_one_channel_is_kept(mixer_weights):
    mixer_weights["stem.proj.weight"] = mixer_weights["stem.proj.weight"][:, :1].clone()
    model = convert_mixer(mixer_weights, None, 16, 16)
    torch.testing.assert_close(
        model.patch_embeddings.projection.weight, mixer_weights["stem.proj.weight"], rtol=0, atol=0
    )
    with pytest.raises(ConversionError, match=r"stem of 1 channels.*rgb_to_mono='luma' is for three.*None"):
        convert_mixer(mixer_weights, "luma")


def test_an_rgb_stem_where_one_channel_was_promised(mixer_weights):
    with pytest.raises(ConversionError, match=r"stem of 3 channels.*expects one.*luma, sum, mean"):
        convert_mixer(mixer_weights, None)


def test_an_unknown_projection_is_refused(mixer_weights):
    with pytest.raises(ConversionError, match="`rgb_to_mono` is 'grey', expected luma, sum, mean"):
        convert_mixer(mixer_weights, "grey")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.0.attn.qkv.weight": torch.zeros(3)}, r"'blocks\.0\.attn\.qkv\.weight'.*another architecture"),
        ({"cls_token": torch.zeros(1)}, "'cls_token'.*another architecture"),
        ({"blocks.1.norm2.bias": None}, r"lack.*layers\.1\.layernorm_after\.bias"),
        ({"blocks.0.mlp_tokens.fc1.weight": None}, r"lack 'blocks\.0\.mlp_tokens\.fc1\.weight'"),
        ({"blocks.7.norm1.weight": torch.zeros(8)}, r"lack 'layers\.2\.channel_mixing\.fc1\.bias'"),
        ({"norm.weight": torch.zeros(7)}, r"layernorm\.weight.*shape \(7,\).*\(8,\)"),
        ({"blocks.0.mlp_tokens.fc1.weight": torch.zeros(4, 15)}, "15 tokens are not a square grid"),
        ({"stem.proj.weight": None}, "lack 'stem.proj.weight'.*another architecture"),
        ({"blocks.0.mlp_tokens.fc1.weight": torch.zeros(4)}, r"has shape \(4,\), expected \(units, tokens\)"),
        ({"blocks.0.mlp_channels.fc1.weight": torch.tensor(1.0)}, r"has shape \(\), expected \(units, width\)"),
        ({"head.weight": torch.tensor(1.0)}, r"'head\.weight' has shape \(\), expected \(classes, width\)"),
        ({"stem.proj.weight": torch.zeros(8, 3, 4, 5)}, r"\(8, 3, 4, 5\), expected \(width, channels, side, side\)"),
    ],
    ids=["attention", "token", "missing", "tokens", "layer", "shape", "grid", "stem", "1-D", "0-D", "head", "oblong"],
)
def test_every_key_is_accounted_for(mixer_weights, change, message):
    mixer_weights = {key: value for key, value in (mixer_weights | change).items() if value is not None}
    with pytest.raises(ConversionError, match=message):
        convert_mixer(mixer_weights, max_length=16, num_mel_bins=16)


def test_a_geometry_that_does_not_fit_names_the_field(mixer_weights):
    with pytest.raises(ValueError, match=r"`patch_size` 4 does not fit.*`num_mel_bins`=3"):
        convert_mixer(mixer_weights, num_mel_bins=3)
