# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images into the model, and its maps back to the images' sizes."""

import torch
from PIL import Image
from torch.nn import functional as F
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageInput, PILImageResampling
from transformers.modeling_outputs import DepthEstimatorOutput
from transformers.processing_utils import ImagesKwargs, Unpack


class AiTImageProcessor(TorchvisionBackend):
    """
    Image processor of AiT.

    By default an image becomes RGB, is resized to 480×480 (bilinear, antialiased) and divided by 255: the input of the
    depth models. The COCO models see images of another kind, which the usual arguments describe: the longer side 640,
    ImageNet's mean and standard deviation, zeros at the right and bottom:

    ```python
    AiTImageProcessor(
        size={"max_height": 640, "max_width": 640},
        do_normalize=True,
        do_pad=True,
        pad_size={"height": 640, "width": 640},
    )
    ```

    Images are PIL images, NumPy arrays or tensors, one or a list, of different sizes if they are resized or padded to
    one. Arrays hold 0..255 unless `do_rescale=False` is passed. `pixel_values` is always float32,
    `(batch, channels, height, width)`.

    All arguments are those of transformers' image processors (`transformers.processing_utils.ImagesKwargs`).

    Raises:
        ValueError: If there are no images, or an image is empty, contains NaN or infinity, or is a PIL image of more
            than 8 bits per channel that is to become RGB.
    """

    do_convert_rgb = True
    do_resize = True
    size = {"height": 480, "width": 480}
    default_to_square = True
    resample = PILImageResampling.BILINEAR
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = False
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    model_input_names = ["pixel_values"]

    def preprocess(self, images: ImageInput, **kwargs: Unpack[ImagesKwargs]) -> BatchFeature:
        """Images to `pixel_values`; arguments override the processor's own for this call."""
        if isinstance(images, (list, tuple)) and not images:
            raise ValueError("The list of images is empty; pass at least one image.")
        return super().preprocess(images, **kwargs)

    def process_image(self, image: ImageInput, do_convert_rgb: bool | None = None, **kwargs) -> torch.Tensor:
        """Check one image and turn it into a `(channels, height, width)` tensor of its own dtype."""
        shape = image.size if isinstance(image, Image.Image) else tuple(image.shape)
        if 0 in shape:
            raise ValueError(f"An image is empty (shape {shape}); pass images with at least one pixel.")
        if do_convert_rgb and isinstance(image, Image.Image) and image.mode.startswith(("I", "F")):
            raise ValueError(
                f"A PIL image of mode {image.mode} would lose its value range in RGB; convert it to 8 bits first."
            )
        tensor = super().process_image(image, do_convert_rgb=do_convert_rgb, **kwargs)
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError("An image contains NaN or infinite values; replace them before processing.")
        return tensor

    def rescale_and_normalize(self, images: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        """As in the library, but float32 whatever the input's dtype and whichever steps are on."""
        return super().rescale_and_normalize(images.to(torch.float32), *args, **kwargs)

    def post_process_depth_estimation(
        self,
        outputs: DepthEstimatorOutput,
        target_sizes: torch.Tensor | list[tuple[int, int]] | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """
        Depth maps at the sizes of the original images.

        Args:
            outputs: Output of a depth model: `predicted_depth` `(batch, h, w)` in metres and, where the model gives
                it, `uncertainty` of the same shape in 0..1.
            target_sizes: `(height, width)` of every original image, a list or a `(batch, 2)` tensor. Without it the
                maps keep their size.

        Returns:
            One dictionary per image: `predicted_depth` `(height, width)`, float32, metres, and `uncertainty`
            `(height, width)`, float32, 0..1, where the output has it. Both are resized bilinearly.

        Raises:
            ValueError: If the number of sizes is not the batch size.
        """
        maps = {"predicted_depth": outputs.predicted_depth, "uncertainty": getattr(outputs, "uncertainty", None)}
        maps = {name: values.to(torch.float32) for name, values in maps.items() if values is not None}
        batch_size = len(maps["predicted_depth"])
        if target_sizes is None:
            return [{name: values[index] for name, values in maps.items()} for index in range(batch_size)]
        if len(target_sizes) != batch_size:
            raise ValueError(
                f"One target size per image is needed: got {len(target_sizes)} sizes for {batch_size} depth maps."
            )
        return [
            {name: self._resize_map(values[index], target_size) for name, values in maps.items()}
            for index, target_size in enumerate(target_sizes)
        ]

    @staticmethod
    def _resize_map(values: torch.Tensor, size: tuple[int, int] | torch.Tensor) -> torch.Tensor:
        height, width = (int(length) for length in size)
        return F.interpolate(values[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]


__all__ = ["AiTImageProcessor"]
