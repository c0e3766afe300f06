# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The one reader of pictures: for training, evaluation, prediction and pipelines, so that all see the same pixels.

A picture is upright, as every viewer shows it, RGB, 8 bits per channel and without alpha, whatever its file is.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image, ImageOps


_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
_BY_WAY_OF = {"La": "LA", "P": "RGBA"}  # Pillow has no other way; it warns where a palette's alpha is dropped at once
_PNG_SIGNATURE = 8  # bytes
# Chunks of a PNG that can say how it is to be turned, and how they begin.
_PNG_ORIENTATION = {b"eXIf": b"", b"iTXt": b"XML:com.adobe.xmp\0"}
_PNG_ORIENTATION |= dict.fromkeys((b"tEXt", b"zTXt"), b"Raw profile type exif\0")


class BrokenImageError(ValueError):
    """A file is no image, or not all of one."""


@dataclass(frozen=True)
class ImageHeader:
    """
    What is known about a picture without decoding it: `height` and `width` of the upright picture in pixels, EXIF's
    `orientation`, 1 (upright as it is stored) to 8, and Pillow's `mode`.
    """

    height: int
    width: int
    orientation: int
    mode: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the upright picture, pixels."""
        return self.height, self.width

    @property
    def is_turned_in_silence(self) -> bool:
        """Whether being turned upright changes the picture, but not its size."""
        return self.orientation != 1 and (self.orientation not in _SIDEWAYS or self.height == self.width)


@contextmanager
def reading(name: str | PathLike) -> Iterator[None]:
    """What Pillow raises while it reads an image becomes one sentence that begins with its `name`: a `ValueError`, which is a
    [`BrokenImageError`] but for one that is too large. A file that is not there stays a `FileNotFoundError`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} has more pixels than Pillow takes for a picture ({2 * Image.MAX_IMAGE_PIXELS}): make it smaller, or "
            "raise PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    # A broken PNG is a SyntaxError to Pillow.
    except (OSError, SyntaxError, EOFError, ValueError, struct.error) as error:
        raise BrokenImageError(
            f"{name} cannot be read as an image: {Path(name).name} is not an image that Pillow knows, or not complete."
        ) from error


def read_image(source: str | PathLike | BinaryIO, name: str | None = None) -> Image.Image:
    """
    A picture, turned upright if its metadata say that the camera was not, as 8-bit RGB; alpha is dropped.

    Args:
        source: Its file.
        name: What errors call it; by default the file's path.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read as an image, is too large, or has one channel of more than 8 bits.
    """
    name = str(source) if name is None else name
    with reading(name), Image.open(source) as opened:
        image = upright_image(opened)
    return rgb_image(image, name)


def read_image_header(source: str | PathLike | BinaryIO, name: str | None = None) -> ImageHeader:
    """
    Size, orientation and mode of an image of any kind, for a fraction of the time that decoding it takes. Arguments
    and errors are those of [`read_image`], but that pixels are missing or broken does not show.
    """
    name = str(source) if name is None else name
    with reading(name), Image.open(source) as image:
        width, height = _stored_size(image)
        orientation = _orientation(image) if _may_be_turned(image) else 1
    if orientation in _SIDEWAYS:
        height, width = width, height
    return ImageHeader(height, width, orientation, image.mode)


def read_picture_header(path: str | PathLike) -> ImageHeader:
    """As [`read_image_header`], and `ValueError` for what [`read_image`] does not take for a picture."""
    header = read_image_header(path)
    _check_is_picture(header.mode, str(path))
    return header


def upright_image(image: Image.Image) -> Image.Image:
    """The image as every viewer shows it: turned and mirrored as its EXIF or XMP orientation says."""
    image.load()  # a PNG may have its EXIF after the pixels; a TIFF is turned here
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def rgb_image(image: Image.Image, name: str = "An image") -> Image.Image:
    """
    An image of any mode as RGB of 8 bits per channel; alpha is dropped. `ValueError`, which begins with `name`, if it
    has one channel of more than 8 bits.
    """
    _check_is_picture(image.mode, name)
    if image.mode in _BY_WAY_OF:
        image = image.convert(_BY_WAY_OF[image.mode])
    return image if image.mode == "RGB" else image.convert("RGB")


def _check_is_picture(mode: str, name: str) -> None:
    """`ValueError`, which begins with `name`, for one channel of more than 8 bits: cut off at 255 it would be white."""
    if mode.startswith(("I", "F")):
        raise ValueError(
            f"{name} has one channel of more than 8 bits (mode {mode}): it holds depth or a scan, and as an 8-bit picture "
            "almost all of it would be white. To use it as a photograph, scale its values to 0..255 and convert it to 8 bits: "
            "Image.fromarray((255.0 * values / values.max()).astype('uint8'))."
        )


def upright_height_and_width(image: Image.Image) -> tuple[int, int]:
    """Of the image as [`upright_image`] would turn it, pixels."""
    if _orientation(image) not in _SIDEWAYS:
        return image.height, image.width
    return _stored_size(image)


def _orientation(image: Image.Image) -> int:
    """EXIF's; 1 where there is none, or one that does not exist."""
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height before any turn. Pillow has the size of some TIFFs turned already."""
    if image.format == "TIFF":
        return image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
    return image.size


def _may_be_turned(image: Image.Image) -> bool:
    """Whether it is worth asking for the orientation: of a PNG without metadata, Pillow would decode all pixels to find
    none."""
    return image.format != "PNG" or any(
        kind in _PNG_ORIENTATION and start.startswith(_PNG_ORIENTATION[kind]) for kind, start in _png_chunks(image.fp)
    )


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and first bytes of every chunk; the file is left where it was."""
    before, position = file.tell(), _PNG_SIGNATURE
    file.seek(position)
    while len(head := file.read(32)) >= 12:  # 4 bytes length, 4 kind, the content, 4 checksum
        length, kind = struct.unpack(">I4s", head[:8])
        yield kind, head[8:]
        position += length + 12
        file.seek(position)
    file.seek(before)
