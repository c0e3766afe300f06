# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Object masks: between whole images and the small square maps that the mask tokenizer reads, and as run lengths."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from torchvision.ops import roi_align


PIXELS_AT_ONCE = 2**26  # of masks that come from a GPU in one copy


def crop_masks(masks: torch.Tensor, boxes: torch.Tensor, sources: torch.LongTensor, size: int) -> torch.Tensor:
    """
    Masks cut to boxes and resized: RoIAlign (aligned, adaptive sampling), thresholded at 0.5 (reference §4).

    Args:
        masks (`torch.Tensor` of shape `(n, height, width)`): 0 or 1, any dtype.
        boxes (`torch.Tensor` of shape `(m, 4)`): x1, y1, x2, y2 in pixels of the masks.
        sources (`torch.LongTensor` of shape `(m,)`): Which mask each box cuts, `0..n-1`.
        size (`int`): Side of the result, pixels.

    Returns:
        `torch.Tensor` of shape `(m, size, size)`: float32, 0 or 1.
    """
    if len(boxes) == 0:
        return boxes.new_zeros(0, size, size, dtype=torch.float32)
    regions = torch.cat([sources[:, None].float(), boxes.float()], dim=1)
    cropped = roi_align(masks[:, None].float(), regions, (size, size), sampling_ratio=0, aligned=True)
    return (cropped[:, 0] >= 0.5).float()


@dataclass
class PastedMask:
    """
    A mask of an image that is known to be empty outside of a window.

    Args:
        size (`tuple[int, int]`): Height and width of the image.
        rows, columns (`slice`): The window.
        window (`torch.BoolTensor`): The mask in it.
    """

    size: tuple[int, int]
    rows: slice
    columns: slice
    window: torch.BoolTensor

    def whole(self) -> torch.BoolTensor:
        """The mask `(height, width)`."""
        mask = torch.zeros(self.size, dtype=torch.bool, device=self.window.device)
        mask[self.rows, self.columns] = self.window
        return mask

    def rle(self) -> dict[str, list[int]]:
        """Run lengths as of [`masks_to_rle`], computed from the columns of the window only."""
        height, width = self.size
        strip = torch.zeros(height, self.window.shape[1], dtype=torch.bool, device=self.window.device)
        strip[self.rows] = self.window
        counts = _run_lengths(strip.t().flatten())
        counts[0] += self.columns.start * height
        if after := (width - self.columns.stop) * height:
            if len(counts) % 2:  # ends with zeros
                counts[-1] += after
            else:
                counts.append(after)
        return {"size": [height, width], "counts": counts}


def paste_masks(
    maps: torch.Tensor, boxes: torch.Tensor, height: int, width: int, threshold: float = 0.5
) -> torch.BoolTensor:
    """
    Square maps stretched over their boxes on a whole image: bilinear sampling at pixel centres, zeros outside
    (reference §6).

    An inverted box mirrors its map. A side of a box without length shows the middle of the map all along the image, as
    the published sampling does.

    Args:
        maps (`torch.Tensor` of shape `(n, s, s)`): Values about 0..1.
        boxes (`torch.Tensor` of shape `(n, 4)`): x1, y1, x2, y2 in pixels of the image; may reach outside of it.
        height, width (`int`): Of the image.
        threshold (`float`): Least value that belongs to the object, above 0.

    Returns:
        `torch.BoolTensor` of shape `(n, height, width)`.

    Raises:
        ValueError: `threshold` is not above 0 (every object would be all of the image), or there are not as many boxes.
    """
    pasted = torch.zeros(len(maps), height, width, dtype=torch.bool)
    for mask, part in zip(pasted, paste_masks_one_by_one(maps, boxes, height, width, threshold), strict=True):
        mask[part.rows, part.columns] = part.window
    return pasted.to(maps.device, non_blocking=True)


