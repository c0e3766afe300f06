# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depth, errors, uncertainty, tokens and training curves as pictures, and pictures as files.

Every function takes arrays (numpy, or torch tensors on the CPU) or plain Python values, draws on its own canvas, and
leaves matplotlib's global state alone.
"""

import colorsys
import math
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont


GALLERY_TITLES = ("image", "ground truth", "prediction", "absolute error", "uncertainty")
ERROR_COLORS = "Reds"  # white is no error, so that black can mean no ground truth
UNCERTAINTY_COLORS = "viridis"
DOTS_PER_INCH = 100


def _as_map(values: np.ndarray, name: str) -> np.ndarray:
    """float64 (height, width), finite."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{name} must have the shape (height, width), but has {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values; mark missing pixels with 0 instead.")
    return values


def _as_picture(image: np.ndarray, name: str) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"{name} must be uint8 (height, width, 3), but is {image.dtype} {image.shape}.")
    return image


def _paint(values: np.ndarray, vmin: float, vmax: float, cmap: str) -> np.ndarray:
    if vmax < vmin:
        raise ValueError(f"vmax ({vmax}) must not be below vmin ({vmin}).")
    scaled = Normalize(vmin, vmax, clip=True)(values)
    return matplotlib.colormaps.get_cmap(cmap)(scaled, bytes=True)[..., :3]


