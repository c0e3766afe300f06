# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""MolmoAct 2's depth codes of a video: a code is taken anew where the picture has changed, and kept elsewhere."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image


@dataclass
class BufferUpdate:
    """
    Args:
        codes (`torch.LongTensor` of shape `(rows, columns)`): Of the buffer after the frame.
        updated (`torch.BoolTensor` of shape `(rows, columns)`): Which of them the frame replaced; all of the first one.
        similarity (`torch.FloatTensor` of shape `(rows, columns)`): Cosine of the patch's colours with those that it was
            compared with; 1 in the first frame.
    """

    codes: torch.LongTensor
    updated: torch.BoolTensor
    similarity: torch.FloatTensor

    def spans(self) -> list[tuple[int, int, bool]]:
        """Runs of equal decisions, row after row: first place, the one behind the last, and whether it was replaced."""
        flags = self.updated.flatten().tolist()
        bounds = [place for place in range(1, len(flags)) if flags[place] != flags[place - 1]]
        return [(a, b, flags[a]) for a, b in zip([0, *bounds], [*bounds, len(flags)])]


class TokenBuffer:
    """
    Codes of a video, frame by frame.

    Every frame is brought to one square of pixels for each code. A code is replaced where the cosine similarity of the
    8-bit colours of its patch falls below a threshold; the first frame is taken whole.

    ```python
    buffer = TokenBuffer(grid=(10, 10))
    for frame, ids in zip(frames, tokenizer.tokenize(maps)):
        codes = buffer.update(frame, ids).codes
    ```

    Args:
        grid (`tuple[int, int]`): Rows and columns of codes.
        rule (`str`, defaults to `"mended"`):
            `"published"`, with which data sets were made: a patch is compared with the previous frame, so slow changes
            never add up, and one that is black in either frame never changes. `"mended"`: with the frame that its code
            was last taken from, and black against not black is a change. (A patch that becomes darker as a whole has
            the same cosine by either.)
        resize (`str`, defaults to `"opencv"`): `"opencv"`: bilinear without antialiasing, as the published annotation
            script; `"pillow"`: antialiased, as LeRobot's model.
        threshold (`float`, defaults to 0.996): Least similarity at which a code is kept.
        patch_size (`int`, defaults to 32): Pixels of a code and axis.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        grid: tuple[int, int] = (10, 10),
        rule: str = "mended",
        resize: str = "opencv",
        threshold: float = 0.996,
        patch_size: int = 32,
    ):
        if rule not in ("mended", "published"):
            raise ValueError(f"The rule of a buffer is one of mended, published, got {rule!r}.")
        if resize not in RESIZERS:
            raise ValueError(f"Frames are resized by one of {', '.join(RESIZERS)}, got {resize!r}.")
        if len(grid) != 2 or min(grid) < 1 or patch_size < 1:
            raise ValueError(f"Grid and patches must be at least 1, got {tuple(grid)} and {patch_size}.")
        self.grid = tuple(grid)
        self.rule, self.resize, self.threshold, self.patch_size = rule, resize, threshold, patch_size
        self.reset()

    def reset(self) -> None:
        """Before another video."""
        self._codes: np.ndarray | None = None
        self._patches: np.ndarray | None = None

    def update(self, frame: np.ndarray | torch.Tensor | Image.Image, codes: torch.LongTensor) -> BufferUpdate:
        """
        One frame and its codes.

        Args:
            frame: uint8 `(height, width, 3)`, in any order of the colours.
            codes: Integers `(rows, columns)`, or as many in a row.

        Raises:
            ValueError: The frame or the codes are something else.
        """
        patches, codes = self._cut(frame), np.asarray(codes)
        if codes.dtype.kind not in "iu" or codes.size != self.grid[0] * self.grid[1]:
            size = f"{self.grid[0]} x {self.grid[1]}"
            raise ValueError(f"A frame has {size} codes, integers, got {codes.dtype} of shape {codes.shape}.")
        codes = codes.astype(np.int64).reshape(self.grid)
        if self._codes is None:
            self._codes, self._patches = codes.copy(), patches
            updated, similarity = np.ones(self.grid, bool), np.ones(self.grid, np.float32)
        else:
            lengths = np.linalg.norm(patches, axis=-1) * np.linalg.norm(self._patches, axis=-1)
            cosines = np.sum(patches * self._patches, axis=-1) / (lengths + 1e-12)
            similarity = np.where(lengths < 1e-8, 1.0, cosines).astype(np.float32)  # 1 where either patch is black
            updated = similarity < self.threshold
            if self.rule == "mended":
                updated |= patches.any(axis=-1) != self._patches.any(axis=-1)
                self._patches = np.where(updated[..., None], patches, self._patches)
            else:
                self._patches = patches
            self._codes = np.where(updated, codes, self._codes)
        return BufferUpdate(*(torch.from_numpy(values.copy()) for values in (self._codes, updated, similarity)))

    def _cut(self, frame: np.ndarray | torch.Tensor | Image.Image) -> np.ndarray:
        """float32 `(rows, columns, pixels of a patch and their colours)`."""
        pixels = np.asarray(frame)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.size == 0:
            raise ValueError(f"A frame must be uint8 (height, width, 3), got {pixels.dtype} {pixels.shape}.")
        (rows, columns), side = self.grid, self.patch_size
        size = (rows * side, columns * side)
        if pixels.shape[:2] != size:
            pixels = RESIZERS[self.resize](pixels, size)
        cut = pixels.astype(np.float32).reshape(rows, side, columns, side, 3)
        return cut.transpose(0, 2, 1, 3, 4).reshape(rows, columns, -1)


def _pillow_bilinear(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR))


def _opencv_bilinear(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """OpenCV's INTER_LINEAR of 8 bits: weights of 11 bits, products cut off in between as its loops do."""
    (top, above), (bottom, below) = _taps(pixels.shape[0], size[0])
    (left, before), (right, beside) = _taps(pixels.shape[1], size[1])
    outside = left == right  # beyond the outermost centres columns count whole, but rows by both weights
    before, beside = np.where(outside, 2048, before), np.where(outside, 0, beside)
    pixels = pixels.astype(np.int64)
    across = pixels[:, left] * before[:, None] + pixels[:, right] * beside[:, None]
    first = (above[:, None, None] * (across[top] >> 4)) >> 16
    second = (below[:, None, None] * (across[bottom] >> 4)) >> 16
    return ((first + second + 2) >> 2).clip(0, 255).astype(np.uint8)


def _taps(source: int, target: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """The two source rows that every target row mixes, each with its weights in 1/2048."""
    places = ((np.arange(target) + 0.5) * (1.0 / (target / source)) - 0.5).astype(np.float32)
    first = np.floor(places).astype(np.int64)
    share = places - first.astype(np.float32)
    rows = (first.clip(0, source - 1), (first + 1).clip(0, source - 1))
    weights = (np.rint(part * np.float32(2048)).astype(np.int64) for part in (np.float32(1) - share, share))
    return tuple(zip(rows, weights))


RESIZERS = {"opencv": _opencv_bilinear, "pillow": _pillow_bilinear}
