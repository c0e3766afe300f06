# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with objects as the model's input: large-scale jitter for training, a plain resize for evaluation, mask crops.

A row is one of [`~ait_hf.data.coco.load_coco`] or of [`~ait_hf.data.rooms.objects.room_objects`], which has decoded
`masks` (uint8, `(n, height, width)`) in place of `segmentation`. Random numbers come from torch's global generator
only, so a restored generator state repeats a sample.
"""

import logging
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from ..model.image_processing_ait import fitted_size
from ..model.masks_ait import crop_masks
from .pixels import Normalize, annotated_pixels, height_and_width, pad_to_frame, pixel_values, sample_name, with_path
from .segmentations import decode_segmentation


logger = logging.getLogger(__name__)

NUM_SEEDS = 2**62
MIN_CROP_SIDE = 2  # pixels: the mask in a thinner box has no shape
MOST_DRAWS = 50  # of a part that shows an object


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 in pixels around the set pixels of a mask `(h, w)`, which has some."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


class ObjectEvalTransform:
    """Resizes one image so that it just fits the frame, without chance; zeros right and bottom.

    The pixels are those of `AiTImageProcessor(size={"max_height": H, "max_width": W}, do_pad=True,
    pad_size={"height": H, "width": W}, **processor_arguments(normalize))`.

    Args:
        image_size (`int` or `(height, width)`): the frame in pixels.
        normalize, with_masks (`bool`): as in [`ObjectTrainTransform`].

    Call:
        Gives the same dictionary as [`ObjectTrainTransform`], the labels of which have no `seed`, but

        - `image_id` int64 `()`;
        - `orig_size` int64 `(2,)`: height and width of the image before the resize.
    """

    def __init__(self, image_size: int | tuple[int, int], normalize: Normalize = True, with_masks: bool = False):
        self.image_size = height_and_width(image_size, "image_size")
        self.normalize, self.with_masks = normalize, with_masks
        self.augment = FitFrame(self.image_size)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        objects = _objects(row, self.with_masks)
        original_size = torch.tensor(objects["image"].shape[-2:])
        sample = self._in_frame(self.augment(objects))
        sample["labels"] |= {"image_id": torch.tensor(row["image_id"]), "orig_size": original_size}
        return with_path(row, sample)

    def _in_frame(self, objects: dict[str, Any]) -> dict[str, Any]:
        """Pixels as floats, and image and masks with zeros at the right and bottom up to the frame's size."""
        pixels = pixel_values(objects["image"], self.normalize)
        boxes, size = objects["boxes"].as_subclass(torch.Tensor), torch.tensor(pixels.shape[-2:])
        labels = {"boxes": boxes, "class_labels": objects["class_labels"], "size": size}
        if "masks" in objects:
            labels["masks"] = pad_to_frame(objects["masks"], self.image_size)
        return {"pixel_values": pad_to_frame(pixels, self.image_size), "labels": labels}


