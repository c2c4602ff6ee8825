import dataclasses
import json
import math
import os

import pytest
import torch
from datasets import ClassLabel, Dataset, List
from processes import Python
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor
from transformers import (
    ASTForAudioClassification,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperForAudioClassification,
)

from modeling_asm import ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.training.data.decoding import decode_audio
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.models import (
    ModelArguments,
    choose_seconds,
    gather_model,
    make_frontend,
    make_model,
    sampling_rate_of,
)


def test_a_new_model_fits_the_clips(clips):
    model, extractor = make_model(ModelArguments(hidden_act="acon_c", drop_path_rate=0.2), clips)
    assert isinstance(model, ASMForAudioClassification)
    assert model.config.id2label == {0: "high", 1: "low"}
    assert model.config.problem_type == "single_label_classification"
    assert (model.config.hidden_act, model.config.drop_path_rate) == ("acon_c", 0.2)
    assert model.config.max_length == extractor.max_length == 18  # clips of 0.2 s
    assert model.config.num_mel_bins == extractor.num_mel_bins == 40
    assert extractor.std > 0


@pytest.mark.parametrize(("padding", "value"), [("zero", "log-energy 0"), ("mean", 0.0), ("silence", "the floor")])
def test_padding(clips, padding, value):
    _, extractor = make_model(ModelArguments(padding=padding), clips)
    floor = (math.log(torch.finfo(torch.float32).eps) - extractor.mean) / (2 * extractor.std)
    expected = {"log-energy 0": -extractor.mean / (2 * extractor.std), "the floor": floor}.get(value, value)
    assert extractor.padding_value == pytest.approx(expected)


def test_seconds(clips):
    assert choose_seconds(ModelArguments(), clips) == pytest.approx(0.2)
    assert choose_seconds(ModelArguments(seconds=0.5), clips) == 0.5
    model, extractor = make_model(ModelArguments(model_name_or_path="scratch", seconds=0.5), clips)
    assert extractor.max_length == 48
    assert make_frontend(ModelArguments(), model, extractor, clips).window_samples == extractor.nb_max_samples


def test_several_labels(clips):
    several = clips.remove_columns("label").add_column("label", [[0]] * 40, feature=List(ClassLabel(names=["a", "b"])))
    model, _ = make_model(ModelArguments(size="tiny"), several)
    assert model.config.problem_type == "multi_label_classification"
    assert model.config.num_labels == 2


def test_a_checkpoint_with_other_classes_gets_a_new_classifier(clips, checkpoint, model):
    loaded, extractor = make_model(ModelArguments(model_name_or_path=str(checkpoint)), clips)
    assert loaded.config.id2label == {0: "high", 1: "low"}
    assert loaded.classifier.weight.shape == (2, 16)
    before, after = model.state_dict(), loaded.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("classifier"))
    assert extractor.max_length == 16


def test_as_many_classes_with_other_names_get_one_too(tones, checkpoint, model):
    (tones / "high").rename(tones / "cow")
    (tones / "middle").mkdir()
    (tones / "cow" / "19.wav").rename(tones / "middle" / "19.wav")
    clips = decode_audio(load_audio_dataset(DataArguments(str(tones)))["train"], 16000)[0]
    loaded, _ = make_model(ModelArguments(model_name_or_path=str(checkpoint)), clips)
    assert loaded.config.num_labels == model.config.num_labels == 3
    assert not torch.equal(loaded.classifier.weight, model.classifier.weight)


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("name", ["ast", "wav2vec2"])
def test_other_architectures(clips, name, request):
    folder = request.getfixturevalue(name)
    args = ModelArguments(model_name_or_path=str(folder), freeze_encoder=True)
    model, extractor = make_model(args, clips)
    assert model.config.id2label == {0: "high", 1: "low"}
    trained = {parameter for parameter, value in model.named_parameters() if value.requires_grad}
    assert trained
    assert all(parameter.startswith(("classifier", "projector")) for parameter in trained)
    assert extractor.sampling_rate == 16000
    assert args.start == name


def test_arguments_of_a_new_model_beside_a_checkpoint():
    with pytest.raises(ValueError, match="--size, --padding would have no effect"):
        ModelArguments(model_name_or_path="some-model", size="small", padding="mean")
    assert ModelArguments(model_name_or_path="ann/some-model").start == "ann/some-model"


