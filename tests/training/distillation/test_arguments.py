import json

import pytest

from modeling_asm.training.distillation.arguments import DistillationArguments, DistillationTrainingArguments


GIVEN = {"pool": "pool", "bank": "bank", "teachers": '{"mn04": {"type": "efficientat"}}'}


def test_mappings_are_yaml_or_json():
    args = DistillationArguments(**GIVEN, model="{hidden_size: 96}", mixtures=json.dumps({"all": {"number": 8}}))
    assert args.model == {"hidden_size": 96}
    assert args.mixtures == {"all": {"number": 8}}
    assert args.teachers == {"mn04": {"type": "efficientat"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": ""}, "Set --pool."),
        ({"bank": ""}, "Set --bank."),
        ({"teachers": "{}"}, "Set --teachers: a general encoder learns from at least one."),
        ({"model": "[96]"}, "--model is '[96]', expected names and values as YAML or JSON."),
        ({"model": "{a: b: c}"}, "--model is '{a: b: c}', expected names and values as YAML or JSON."),
        ({"mixtures": "{}"}, "--mixtures names no part of the bank."),
        ({"mixtures": "{gap: 3}"}, "--mixtures gap: 3, expected the `number` of its mixtures and their settings."),
        ({"mixtures": "{all: {number: 0}}"}, "--mixtures all: {'number': 0}, expected the `number` of its mixtures"),
        ({"mixtures": "{../all: {number: 8}}"}, "--mixtures ../all: the name of a part becomes that of a folder"),
        ({"mixtures": "{all: {number: 8, seconds: 3}}"}, "--mixtures all sets 'seconds', which `max_length` of"),
        ({"mixtures": "{all: {number: 8, gapp: 3}}"}, "--mixtures all sets 'gapp', expected some of ['alone', 'eq"),
        ({"model": "{hiden_size: 96}"}, "--model sets 'hiden_size', expected some of ["),
        ({"probe_dirs": ["esc50"]}, "--probe_dirs and --probe_steps have an effect only together. Set both, or neit"),
        (
            {"probe_dirs": ["a/clips", "b/clips"], "probe_steps": 9},
            "--probe_dirs has two folders of one name, ['clips'",
        ),
        ({"augmentation": "{noise: 3}"}, "--augmentation sets 'noise', expected some of ['equalizer', "),
        ({"augmentation": "{gain: -1}"}, "--augmentation: `gain` must be at least 0, got -1."),
        ({"teachers": "{mn04: efficientat}"}, "--teachers mn04: 'efficientat', expected its `type` and settings."),
        (
            {"teachers": "{a: {type: efficientat, loss_weights: {logits: -1}}}"},
            "--teachers a: its `loss_weights` are {'",
        ),
        ({"mixtures": "{1: {number: 8}}"}, "--mixtures 1: the name of a part becomes that of a folder"),
        ({"mixtures": "{all: {number: 8, alone: 2}}"}, "--mixtures all: `alone` must be a probability from 0 to 1"),
        ({"mixtures": "{all: {number: 8, speed: [2, 1]}}"}, "--mixtures all: `speed` must be a lowest and a highest"),
        ({"mixtures": "{all: {number: 8, kind_weights: {music: -1}}}"}, "--mixtures all: `gap`, `equalizer` and `kin"),
        ({"num_validation": 0}, "--num_validation must be at least 1, got 0."),
        ({"validation_share": 0.9}, "--validation_share must be from 0.001 to 0.5, got 0.9."),
    ],
    ids=lambda value: str(value)[:24],
)
def test_arguments_that_cannot_be_meant(changes, message):
    with pytest.raises(ValueError) as error:
        DistillationArguments(**{**GIVEN, **changes})
    assert str(error.value).startswith(message)


def test_a_folder_for_the_encoder_is_needed():
    with pytest.raises(ValueError, match=r"Set --output_dir to the folder for the encoder."):
        DistillationTrainingArguments()


@pytest.mark.parametrize(
    ("name", "value"),
    [("optim", "sgd"), ("label_smoothing_factor", 0.1), ("load_best_model_at_end", True),
     ("gradient_checkpointing", True), ("resume_from_checkpoint", "there"), ("adam_epsilon", 1e-6),
     ("optim_target_modules", "layers"), ("bf16_full_eval", True), ("fp16_full_eval", True)],
)  # fmt: skip
def test_arguments_that_would_have_no_effect(name, value, tmp_path):
    with pytest.raises(ValueError, match=rf"^--{name} cannot be set: "):
        DistillationTrainingArguments(output_dir=str(tmp_path), **{name: value})
