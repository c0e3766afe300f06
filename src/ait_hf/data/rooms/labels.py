# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The random rooms of [`~ait_hf.data.rooms.depth`] as images with label maps, no download."""

from typing import Any

from .depth import NumberedRooms
from .rendering import LABEL_CLASSES


__all__ = ["LABEL_CLASSES", "SyntheticLabelMaps"]


class SyntheticLabelMaps(NumberedRooms):
    """Rooms with label maps by number, without end: those of [`~ait_hf.data.rooms.depth.synthetic_rooms`].

    Args:
        split, size, seed, num_rooms: see [`~ait_hf.data.rooms.depth.NumberedRooms`].
        people (`bool`): with people in the rooms; without, no pixel has the last of `LABEL_CLASSES`, "person".

    Items:
        `image` uint8 `(h, w, 3)`, `label_map` uint8 `(h, w)` (indices into `LABEL_CLASSES`; no pixel is ignored) and
        `path` (text that names the room).
    """

    def picture(self, index: int) -> dict[str, Any]:
        room = self.render(index, sensor=False)
        return {"image": room["image"], "label_map": room["label_map"], "path": f"room {self.split}/{index}"}
