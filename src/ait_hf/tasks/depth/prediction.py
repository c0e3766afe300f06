# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""From photographs to depth maps of their sizes, and these as files."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from PIL import Image

from ...data.pixels import save_depth_png
from ...drawing.colors import colorize_uncertainty
from ...drawing.picture_files import save_image
from ...inference.images import image_height_and_width, prepare_images
from ...model.generation_ait import AiTGenerateOutput
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTDepthEstimatorOutput, AiTForDenseTokenGeneration
from ..writer import Writer
from .drawing import colorize_depth
from .windows import predict_with_windows_and_flip


DEPTH_TASK = "depth"


def input_size(model_size: Sequence[int], image_size: Sequence[int], tta: bool) -> tuple[int, int]:
    """Height and width that an image is resized to before the model sees it, whose own input is `model_size`. With
    `tta` the model sees square windows: the image's height becomes the model's and its shape stays. Otherwise the
    whole image is squeezed. `ValueError` if, with `tta`, the model's input is no square, or the image is higher than
    wide."""
    if not tta:
        return tuple(model_size)
    if model_size[0] != model_size[1]:
        raise ValueError(f"Windows are square, but this model's input is {model_size[0]}x{model_size[1]}.")
    if image_size[0] > image_size[1]:
        raise ValueError(
            f"Windows slide along the width, but an image is higher ({image_size[0]}) than wide ({image_size[1]}): "
            "predict it without test-time augmentation."
        )
    return model_size[0], round(image_size[1] * model_size[0] / image_size[0])


@torch.no_grad()
def predict_depth(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    *,
    task: str = DEPTH_TASK,
    tta: bool = False,
    **settings,
) -> list[dict[str, torch.Tensor]]:
    """Depth and uncertainty of images, at the images' sizes.

    Args:
        model, processor, images, settings: As for [`~ait_hf.inference.generating.generate_from_images`].
        task (`str`): Whose output is depth.
        tta (`bool`): Follow the published test protocol instead of squeezing each image into the model's input:
            square windows side by side, each also mirrored, averaged.

    Returns:
        For every image `predicted_depth` and `uncertainty`, float32 `(H, W)`: metres, depth at least 1e-3.

    Raises:
        ValueError: There are no images, the model has no such task, or windows do not fit (see [`input_size`]).
    """
    if not images:
        raise ValueError("There are no images to predict.")
    model_size, generate = model.config.task(task).image_size, partial(model.generate, task=task, **settings)
    sizes = [image_height_and_width(image) for image in images]
    by_input = defaultdict(list)
    for number, size in enumerate(sizes):
        by_input[input_size(model_size, size, tta)].append(number)
    predictions: dict[int, dict[str, torch.Tensor]] = {}
    for size, members in by_input.items():
        pixel_values = prepare_images(model, processor, [images[number] for number in members], size)
        outputs = _in_windows(model, pixel_values, generate) if tta else generate(pixel_values=pixel_values)
        maps = processor.post_process_depth_estimation(outputs, [sizes[number] for number in members])
        predictions |= zip(members, maps)
    return [predictions[number] for number in range(len(images))]


def _in_windows(
    model: AiTForDenseTokenGeneration, pixel_values: torch.Tensor, generate: Callable[..., AiTGenerateOutput]
) -> AiTDepthEstimatorOutput:
    def predict(crops: torch.Tensor) -> torch.Tensor:
        outputs = generate(pixel_values=crops)
        # As published, depth is averaged before it is clipped; `outputs.predicted_depth` is clipped already.
        return torch.stack([model.detokenize(outputs), outputs.uncertainty], dim=1)

    num_windows = math.ceil(pixel_values.shape[-1] / pixel_values.shape[-2])
    maps = predict_with_windows_and_flip(pixel_values, predict, num_windows)
    return AiTDepthEstimatorOutput(predicted_depth=maps[:, 0], uncertainty=maps[:, 1])


class DepthWriter(Writer):
    """`NAME_depth.png` (16 bits, millimetres), `NAME_color.png` and `NAME_uncertainty.png`."""

    function = staticmethod(predict_depth)

    def check(self, sizes):
        for path, size in sizes.items():
            try:
                input_size(self.model.config.task(self.task).image_size, size, self.options.tta)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error

    def predict(self, photographs):
        return super().predict(photographs, tta=self.options.tta)

    def summary(self, prediction):
        depth, uncertainty = prediction["predicted_depth"], prediction["uncertainty"].mean()
        nearest, middle, farthest = depth.min(), depth.median(), depth.max()
        return (
            f"From {nearest:.2f} to {farthest:.2f} metres, half of the pixels nearer than {middle:.2f}; uncertain by "
            f"{uncertainty:.2f} on average."
        )

    def write(self, prediction, image, file):
        depth, uncertainty = (prediction[name].cpu().numpy() for name in ("predicted_depth", "uncertainty"))
        picture = colorize_depth(depth)
        save_depth_png(depth, file("depth.png"))
        save_image(picture, file("color.png"))
        save_image(colorize_uncertainty(uncertainty.clip(0, 1)), file("uncertainty.png"))
        return picture
