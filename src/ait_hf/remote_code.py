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
# A pair of the library's: without and with torchvision. For a single name, pipelines take it that there is a video
# processor of a like name in the folder's code, and ask whether to run that.
PROCESSOR_AUTO_MAP = {"AutoImageProcessor": [None, "image_processing_ait.AiTImageProcessor"]}


def save_with_remote_code(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor | dict[str, AiTImageProcessor],
    folder: str | Path,
) -> None:
    """
    Save a model and its image processors, with the modules that define them and the `auto_map` that names them.

    `AutoModel`, `AutoModelForDepthEstimation` and the other heads, `AutoImageProcessor` and pipelines load the folder with
    `import ait_hf`, or with `trust_remote_code=True` where `ait_hf` is not installed. Each tokenizer is also there
    by itself, for `VQTokenizer.from_pretrained(folder, subfolder="tokenizers/depth")`.

    Args:
        model ([`AiTForDenseTokenGeneration`]): Any of its task heads; all have the same weights.
        processor ([`AiTImageProcessor`] or `dict`): Prepares its images; or one for each task, of which the first also
            is the folder's own. That of a task is loaded by `AutoImageProcessor.from_pretrained(folder,
            subfolder="image_processors/depth")`; a model with one task has the folder's own only.
        folder (`str` or `Path`): Is made if missing; files of the same names are replaced.
    """
    # `register_for_auto_class` would name only the class that is being saved, and would change every later save of
    # this process.
    model.config.auto_map = dict(MODEL_AUTO_MAP)
    model.save_pretrained(folder)
    custom_object_save(model, folder)
    processors = processor if isinstance(processor, dict) else {"": processor}
    first = next(iter(processors.values()))
    _save_processor(first, Path(folder))
    custom_object_save(first, folder)
    if len(processors) > 1:
        for task, processor in processors.items():
            _save_processor(processor, Path(folder) / "image_processors" / task)
    for name, tokenizer in model.tokenizers.items():
        tokenizer.save_pretrained(Path(folder) / "tokenizers" / name)


def _save_processor(processor: AiTImageProcessor, folder: Path) -> None:
    processor.auto_map = dict(PROCESSOR_AUTO_MAP)
    processor.save_pretrained(folder)
