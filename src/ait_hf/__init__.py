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
    AutoModelForPoseEstimation,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)

from ait_hf_cli.models import pretrained

from .data.pixels import load_depth_png, save_depth_png
from .model.configuration_ait import (
    AiTConfig,
    AiTPoseTokenizerConfig,
    AiTSwinv2Config,
    AiTTaskConfig,
    AiTTokenizerConfig,
    Vocabulary,
)
from .model.generation_ait import (
    AiTGenerateOutput,
    AiTGenerationConfig,
    SoftTokenLogitsProcessor,
    TaskGrammarLogitsProcessor,
)
from .model.image_processing_ait import AiTImageProcessor
from .model.image_processing_pose_ait import AiTPoseImageProcessor
from .model.masks_ait import crop_masks, paste_masks
from .model.modeling_ait import (
    AiTDepthEstimatorOutput,
    AiTForDenseTokenGeneration,
    AiTForDepthEstimation,
    AiTForInstanceSegmentation,
    AiTForObjectDetection,
    AiTForPoseEstimation,
    AiTForSemanticSegmentation,
    AiTModel,
    AiTObjectDetectionOutput,
    AiTPoseEstimatorOutput,
    AiTSemanticSegmenterOutput,
    AiTTrainingOutput,
)
from .model.modeling_swinv2_ait import AiTSwinv2Backbone
from .model.quantization_ait import EMACodebook
from .model.sequences_ait import TaskGrammar
from .model.tokenization_pose import PoseTokenizer, mask_joints
from .model.tokenization_vq import VQTokenizer, mask_augmentation
from .tasks.depth.windows import predict_with_windows_and_flip
from .tasks.poses.pipeline import KeypointEstimationPipeline
from .tokens.image_processing_tokens import AiTTokenProcessor


__version__ = "0.2.0"

AutoConfig.register(AiTConfig.model_type, AiTConfig, exist_ok=True)
AutoBackbone.register(AiTSwinv2Config, AiTSwinv2Backbone, exist_ok=True)
AutoModel.register(AiTConfig, AiTForDenseTokenGeneration, exist_ok=True)
AutoModelForDepthEstimation.register(AiTConfig, AiTForDepthEstimation, exist_ok=True)
AutoModelForObjectDetection.register(AiTConfig, AiTForObjectDetection, exist_ok=True)
# Of two classes the library takes the one that the checkpoint's `architectures` name, or the first.
AutoModelForImageSegmentation.register(
    AiTConfig, (AiTForInstanceSegmentation, AiTForSemanticSegmentation), exist_ok=True
)
AutoModelForInstanceSegmentation.register(AiTConfig, AiTForInstanceSegmentation, exist_ok=True)
AutoModelForPoseEstimation.register(AiTConfig, AiTForPoseEstimation, exist_ok=True)
AutoModelForSemanticSegmentation.register(AiTConfig, AiTForSemanticSegmentation, exist_ok=True)
AutoModelForUniversalSegmentation.register(AiTConfig, AiTForInstanceSegmentation, exist_ok=True)
AutoImageProcessor.register(AiTConfig, fast_image_processor_class=AiTImageProcessor, exist_ok=True)
# Further processors, found by the class name that their own files hold.
for _processor in (AiTPoseImageProcessor, AiTTokenProcessor):
    AutoImageProcessor.register(_processor, fast_image_processor_class=_processor, exist_ok=True)

__all__ = ["AiTConfig", "AiTDepthEstimatorOutput", "AiTForDenseTokenGeneration", "AiTForDepthEstimation"]
__all__ += ["AiTForInstanceSegmentation", "AiTForObjectDetection", "AiTForPoseEstimation"]
__all__ += ["AiTForSemanticSegmentation", "AiTGenerateOutput", "AiTGenerationConfig", "AiTImageProcessor"]
__all__ += ["AiTModel", "AiTObjectDetectionOutput", "AiTPoseImageProcessor", "AiTPoseEstimatorOutput"]
__all__ += ["AiTPoseTokenizerConfig", "AiTSemanticSegmenterOutput", "AiTSwinv2Backbone", "AiTSwinv2Config"]
__all__ += ["AiTTaskConfig", "AiTTokenProcessor", "AiTTokenizerConfig", "AiTTrainingOutput", "EMACodebook"]
__all__ += ["KeypointEstimationPipeline", "PoseTokenizer", "SoftTokenLogitsProcessor", "TaskGrammar"]
__all__ += ["TaskGrammarLogitsProcessor", "VQTokenizer", "Vocabulary", "crop_masks", "load_depth_png"]
__all__ += ["mask_augmentation", "mask_joints", "paste_masks", "predict_with_windows_and_flip", "pretrained"]
__all__ += ["save_depth_png"]
