# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether the boxes of a file are what its format says: x, y, width and height in pixels."""

import numpy as np


_ODD_SHARE = 0.05  # of a file's boxes may be odd: annotators slip
X_Y_WIDTH_HEIGHT = "x, y, width, height"
_FEW = 3  # so many odd boxes without any reason are chance


def check_box_format(
    boxes: np.ndarray, sizes: np.ndarray, name: str, *, detected: bool = False, wanted: str = X_Y_WIDTH_HEIGHT
) -> None:
    """
    Refuses boxes of which too many leave their picture by more than a pixel or have a side under a pixel. (Boxes without
    area are left out elsewhere.)

    Args:
        boxes: float `(n, 4)`, x, y, width, height as they are meant, pixels.
        sizes: `(n, 2)`, width and height of the picture of each, pixels.
        name: Of the file, for the message.
        detected: Whether they are those of a detector, which may well leave the picture: then only boxes are refused that
            make sense in another way, nearly all of them.
        wanted: What the file has to hold, for the message.

    Raises:
        ValueError: with the likely reason.
    """
    boxes, sizes = (np.asarray(values, dtype=np.float64) for values in (boxes, sizes))
    if not len(boxes):
        return
    corners, extent = boxes[:, :2], boxes[:, 2:]
    leaves = ((corners < -1) | (corners + extent > sizes + 1)).any(axis=1)
    thin = (extent > 0).all(axis=1) & (extent < 1).any(axis=1)
    odd = leaves | thin
    if odd.sum() <= _ODD_SHARE * len(boxes):
        return
    explained, share = (slice(None), 1 - _ODD_SHARE) if detected else (odd, 0.5)
    reasons = {
        "shares of the picture's sides (0 to 1)": ((boxes >= 0) & (boxes <= 1.001)).all(axis=1),
        "corners (x1, y1, x2, y2)": ((corners >= -1) & (extent > corners) & (extent <= sizes + 1)).all(axis=1),
    }
    reason = next((text for text, fits in reasons.items() if fits[explained].mean() >= share), None)
    if reason is None and (detected or odd.sum() < _FEW):
        return
    reason = "they were drawn in pictures of another size" if reason is None else f"they were {reason}"
    raise ValueError(
        f"{name}: {odd.sum()} of {len(boxes)} boxes leave their picture by more than a pixel or are under a pixel, as if "
        f"{reason}; boxes must be {wanted} in pixels."
    )