def test_arguments_of_a_model_without_effect():
    with pytest.raises(ValueError, match="--model_revision v2 would have no effect without a checkpoint of the Hub"):
        ModelArguments(model_revision="v2")
    with pytest.raises(ValueError, match="--hidden_act would have no effect: --config_overrides sets it, too"):
        ModelArguments(hidden_act="acon_c", config_overrides="{hidden_act: gelu}")


def test_a_checkpoint_keeps_its_window(clips, checkpoint, model, wav2vec2, caplog):
    """Only a model that takes waveforms, or fits any window, gets the one that was requested."""
    args = ModelArguments(model_name_or_path=str(checkpoint), seconds=3.0)
    assert make_frontend(args, model, ASMFeatureExtractor(max_length=16), clips).window_samples == 2800
    (record,) = caplog.records
    assert record.message == "--seconds 3 has no effect: the window of 'checkpoint' has 0.17 s."
    caplog.clear()
    args = ModelArguments(model_name_or_path=str(wav2vec2), seconds=3.0)
    assert make_frontend(args, None, Wav2Vec2FeatureExtractor(), clips).window_samples == 48000
    args = ModelArguments(model_name_or_path="scratch", seconds=3.0)
    assert make_frontend(args, model, ASMFeatureExtractor(max_length=16), clips).window_samples == 2800
    assert caplog.records == []


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ({}, "asm-small-general"),
        ({"model_name_or_path": "general"}, "asm-small-general"),
        ({"model_name_or_path": "scratch"}, None),
        ({"size": "tiny"}, None),  # the default of a new model, but it was given
        ({"padding": "repeat"}, None),
        ({"config_overrides": "{}", "model_name_or_path": "scratch"}, None),
        ({"model_name_or_path": "ann/tones"}, "ann/tones"),
    ],
    ids=str,
)
def test_what_training_starts_from(arguments, start):
    args = ModelArguments(**arguments)
    assert args.start == start
    assert args.is_general == (start == "asm-small-general")


@pytest.mark.parametrize(
    ("arguments", "frames"),
    [({}, 400), ({"seconds": 1.0}, 112), ({"tune": "head"}, 400), ({"tune": "head", "seconds": 1.0}, 112)],
)
def test_the_window_of_the_general_encoder(clips, arguments, frames):
    """Its own, which clips of .2 s are repeated to fill, or the wanted one, in whole tokens of 16 frames."""
    args = ModelArguments(**arguments)
    model, extractor = make_model(args, clips)
    assert model.config.max_length == extractor.max_length == frames
    assert make_frontend(args, model, extractor, clips).window_samples == extractor.nb_max_samples
    assert model(torch.zeros(1, frames, 64)).logits.shape == (1, 2)


@pytest.mark.parametrize(("seconds", "frames"), [(None, 400), (1.0, 112)])
def test_a_general_encoder_that_is_only_evaluated_keeps_its_window(clips, seconds, frames):
    """Clips of .2 s are repeated to 4 s, as everywhere else, unless another window is asked for."""
    model, extractor = make_model(ModelArguments(seconds=seconds), clips, unchanged=True)
    assert model.config.max_length == extractor.max_length == frames


def test_the_window_of_a_new_model_fits_its_stem(clips):
    """Two convolutions that keep every fourth frame: 18 frames become 20."""
    shape = {"num_mel_bins": 64, "patch_size": [16, 16], "frequency_stride": 16, "time_stride": 4}
    overrides = json.dumps({**shape, "stem_channels": [4, 4], "stem_time_strides": [2, 2]})
    for seconds, frames in ((None, 20), (1.0, 100), (0.9, 88)):
        model, extractor = make_model(ModelArguments(config_overrides=overrides, seconds=seconds), clips)
        assert model.config.max_length == extractor.max_length == frames


@pytest.mark.parametrize("arguments", [{"tune": "head"}, {"tune": "last"}, {"freeze_encoder": True}], ids=str)
def test_random_weights_are_no_encoder(arguments):
    with pytest.raises(ValueError, match="needs a trained encoder, not the random weights of a new model"):
        ModelArguments(size="tiny", **arguments)


def test_a_frozen_encoder_has_no_last_layers_to_train():
    with pytest.raises(ValueError, match=r"--freeze_encoder contradicts --tune last. Leave one of them out."):
        ModelArguments(freeze_encoder=True, tune="last")


