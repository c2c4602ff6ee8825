"""Named sizes of the model."""

from typing import NamedTuple


class ASMSize(NamedTuple):
    """A size: keyword arguments for [`ASMConfig`], and the parameters that [`ASMModel`] then has, without a head."""

    config: dict
    parameters: int


# tiny: patches of the full band and three frames, for short clips and little data; the window is 1 s.
# small: the width and depth of Mixer-S/16. base: the paper's model. Both have 16x16 patches and a window of 10.24 s.
ASM_SIZES = {
    "tiny": ASMSize(
        {
            "hidden_size": 128,
            "num_hidden_layers": 10,
            "tokens_mlp_dim": 64,
            "channels_mlp_dim": 512,
            "patch_size": (64, 3),
            "frequency_stride": 64,
            "time_stride": 2,
            "max_length": 98,
            "num_mel_bins": 64,
        },
        parameters=0,
    ),
    "small": ASMSize(
        {"hidden_size": 512, "num_hidden_layers": 8, "tokens_mlp_dim": 256, "channels_mlp_dim": 2048},
        parameters=0,
    ),
    "base": ASMSize({}, parameters=61_634_304),
}
