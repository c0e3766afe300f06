# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The random rooms of [`~ait_hf.data.rooms.depth`] as images with surface normals, no download."""

from typing import Any

from .depth import NumberedRooms


class SyntheticNormals(NumberedRooms):
    """Rooms with normals by number, without end: those of [`~ait_hf.data.rooms.depth.synthetic_rooms`].

    Args:
        split, size, seed, num_rooms: see [`~ait_hf.data.rooms.depth.NumberedRooms`].
        people (`bool`): with people in the rooms.

    Items:
        `image` uint8 `(h, w, 3)`, `normals` float32 `(h, w, 3)` (unit vectors in camera axes right, down and forward
        that point towards the camera; every pixel has one) and `path` (text that names the room).
    """

    def picture(self, index: int) -> dict[str, Any]:
        room = self.render(index, normals=True, sensor=False)
        return {"image": room["image"], "normals": room["normals"], "path": f"room {self.split}/{index}"}
