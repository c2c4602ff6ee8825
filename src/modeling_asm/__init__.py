"""Audio Spectrogram Mixer (ASM, https://arxiv.org/abs/2401.11102) for the Hugging Face ecosystem.

Importing the package registers its classes with transformers' Auto classes, and marks them so that every checkpoint
they save includes their code.
"""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    AutoProcessor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from . import renamed
from .configuration_asm import ASM_SIZES, ASMConfig
from .feature_extraction_asm import ASMFeatureExtractor
from .modeling_asm import ASMForAudioClassification, ASMModel
from .pipeline_asm import ASMAudioClassificationPipeline
from .pretraining import ASMForPreTraining
from .residual_cnn import ResidualCNNConfig, ResidualCNNForAudioClassification
from .streaming import ASMStreamingClassifier


__version__ = "0.1.0"

renamed.install()

AutoConfig.register(ASMConfig.model_type, ASMConfig, exist_ok=True)
AutoFeatureExtractor.register(ASMConfig, ASMFeatureExtractor, exist_ok=True)
AutoProcessor.register(ASMConfig, ASMFeatureExtractor, exist_ok=True)
AutoModel.register(ASMConfig, ASMModel, exist_ok=True)
AutoModelForAudioClassification.register(ASMConfig, ASMForAudioClassification, exist_ok=True)
AutoModelForPreTraining.register(ASMConfig, ASMForPreTraining, exist_ok=True)

AutoConfig.register(ResidualCNNConfig.model_type, ResidualCNNConfig, exist_ok=True)
AutoFeatureExtractor.register(ResidualCNNConfig, ASMFeatureExtractor, exist_ok=True)
AutoProcessor.register(ResidualCNNConfig, ASMFeatureExtractor, exist_ok=True)
AutoModelForAudioClassification.register(ResidualCNNConfig, ResidualCNNForAudioClassification, exist_ok=True)

ASMConfig.register_for_auto_class()
ASMFeatureExtractor.register_for_auto_class()
ASMModel.register_for_auto_class("AutoModel")
ASMForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")
ASMForPreTraining.register_for_auto_class("AutoModelForPreTraining")

PIPELINE_REGISTRY.register_pipeline(
    "asm-audio-classification",
    pipeline_class=ASMAudioClassificationPipeline,
    pt_model=AutoModelForAudioClassification,
    type="audio",
)

__all__ = [
    "ASM_SIZES",
    "ASMAudioClassificationPipeline",
    "ASMConfig",
    "ASMFeatureExtractor",
    "ASMForAudioClassification",
    "ASMForPreTraining",
    "ASMModel",
    "ASMStreamingClassifier",
    "ResidualCNNConfig",
    "ResidualCNNForAudioClassification",
]
