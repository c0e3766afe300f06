# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pipelines see pictures as everything else here does, and know which task of a model they are for: those of transformers, too,
where their model is one of AiT's. Importing this tells them."""

import base64
import binascii
import io
import os
from copy import copy
from typing import Any
from urllib.request import urlopen

from PIL import Image
from transformers import (
    AutoImageProcessor,
    BaseImageProcessor,
    DepthEstimationPipeline,
    ImageSegmentationPipeline,
    ObjectDetectionPipeline,
)
from transformers.image_utils import load_image
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import cached_file

from ..model.image_reading_ait import read_image, rgb_image, upright_image
from ..model.modeling_ait import (
    AiTForDenseTokenGeneration,
    AiTForInstanceSegmentation,
    AiTForObjectDetection,
    AiTForSemanticSegmentation,
)


_BASE64_NAME = 40  # characters of an encoded picture that errors show
_SEGMENTERS = {"instance": AiTForInstanceSegmentation, "semantic": AiTForSemanticSegmentation}  # by `subtask`


def load_picture(image: str | Image.Image, timeout: float | None = None) -> Image.Image:
    """As `transformers.image_utils.load_image` of a PIL image, path, address or base64 text, but refuses what
    [`~ait_hf.model.image_reading_ait.read_image`] does, of which the library would make white pictures; `timeout` are
    the seconds that a download may take."""
    if isinstance(image, Image.Image):
        return rgb_image(upright_image(image))
    if not isinstance(image, str):
        return load_image(image)  # which says what it takes
    if os.path.isfile(image):
        return read_image(image)
    if image.startswith(("http://", "https://")):
        with urlopen(image, timeout=timeout) as response:
            return read_image(io.BytesIO(response.read()), image)
    try:
        encoded = image.partition(",")[2] if image.startswith("data:image/") else image
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return load_image(image)
    return read_image(io.BytesIO(content), image[:_BASE64_NAME])


def processor_of_task(
    model: AiTForDenseTokenGeneration, loaded: BaseImageProcessor | None
) -> BaseImageProcessor | None:
    """The image processor of the task that a head is for. What the library loads from the folder of a model of several tasks
    is the first task's; each has its own in `image_processors/TASK`. One that was chosen otherwise stays."""
    saved = {
        "pretrained_model_name_or_path": model.name_or_path,
        "revision": getattr(model.config, "_commit_hash", None),
    }
    own = {"subfolder": f"image_processors/{model.task_name}"}
    is_there = {"filename": "preprocessor_config.json", "_raise_exceptions_for_missing_entries": False}
    if (
        not model.name_or_path
        or cached_file(model.name_or_path, revision=saved["revision"], **own, **is_there) is None
    ):
        return loaded
    beside = AutoImageProcessor.from_pretrained(**saved).to_dict()
    return (
        AutoImageProcessor.from_pretrained(**saved, **own) if loaded is None or loaded.to_dict() == beside else loaded
    )


class _OfATask:
    # That the library would say it does not take: it looks into a copy of its list, without them.
    heads: tuple[type, ...] = ()

    def __init__(self, model: Any, *args, image_processor: BaseImageProcessor | None = None, **kwargs):
        if isinstance(model, AiTForDenseTokenGeneration):
            image_processor = processor_of_task(model, image_processor)
        super().__init__(model, *args, image_processor=image_processor, **kwargs)

    def check_model_type(self, supported_models: Any) -> None:
        if not isinstance(self.model, self.heads):
            super().check_model_type(supported_models)

    def preprocess(self, image: Any, **parameters) -> Any:
        if isinstance(self.model, AiTForDenseTokenGeneration):
            image = load_picture(image, parameters.get("timeout"))
        return super().preprocess(image, **parameters)


class AiTDepthEstimationPipeline(_OfATask, DepthEstimationPipeline):
    """The library's, which for an AiT model reads pictures by [`load_picture`] and has its task's image processor."""


class AiTObjectDetectionPipeline(_OfATask, ObjectDetectionPipeline):
    """The library's, which for an AiT model reads pictures by [`load_picture`] and has its task's image processor."""

    heads = (AiTForObjectDetection,)


class AiTImageSegmentationPipeline(_OfATask, ImageSegmentationPipeline):
    """The library's, which for an AiT model reads pictures by [`load_picture`], has its task's image processor, and takes the
    task that `subtask` names, "instance" or "semantic"; by default the one that the model has, instances if it has both."""

    heads = tuple(_SEGMENTERS.values())

    def __init__(self, model: Any, *args, subtask: str | None = None, **kwargs):
        if isinstance(model, AiTForDenseTokenGeneration):
            had = (name for name, head in _SEGMENTERS.items() if head.task_name in model.config.tasks)
            subtask = subtask or next(had, None)
            if (head := _SEGMENTERS.get(subtask)) and not isinstance(model, head):
                model.config.task(head.task_name)
                model = copy(model)  # heads have no weights of their own
                model.__class__ = head
        super().__init__(model, *args, subtask=subtask, **kwargs)
        self.subtask = subtask

    def __call__(self, inputs: Any = None, **kwargs) -> Any:
        subtask = kwargs.get("subtask")
        if isinstance(self.model, AiTForDenseTokenGeneration) and subtask not in (None, self.subtask):
            return type(self)(self.model, subtask=subtask, device=self.device)(inputs, **kwargs)
        return super().__call__(inputs, **kwargs)


for _task, _pipeline in {
    "depth-estimation": AiTDepthEstimationPipeline,
    "image-segmentation": AiTImageSegmentationPipeline,
    "object-detection": AiTObjectDetectionPipeline,
}.items():  # of the other models, too, which notice nothing of it
    PIPELINE_REGISTRY.supported_tasks[_task]["impl"] = _pipeline