class ObjectTrainTransform(ObjectEvalTransform):
    """Random augmentation of one image with objects, by large-scale jitter (Ghiasi et al., 2021, arXiv:2012.07177).

    The image is resized by a random scale, of which 1 just fits it into the frame; what is larger than the frame is
    cut to a random part of the frame's size, then flipped at random. The rest of the frame, right and bottom, is zero.
    Crowds are left out, where masks are wanted objects that have none, and objects of which too little lies in the
    part. Boxes are the annotated ones, clipped to the part. Where none is left of an image's objects, scale and part
    are drawn again.

    Args:
        image_size (`int` or `(height, width)`): the frame in pixels.
        scale_range (`(lowest, highest)`): the scale is uniform in this range.
        flip_p (`float`): probability of a horizontal flip.
        max_objects (`int`): of more objects the largest boxes are kept; `num_dropped` counts the others (in each data
            worker by itself), and the first time is logged.
        normalize ([`~ait_hf.data.pixels.Normalize`]): by what pixels are normalised.
        with_masks (`bool`): whether `labels` have masks.
        min_size (`float`): pixels, at least 1; objects with a box side below it after the crop are left out.
        class_numbers (`list[int]`, *optional*): for every class of the rows its number in `labels`; by default the same.

    Call:
        Gives `{"pixel_values": float32 (3, H, W), "labels": {...}}`, with `path` where the row has one, and the labels

        - `boxes` float32 `(n, 4)`: x1, y1, x2, y2 in pixels of the frame;
        - `class_labels` int64 `(n,)`;
        - `masks` uint8 `(n, H, W)`, 0 or 1, if `with_masks`;
        - `size` int64 `(2,)`: height and width of the part of the frame that the image covers;
        - `seed` int64 `()`: random, for whatever else is drawn for this sample.

    Raises:
        TypeError: if the image is not 8-bit RGB.
        ValueError: if an argument makes no sense, the image has another size than its row says, or a mask that is
            wanted cannot be decoded.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        scale_range: tuple[float, float] = (0.1, 3.0),
        flip_p: float = 0.5,
        max_objects: int = 100,
        normalize: Normalize = True,
        with_masks: bool = True,
        min_size: float = 1.0,
        class_numbers: Sequence[int] | None = None,
    ):
        if max_objects < 1:
            raise ValueError(f"max_objects must be at least 1, not {max_objects}.")
        super().__init__(image_size, normalize, with_masks)
        self.max_objects = max_objects
        self.class_numbers = None if class_numbers is None else torch.tensor(class_numbers)
        self.num_dropped = 0
        self.augment = v2.Compose(
            [
                LargeScaleJitter(self.image_size, scale_range),
                v2.RandomHorizontalFlip(flip_p),
                v2.ClampBoundingBoxes(),
                v2.SanitizeBoundingBoxes(min_size, labels_getter=itemgetter("class_labels")),
            ]
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        objects = _objects(row, self.with_masks)
        for _ in range(MOST_DRAWS):  # an object may be too thin at every scale
            augmented = self.augment(objects)
            if len(augmented["boxes"]) or not len(objects["boxes"]):
                break
        sample = self._in_frame(self._largest(augmented, row))
        if self.class_numbers is not None:
            sample["labels"]["class_labels"] = self.class_numbers[sample["labels"]["class_labels"]]
        sample["labels"]["seed"] = torch.randint(NUM_SEEDS, ())
        return with_path(row, sample)

    def _largest(self, objects: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
        boxes = objects["boxes"]
        excess = len(boxes) - self.max_objects
        if excess <= 0:
            return objects
        if not self.num_dropped:
            logger.warning(
                f"{sample_name(row)} has {len(boxes)} objects, more than max_objects={self.max_objects} (num_objects of a "
                "recipe): the largest are kept, here and wherever there are more."
            )
        self.num_dropped += excess
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        kept = areas.argsort(descending=True, stable=True)[: self.max_objects].sort().values
        per_object = {key: value[kept] for key, value in objects.items() if key != "image"}
        return {"image": objects["image"]} | per_object


class CutMask:
    """The mask of one object cut to its box: takes a row of [`~ait_hf.data.coco_shards.load_mask_shards`], gives
    `{"labels": float32 (size, size), 0 or 1}`; a mask that is cut already, as those of [`MaskCrops`], stays as it is.
    `ValueError` if the object has no segmentation, or a broken one."""

    def __init__(self, size: int):
        self.size = size

    def __call__(self, row: dict[str, Any]) -> dict[str, torch.Tensor]:
        if "labels" in row:
            return row
        one = row | {"segmentation": [row["segmentation"]]}
        return {"labels": _cut_mask(one, 0, row["box"], self.size)}


class MaskCrops(Dataset):
    """Every object's mask in rows of [`~ait_hf.data.coco.load_coco`], cut to its box, for the mask tokenizer; no
    crowds, no boxes thinner than two pixels. Items are `{"labels": float32 (size, size), 0 or 1}`, decoded when asked
    for. `ValueError` if there is no such object (in `source`, for the message), or one has no segmentation."""

    def __init__(self, dataset: datasets.Dataset, size: int = 64, source: str = "The data set"):
        self.rows = dataset.select_columns(["path", "height", "width", "boxes", "segmentation"])
        self.size = size
        columns = dataset.select_columns(["boxes", "iscrowd"]).with_format("arrow")[:]
        boxes, crowds = columns["boxes"].combine_chunks(), columns["iscrowd"].combine_chunks()
        counts = crowds.value_lengths().to_numpy(zero_copy_only=False)
        corners = boxes.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)
        thinnest = (corners[:, 2:] - corners[:, :2]).min(axis=1)
        kept = ~crowds.flatten().to_numpy(zero_copy_only=False) & (thinnest >= MIN_CROP_SIDE)
        rows = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        numbers = np.arange(len(rows), dtype=np.int32) - np.repeat(counts.cumsum() - counts, counts).astype(np.int32)
        # Of every object its row and its number there, as arrays, which data workers share: COCO has 860,000 objects.
        self.row_numbers, self.numbers = rows[kept], numbers[kept]
        if not len(self.numbers):
            raise ValueError(f"{source} has no object with a box of at least two pixels: there is no mask to cut.")

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row, number = self.rows[int(self.row_numbers[index])], int(self.numbers[index])
        return {"labels": _cut_mask(row, number, row["boxes"][number], self.size)}


class FitFrame(v2.Transform):
    """Resizes image, boxes and masks, keeping their aspect, so that they just fit a frame of `(height, width)`.

    Images bilinear and antialiased; masks by nearest neighbour at pixel centres, so that they lie where the image does
    (torchvision's NEAREST, which its own transforms take for masks, is half an output pixel off).
    """

    _transformed_types = (tv_tensors.Image, tv_tensors.BoundingBoxes, tv_tensors.Mask)

    def __init__(self, image_size: tuple[int, int]):
        super().__init__()
        self.image_size = image_size

    def make_params(self, flat_inputs: list) -> dict[str, int | tuple[int, int]]:
        size = fitted_size(*v2.query_size(flat_inputs), self.image_size)
        return {"size": size, "top": 0, "left": 0, "height": size[0], "width": size[1]}

    def transform(self, inpt: tv_tensors.TVTensor, params: dict[str, Any]) -> tv_tensors.TVTensor:
        size, starts, lengths = params["size"], (params["top"], params["left"]), (params["height"], params["width"])
        if not isinstance(inpt, tv_tensors.Mask):
            return F.crop(F.resize(inpt, size, antialias=True), *starts, *lengths)
        # Only the pixels of the part are made: at scale 3 there are nine times as many. In whole numbers: pixel i of the
        # target lies at (i + 1/2) * source / target in the source, rounded down.
        rows, columns = (
            (2 * torch.arange(start, start + length) + 1) * source // (2 * target)
            for start, length, source, target in zip(starts, lengths, inpt.shape[-2:], size)
        )
        return tv_tensors.Mask(inpt[:, rows[:, None], columns])


class LargeScaleJitter(FitFrame):
    """As [`FitFrame`], but larger or smaller by a random scale; what is then larger than the frame is cut to a random
    part of the frame's size. (torchvision's ScaleJitter takes the frame's sides the other way round and can shrink an
    image to nothing; its RandomCrop puts a smaller image at a random place of the frame.)"""

    def __init__(self, image_size: tuple[int, int], scale_range: tuple[float, float]):
        super().__init__(image_size)
        if not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError(f"scale_range must be (lowest, highest) above 0, not {tuple(scale_range)}.")
        self.scale_range = scale_range

    def make_params(self, flat_inputs: list) -> dict[str, int | tuple[int, int]]:
        scale = torch.empty(()).uniform_(*self.scale_range).item()
        size = fitted_size(*v2.query_size(flat_inputs), self.image_size, scale)
        height, width = (min(side, frame) for side, frame in zip(size, self.image_size))
        top, left = (int(torch.randint(full - part + 1, ())) for full, part in zip(size, (height, width)))
        return {"size": size, "top": top, "left": left, "height": height, "width": width}


def _objects(row: dict[str, Any], with_masks: bool) -> dict[str, Any]:
    """Image uint8 `(3, h, w)`, boxes, class labels and masks of a row's objects that are no crowd."""
    image, size = annotated_pixels(row, sample_name(row)), (row["height"], row["width"])
    kept = [
        number
        for number, is_crowd in enumerate(row["iscrowd"])
        if not is_crowd and (not with_masks or "masks" in row or row["segmentation"][number])
    ]
    boxes = torch.tensor(np.asarray(row["boxes"], dtype=np.float32).reshape(-1, 4)[kept])
    objects = {
        "image": tv_tensors.Image(torch.tensor(image).permute(2, 0, 1)),
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
        "class_labels": torch.tensor(np.asarray(row["class_labels"], dtype=np.int64)[kept]),
    }
    if with_masks:
        masks = [_mask(row, number) for number in kept]
        objects["masks"] = tv_tensors.Mask(
            torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, *size).byte()
        )
    return objects


def _mask(row: dict[str, Any], number: int) -> np.ndarray:
    """The mask uint8 `(height, width)` of a row's object."""
    if "masks" in row:
        return row["masks"][number]
    try:
        return decode_segmentation(row["segmentation"][number], row["height"], row["width"])
    except ValueError as error:
        raise ValueError(f"{sample_name(row)}, object {number}: {error}") from error


def _cut_mask(row: dict[str, Any], number: int, box: list[float], size: int) -> torch.Tensor:
    """The mask float32 `(size, size)` of a row's object, cut to its box."""
    mask = torch.from_numpy(_mask(row, number))[None]
    return crop_masks(mask, torch.tensor([box]), torch.tensor([0]), size)[0]
