# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""All in Tokens (AiT): vision tasks as tokens, native to transformers. Importing it registers the Auto classes."""

from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForDepthEstimation,
    AutoModelForImageSegmentation,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    AutoModelForUniversalSegmentation,
)

from .configuration_ait import AiTConfig, AiTSwinv2Config, AiTTaskConfig, AiTTokenizerConfig, Vocabulary
from .generation_ait import (
    AiTGenerateOutput,
    AiTGenerationConfig,
    SoftTokenLogitsProcessor,
    TaskGrammarLogitsProcessor,
)
from .image_processing_ait import AiTImageProcessor
from .modeling_ait import (
    AiTDepthEstimatorOutput,
    AiTForDenseTokenGeneration,
    AiTForDepthEstimation,
    AiTForInstanceSegmentation,
    AiTForObjectDetection,
    AiTModel,
    AiTObjectDetectionOutput,
    AiTTrainingOutput,
)
from .modeling_swinv2_ait import AiTSwinv2Backbone
from .quantization_ait import EMACodebook
from .sequences_ait import TaskGrammar
from .test_time_augmentation import predict_with_windows_and_flip
from .tokenization_vq import VQTokenizer, mask_augmentation


__version__ = "0.1.0"

AutoConfig.register(AiTConfig.model_type, AiTConfig, exist_ok=True)
AutoBackbone.register(AiTSwinv2Config, AiTSwinv2Backbone, exist_ok=True)
AutoModel.register(AiTConfig, AiTForDenseTokenGeneration, exist_ok=True)
AutoModelForDepthEstimation.register(AiTConfig, AiTForDepthEstimation, exist_ok=True)
AutoModelForObjectDetection.register(AiTConfig, AiTForObjectDetection, exist_ok=True)
AutoModelForImageSegmentation.register(AiTConfig, AiTForInstanceSegmentation, exist_ok=True)
AutoModelForInstanceSegmentation.register(AiTConfig, AiTForInstanceSegmentation, exist_ok=True)
AutoModelForUniversalSegmentation.register(AiTConfig, AiTForInstanceSegmentation, exist_ok=True)
AutoImageProcessor.register(AiTConfig, fast_image_processor_class=AiTImageProcessor, exist_ok=True)

__all__ = [
    "AiTConfig",
    "AiTDepthEstimatorOutput",
    "AiTForDenseTokenGeneration",
    "AiTForDepthEstimation",
    "AiTForInstanceSegmentation",
    "AiTForObjectDetection",
    "AiTGenerateOutput",
    "AiTGenerationConfig",
    "AiTImageProcessor",
    "AiTModel",
    "AiTObjectDetectionOutput",
    "AiTSwinv2Backbone",
    "AiTSwinv2Config",
    "AiTTaskConfig",
    "AiTTokenizerConfig",
    "AiTTrainingOutput",
    "EMACodebook",
    "SoftTokenLogitsProcessor",
    "TaskGrammar",
    "TaskGrammarLogitsProcessor",
    "VQTokenizer",
    "Vocabulary",
    "mask_augmentation",
    "predict_with_windows_and_flip",
]
