# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures in many kinds of files that all show the same kind of thing, and files that hold numbers in many packings."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image


HEIGHT, WIDTH = 6, 8
ORIENTATION = 0x0112
Transpose = Image.Transpose
# How an upright picture is stored, so that its EXIF orientation turns it upright.
STORED_FOR = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'


def noise(*channels: int, seed: int = 0, high: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, (HEIGHT, WIDTH, *channels)).astype(dtype)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(numbers: np.ndarray, bits: int, color: int, *after: bytes, palette: bytes = b"") -> bytes:
    """A PNG made by hand: `numbers` `(h, w)` or `(h, w, c)` in so many bits each; chunks `after` the pixels."""
    head = struct.pack(">IIBBBBB", numbers.shape[1], numbers.shape[0], bits, color, 0, 0, 0)
    lines = b"".join(b"\0" + packed(line.reshape(-1), bits) for line in numbers)
    chunks = [chunk(b"IHDR", head), *([chunk(b"PLTE", palette)] if palette else [])]
    chunks += [chunk(b"IDAT", zlib.compress(lines)), *after, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def packed(numbers: np.ndarray, bits: int) -> bytes:
    if bits == 16:
        return numbers.astype(">u2").tobytes()
    return np.packbits(np.unpackbits(numbers.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]).tobytes()


def tiff(numbers: np.ndarray, bits: int, photometric: int, *tags: tuple[int, int, int]) -> bytes:
    """A TIFF made by hand: one channel, or several of 8 bits; photometric 0 is white for 0. `tags`: number, type, value."""
    channels = 1 if numbers.ndim == 2 else numbers.shape[2]
    lines = b"".join(packed(line.reshape(-1), bits) for line in numbers)
    lines += b"\0" * (len(lines) % 2)
    start = 8 + len(lines)
    entries = [(256, 3, numbers.shape[1]), (257, 3, numbers.shape[0]), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    entries += [(277, 3, channels), (278, 3, numbers.shape[0]), (279, 4, len(lines)), *tags]
    sizes = b"" if channels < 3 else struct.pack(f"<{channels}H", *[bits] * channels)
    value = bits | bits << 16 if channels == 2 else start if sizes else bits
    table = [(258, 3, channels, value), *((number, kind, 1, given) for number, kind, given in entries)]
    content = b"".join(struct.pack("<HHII", *entry) for entry in sorted(table))
    return (
        b"II*\0"
        + struct.pack("<I", start + len(sizes))
        + lines
        + sizes
        + struct.pack("<H", len(table))
        + content
        + b"\0" * 4
    )


def turned(orientation: int, save: Callable[[Image.Image], bytes]) -> tuple[bytes, np.ndarray]:
    pixels = noise(3, seed=orientation)
    return save(Image.fromarray(pixels).transpose(STORED_FOR[orientation])), pixels


def by_pillow(mode: str) -> tuple[bytes, np.ndarray]:
    image = Image.fromarray(noise(3, seed=99)).convert(mode)
    return encode(image, "TIFF"), np.asarray(image.convert("RGB"))


def _pictures() -> dict[str, tuple[bytes, np.ndarray]]:
    """Files, and the RGB pixels that everybody sees in them: alpha is dropped."""
    gray, alpha, rgb = noise(seed=1), noise(seed=2), noise(3, seed=3)
    colors = noise(3, seed=4).reshape(-1, 3)[:16]
    index = noise(seed=5, high=16)
    with_palette = Image.fromarray(index, mode="P")
    with_palette.putpalette(colors.tobytes())
    wide = noise(3, seed=6, high=65536, dtype=np.uint16)
    bits = noise(seed=7, high=2)
    as_rgb = partial(np.repeat, repeats=3, axis=2)
    pictures = {
        "1": (png(bits, 1, 0), as_rgb(bits[..., None] * 255)),
        "2 bits": (png(index // 4, 2, 0), as_rgb(index[..., None] // 4 * 85)),
        "L": (encode(Image.fromarray(gray)), as_rgb(gray[..., None])),
        "white is 0": (tiff(gray, 8, 0), as_rgb(255 - gray[..., None])),
        "LA": (encode(Image.fromarray(np.dstack([gray, alpha]), mode="LA")), as_rgb(gray[..., None])),
        "La": (
            tiff(np.dstack([gray, np.full_like(gray, 255)]), 8, 1, (338, 3, 1)),
            as_rgb(gray[..., None]),
        ),
        "P": (encode(with_palette, bits=4), colors[index]),
        "P with transparency": (encode(with_palette, transparency=bytes(range(0, 256, 16))), colors[index]),
        "GIF": (encode(with_palette, "GIF"), colors[index]),
        "RGB": (encode(Image.fromarray(rgb)), rgb),
        "RGB of 16 bits": (png(wide, 16, 2), (wide >> 8).astype(np.uint8)),
        "RGBA": (encode(Image.fromarray(np.dstack([rgb, alpha]))), rgb),
        "CMYK": by_pillow("CMYK"),
        "YCbCr": by_pillow("YCbCr"),
        "LAB": by_pillow("LAB"),
        "EXIF behind the pixels": turned(
            6, lambda stored: png(np.asarray(stored), 8, 2, chunk(b"eXIf", exif(6).tobytes()[6:]))
        ),
        "XMP": turned(
            8,
            lambda stored: png(
                np.asarray(stored), 8, 2, chunk(b"iTXt", b"XML:com.adobe.xmp" + b"\0" * 5 + XMP.format(8).encode())
            ),
        ),
    }
    for number in STORED_FOR:
        for kind, options in {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}.items():
            save = partial(encode, kind=kind, exif=exif(number), **options)
            pictures[f"EXIF {number} in {kind}"] = turned(number, save)
    return pictures


PICTURES = _pictures()
ENDINGS = {b"\x89PNG": "png", b"II*\0": "tif", b"MM\0*": "tif", b"RIFF": "webp", b"GIF8": "png"}

_WIDE = noise(seed=8, high=65536, dtype=np.uint16)
# Files of one channel of more than 8 bits: no pictures.
WIDE_GRAYS = {
    "I;16": encode(Image.fromarray(_WIDE)),
    "I;16B": encode(Image.fromarray(_WIDE.astype(">u2")), "TIFF"),
    "I": encode(Image.fromarray(_WIDE.astype(np.int32)), "TIFF"),
    "F": encode(Image.fromarray(_WIDE.astype(np.float32)), "TIFF"),
}


def packings() -> dict[str, tuple[bytes, np.ndarray]]:
    """Files of PNG that hold numbers 0..n, and these numbers."""
    found = {}
    for bits in (1, 2, 4, 8):
        numbers = noise(seed=bits, high=min(2**bits, 12))
        found[f"gray of {bits} bits"] = (png(numbers, bits, 0), numbers)
        colors = noise(3, seed=20 + bits).reshape(-1, 3)[: min(2**bits, 16)]
        found[f"palette of {bits} bits"] = (png(numbers, bits, 3, palette=colors.tobytes()), numbers)
    stored = Image.fromarray(noise(seed=30, high=12))
    found["turned"] = (encode(stored.transpose(STORED_FOR[6]), exif=exif(6)), np.asarray(stored))
    return found


def other_packings() -> dict[str, tuple[bytes, np.ndarray]]:
    """As [`packings`], in other files."""
    found = {}
    for bits in (1, 2, 4, 8):
        numbers = noise(seed=bits, high=min(2**bits, 12))
        for photometric in (0, 1):
            found[f"TIFF of {bits} bits, {photometric}"] = (tiff(numbers, bits, photometric), numbers)
    numbers = noise(seed=40, high=12)
    head = f"P5 {WIDTH} {HEIGHT} ".encode()
    found["PGM"] = (head + b"11\n" + numbers.tobytes(), numbers)
    return found


def ending_of(content: bytes) -> str:
    return ENDINGS.get(content[:4], "pgm")


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