@pytest.mark.parametrize("problem_type", ["regression", None])
def test_a_regression_keeps_its_output_whatever_its_name(clips, config, feature_extractor, tmp_path, problem_type):
    """Which transformers calls LABEL_0; several outputs are not one, and are replaced."""
    numbers = clips.remove_columns("label").add_column("label", [float(row) for row in range(len(clips))])
    config.problem_type, config.id2label = problem_type, {0: "LABEL_0"}
    for outputs in (1, 2):
        config.num_labels = outputs
        model = ASMForAudioClassification(config)
        model.save_pretrained(tmp_path / str(outputs))
        feature_extractor.save_pretrained(tmp_path / str(outputs))
        loaded, _ = make_model(ModelArguments(model_name_or_path=str(tmp_path / str(outputs))), numbers)
        assert loaded.config.problem_type == "regression"
        assert loaded.classifier.out_features == 1
        kept = outputs == 1
        assert loaded.config.id2label == ({0: "LABEL_0"} if kept else {0: "value"})
        assert torch.equal(loaded.classifier.weight, model.classifier.weight[:1]) == kept


def test_weights_that_do_not_fit_their_config(clips, checkpoint):
    config = (checkpoint / "config.json").read_text()
    (checkpoint / "config.json").write_text(config.replace('"channels_mlp_dim": 32', '"channels_mlp_dim": 48'))
    with pytest.raises(ValueError, match=r"do not fit its config\.json: \S*channel_mixing\S*, \S*channel_mixing"):
        make_model(ModelArguments(model_name_or_path=str(checkpoint)), clips)


def test_the_rate_is_the_checkpoints(checkpoint):
    assert sampling_rate_of(ModelArguments()) == 16000
    ASMFeatureExtractor(sampling_rate=8000).save_pretrained(checkpoint)
    assert sampling_rate_of(ModelArguments(model_name_or_path=str(checkpoint))) == 8000


def test_a_model_that_takes_something_else(clips, tmp_path):
    config = WhisperConfig(
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
        num_labels=2,
    )
    WhisperForAudioClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="takes 'input_features', expected a model that takes 'input_values'"):
        make_model(ModelArguments(model_name_or_path=str(tmp_path)), clips)


SHARDED = """
import sys, torch
from torch.distributed.fsdp import fully_shard
from modeling_asm import ASM_SIZES, ASMConfig, ASMForAudioClassification
from modeling_asm.training.models import gather_model

torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=int(sys.argv[2]), world_size=2)
torch.manual_seed(0)
model = ASMForAudioClassification(ASMConfig(**ASM_SIZES["tiny"].config))
before = {name: value.clone() for name, value in model.state_dict().items()}
assert gather_model(model) is model
mesh = torch.distributed.init_device_mesh("cpu", (2,))
for layer in model.base_model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
whole = gather_model(model)
if sys.argv[2] == "0":
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
    print(type(whole).__name__)
torch.distributed.barrier()
"""


def test_weights_that_are_missing_or_without_a_use_are_told(checkpoint, clips, caplog):
    """In two lines instead of transformers' report, which tells of the new classifier, too."""
    make_model(ModelArguments(model_name_or_path=str(checkpoint)), clips)
    assert not caplog.text
    weights = load_file(checkpoint / "model.safetensors")
    name = next(name for name in weights if "channel_mixing" in name)
    weights["more"] = weights.pop(name)
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    make_model(ModelArguments(model_name_or_path=str(checkpoint)), clips)
    assert f"has no weights for: {name}." in caplog.text
    assert "has weights without a use: more." in caplog.text


def test_a_classifier_without_weights_is_told_if_it_is_not_new(clips, model, feature_extractor, tmp_path, caplog):
    model.config.id2label = {0: "high", 1: "low"}
    ASMForAudioClassification(model.config).save_pretrained(tmp_path / "same")
    feature_extractor.save_pretrained(tmp_path / "same")
    weights = load_file(tmp_path / "same" / "model.safetensors")
    save_file({name: value for name, value in weights.items() if name != "classifier.bias"},
              tmp_path / "same" / "model.safetensors", {"format": "pt"})  # fmt: skip
    make_model(ModelArguments(model_name_or_path=str(tmp_path / "same")), clips)
    assert "has no weights for: classifier.bias." in caplog.text