def _limits(values: np.ndarray, vmin: float | None, vmax: float | None) -> tuple[float, float]:
    """The given limits, or else the range of the values; (0, 1) where there are none."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return low if vmin is None else vmin, high if vmax is None else vmax


def colorize_depth(
    depth: np.ndarray, vmin: float | None = None, vmax: float | None = None, cmap: str = "turbo"
) -> np.ndarray:
    """Paint a depth map.

    Args:
        depth: (height, width), metres; 0 or less is missing and becomes black.
        vmin, vmax: depths of the first and last colour, metres; the range of the valid depths by default.
        cmap: any matplotlib colour map's name.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: if the shape is wrong, a value is not finite, vmax < vmin, or the colour map is unknown.
    """
    depth = _as_map(depth, "depth")
    valid = depth > 0
    return _paint(depth, *_limits(depth[valid], vmin, vmax), cmap) * valid[..., None]


def colorize_error(
    prediction: np.ndarray, depth: np.ndarray, vmax: float | None = None, cmap: str = ERROR_COLORS
) -> np.ndarray:
    """Paint the absolute difference between a predicted and a true depth map.

    Args:
        prediction: (height, width), metres.
        depth: (height, width), metres; where it is 0 or less there is no error to show, and the picture is black.
        vmax: error of the last colour, metres; the largest error by default. The first colour is no error.
        cmap: any matplotlib colour map's name.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: as [`colorize_depth`], and if the two shapes differ.
    """
    error, valid = _error(prediction, depth)
    return _paint(error, *_limits(error[valid], 0.0, vmax), cmap) * valid[..., None]


def _error(prediction: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    prediction, depth = _as_map(prediction, "prediction"), _as_map(depth, "depth")
    if prediction.shape != depth.shape:
        raise ValueError(f"prediction {prediction.shape} and depth {depth.shape} must have the same shape.")
    return np.abs(prediction - depth), depth > 0


def colorize_uncertainty(uncertainty: np.ndarray, cmap: str = UNCERTAINTY_COLORS) -> np.ndarray:
    """Paint an uncertainty map (height, width), 0..1, as uint8 (height, width, 3).

    Raises:
        ValueError: if the shape is wrong, a value is outside 0..1 or not finite, or the colour map is unknown.
    """
    uncertainty = _as_map(uncertainty, "uncertainty")
    if uncertainty.min() < 0 or uncertainty.max() > 1:
        raise ValueError(
            f"uncertainty must lie within 0..1, but reaches from {uncertainty.min():g} to {uncertainty.max():g}."
        )
    return _paint(uncertainty, 0.0, 1.0, cmap)


def _to_image(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def depth_gallery(
    rows: Sequence[dict[str, np.ndarray]], titles: Sequence[str] = GALLERY_TITLES, cell_size: int = 200
) -> Image.Image:
    """Predictions beside what they should have been, one row per example.

    Depth has one colour scale over all rows, absolute error another; both have a colour bar in metres. Every row
    states its root mean squared error over the pixels that have ground truth.

    Args:
        rows: dictionaries with `image` uint8 (height, width, 3), `depth` (height, width) in metres, 0 where missing,
            `prediction` (height, width) in metres and `uncertainty` (height, width) in 0..1; all of one size.
        titles: what stands above the five columns.
        cell_size: about how many pixels the longer side of each picture gets; enlarging uses whole factors.

    Returns:
        An RGB picture.

    Raises:
        ValueError: if there is no row, a field is missing, or a shape or value is wrong.
    """
    rows = [_check_row(number, row) for number, row in enumerate(rows)]
    if not rows or len(titles) != 5:
        raise ValueError(f"A gallery needs at least one row and 5 titles, but has {len(rows)} and {len(titles)}.")
    size = rows[0]["depth"].shape
    if any(row["depth"].shape != size for row in rows):
        raise ValueError("All rows of a gallery must have one size; resize the examples first.")
    depths = np.concatenate([row[field].reshape(-1) for row in rows for field in ("depth", "prediction")])
    depth_limits = _limits(depths[depths > 0], None, None)
    errors, valid = zip(*(_error(row["prediction"], row["depth"]) for row in rows))
    largest_error = max(_limits(error[known], 0.0, None)[1] for error, known in zip(errors, valid))

    page = _Page(len(rows), _fit(size, cell_size))
    for column, title in enumerate(titles):
        page.write_title(column, title)
    for number, row in enumerate(rows):
        pictures = (
            row["image"],
            colorize_depth(row["depth"], *depth_limits),
            colorize_depth(row["prediction"], *depth_limits),
            colorize_error(row["prediction"], row["depth"], largest_error),
            colorize_uncertainty(row["uncertainty"]),
        )
        for column, picture in enumerate(pictures):
            page.show(number, column, picture)
        page.write_note(number, 3, _rmse_note(errors[number][valid[number]]))
    page.add_color_bar(1, 2, depth_limits, "turbo", "depth in metres")
    page.add_color_bar(3, 3, (0.0, largest_error), ERROR_COLORS, "error in metres")
    page.add_color_bar(4, 4, (0.0, 1.0), UNCERTAINTY_COLORS, "uncertainty")
    return _to_image(page.figure)


def _check_row(number: int, row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    missing = [field for field in ("image", "depth", "prediction", "uncertainty") if field not in row]
    if missing:
        raise ValueError(f"Row {number} of the gallery lacks {', '.join(missing)}.")
    checked = {"image": _as_picture(row["image"], f"image of row {number}")}
    for field in ("depth", "prediction", "uncertainty"):
        checked[field] = _as_map(row[field], f"{field} of row {number}")
        if checked[field].shape != checked["image"].shape[:2]:
            raise ValueError(
                f"{field} of row {number} has the shape {checked[field].shape}, but its image is "
                f"{checked['image'].shape[:2]}; resize one to the other."
            )
    return checked


def _rmse_note(errors: np.ndarray) -> str:
    return f"RMSE {math.sqrt(np.square(errors).mean()):.3f} m" if errors.size else "no ground truth"


def _fit(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    factor = longer_side / max(size)
    factor = round(factor) if factor > 1 else factor
    return round(size[0] * factor), round(size[1] * factor)


class _Page:
    """A matplotlib figure laid out in whole pixels from the top left, so that enlarged pixels stay square."""

    margin, gap, title_height, note_height, bar_height = 10, 8, 24, 18, 52

    def __init__(self, num_rows: int, cell: tuple[int, int]):
        self.cell_height, self.cell_width = cell
        self.width = 2 * self.margin + 5 * self.cell_width + 4 * self.gap
        self.rows_end = self.title_height + num_rows * (self.cell_height + self.note_height)
        self.height = self.rows_end + self.bar_height
        self.figure = Figure((self.width / DOTS_PER_INCH, self.height / DOTS_PER_INCH), DOTS_PER_INCH)

    def _left(self, column: int) -> int:
        return self.margin + column * (self.cell_width + self.gap)

    def _top(self, row: int) -> int:
        return self.title_height + row * (self.cell_height + self.note_height)

    def _axes(self, left: int, top: int, width: int, height: int):
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def _write(self, column: int, middle: float, text: str, size: int) -> None:
        center = self._left(column) + self.cell_width / 2
        self.figure.text(center / self.width, 1 - middle / self.height, text, ha="center", va="center", fontsize=size)

    def write_title(self, column: int, text: str) -> None:
        self._write(column, self.title_height / 2, text, 10)

    def write_note(self, row: int, column: int, text: str) -> None:
        self._write(column, self._top(row) + self.cell_height + self.note_height / 2, text, 8)

    def show(self, row: int, column: int, picture: np.ndarray) -> None:
        axes = self._axes(self._left(column), self._top(row), self.cell_width, self.cell_height)
        axes.imshow(picture, aspect="auto", interpolation="auto")  # nearest for whole factors, smooth to shrink
        axes.set_axis_off()

    def add_color_bar(self, first: int, last: int, limits: tuple[float, float], cmap: str, label: str) -> None:
        inset = 10  # room for the numbers at the ends, which stick out
        left, right = self._left(first) + inset, self._left(last) + self.cell_width - inset
        axes = self._axes(left, self.rows_end + 4, right - left, 10)
        bar = self.figure.colorbar(ScalarMappable(Normalize(*limits), cmap), axes, orientation="horizontal")
        bar.ax.tick_params(labelsize=7, length=2, pad=1)
        bar.set_label(label, fontsize=8, labelpad=1)


def training_curves(histories: dict[str, Sequence[dict[str, float]]]) -> Image.Image:
    """Draw the course of one or several training runs: one panel per quantity, one colour per run.

    Raw values are faint and a running mean over 5 % of them is strong. A panel is logarithmic where all its values
    are positive and the largest is more than ten times the smallest.

    Args:
        histories: for every run's name, its records: dictionaries with `step` and any other numbers (`loss`, ...). A
            record need not have every quantity.

    Returns:
        An RGB picture.

    Raises:
        ValueError: if there is nothing to draw, a record has no step, or a value is not finite.
    """
    curves = _gather_curves(histories)
    if not curves:
        raise ValueError("There is nothing to draw: histories needs a record with a step and another number.")
    num_columns = min(len(curves), 3)
    num_rows = math.ceil(len(curves) / num_columns)
    figure = Figure((5 * num_columns, 3.2 * num_rows), DOTS_PER_INCH, layout="constrained")
    colors = {run: f"C{number}" for number, run in enumerate(histories)}
    for number, (quantity, runs) in enumerate(curves.items()):
        axes = figure.add_subplot(num_rows, num_columns, number + 1)
        for run, points in runs.items():
            steps, values = np.array(points, dtype=float).T
            smooth = _running_mean(values)
            axes.plot(steps, values, color=colors[run], alpha=0.25, linewidth=0.8)
            axes.plot(steps, smooth, color=colors[run], linewidth=1.5, label=run, marker="o" * (len(steps) < 3))
        everything = np.array([value for points in runs.values() for _, value in points])
        if everything.min() > 0 and everything.max() > 10 * everything.min():
            axes.set_yscale("log")
        axes.set_title(quantity, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return _to_image(figure)


def _gather_curves(
    histories: dict[str, Sequence[dict[str, float]]],
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """{quantity: {run: [(step, value), ...]}}, in order of appearance."""
    curves = {}
    for run, records in histories.items():
        for number, record in enumerate(records):
            if "step" not in record:
                raise ValueError(f"Record {number} of {run!r} has no step.")
            for quantity, value in record.items():
                if not math.isfinite(value):
                    raise ValueError(f"{quantity} of {run!r} is {value} at step {record['step']}.")
                if quantity != "step":
                    curves.setdefault(quantity, {}).setdefault(run, []).append((record["step"], value))
    return curves


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Centred mean over 5 % of the values, over fewer near the ends."""
    reach = len(values) // 40
    totals = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(len(values))
    start, stop = np.maximum(middle - reach, 0), np.minimum(middle + reach + 1, len(values))
    return (totals[stop] - totals[start]) / (stop - start)


