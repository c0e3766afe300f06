# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images into the model, and its maps, boxes and masks back to the images' sizes."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image
from torch.nn import functional as F
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ImageInput,
    PILImageResampling,
    SizeDict,
)
from transformers.modeling_outputs import DepthEstimatorOutput, ModelOutput
from transformers.processing_utils import ImagesKwargs, Unpack

from .masks_ait import PastedMask, paste_masks_one_by_one


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

    Sides that follow from `max_height` and `max_width` are `int(side * scale + 0.5)`, as in the published
    preprocessing; the library would round them down.

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

    def resize(self, image: torch.Tensor, size: SizeDict, **kwargs) -> torch.Tensor:
        """As in the library, but see [`~AiTImageProcessor.resized_size`]."""
        if size.max_height and size.max_width:
            height, width = fitted_size(*image.shape[-2:], (size.max_height, size.max_width))
            size = SizeDict(height=height, width=width)
        return super().resize(image, size, **kwargs)

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width, before padding, of an image of that height and width in the model's input.

        Raises:
            ValueError: If `size` is neither `height` and `width` nor `max_height` and `max_width`.
        """
        if not self.do_resize:
            return height, width
        if self.size.max_height and self.size.max_width:
            return fitted_size(height, width, (self.size.max_height, self.size.max_width))
        if self.size.height and self.size.width:
            return self.size.height, self.size.width
        raise ValueError(
            "Where an image lies in the model's input is known for the sizes {height, width} and {max_height, "
            f"max_width}}, but this processor's is {dict(self.size)}."
        )

    def frame_size(self) -> tuple[int, int]:
        """Height and width of the model's input, padding included.

        Raises:
            ValueError: If they depend on the images.
        """
        frame = self.pad_size if self.do_pad else self.size if self.do_resize else None
        if frame is None or not (frame.height and frame.width):
            raise ValueError(
                "The model's input has no fixed size: give the image processor a size of {height, width}, or "
                "do_pad=True and a pad_size."
            )
        return frame.height, frame.width

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
        return [
            {name: self._resize_map(values[index], size) for name, values in maps.items()}
            for index, size in enumerate(_height_and_width(target_sizes, batch_size, "depth maps"))
        ]

    @staticmethod
    def _resize_map(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return F.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]

    def post_process_object_detection(
        self,
        outputs: ModelOutput,
        threshold: float = 0.5,
        target_sizes: torch.Tensor | list[tuple[int, int]] | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """
        Detected objects in the original images.

        Args:
            outputs: Output of a model of objects: `pred_boxes` `(batch, objects, 4)`, x1, y1, x2, y2 relative to the
                model's input, `class_scores` and `class_labels` `(batch, objects)`.
            threshold: Least score of an object that is kept.
            target_sizes: `(height, width)` of every original image, a list or a `(batch, 2)` tensor.

        Returns:
            One dictionary per image, its objects in the model's order: `scores` `(n,)` in 0..1, `labels` `(n,)` int64,
            `boxes` `(n, 4)` float32, x1 <= x2 and y1 <= y2 in pixels of the original image, not clipped to it. Without
            `target_sizes`, the boxes stay relative to the model's input.

        Raises:
            ValueError: If the number of sizes is not the batch size, or this processor's settings do not tell where
                an image lies in the model's input.
        """
        boxes = outputs.pred_boxes.float()
        if target_sizes is not None:
            sizes = _height_and_width(target_sizes, len(boxes), "images of objects")
            boxes = torch.stack([self._to_pixels(*pair) for pair in zip(boxes, sizes)])
        first, second = boxes[..., :2], boxes[..., 2:]
        boxes = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=-1)
        results = []
        for scores, labels, corners in zip(outputs.class_scores, outputs.class_labels, boxes):
            kept = scores >= threshold
            results.append({"scores": scores[kept], "labels": labels[kept], "boxes": corners[kept]})
        return results

    def post_process_instance_segmentation(
        self,
        outputs: ModelOutput,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        target_sizes: torch.Tensor | list[tuple[int, int]] | None = None,
        return_coco_annotation: bool = False,
        return_binary_maps: bool = False,
    ) -> list[dict]:
        """
        Segmented objects in the original images, best first.

        Args:
            outputs: As for [`~AiTImageProcessor.post_process_object_detection`], and `pred_masks`
                `(batch, objects, s, s)`, values about 0..1 inside the boxes.
            threshold: Least score of an object that is kept.
            mask_threshold: Least value of a mask that belongs to the object, above 0.
            overlap_mask_area_threshold: An object of whose area at most this share is left by objects of higher scores
                is no segment of the map. Run lengths and binary maps may overlap and hold it all the same.
            target_sizes: `(height, width)` of every original image, a list or a `(batch, 2)` tensor; by default, that
                of the model's input.
            return_coco_annotation: Instead of the map, a list of COCO's uncompressed run lengths, one per segment.
            return_binary_maps: Instead of the map, a boolean tensor `(segments, height, width)`.

        Returns:
            One dictionary per image. `segmentation` is a map `(height, width)`, int32, of segment ids, -1 where there
            is none, or what was asked for in its place. `segments_info` is a list with `id` (0, 1, ...), `label_id`,
            `was_fused` (always False) and `score` of every segment. Objects without a pixel are left out.

        Raises:
            ValueError: As for [`~AiTImageProcessor.post_process_object_detection`], or if there are no masks, or both
                run lengths and binary maps are asked for.
        """
        if return_coco_annotation and return_binary_maps:
            raise ValueError("Ask for run lengths (return_coco_annotation) or for return_binary_maps, not for both.")
        results = []
        for index, (boxes, size) in enumerate(self._boxes_and_sizes(outputs, target_sizes)):
            objects = _best_first(outputs, index, boxes, size, threshold, mask_threshold)
            if return_coco_annotation:
                segmentation, segments = _overlapping_segments(objects, PastedMask.rle)
            elif return_binary_maps:
                segmentation, segments = _overlapping_segments(objects, PastedMask.whole)
                segmentation = torch.stack(segmentation) if segments else boxes.new_zeros(0, *size, dtype=torch.bool)
            else:
                segmentation = torch.full(size, -1, dtype=torch.int32, device=boxes.device)
                segments = _draw_segments(segmentation, objects, overlap_mask_area_threshold)
            results.append({"segmentation": segmentation, "segments_info": segments})
        return results

    def object_masks_rle(
        self,
        outputs: ModelOutput,
        target_sizes: torch.Tensor | list[tuple[int, int]],
        threshold: float = 0.5,
        score_threshold: float = 0.0,
    ) -> list[list[dict[str, list[int]]]]:
        """
        The mask of every object in the original images as run lengths, for COCO's results format.

        Masks may overlap and be empty: those of the objects that
        `post_process_object_detection(outputs, score_threshold)` returns, in its order. One at a time is unpacked.

        Args:
            outputs: As for [`~AiTImageProcessor.post_process_instance_segmentation`].
            target_sizes: `(height, width)` of every original image, a list or a `(batch, 2)` tensor.
            threshold: Least value of a mask that belongs to the object, above 0.
            score_threshold: Least score of an object.

        Returns:
            For every image a list of run lengths, see [`~ait_hf.masks_ait.masks_to_rle`].

        Raises:
            ValueError: As for [`~AiTImageProcessor.post_process_instance_segmentation`].
        """
        results = []
        for index, (boxes, size) in enumerate(self._boxes_and_sizes(outputs, target_sizes)):
            chosen = outputs.class_scores[index] >= score_threshold
            masks = paste_masks_one_by_one(outputs.pred_masks[index][chosen], boxes[chosen], *size, threshold)
            results.append([mask.rle() for mask in masks])
        return results

    def _boxes_and_sizes(
        self, outputs: ModelOutput, target_sizes: torch.Tensor | list[tuple[int, int]] | None
    ) -> list[tuple[torch.Tensor, tuple[int, int]]]:
        """Of every image of objects with masks: boxes as predicted, in pixels, and the size that these refer to."""
        if outputs.pred_masks is None:
            raise ValueError("These outputs have no masks: predict with the task instance-segmentation.")
        boxes = outputs.pred_boxes.float()
        if target_sizes is None:
            height, width = self.frame_size()
            return [(relative * _corners(width, height, relative), (height, width)) for relative in boxes]
        sizes = _height_and_width(target_sizes, len(boxes), "images of objects")
        return [(self._to_pixels(relative, size), size) for relative, size in zip(boxes, sizes)]

    def _to_pixels(self, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """From boxes relative to the model's input to pixels of an original image of that size."""
        (frame_height, frame_width), (height, width) = self.frame_size(), self.resized_size(*size)
        return boxes * _corners(frame_width * size[1] / width, frame_height * size[0] / height, boxes)


