# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pipelines see pictures as everything else here does: those of transformers, too, where their model is one of AiT's.
Importing this tells them."""

import base64
import binascii
import io
import os
from typing import Any
from urllib.request import urlopen

from PIL import Image
from transformers import DepthEstimationPipeline, ImageSegmentationPipeline, ObjectDetectionPipeline
from transformers.image_utils import load_image
from transformers.pipelines import PIPELINE_REGISTRY

from ..model.image_reading_ait import read_image, rgb_image, upright_image
from ..model.modeling_ait import AiTForDenseTokenGeneration


_BASE64_NAME = 40  # characters of an encoded picture that errors show


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


class _ReadsPictures:
    def preprocess(self, image: Any, **parameters) -> Any:
        if isinstance(self.model, AiTForDenseTokenGeneration):
            image = load_picture(image, parameters.get("timeout"))
        return super().preprocess(image, **parameters)


class AiTDepthEstimationPipeline(_ReadsPictures, DepthEstimationPipeline):
    """The library's, which reads pictures for an AiT model by [`load_picture`]."""


class AiTImageSegmentationPipeline(_ReadsPictures, ImageSegmentationPipeline):
    """The library's, which reads pictures for an AiT model by [`load_picture`]."""


class AiTObjectDetectionPipeline(_ReadsPictures, ObjectDetectionPipeline):
    """The library's, which reads pictures for an AiT model by [`load_picture`]."""


for _task, _pipeline in {
    "depth-estimation": AiTDepthEstimationPipeline,
    "image-segmentation": AiTImageSegmentationPipeline,
    "object-detection": AiTObjectDetectionPipeline,
}.items():  # of the other models, too, which notice nothing of it
    PIPELINE_REGISTRY.supported_tasks[_task]["impl"] = _pipeline
