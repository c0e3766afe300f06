# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures to begin with: rendered rooms, which need no photograph and no download."""

from pathlib import Path

from ..data.rooms.depth import SyntheticLabelMaps
from ..drawing.picture_files import save_image


SIDE = 256  # pixels
NUM_ROOMS, NUM_ROOMS_WITH_PEOPLE = 3, 5


def write_examples(folder: Path, people: bool) -> list[Path]:
    """Writes pictures of test rooms, which no model was trained on, into a folder; `people` are in the last of them."""
    numbers = {False: range(NUM_ROOMS)}
    if people:
        numbers[True] = range(NUM_ROOMS, NUM_ROOMS + NUM_ROOMS_WITH_PEOPLE)
    paths = []
    for with_people, chosen in numbers.items():
        rooms = SyntheticLabelMaps("test", (SIDE, SIDE), people=with_people)
        for number in chosen:
            paths.append(folder / f"room_{number}.png")
            save_image(rooms[number]["image"], paths[-1])
    return paths
