# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Model folders that carry their own code, for `trust_remote_code=True` where this package is not installed."""

from pathlib import Path

from transformers.dynamic_module_utils import custom_object_save

from .image_processing_ait import AiTImageProcessor
from .modeling_ait import AiTForDenseTokenGeneration


MODEL_AUTO_MAP = {
    "AutoConfig": "configuration_ait.AiTConfig",
    "AutoModel": "modeling_ait.AiTForDenseTokenGeneration",
    "AutoModelForDepthEstimation": "modeling_ait.AiTForDepthEstimation",
    "AutoModelForImageSegmentation": "modeling_ait.AiTForInstanceSegmentation",
    "AutoModelForInstanceSegmentation": "modeling_ait.AiTForInstanceSegmentation",
    "AutoModelForObjectDetection": "modeling_ait.AiTForObjectDetection",
    "AutoModelForUniversalSegmentation": "modeling_ait.AiTForInstanceSegmentation",
}
PROCESSOR_AUTO_MAP = {"AutoImageProcessor": "image_processing_ait.AiTImageProcessor"}


def save_with_remote_code(model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, folder: str | Path) -> None:
    """
    Save a model and its image processor, with the modules that define them and the `auto_map` that names them.

    `AutoModel`, `AutoModelForDepthEstimation` and the other heads, `AutoImageProcessor` and pipelines load the folder with
    `import ait_hf`, or with `trust_remote_code=True` where `ait_hf` is not installed. Each tokenizer is also there
    by itself, for `VQTokenizer.from_pretrained(folder, subfolder="tokenizers/depth")`.

    Args:
        model ([`AiTForDenseTokenGeneration`]): Any of its task heads; all have the same weights.
        processor ([`AiTImageProcessor`]): Prepares its images.
        folder (`str` or `Path`): Is made if missing; files of the same names are replaced.
    """
    # `register_for_auto_class` would name only the class that is being saved, and would change every later save of
    # this process.
    model.config.auto_map = dict(MODEL_AUTO_MAP)
    processor.auto_map = dict(PROCESSOR_AUTO_MAP)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    custom_object_save(model, folder)
    custom_object_save(processor, folder)
    for name, tokenizer in model.tokenizers.items():
        tokenizer.save_pretrained(Path(folder) / "tokenizers" / name)
