# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Small pictures with objects, people, label maps and maps, in files and in shards, for the tests of shards."""

import io
import json
import re
import tarfile
from pathlib import Path

import datasets
import numpy as np
from PIL import Image
from pycocotools import mask as rle_codec
from repository import REPOSITORY

from ait_hf.data.skeletons import COCO_SKELETON


GUIDE = (REPOSITORY / "docs/data.md").read_text(encoding="utf-8")
NUM_IMAGES, NUM_SHARDS = 12, 4
HEIGHT, WIDTH = 16, 24
CLASSES = ["cat", "dog", "cow"]
OBJECT_COLUMNS = ("image_id", "height", "width", "boxes", "class_labels", "iscrowd", "area", "segmentation")


def annotation(image: int, number: int, **own) -> dict:
    """A triangular object of its own place, shape and class."""
    x, y, side = number + 1, image % 6 + 1, 6 + image % 3
    triangle = [x, y, x + side, y + (number + image) % 4, x + (image + 1) % 5, y + side]
    place = {"bbox": [x, y, side, side], "area": side * side / 2, "segmentation": [triangle]}
    return {"id": 10 * image + number + 1, "image_id": image, "category_id": (image + number) % 3 + 1} | place | own


def crowd(image: int) -> dict:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[2:9, 12:20] = 1
    rle = rle_codec.encode(mask)
    rle = {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}
    return annotation(image, 8, bbox=[12, 2, 8, 7], segmentation=rle, iscrowd=1)


def person(image: int) -> dict:
    joints = np.zeros((17, 3), int)
    joints[:4] = [[4 + image % 5, 3, 2], [9, 4 + image % 7, 1], [5, 10, 2], [10, 11, 2]]
    place = {"bbox": [2, 2, 10 + image % 4, 12], "area": 100 + image, "keypoints": joints.flatten().tolist()}
    return {"id": image + 1, "image_id": image, "category_id": 1, "num_keypoints": 4} | place


def write_files(folder: Path) -> None:
    """The same images with objects, people, label maps and maps, in the files that the guide names."""
    rng = np.random.default_rng(0)
    for name in ("images", "labelled/images", "labelled/annotations", "train/images", "train/maps"):
        (folder / name).mkdir(parents=True)
    for number in range(NUM_IMAGES):
        picture = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
        labels = np.repeat(rng.integers(0, 4, (HEIGHT // 4, WIDTH // 4), np.uint8), 4, 0).repeat(4, 1)
        for place in ("images", "labelled/images", "train/images"):
            picture.save(folder / place / f"{number:03d}.png")
        Image.fromarray(labels).save(folder / f"labelled/annotations/{number:03d}.png")
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8)).save(folder / f"train/maps/{number:03d}.png")
    size = {"height": HEIGHT, "width": WIDTH}
    images = [{"id": number, "file_name": f"{number:03d}.png", **size} for number in range(NUM_IMAGES)]
    objects = [annotation(number, index) for number in range(NUM_IMAGES) for index in range(number % 3 + 1)]
    objects += [crowd(number) for number in range(0, NUM_IMAGES, 4)]
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
    nothing = {"id": NUM_IMAGES, "file_name": "000.png", **size}  # which training leaves out
    write_json(folder / "instances.json", [*images, nothing], objects, categories)
    people = [person(number) for number in range(NUM_IMAGES)]
    write_json(
        folder / "keypoints.json", images, people, [{"id": 1, "name": "person", "keypoints": COCO_SKELETON.joints}]
    )


def write_json(path: Path, images: list, annotations: list, categories: list) -> None:
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def table_of_maps() -> datasets.Dataset:
    stems = [f"{number:03d}.png" for number in range(NUM_IMAGES)]
    stored = {"image": [f"train/images/{stem}" for stem in stems], "map": [f"train/maps/{stem}" for stem in stems]}
    features = datasets.Features({"image": datasets.Image(), "map": datasets.Image()})
    return datasets.Dataset.from_dict(stored, features)


def write_tars(folder: Path, rows: datasets.Dataset) -> None:
    """WebDataset of what the shards hold: pictures as they are, everything else as JSON."""
    folder.mkdir()
    rows = rows.cast_column("image", datasets.Image(decode=False))
    for shard in range(NUM_SHARDS):
        with tarfile.open(folder / f"train-{shard:05d}.tar", "w") as tar:
            for row in rows.shard(NUM_SHARDS, shard):
                text = json.dumps({column: row[column] for column in OBJECT_COLUMNS}).encode()
                for ending, content in {"png": row["image"]["bytes"], "json": text}.items():
                    member = tarfile.TarInfo(f"{row['image_id']:03d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def write_label_tars(folder: Path) -> None:
    folder.mkdir()
    for shard in range(NUM_SHARDS):
        with tarfile.open(folder / f"train-{shard:05d}.tar", "w") as tar:
            for number in range(shard, NUM_IMAGES, NUM_SHARDS):
                tar.add(
                    f"labelled/images/{number:03d}.png", f"{number:03d}.jpg"
                )  # a name; Pillow looks at the content
                tar.add(f"labelled/annotations/{number:03d}.png", f"{number:03d}.png")


def run_guide() -> dict:
    """What the snippet of the guide defines; it writes shards, of which it makes fewer here."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    defined = {}
    exec(compile(code.replace("num_shards = 64", f"num_shards = {NUM_SHARDS}"), "docs/data.md", "exec"), defined)
    return defined
