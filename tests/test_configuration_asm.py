import json

import pytest
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig

from modeling_asm import ASMConfig, ASMForAudioClassification
from modeling_asm.configuration_asm import HIDDEN_ACTS, _raise_value_errors


def test_defaults_are_the_papers_model():
    config = ASMConfig()
    assert (config.hidden_size, config.num_hidden_layers) == (768, 12)
    assert (config.tokens_mlp_dim, config.channels_mlp_dim) == (384, 3072)
    assert (config.num_mel_bins, config.max_length, config.patch_size) == (128, 1024, 16)
    assert (config.hidden_act, config.layer_norm_eps, config.initializer_range) == ("gelu", 1e-6, 0.02)


@pytest.mark.parametrize(
    ("arguments", "grid"),
    [
        pytest.param({"max_length": 128}, (8, 8), id="1-second"),
        pytest.param({"max_length": 128, "frequency_stride": 10, "time_stride": 10}, (12, 12), id="ast-stride"),
        pytest.param({}, (8, 64), id="10-seconds"),
        pytest.param({"frequency_stride": 10, "time_stride": 10}, (12, 101), id="10-seconds-ast-stride"),
        pytest.param({"patch_size": (128, 3), "time_stride": 2, "max_length": 98}, (1, 48), id="full-band"),
    ],
)
def test_num_patches_counts_the_grid(arguments, grid):
    """Sources: the tokens of AST's paper at a stride of 10 (1212 at 10.24 s), and counting."""
    config = ASMConfig(**arguments)
    assert config.patch_grid == grid
    assert config.num_patches == grid[0] * grid[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"patch_size": (129, 16)}, ["patch_size", "129", "num_mel_bins", "128"]),
        ({"max_length": 15}, ["patch_size", "16", "max_length", "15"]),
        ({"patch_size": 0}, ["patch_size", "positive", "got 0"]),
        ({"patch_size": (4, 4, 4)}, ["patch_size", "pair", "(4, 4, 4)"]),
        ({"time_stride": 0}, ["time_stride", "at least 1", "got 0"]),
        ({"hidden_size": -1}, ["hidden_size", "at least 1", "got -1"]),
        ({"drop_path_rate": 1.0}, ["drop_path_rate", "below 1", "got 1.0"]),
        ({"layer_norm_eps": 0.0}, ["layer_norm_eps", "above 0", "got 0.0"]),
        ({"hidden_act": "relu6"}, ["hidden_act", "relu6", *HIDDEN_ACTS]),
        ({"acon_c_init": "zeros"}, ["acon_c_init", "zeros", "swish", "random"]),
        ({"window_overlap": 1.0}, ["window_overlap", "below 1"]),
        ({"window_aggregation": "median"}, ["window_aggregation", "median", "mean", "max", "logits"]),
        ({"problem_type": "multi_label"}, ["problem_type", "'multi_label'", "multi_label_classification"]),
        ({"hidden_size": "768"}, ["hidden_size", "int", "'768'"]),
        ({"num_hidden_layers": 2.5}, ["num_hidden_layers", "int", "2.5"]),
        ({"hidden_act": None}, ["hidden_act", "str", "None"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_an_impossible_value_is_a_value_error_that_names_field_value_and_choice(arguments, words):
    with pytest.raises(ValueError) as error:
        ASMConfig(**arguments)
    for word in words:
        assert word in str(error.value)


def test_assignment_is_checked_too():
    config = ASMConfig()
    with pytest.raises(ValueError, match="max_length"):
        config.max_length = "long"
    config.max_length = 3
    with pytest.raises(ValueError, match="patch_size"):
        config.validate()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("token_mlp_dim", "tokens_mlp_dim"),
        ("hidden_dim", "hidden_size"),
        ("num_mels_bins", "num_mel_bins"),
        ("num_label", "num_labels"),
        ("dropout", "hidden_dropout_prob"),
    ],
)
def test_a_misspelt_argument_warns_and_names_the_nearest_field(wrong, right, caplog):
    ASMConfig(**{wrong: 4})
    assert f"`{wrong}`" in caplog.text
    assert f"`{right}`" in caplog.text


def test_what_transformers_passes_does_not_warn(caplog, tmp_path):
    config = ASMConfig(num_labels=3, problem_type="regression", name_or_path="x", output_attentions=False)
    config.save_pretrained(tmp_path)
    AutoConfig.from_pretrained(tmp_path)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("arguments", "field"), [({"max_length": 2}, "max_length"), ({"problem_type": "bogus"}, "problem_type")]
)
def test_a_model_is_not_built_from_fields_that_were_set_wrongly(checkpoint, arguments, field):
    with pytest.raises(ValueError, match=field):
        ASMForAudioClassification.from_pretrained(checkpoint, **arguments)


