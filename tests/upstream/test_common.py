"""transformers' own common tests, of the version that is installed, on our model, feature extractor and pipelines.

The tests that do not apply are in `SKIPS` here, or skip by themselves for a reason that conftest.py lists.
"""

import shutil
import sys
import unittest
from types import ModuleType

import numpy as np
import pytest
import torch
from transformers import AudioClassificationPipeline
from transformers.models.auto import modeling_auto
from transformers_tests import TINY_MODELS, load

from modeling_asm import ASMAudioClassificationPipeline, ASMConfig, ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm import ASMModel as Base


ModelTesterMixin = load("test_modeling_common").ModelTesterMixin
ConfigTester = load("test_configuration_common").ConfigTester
SequenceFeatureExtractionTestMixin = load("test_sequence_feature_extraction_common").SequenceFeatureExtractionTestMixin
PIPELINES = load("test_pipeline_mixin")

# The mixins know models by these names, which decide for example which of them have a loss.
modeling_auto.MODEL_MAPPING_NAMES[ASMConfig.model_type] = "ASMModel"
modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES[ASMConfig.model_type] = "ASMForAudioClassification"

SKIPS = {
    "ModelTest": {
        "test_model_get_set_embeddings": "expects an nn.Embedding; the input embedding is a convolution",
        "test_inputs_embeds": "embeds token ids; tests/test_modeling_asm.py has one of spectrograms",
        "test_inputs_embeds_matches_input_ids": "embeds token ids, as the test before",
    }
}


def skip_listed(cls: type) -> type:
    """Replace the tests in `SKIPS` that a class has."""
    for name, reason in SKIPS.get(cls.__name__, {}).items():
        setattr(cls, name, unittest.skip(reason)(getattr(cls, name)))
    return cls


class ModelTester:
    """What the mixin asks for: a small configuration and inputs."""

    batch_size, is_training = 3, True
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "tokens_mlp_dim": 16,
        "channels_mlp_dim": 48,
        "patch_size": 4,
        "frequency_stride": 4,
        "time_stride": 4,
        "max_length": 24,
        "num_mel_bins": 16,
        "stem_channels": [4],
    }
    seq_length, hidden_size, num_hidden_layers = 24, 32, 2

    def __init__(self, parent):
        self.parent = parent

    def get_config(self) -> ASMConfig:
        return ASMConfig(**self.sizes, num_labels=3)

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        return config, {"input_values": torch.rand(self.batch_size, config.max_length, config.num_mel_bins)}


@skip_listed
class ModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (Base, ASMForAudioClassification)
    has_attentions = False
    test_resize_embeddings = False
    test_all_params_have_gradient = True

    def setUp(self):
        self.model_tester = ModelTester(self)
        self.config_tester = ConfigTester(
            self,
            config_class=ASMConfig,
            has_text_modality=False,
            common_properties=["hidden_size", "num_hidden_layers", "max_length", "num_mel_bins"],
            **ModelTester.sizes,
        )

    def test_config(self):
        self.config_tester.run_common_tests()


class FeatureExtractionTester:
    """What the mixin asks for: features of different lengths, as extracted before padding."""

    batch_size, feature_size, sampling_rate, padding_value = 7, 24, 16000, 0.0
    min_seq_length, max_seq_length = 400, 2000
    seq_length_diff = (max_seq_length - min_seq_length) // (batch_size - 1)

    def prepare_feat_extract_dict(self) -> dict:
        return {
            "feature_size": self.feature_size,
            "num_mel_bins": self.feature_size,
            "padding_value": self.padding_value,
            "sampling_rate": self.sampling_rate,
            "return_attention_mask": True,
        }

    def prepare_inputs_for_common(self, equal_length: bool = False, numpify: bool = False) -> list:
        lengths = range(self.min_seq_length, self.max_seq_length, self.seq_length_diff)
        generator = np.random.default_rng(0)
        lengths = [self.max_seq_length] * self.batch_size if equal_length else lengths
        clips = [generator.random((length, self.feature_size)) for length in lengths]
        return clips if numpify else [clip.tolist() for clip in clips]


class FeatureExtractionTest(SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = ASMFeatureExtractor

    def setUp(self):
        self.feat_extract_tester = FeatureExtractionTester()


class AudioClassificationPipelineTests:
    """The pipelines' mixin takes this class from a folder that the distribution does not have."""

    def get_test_pipeline(self, model, tokenizer=None, feature_extractor=None, dtype="float32", **processors):
        pipeline = AudioClassificationPipeline(model=model, feature_extractor=feature_extractor, dtype=dtype)
        return pipeline, [np.zeros(3000), np.random.default_rng(0).random(14000)]

    def run_pipeline_test(self, pipeline, examples):
        for example in examples:
            scores = pipeline(example, top_k=3)
            assert {row["label"] for row in scores} == {"bird", "cat", "dog"}
            assert sum(row["score"] for row in scores) == pytest.approx(1, abs=1e-2)


@pytest.fixture(scope="class")
def tiny_model():
    """A checkpoint where the pipelines' mixin looks for its tiny models."""
    config = ASMConfig(**ModelTester.sizes, id2label={0: "bird", 1: "cat", 2: "dog"})
    extractor = ASMFeatureExtractor(max_length=config.max_length, num_mel_bins=config.num_mel_bins)
    folder = TINY_MODELS / config.model_type / "ASMForAudioClassification"
    ASMForAudioClassification(config).save_pretrained(folder)
    extractor.save_pretrained(folder)
    module = ModuleType("tests.pipelines.test_pipelines_audio_classification")
    module.AudioClassificationPipelineTests = AudioClassificationPipelineTests
    sys.modules[module.__name__] = module
    PIPELINES.transformers_module.ASMFeatureExtractor = ASMFeatureExtractor
    yield
    shutil.rmtree(TINY_MODELS)


def of_one_task(cls: type) -> type:
    """Leave out the pipelines' tests of other tasks."""
    for name in dir(cls):
        if name.startswith("test_pipeline_") and not name.startswith("test_pipeline_audio_classification"):
            setattr(cls, name, None)
    return cls


@pytest.mark.usefixtures("tiny_model")
@of_one_task
class PipelineTest(PIPELINES.PipelineTesterMixin, unittest.TestCase):
    pipeline_model_mapping = {"audio-classification": ASMForAudioClassification}

    def test_our_pipeline_has_the_hubs_arguments(self):
        """`top_k` and `function_to_apply` of the Hub's specification, beside our own."""
        documented = PIPELINES.parse_args_from_docstring_by_indentation(ASMAudioClassificationPipeline.__call__.__doc__)
        assert {"top_k", "function_to_apply"} <= set(documented)
