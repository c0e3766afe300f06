# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The page of `ait demo`: one HTML file with all its pictures inside, written anew whenever there is more to see."""

import base64
import io
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from ..data.rooms.rendering import LABEL_CLASSES
from ..data.writing import write_text
from ..tasks.semantics.drawing import class_palette
from .demo_pictures import LARGEST_ERROR, Pictures, Room, Viewer


TEMPLATE = resources.files(__package__) / "demo_page.html"
REFRESH_SECONDS = 10
FILMED = ("depth", "instances")
QUALITY = 88  # of pictures in the page, which is a few MB with them


def data_uri(picture: Image.Image | np.ndarray) -> str:
    """A picture, PIL or uint8 (height, width, 3), as an address that holds it."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _uris(pictures: Pictures) -> dict[str, str]:
    return {name: data_uri(picture) for name, picture in pictures.items()}


@dataclass
class DemoPage:
    """
    What `index.html` shows: public fields are those of the template.

    Args:
        path (`Path`): The file.
        command (`str`): What the demo was started by.
        name (`str`): Of the model in the gallery.
    """

    path: Path
    command: str
    name: str
    status: str = ""
    running: bool = True
    views: tuple[str, ...] = ()  # what the gallery's columns show
    gallery: list[dict[str, Any]] = field(default_factory=list)
    film_images: list[str] = field(default_factory=list)
    film: list[dict[str, Any]] = field(default_factory=list)  # a line for every look at the model that learns
    film_end: list[dict[str, Any]] = field(default_factory=list)  # below them
    curves: str | None = None
    curve_rooms: int = 0
    columns: list[str] = field(default_factory=list)
    table: list[dict[str, Any]] = field(default_factory=list)
    num_rooms: int = 0
    trained: str = ""
    explanation: str = ""
    commands: list[tuple[str, str]] = field(default_factory=list)

    def write(self, status: str | None = None) -> None:
        """Writes the file, perhaps with another status."""
        self.status = self.status if status is None else status
        palette = ["#{:02x}{:02x}{:02x}".format(*color) for color in class_palette(len(LABEL_CLASSES))]
        shown = vars(self) | {"legend": list(zip(LABEL_CLASSES, palette)), "refresh_seconds": REFRESH_SECONDS}
        shown["largest_error"] = LARGEST_ERROR
        shown["frames"] = self.film + self.film_end if self.film else []
        template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
            TEMPLATE.read_text(encoding="utf-8")
        )
        write_text(self.path, template.render(shown))

    def show(self, viewer: Viewer, rooms: list[Room]) -> None:
        """What a model sees in rooms, beside the truth."""
        for room in rooms:
            seen = viewer.look(room)
            below = room.truth | {"uncertainty": seen.pop("error")}  # which it should foretell
            self.views = tuple(seen)
            self.gallery.append({"image": data_uri(room.image), "seen": _uris(seen), "truth": _uris(below)})

    def set_up_film(self, viewer: Viewer, rooms: list[Room]) -> None:
        """The rooms that a model is watched in, and what stands below: what a trained one sees, and the truth."""
        self.film_images = [data_uri(room.image) for room in rooms]
        seen = frame(self.name, "comes with the package", [viewer.look(room) for room in rooms])
        self.film_end = [seen, frame("truth", "", [room.truth for room in rooms])]


def frame(title: str, note: str, seen: list[Pictures]) -> dict[str, Any]:
    """A line of the film, of what is seen in each room."""
    return {"title": title, "note": note, "cells": [data_uri(pictures[view]) for pictures in seen for view in FILMED]}