def test_round_trip_through_json(tmp_path):
    config = ASMConfig(patch_size=(128, 3), time_stride=2, drop_path_rate=0.0, id2label={0: "no", 1: "yes"})
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is ASMConfig
    assert loaded.patch_shape == (128, 3)
    assert loaded.id2label == {0: "no", 1: "yes"}
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "audio-spectrogram-mixer"
    different = {"patch_size", "_name_or_path"}  # JSON has no tuples
    assert all(loaded.to_dict()[key] == value for key, value in config.to_dict().items() if key not in different)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stem_channels": [8, 0]}, "`stem_channels` must be positive integers"),
        ({"stem_channels": [8] * 5}, "`patch_size` of 16 mel bins is not a multiple of 32"),
        ({"stem_channels": [8, 8], "num_mel_bins": 66}, "`num_mel_bins` of 66 mel bins is not a multiple of 4"),
        ({"stem_channels": [8, 8], "frequency_stride": 10}, "`frequency_stride` of 10 mel bins.*fewer convolutions"),
    ],
    ids=["width", "patch", "band", "stride"],
)
def test_a_stem_that_does_not_divide_the_band(arguments, message):
    with pytest.raises(ValueError, match=message):
        ASMConfig(**arguments)


def test_the_papers_model_has_no_stem():
    assert ASMConfig().stem_channels == ()


def test_label_ids_as_text_are_numbers():
    """As transformers' example script writes them, and JSON has the keys of `id2label`."""
    config = ASMConfig(id2label={"0": "no", "1": "yes"}, label2id={"no": "0", "yes": "1"})
    assert (config.id2label, config.label2id) == ({0: "no", 1: "yes"}, {"no": 0, "yes": 1})


def test_a_quantised_checkpoints_field_does_not_warn(caplog):
    ASMConfig(quantization_config={"quant_method": "torchao"})
    assert "has no effect" not in caplog.text


def test_errors_of_a_strict_class_become_value_errors():
    """When it is made, when a field is set, and when it is checked."""

    @_raise_value_errors
    @strict
    class Sizes(PreTrainedConfig):
        width: int = 1

        def validate_width(self):
            if self.width > 9:
                raise ValueError(f"{self.width} is too wide")

    sizes = Sizes(width=3)
    assert sizes.width == 3
    sizes.__dict__["width"] = 10
    for wrong in (lambda: Sizes(width="x"), lambda: setattr(sizes, "width", 2.5), sizes.validate):
        with pytest.raises(ValueError, match=r"width|too wide") as raised:
            wrong()
        assert not isinstance(raised.value, StrictDataclassError)


def test_the_smallest_and_the_largest_values():
    """What is just possible: patches of one frame, one convolution of one channel, weights that start at 0."""
    ASMConfig(patch_size=(2, 1), stem_channels=(1,), frequency_stride=2, initializer_range=0.0)
    with pytest.raises(ValueError, match="`stem_channels` must be positive integers, got"):
        ASMConfig(stem_channels=(0,))
    with pytest.raises(ValueError, match=r"`initializer_range` must not be negative, got -0\.1"):
        ASMConfig(initializer_range=-0.1)
    assert ASMConfig().shift_of_overlap(0.9999) == 1
    assert ASMConfig().shift_of_overlap(0.998) == 2


def test_each_of_several_misspelt_arguments_is_named(caplog):
    ASMConfig(_private=1, auto_map={}, hidden_sizes=3, num_layers=4)
    assert "`hidden_sizes`, so it has no effect; did you mean `hidden_size`?" in caplog.text
    assert "`num_layers`, so it has no effect; did you mean `num_labels`?" in caplog.text
    assert "_private" not in caplog.text


def test_one_label_is_a_regression_unless_the_problem_type_says_otherwise():
    """As transformers' models infer it at the first loss, and as its pipeline needs it."""
    assert ASMConfig(num_labels=1).problem_type == "regression"
    assert ASMConfig(id2label={0: "level"}).problem_type == "regression"
    assert (
        ASMConfig(num_labels=1, problem_type="multi_label_classification").problem_type == "multi_label_classification"
    )
    assert ASMConfig(num_labels=2).problem_type is None


@pytest.mark.parametrize("overlap", [1.0, 1.5, -0.1])
def test_an_overlap_that_was_set_later(overlap):
    config = ASMConfig()
    config.window_overlap = overlap
    with pytest.raises(ValueError, match=f"`window_overlap` must be at least 0 and below 1, got {overlap}"):
        _ = config.window_shift
