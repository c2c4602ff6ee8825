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
        ({"augmentation": "{noise: 3}"}, "--augmentation sets 'noise', expected some of ['equalizer', "),
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
