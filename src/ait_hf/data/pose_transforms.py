# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""People cut out of their images (top-down), for training at random and for evaluation without chance."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..model.poses_ait import crop_to_image, cut_out, joints_in_crop
from .pixels import Normalize, annotated_pixels, depth_collator, height_and_width, pixel_values, sample_name, with_path
from .skeletons import COCO_SKELETON, Skeleton


class PoseEvalTransform:
    """Cuts one person out of the image, without chance.

    The pixels are those of `AiTPoseImageProcessor(size={"height": H, "width": W}, box_scale=box_scale,
    **processor_arguments(normalize))`.

    Args:
        image_size (`int` or `(height, width)`): of the crop in pixels.
        box_scale (`float`): how much is shown around the box.
        normalize ([`~ait_hf.data.pixels.Normalize`]): by what pixels are normalised.
        skeleton ([`Skeleton`]): what the rows' joints are.
        with_images (`bool`): whether samples have `pixel_values`; without, rows need no `image`.

    Call:
        Takes a row with `image` (PIL RGB or uint8 `(h, w, 3)`), `box` (x1, y1, x2, y2 in pixels), `keypoints`
        `(joints, 3)` (x, y in pixels, visibility 0 unknown), perhaps `path`, which errors name. Gives

        - `pixel_values` float32 `(3, H, W)`;
        - `labels` float32 `(joints, 3)`: x, y in pixels of the crop, and visibility; joints outside of it are zeros;
        - `person`: `image_id` and `id` int64 `()`, `box` float32 `(4,)`.

    Raises:
        TypeError: if the image is not 8-bit RGB.
        ValueError: if an argument makes no sense, the joints are not the skeleton's, no joint is known inside the
            crop, or the image has another size than its row says.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        box_scale: float = 1.25,
        normalize: Normalize = True,
        skeleton: Skeleton = COCO_SKELETON,
        with_images: bool = True,
    ):
        self.image_size = height_and_width(image_size, "image_size")
        if not box_scale > 0:
            raise ValueError(f"box_scale must be above 0, not {box_scale}.")
        self.box_scale, self.normalize, self.skeleton, self.with_images = box_scale, normalize, skeleton, with_images

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        joints, box = _joints(row, self.skeleton), _box(row)
        person = {"image_id": torch.tensor(row["image_id"]), "id": torch.tensor(row["id"]), "box": box.float()}
        return self._sample(row, *self._crop(row, joints, box)) | {"person": person}

    def _crop(
        self, row: dict[str, Any], joints: torch.Tensor, box: torch.Tensor, **changes
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the pixels of the crop are in the image, and the joints in the crop."""
        try:
            to_image = crop_to_image(box, self.image_size, self.box_scale, **changes)
        except ValueError as error:
            raise ValueError(f"{_name(row)}: {error}") from error
        return to_image, joints_in_crop(joints, to_image, self.image_size)

    def _sample(self, row: dict[str, Any], to_image: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        if not (labels[:, 2] > 0).any():
            raise ValueError(f"{_name(row)} has no known joint inside its crop: leave it out.")
        sample = with_path(row, {})
        if self.with_images:
            image = torch.tensor(annotated_pixels(row, _name(row))).permute(2, 0, 1)
            sample["pixel_values"] = pixel_values(cut_out(image, to_image, self.image_size), self.normalize)
        return sample | {"labels": labels}


class PoseTrainTransform(PoseEvalTransform):
    """Cuts one person out of the image with a random shift, size, rotation and flip.

    If no known joint lies in the random part, the part of [`PoseEvalTransform`] (flipped or not) takes its place.

    Args:
        image_size, box_scale, common: arguments of [`PoseEvalTransform`].
        scale_range (`(lowest, highest)`): the part is larger than that of the evaluation by a uniform factor in this
            range; above 1 the person looks smaller.
        shift (`float`): the part moves by up to this share of the box's sides, in x and y.
        rotation (`float`): the part is turned by up to so many degrees.
        rotation_p (`float`): share of turned parts.
        flip_p (`float`): share of mirrored parts; joints then swap their sides.

    Call:
        Gives `pixel_values` and `labels` as [`PoseEvalTransform`] does, and `path` where the row has one.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        box_scale: float = 1.25,
        scale_range: tuple[float, float] = (0.75, 1.25),
        shift: float = 0.1,
        rotation: float = 40.0,
        rotation_p: float = 0.6,
        flip_p: float = 0.5,
        **common,
    ):
        super().__init__(image_size, box_scale, **common)
        if not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f"scale_range must be (lowest, highest) above 0, not {tuple(scale_range)}.")
        if shift < 0 or rotation < 0:
            raise ValueError(f"shift and rotation must be at least 0, not {shift} and {rotation}.")
        if not (0 <= rotation_p <= 1 and 0 <= flip_p <= 1):
            raise ValueError(f"rotation_p and flip_p must lie in 0..1, not {rotation_p} and {flip_p}.")
        self.scale_range, self.shift = tuple(scale_range), shift
        self.rotation, self.rotation_p, self.flip_p = rotation, rotation_p, flip_p

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        joints, box = _joints(row, self.skeleton), _box(row)
        flip = bool(torch.rand(()) < self.flip_p)
        if flip:
            joints = joints[self.skeleton.flip_order]
        scale = torch.empty(()).uniform_(*self.scale_range).double()
        shift = torch.empty(2).uniform_(-self.shift, self.shift).double()
        angle = torch.empty(()).uniform_(-self.rotation, self.rotation).item()
        angle = angle if torch.rand(()) < self.rotation_p else 0.0
        sides = box[2:] - box[:2]
        center = (box[:2] + box[2:]) / 2 + shift * sides
        part = torch.cat([center - scale * sides / 2, center + scale * sides / 2])
        crop = self._crop(row, joints, part, rotation=angle, flip=flip)
        if not (crop[1][:, 2] > 0).any():
            crop = self._crop(row, joints, box, flip=flip)
        return self._sample(row, *crop)


def pose_collator(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """As [`~ait_hf.data.pixels.depth_collator`], with `labels` float32 `(B, joints, 3)` and, of evaluation samples,
    `persons`, the list of their `person`."""
    batch = depth_collator(samples)
    return batch | {"persons": [sample["person"] for sample in samples]} if "person" in samples[0] else batch


def checked_person(row: dict[str, Any], skeleton: Skeleton) -> dict[str, Any]:
    """The same row; `ValueError` if its joints are not those of the skeleton, or its box is none."""
    _joints(row, skeleton)
    _box(row)
    return row


def _joints(row: dict[str, Any], skeleton: Skeleton) -> torch.Tensor:
    joints = torch.tensor(np.asarray(row["keypoints"], dtype=np.float32))
    expected = (len(skeleton.joints), 3)
    if joints.shape != expected or not torch.isfinite(joints).all():
        raise ValueError(
            f"{_name(row)} has keypoints {tuple(joints.shape)}; the skeleton {skeleton.name} needs finite {expected}."
        )
    if not (joints[:, 2] > 0).any():
        raise ValueError(f"{_name(row)} has no known joint: leave it out.")
    return joints


def _box(row: dict[str, Any]) -> torch.Tensor:
    box = torch.tensor(np.asarray(row["box"], dtype=np.float64))
    if box.shape != (4,):
        raise ValueError(f"{_name(row)} has a box of shape {tuple(box.shape)}; x1, y1, x2, y2 are needed.")
    if not (box[2:] > box[:2]).all():
        raise ValueError(f"{_name(row)} has the box {box.tolist()}, which is not x1, y1, x2, y2 with an area.")
    return box


def _name(row: dict[str, Any]) -> str:
    return f"{sample_name(row)}, person {row['id']}" if "id" in row else sample_name(row)
