# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Draws the pictures of README.md, into docs/assets: what `rooms` sees in one rendered test room, and one picture for each task.

    python scripts/readme_pictures.py
    python scripts/readme_pictures.py --model runs/my-model --room 12 --output pictures

The room has people in it if the model knows people.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ait_hf import pretrained
from ait_hf.commands.demo_pictures import Pictures, Room, Viewer
from ait_hf.drawing.picture_files import save_image
from ait_hf.recipes.faults import command


ROOM = 9
WIDE = ("room", "depth", "uncertainty", "instances", "classes", "poses")
TASKS = ("depth", "instances", "classes", "poses")
WIDE_SIDE, TASK_SIDE = 240, 160  # of a picture, pixels
GAP, TITLE_HEIGHT = 8, 24
BITS = 6  # of a colour: nobody sees the difference, and the files are a third smaller


def small(picture: np.ndarray, side: int) -> Image.Image:
    resized = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
    return ImageOps.posterize(resized, BITS)


def wide_picture(pictures: Pictures) -> Image.Image:
    """Pictures side by side, what they show written below."""
    page = Image.new("RGB", (len(pictures) * (WIDE_SIDE + GAP) - GAP, WIDE_SIDE + TITLE_HEIGHT), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for number, (title, picture) in enumerate(pictures.items()):
        left = number * (WIDE_SIDE + GAP)
        page.paste(small(picture, WIDE_SIDE), (left, 0))
        draw.text((left + WIDE_SIDE / 2, WIDE_SIDE + TITLE_HEIGHT / 2 + 1), title, "#57606a", font, anchor="mm")
    return page


@command("readme_pictures.py")
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a model (default: rooms, which the package brings)")
    parser.add_argument("--room", type=int, default=ROOM, help="number of the test room")
    parser.add_argument("--output", type=Path, default=Path("docs/assets"))
    options = parser.parse_args(arguments)
    viewer = Viewer.from_folder(options.model or pretrained("rooms"))
    room = Room(options.room, viewer.knows_people)
    seen = {"room": np.asarray(room.image), **viewer.look(room)}
    save_image(
        wide_picture({title: seen[title] for title in WIDE if title in seen}), options.output / "what_it_sees.png"
    )
    for task in (task for task in TASKS if task in seen):
        save_image(small(seen[task], TASK_SIDE), options.output / f"task_{task}.png")


if __name__ == "__main__":
    main()