def token_grid(ids: np.ndarray, cell_size: int = 32) -> np.ndarray:
    """Draw token ids as coloured squares with their numbers.

    A code has the same colour in every picture. Numbers are left out where they would not fit.

    Args:
        ids: integers (rows, columns), at least 0.
        cell_size: side of a square, pixels.

    Returns:
        uint8 (rows * cell_size, columns * cell_size, 3).

    Raises:
        ValueError: if `ids` is not a two-dimensional array of non-negative integers, or `cell_size` is below 1.
    """
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0:
        raise ValueError(f"ids must be non-negative integers (rows, columns), but is {ids.dtype} {ids.shape}.")
    if cell_size < 1:
        raise ValueError(f"cell_size must be at least 1 pixel, but is {cell_size}.")
    codes, places = np.unique(ids, return_inverse=True)
    colors = np.array([_code_color(int(code)) for code in codes], dtype=np.uint8)
    grid = colors[places.reshape(ids.shape)].repeat(cell_size, axis=0).repeat(cell_size, axis=1)
    font = ImageFont.load_default(max(10, cell_size // 3))
    if font.getlength(str(ids.max())) > cell_size - 2:
        return grid
    picture = Image.fromarray(grid)
    draw = ImageDraw.Draw(picture)
    for (row, column), code in np.ndenumerate(ids):
        center = ((column + 0.5) * cell_size, (row + 0.5) * cell_size)
        ink = "black" if _code_color(int(code))[1] > 110 else "white"
        draw.text(center, str(code), ink, font, anchor="mm")
    return np.array(picture)


def _code_color(code: int) -> tuple[int, int, int]:
    """Two incommensurable steps, around the colour circle and from pale to dark, keep nearby codes apart."""
    hue, shade = code * 0.754878 % 1, code * 0.569840 % 1
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.45 + 0.45 * shade, 0.95 - 0.35 * shade))


