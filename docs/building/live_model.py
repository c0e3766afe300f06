# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Makes what the page `docs/live.md` loads, into `docs/assets/live/built/`: ONNX Runtime Web, which npm fetches, the exported depth
model of `rooms`, tables of colours and pictures of rooms.
"""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib

import ait_hf_cli
from ait_hf.app.examples import write_examples
from ait_hf.data.writing import write_folder, write_json
from ait_hf.drawing.colors import UNCERTAINTY_COLORS
from ait_hf.tasks.depth.drawing import DEPTH_COLORS


BUILT = Path(__file__).parents[1] / "assets/live/built"
RUNTIME = "onnxruntime-web@^1.30.0"
RUNTIME_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")  # those for a CPU, of a hundred


def build(folder: Path) -> None:
    fetch_runtime(folder)
    ait_hf_cli.main(["export", "rooms", "--task", "depth", "--format", "onnx", "--output", str(folder / "model")])
    colors = {"depth": DEPTH_COLORS, "uncertainty": UNCERTAINTY_COLORS}
    write_json(folder / "colors.json", {name: color_table(colormap) for name, colormap in colors.items()})
    write_examples(folder, people=True)


def fetch_runtime(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(
            "The documentation needs npm, which fetches ONNX Runtime Web: install it, as by `apt-get install npm`."
        )
    with TemporaryDirectory() as fetched:
        subprocess.run([npm, "pack", "--loglevel=error", RUNTIME], cwd=fetched, check=True)
        (archive,) = Path(fetched).iterdir()
        with tarfile.open(archive) as package:
            for name in RUNTIME_FILES:
                (folder / name).write_bytes(package.extractfile(f"package/dist/{name}").read())


def color_table(colormap: str) -> list[list[int]]:
    """Red, green and blue, 0..255, of 256 values from least to greatest."""
    return matplotlib.colormaps[colormap](range(256), bytes=True)[:, :3].tolist()


if __name__ == "__main__":
    write_folder(BUILT, build)