def _corners(x: float, y: float, like: torch.Tensor) -> torch.Tensor:
    return like.new_tensor([x, y, x, y])


def fitted_size(height: int, width: int, frame: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
    """Height and width, at least 1, of an image resized to fit `frame` times `scale`, keeping its aspect."""
    ratio = min(frame[0] / height, frame[1] / width) * scale
    return max(1, int(height * ratio + 0.5)), max(1, int(width * ratio + 0.5))


def _height_and_width(
    target_sizes: torch.Tensor | list[tuple[int, int]], batch_size: int, what: str
) -> list[tuple[int, int]]:
    if len(target_sizes) != batch_size:
        raise ValueError(
            f"One target size per image is needed: got {len(target_sizes)} sizes for {batch_size} {what}."
        )
    return [(int(height), int(width)) for height, width in target_sizes]


def _best_first(
    outputs: ModelOutput,
    index: int,
    boxes: torch.Tensor,
    size: tuple[int, int],
    threshold: float,
    mask_threshold: float,
) -> Iterator[tuple[PastedMask, dict]]:
    """Mask and description of an image's objects, from the highest score down to the threshold."""
    scores, labels = outputs.class_scores[index], outputs.class_labels[index]
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] >= threshold]
    masks = paste_masks_one_by_one(outputs.pred_masks[index][order], boxes[order], *size, mask_threshold)
    for mask, label, score in zip(masks, labels[order].tolist(), scores[order].tolist()):
        yield mask, {"label_id": label, "was_fused": False, "score": score}


def _overlapping_segments(
    objects: Iterator[tuple[PastedMask, dict]], convert: Callable[[PastedMask], Any]
) -> tuple[list, list[dict]]:
    """Converted masks and segments of the objects that have a pixel."""
    masks, segments = [], []
    for mask, segment in objects:
        if mask.window.any():
            masks.append(convert(mask))
            segments.append({"id": len(segments)} | segment)
    return masks, segments


def _draw_segments(
    segmentation: torch.Tensor, objects: Iterator[tuple[PastedMask, dict]], least_share: float
) -> list[dict]:
    """Writes the objects' ids into the free pixels (-1) of a map, and returns the segments that it shows."""
    segments = []
    for mask, segment in objects:
        place = segmentation[mask.rows, mask.columns]
        visible = mask.window & (place < 0)
        if visible.sum() > least_share * mask.window.sum():  # never of an empty mask
            place[visible] = len(segments)
            segments.append({"id": len(segments)} | segment)
    return segments


__all__ = ["AiTImageProcessor"]