def _write(image: Image.Image, path: Path, file_format: str) -> None:
    """Write under a temporary name in the same folder, then rename: nobody ever sees half a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        image.save(temporary, format=file_format)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_image(image: Image.Image | np.ndarray, path: str | os.PathLike) -> None:
    """Write a picture; the file appears complete or not at all, and missing folders are made.

    Args:
        image: a PIL image, or uint8 (height, width, 3).
        path: where to; its ending chooses the format (.png, .jpg, ...).

    Raises:
        ValueError: if the array is not such a picture or the ending is not a known one.
    """
    path = Path(path)
    formats = Image.registered_extensions()
    if path.suffix.lower() not in formats:
        raise ValueError(f"{path} has no picture's ending; use .png or .jpg.")
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_as_picture(image, "image"))
    _write(image, path, formats[path.suffix.lower()])


def save_depth_png(depth: np.ndarray, path: str | os.PathLike, scale: float = 1000) -> None:
    """Write a depth map as a 16-bit grey PNG, as NYUv2 and other RGB-D data sets are stored.

    Args:
        depth: (height, width), metres; 0 or less is missing and stored as 0. Depths beyond 65535 / scale are stored
            as that.
        path: where to, ending in .png.
        scale: grey levels per metre; 1000 stores millimetres.

    Raises:
        ValueError: if the shape is wrong, a value is not finite, `scale` is not positive, or the ending is not .png.
    """
    depth, path = _as_map(depth, "depth"), Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} must end in .png.")
    _check_scale(scale)
    levels = np.clip(np.rint(depth * scale), 0, 65535).astype(np.uint16)
    _write(Image.fromarray(levels), path, "PNG")


def load_depth_png(path: str | os.PathLike, scale: float = 1000) -> np.ndarray:
    """Read a 16-bit grey PNG as depth, float32 (height, width), in metres, 0 where missing.

    Args:
        path: the file.
        scale: grey levels per metre; 1000 reads millimetres.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the picture is not 16-bit grey, or `scale` is not positive.
    """
    _check_scale(scale)
    with Image.open(path) as image:
        if not image.mode.startswith("I;16"):
            raise ValueError(
                f"{path} is not a 16-bit grey picture but has the mode {image.mode}; 8 bits cannot hold depth in "
                "millimetres, so this may be a picture of depth rather than depth."
            )
        return (np.asarray(image).astype(np.float64) / scale).astype(np.float32)


def _check_scale(scale: float) -> None:
    if not scale > 0:
        raise ValueError(f"scale must be above 0, but is {scale}.")
