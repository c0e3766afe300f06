# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Model folders that carry their own code, for `trust_remote_code=True` where this package is not installed."""

import json
from collections.abc import Iterable
from pathlib import Path

from transformers import BaseImageProcessor
from transformers.dynamic_module_utils import custom_object_save

from ..data.writing import write_text
from ..inference.loading import CONFIG
from ..model.modeling_ait import AiTForDenseTokenGeneration, AiTForInstanceSegmentation


_HEADS = ("DepthEstimation", "InstanceSegmentation", "ObjectDetection", "PoseEstimation", "SemanticSegmentation")
_SEGMENTERS = ("AutoModelForImageSegmentation", "AutoModelForUniversalSegmentation")
MODEL_AUTO_MAP = {"AutoConfig": "configuration_ait.AiTConfig", "AutoModel": "modeling_ait.AiTForDenseTokenGeneration"}
MODEL_AUTO_MAP |= {f"AutoModelFor{head}": f"modeling_ait.AiTFor{head}" for head in _HEADS}
MODEL_AUTO_MAP |= dict.fromkeys(_SEGMENTERS, "modeling_ait.AiTForInstanceSegmentation")


def save_with_remote_code(
    model: AiTForDenseTokenGeneration,
    processor: BaseImageProcessor | dict[str, BaseImageProcessor],
    folder: str | Path,
) -> None:
    """
    Save a model and its image processors, with the modules that define them and the `auto_map` that names them.

    `AutoModel`, `AutoModelForDepthEstimation` and the other heads, `AutoImageProcessor` and pipelines load the folder with
    `import ait_hf`, or with `trust_remote_code=True` where `ait_hf` is not installed. Each tokenizer is also there
    by itself, for `VQTokenizer.from_pretrained(folder, subfolder="tokenizers/depth")`.

    Args:
        model ([`AiTForDenseTokenGeneration`]): Any of its task heads; all have the same weights.
        processor (image processor or `dict`): Prepares its images; or one for each task, of which the first also
            is the folder's own. That of a task is loaded by `AutoImageProcessor.from_pretrained(folder,
            subfolder="image_processors/depth")`; a model with one task has the folder's own only.
        folder (`str` or `Path`): Is made if missing; files of the same names are replaced.
    """
    # `register_for_auto_class` would name only the class that is being saved, and would change every later save of
    # this process.
    model.config.auto_map = dict(MODEL_AUTO_MAP)
    if AiTForInstanceSegmentation.task_name not in model.config.tasks:  # what the pipeline looks up has one class only
        semantic = MODEL_AUTO_MAP["AutoModelForSemanticSegmentation"]
        model.config.auto_map["AutoModelForImageSegmentation"] = semantic
    model.save_pretrained(folder)
    custom_object_save(model, folder)
    processors = processor if isinstance(processor, dict) else {"": processor}
    first = next(iter(processors.values()))
    _save_processor(first, Path(folder))
    for processor in processors.values():
        custom_object_save(processor, folder)
    if len(processors) > 1:
        for task, processor in processors.items():
            _save_processor(processor, Path(folder) / "image_processors" / task)
    for name, tokenizer in model.tokenizers.items():
        tokenizer.save_pretrained(Path(folder) / "tokenizers" / name)


def save_tasks(
    model: AiTForDenseTokenGeneration, processors: Iterable[BaseImageProcessor], folder: str | Path
) -> None:
    """Writes the tasks of the model's configuration into a folder where it, and these processors, are saved already, and
    nothing else; code that lies there is replaced by that of this package, for an earlier one would not know new fields."""
    folder = Path(folder)
    if (folder / f"{MODEL_AUTO_MAP['AutoConfig'].partition('.')[0]}.py").is_file():
        for part in (model, *processors):
            custom_object_save(part, folder)
    path = folder / CONFIG
    values = json.loads(path.read_text(encoding="utf-8")) | {"tasks": model.config.tasks}
    write_text(path, json.dumps(values, indent=2, sort_keys=True) + "\n")


def save_processor_with_code(processor: BaseImageProcessor, folder: str | Path) -> None:
    """Saves an image processor by itself, with the modules that define it and the `auto_map` that names it."""
    _save_processor(processor, Path(folder))
    custom_object_save(processor, folder)


def _save_processor(processor: BaseImageProcessor, folder: Path) -> None:
    processor_class = type(processor)
    # A pair of the library's: without and with torchvision. For a single name, pipelines take it that there is a video
    # processor of a like name in the folder's code, and ask whether to run that.
    processor.auto_map = {
        "AutoImageProcessor": [None, f"{processor_class.__module__.rpartition('.')[2]}.{processor_class.__name__}"]
    }
    processor.save_pretrained(folder)