def paste_masks_one_by_one(
    maps: torch.Tensor, boxes: torch.Tensor, height: int, width: int, threshold: float = 0.5
) -> Iterator[PastedMask]:
    """
    As [`paste_masks`], but one mask after the other, and each only where its map reaches (the box and half a cell of
    the map around it), as many masks of a large image would need gigabytes. They are on the CPU, where what asks for
    every single mask makes nobody wait; from a GPU they come many at a time.
    """
    if not threshold > 0:
        raise ValueError(f"The threshold of masks must be above 0, but is {threshold}.")
    if len(maps) != len(boxes):
        raise ValueError(f"Every map needs a box: got {len(maps)} maps and {len(boxes)} boxes.")
    boxes = boxes.float().cpu()
    columns = _places_in_box(boxes[:, 0], boxes[:, 2], width)
    rows = _places_in_box(boxes[:, 1], boxes[:, 3], height)
    parts = [(_reached(v, maps.shape[1]), _reached(u, maps.shape[2])) for v, u in zip(rows, columns)]
    places = zip(columns.to(maps.device, non_blocking=True), rows.to(maps.device, non_blocking=True))
    windows = (
        _sample(values, u[in_columns], v[in_rows]) >= threshold
        for values, (u, v), (in_rows, in_columns) in zip(maps.float(), places, parts)
    )
    for (in_rows, in_columns), window in zip(parts, _to_host(windows)):
        yield PastedMask((height, width), in_rows, in_columns, window)


def _sample(values: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """A map at columns `u` and rows `v`, from -1 to 1, bilinearly, `(len(v), len(u))`."""
    grid = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
    if not grid.numel():  # which `grid_sample` on some devices does not take
        return values.new_zeros(grid.shape[:2])
    return F.grid_sample(values[None, None], grid[None], align_corners=False)[0, 0]


def _to_host(windows: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The same on the CPU, from elsewhere as many at a time as have [`PIXELS_AT_ONCE`]."""
    waiting: list[torch.Tensor] = []
    for window in windows:
        if window.device.type == "cpu":
            yield window
            continue
        waiting.append(window)
        if sum(map(torch.Tensor.numel, waiting)) >= PIXELS_AT_ONCE:
            yield from _fetch(waiting)
            waiting = []
    if waiting:
        yield from _fetch(waiting)


def _fetch(windows: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    pixels = torch.cat([window.flatten() for window in windows]).cpu().split([window.numel() for window in windows])
    return (flat.view(window.shape) for flat, window in zip(pixels, windows))


def _places_in_box(start: torch.Tensor, end: torch.Tensor, length: int) -> torch.Tensor:
    """Where the pixel centres of an image's side lie in boxes: `(n, length)`, -1 at their start and 1 at their end."""
    centers = torch.arange(length, device=start.device) + 0.5
    places = (centers - start[:, None]) / (end - start)[:, None] * 2 - 1
    return places.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _reached(places: torch.Tensor, num_cells: int) -> slice:
    """The places, which are in order, where bilinear sampling of so many cells meets one that is not padding."""
    reached = (places.abs() <= 1 + 1 / num_cells).nonzero()[:, 0].tolist()
    return slice(reached[0], reached[-1] + 1) if reached else slice(0, 0)


def masks_to_rle(masks: torch.Tensor) -> list[dict[str, list[int]]]:
    """
    Masks as COCO's uncompressed run lengths: column after column, beginning with the zeros.

    `pycocotools.mask.frPyObjects(rle, height, width)` compresses one for the results format. Every mask is
    `{"size": [height, width], "counts": [int, ...]}`.

    Args:
        masks (`torch.Tensor` of shape `(n, height, width)`): Boolean, or 0 and 1.
    """
    return [{"size": list(mask.shape), "counts": _run_lengths(mask.bool().t().flatten())} for mask in masks]


def _run_lengths(pixels: torch.BoolTensor) -> list[int]:
    changes = (pixels[1:] != pixels[:-1]).nonzero()[:, 0] + 1
    bounds = F.pad(changes, (1, 0))
    lengths = torch.diff(bounds, append=bounds.new_tensor([len(pixels)])).tolist()
    return [0, *lengths] if pixels[:1].any() else lengths


def rle_to_mask(rle: dict[str, list[int]]) -> torch.BoolTensor:
    """
    The mask `(height, width)` that [`masks_to_rle`] wrote. `ValueError` if the run lengths are compressed, or do
    not fill the mask.
    """
    (height, width), counts = rle["size"], rle["counts"]
    if not isinstance(counts, list):
        raise ValueError("The run lengths are compressed; pycocotools.mask.decode reads those.")
    if sum(counts) != height * width or min(counts) < 0:
        raise ValueError(f"The run lengths hold {sum(counts)} pixels, but the mask has {height}x{width}.")
    values = torch.arange(len(counts)) % 2 == 1
    return values.repeat_interleave(torch.tensor(counts)).view(width, height).t()
