# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""People in images into the pose model, and its joints back into the images."""

import math
from collections.abc import Sequence

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ImageInput
from transformers.modeling_outputs import ModelOutput
from transformers.processing_utils import ImagesKwargs, Unpack

from .image_processing_ait import AiTImageProcessor, TargetSizes
from .poses_ait import crop_to_image, cut_out, transform_points


# Per image a list of boxes x, y, width, height in pixels.
Boxes = Sequence[Sequence[Sequence[float]]]


class AiTPoseImageProcessorKwargs(ImagesKwargs, total=False):
    """
    box_scale (`float`, *optional*, defaults to 1.25): How much of the image is shown around a person's box.
    """

    box_scale: float


class AiTPoseImageProcessor(AiTImageProcessor):
    """
    Image processor of AiT's pose models: cuts every person out of the images by its box.

    The box is enlarged by `box_scale` about its centre and made wider or higher to the aspect of `size`; that part of
    the image (zeros outside of it) is scaled to `size`, bilinear and antialiased, and normalised as ImageNet's images
    are. The same crops as [`~ait_hf.data.pose_transforms.PoseEvalTransform`].

    ```python
    inputs = processor(images, boxes=[[[x, y, width, height], ...] for every image], return_tensors="pt")
    outputs = model(**inputs)
    people = processor.post_process_pose_estimation(outputs, boxes)[0]
    ```

    Arguments are those of transformers' image processors (`transformers.processing_utils.ImagesKwargs`), of which
    `size` (`height` and `width`), `do_rescale`, `rescale_factor`, `do_normalize`, `image_mean` and `image_std` matter,
    and `box_scale`.
    """

    valid_kwargs = AiTPoseImageProcessorKwargs
    size = {"height": 256, "width": 256}
    do_normalize = True
    box_scale = 1.25

    def preprocess(
        self, images: ImageInput, boxes: Boxes, **kwargs: Unpack[AiTPoseImageProcessorKwargs]
    ) -> BatchFeature:
        """
        Crops of all people, image by image: `pixel_values` float32 `(people, 3, height, width)`. Errors are those of
        [`AiTImageProcessor`], and `ValueError` if there are not as many lists of boxes as images, no box at all, or a
        box that is not finite or has no area.

        Args:
            images: As for [`AiTImageProcessor`].
            boxes: One list per image of boxes `[x, y, width, height]` (COCO) in pixels of the image, from the first
                pixel's edge; arrays and tensors will do.
            kwargs: Override the processor's own arguments for this call.
        """
        return super().preprocess(images, image_like_kwargs={"boxes": boxes}, **kwargs)

    def _preprocess_image_like_inputs(
        self, images: ImageInput, boxes: Boxes, do_convert_rgb, input_data_format, device=None, **kwargs
    ) -> BatchFeature:
        images = self._prepare_image_like_inputs(
            images=images, do_convert_rgb=do_convert_rgb, input_data_format=input_data_format, device=device
        )
        if len(boxes) != len(images):
            raise ValueError(f"One list of boxes per image is needed: got {len(boxes)} for {len(images)} images.")
        size = kwargs["size"].height, kwargs["size"].width
        if not all(size):
            raise ValueError(f"People are cut out at a size of {{height, width}}, not {dict(kwargs['size'])}.")
        crops = [
            cut_out(image, to_image, size)
            for image, of_image in zip(images, boxes)
            for to_image in crop_to_image(_corners(of_image), size, kwargs["box_scale"])
        ]
        if not crops:
            raise ValueError("There are no boxes: pass at least one person's.")
        names = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
        pixel_values = self.rescale_and_normalize(torch.stack(crops), *(kwargs[name] for name in names))
        return BatchFeature(data={"pixel_values": pixel_values}, tensor_type=kwargs["return_tensors"])

    def post_process_pose_estimation(
        self, outputs: ModelOutput, boxes: Boxes, threshold: float | None = None, target_sizes: TargetSizes = None
    ) -> list[list[dict[str, torch.Tensor]]]:
        """
        Joints in pixels of the original images. `ValueError` if there are not as many boxes as people in the
        outputs, not as many sizes as lists of boxes, or a box makes no sense.

        Args:
            outputs: Output of a pose model: `pred_keypoints` `(people, joints, 2)` in pixels of the crops and
                `keypoint_scores` `(people, joints)`, 0..1.
            boxes: As they were given to the processor.
            threshold: Joints whose score is not above it are left out.
            target_sizes: `(height, width)` of every image; then boxes are relative to it, 0..1.

        Returns:
            For every image a list of people in the order of the boxes, each a dictionary: `keypoints` `(n, 2)` float32,
            x and y in pixels (whole numbers are the centres of pixels); `scores` `(n,)` and `labels` `(n,)` int64, the
            numbers of the joints; `bbox` `(4,)` float32, x1, y1, x2, y2 of the box in pixels.
        """
        boxes = [_as_boxes(of_image) for of_image in boxes]
        if target_sizes is not None:
            if (count := len(target_sizes)) != len(boxes):
                raise ValueError(f"One target size per image is needed: got {count} for {len(boxes)} lists of boxes.")
            sizes = torch.as_tensor(target_sizes).cpu().double()
            boxes = [of_image * size.flip(0).repeat(2) for of_image, size in zip(boxes, sizes)]
        joints = outputs.pred_keypoints.float().cpu()
        scores = outputs.keypoint_scores.float().cpu()
        if sum(map(len, boxes)) != len(joints):
            raise ValueError(f"{sum(map(len, boxes))} boxes were given, but the outputs have {len(joints)} people.")
        results, counts = [], [len(of_image) for of_image in boxes]
        for of_image, points, of_people in zip(boxes, joints.split(counts), scores.split(counts)):
            maps = crop_to_image(_corners(of_image), self.frame_size(), self.box_scale)
            points = transform_points(points, maps).float()
            results.append([_person(*person, threshold) for person in zip(points, of_people, of_image)])
        return results


def _corners(boxes: Sequence[Sequence[float]]) -> torch.Tensor:
    """x, y, width, height to x1, y1, x2, y2; float64 `(n, 4)`."""
    boxes = _as_boxes(boxes)
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)


def _as_boxes(boxes: Sequence[Sequence[float]] | torch.Tensor) -> torch.Tensor:
    """float64 `(n, 4)`, on the CPU because not every device has 64-bit numbers; `ValueError` for something else."""
    try:
        table = torch.as_tensor(boxes.cpu() if torch.is_tensor(boxes) else boxes, dtype=torch.float64)
    except (TypeError, ValueError):  # words, or rows of several lengths
        table = torch.empty(1)
    if table.numel() > 0 and table.shape[1:] != (4,):
        raise ValueError(f"The boxes of an image are a list of [x, y, width, height], got {boxes}.")
    return table.reshape(-1, 4)


def _person(
    points: torch.Tensor, scores: torch.Tensor, box: torch.Tensor, threshold: float | None
) -> dict[str, torch.Tensor]:
    kept = scores > (-math.inf if threshold is None else threshold)
    kept_joints = {"keypoints": points[kept], "scores": scores[kept], "labels": kept.nonzero()[:, 0]}
    return kept_joints | {"bbox": _corners(box[None])[0].float()}
