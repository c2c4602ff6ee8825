"""Named sizes of the model."""

from typing import NamedTuple


class ASMSize(NamedTuple):
    """A size: keyword arguments for [`ASMConfig`], and the parameters that [`ASMModel`] then has, without a head."""

    config: dict
    parameters: int


# tiny and small are for clips of about a second and little data.
# tiny, for few speakers: 40 mel bins, which do not resolve a voice's pitch, in overlapping patches of half the band.
# small: patches of the whole band and three frames, as in a keyword spotter, and a deeper encoder.
# base: the paper's model, with a window of 10.24 s.
ASM_SIZES = {
    "tiny": ASMSize(
        {
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "tokens_mlp_dim": 64,
            "channels_mlp_dim": 512,
            "patch_size": (20, 16),
            "frequency_stride": 10,
            "time_stride": 4,
            "max_length": 98,
            "num_mel_bins": 40,
        },
        parameters=603_004,
    ),
    "small": ASMSize(
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
        parameters=1_409_760,
    ),
    "base": ASMSize({}, parameters=61_634_304),
}
