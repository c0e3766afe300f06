# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Image files by their names, and images as a model takes them."""

import unicodedata
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..data.files import IMAGE_SUFFIXES, FileFinder, files_with_suffix
from ..model.image_processing_ait import AiTImageProcessor
from ..model.image_reading_ait import upright_height_and_width
from ..model.modeling_ait import AiTForDenseTokenGeneration


def find_images(patterns: Sequence[str | Path]) -> list[Path]:
    """Image files named by files, folders (all images directly in them but hidden ones) and globs, in that order, each
    once. See [`~ait_hf.data.files.FileFinder`] for how names may differ from those of the files.

    Raises:
        FileNotFoundError: A file is missing, or a folder or glob has no images.
        ValueError: Two files have the same stem, so that results named after them would overwrite each other.
    """
    found: dict[Path, None] = {}
    finder = FileFinder()
    for pattern in patterns:
        path = Path(pattern)
        if path.is_file():
            matches = [path]
        elif path.is_dir():
            matches = files_with_suffix(path, IMAGE_SUFFIXES)
        elif has_magic(str(pattern)):
            spelled = {str(pattern)} | {unicodedata.normalize(form, str(pattern)) for form in ("NFC", "NFD")}
            matches = sorted({Path(match) for one in spelled for match in glob(one, recursive=True)})
            matches = [match for match in matches if match.is_file()]
        elif (meant := finder.find(Path(path.anchor or "."), str(pattern))) is not None:
            matches = [meant]
        else:
            raise FileNotFoundError(f"{pattern} does not exist{finder.hint(Path(path.anchor or '.'), str(pattern))}.")
        if not matches:
            raise FileNotFoundError(f"{pattern} has no images.")
        found |= dict.fromkeys(matches)
    stems: dict[str, Path] = {}
    for path in found:
        stem = unicodedata.normalize("NFC", path.stem)
        if stem in stems:
            raise ValueError(f"{stems[stem]} and {path} have the same stem: predict them into different folders.")
        stems[stem] = path
    return list(found)


def image_height_and_width(image: Image.Image | torch.Tensor) -> tuple[int, int]:
    """Height and width in pixels of a PIL image, turned upright as processors do it, or a tensor `(channels, H, W)`."""
    return upright_height_and_width(image) if isinstance(image, Image.Image) else tuple(image.shape[-2:])


def prepare_images(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    size: tuple[int, int] | None = None,
    **inputs,
) -> torch.Tensor:
    """`pixel_values` of images (see [`generate_from_images`]), where and as the model needs them: `(batch, 3, *size)`,
    or of the processor's own size. `inputs`: what else the processor wants, such as `boxes`."""
    changes: dict[str, Any] = {} if size is None else {"size": {"height": size[0], "width": size[1]}}
    if torch.is_tensor(images[0]) and images[0].is_floating_point():
        changes["do_rescale"] = False
    pixel_values = processor(list(images), return_tensors="pt", **inputs, **changes)["pixel_values"]
    return pixel_values.to(model.device, model.dtype)