@pytest.mark.slow
def test_weights_that_are_spread_over_processes(tmp_path):
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    processes = [Python("-c", SHARDED, tmp_path / "meet", rank, environment=environment) for rank in range(2)]
    first, second = (process.wait() for process in processes)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.splitlines()[-1] == "ASMForAudioClassification"  # below what some versions of gloo say
    assert "ASMForAudioClassification" not in second.stdout


def test_sharded_weights_are_gathered_into_a_model_of_their_own(model, shard):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert gather_model(model) is model
    shard(model)
    whole = gather_model(model)
    assert type(whole) is ASMForAudioClassification
    assert not any(isinstance(parameter, DTensor) for parameter in whole.parameters())
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())


def test_the_attention_of_a_checkpoint(clips, wav2vec2):
    for attention in ("eager", "sdpa"):
        arguments = ModelArguments(model_name_or_path=str(wav2vec2), attn_implementation=attention)
        assert make_model(arguments, clips)[0].config._attn_implementation == attention


def test_half_precision_is_for_arithmetic_alone(clips, checkpoint, model):
    model.half().save_pretrained(checkpoint)
    loaded, _ = make_model(ModelArguments(model_name_or_path=str(checkpoint)), clips)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["../nowhere", "/nowhere", "runs/1/nowhere"])
def test_a_checkpoint_that_is_not_there(name):
    with pytest.raises(FileNotFoundError, match=f"There is no checkpoint '{name}'"):
        sampling_rate_of(ModelArguments(model_name_or_path=name))


def test_a_checkpoint_that_is_a_file(tmp_path):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(NotADirectoryError, match=r"model.onnx' is a file, expected the folder of a checkpoint"):
        sampling_rate_of(ModelArguments(model_name_or_path=str(tmp_path / "model.onnx")))


def test_a_new_model_of_another_architecture_and_shape(clips):
    overrides = "{hidden_size: 24, num_hidden_layers: 1, num_attention_heads: 2, num_mel_bins: 24, patch_size: 8}"
    args = ModelArguments(model_type="audio-spectrogram-transformer", config_overrides=overrides)
    model, extractor = make_model(args, clips)
    assert isinstance(model, ASTForAudioClassification)
    assert (model.config.hidden_size, model.config.num_mel_bins, model.config.max_length) == (24, 24, 18)
    assert model.config.id2label == {0: "high", 1: "low"}
    assert (extractor.num_mel_bins, extractor.max_length) == (24, 18)
    assert model.config._attn_implementation == "sdpa"  # transformers' choice
    eager, _ = make_model(dataclasses.replace(args, attn_implementation="eager"), clips)
    assert eager.config._attn_implementation == "eager"
    mixer, _ = make_model(ModelArguments(config_overrides='{"patch_size": [10, 4], "hidden_act": "mish"}'), clips)
    assert (mixer.config.patch_shape, mixer.config.hidden_act, mixer.config.hidden_size) == ((10, 4), "mish", 128)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config_overrides": "hidden_size=24"}, "expected fields and values as YAML or JSON"),
        ({"config_overrides": "{hidden_size: "}, "expected fields and values as YAML or JSON"),
        ({"config_overrides": "{hidden_width: 24}"}, "ASMConfig has no field 'hidden_width'"),
        ({"config_overrides": "{max_length: 30}"}, "sets 'max_length', which the clips and --seconds determine"),
        ({"model_type": "residual-cnn", "size": "small"}, "--size would have no effect on 'residual-cnn'"),
        ({"model_type": "wav2vec2"}, "'wav2vec2' does not take spectrograms with a fixed window"),
        (
            {"model_type": "audio-spectrogram-transformer", "config_overrides": "{hidden_size: wide}"},
            "--config_overrides: .*hidden_size",
        ),
        ({"model_type": "mixer"}, "no architecture --model_type 'mixer'. Use audio-spectrogram-mixer"),
    ],
    ids=["no mapping", "no YAML", "no field", "reserved", "ignored", "no window", "type", "no architecture"],
)
def test_a_new_model_that_cannot_be(clips, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model(ModelArguments(**arguments), clips)


def test_the_window_covers_nearly_all_clips():
    """The 95th percentile of the lengths, at most ten seconds, unless one is asked for."""
    clips = Dataset.from_dict({"seconds": [1.0] * 90 + [4.0] * 8 + [30.0] * 2})
    assert choose_seconds(ModelArguments(), clips) == pytest.approx(4.0)
    assert choose_seconds(ModelArguments(), Dataset.from_dict({"seconds": [60.0, 70.0]})) == 10.24
