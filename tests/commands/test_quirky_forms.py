# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""One tiny data set in ten valid but unusual forms: training sees the same samples, a model has the same metrics."""

import importlib.util
import json
import unicodedata
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from pycocotools import mask as coco_mask
from repository import SCRIPTS
from tiny_pose import POSES, pose_config, pose_model, pose_processor

from ait_hf import VQTokenizer
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.data.skeletons import COCO_SKELETON
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.inference.loading import load_model
from ait_hf.recipes.parsing import load_recipe
from ait_hf.recipes.streams import training_batches
from ait_hf.training.solver import SolverRecipe


INSTANCES = "instance-segmentation"
HEIGHT, WIDTH, NUM_IMAGES = 32, 48, 6
TRANSPOSED = Image.Transpose.ROTATE_90  # what the viewer of an image with EXIF orientation 6 turns back


def pictures() -> list[Image.Image]:
    """In CMYK, from which every other form is made: few colours survive the way there and back."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (NUM_IMAGES, 4, 6, 4), np.uint8)
    return [Image.fromarray(block.repeat(8, 0).repeat(8, 1), "CMYK") for block in blocks]


def plain_annotations() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    images, annotations = [], []
    for number in range(NUM_IMAGES):
        images.append({"id": number + 1, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH})
        for category in (3, 5):
            x, y = (4, 3) if category == 3 else (22, 8)
            joints = np.stack([rng.integers(x, x + 16, 17), rng.integers(y, y + 20, 17), np.full(17, 2)], 1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": category,
                    "bbox": [x, y, 18, 21],
                    "area": 378,
                    "iscrowd": 0,
                    "segmentation": [[x, y, x + 18, y, x + 18, y + 21, x, y + 21]],
                }
                | ({"keypoints": joints.flatten().tolist(), "num_keypoints": 17} if category == 3 else {})
            )
    person = {"id": 3, "name": "person", "keypoints": list(COCO_SKELETON.joints), "skeleton": []}
    return {"images": images, "annotations": annotations, "categories": [person, {"id": 5, "name": "dog"}]}


@dataclass
class Form:
    """How the same data are written: what becomes of the annotations, of the JSON's bytes, of each picture and of the
    name under which it is stored."""

    annotations: Callable[[dict[str, Any]], None] = lambda content: None
    encode: Callable[[str], bytes] = str.encode
    picture: Callable[[Image.Image, Path], None] = lambda image, path: image.convert("RGB").save(path)
    stored: Callable[[str], str] = lambda name: name


def permute_ids(content: dict[str, Any]) -> None:
    images = {image["id"]: 700 - 3 * image["id"] for image in content["images"]}
    categories = {3: 90, 5: 2}
    for image in content["images"]:
        image["id"] = images[image["id"]]
    for annotation in content["annotations"]:
        annotation["id"] = 5000 - annotation["id"]
        annotation["image_id"] = images[annotation["image_id"]]
        annotation["category_id"] = categories[annotation["category_id"]]
    for category in content["categories"]:
        category["id"] = categories[category["id"]]
    content["categories"].reverse()


def rename(change: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    def apply(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["file_name"] = change(image["file_name"])

    return apply


def run_lengths(as_text: bool) -> Callable[[dict[str, Any]], None]:
    def apply(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            (rle,) = coco_mask.frPyObjects(annotation["segmentation"], HEIGHT, WIDTH)
            counts = rle["counts"].decode()
            if not as_text:
                flat = coco_mask.decode(rle).flatten(order="F")
                changes = np.flatnonzero(np.diff(flat, prepend=0, append=0)).tolist()
                edges = [0, *changes] if flat[-1] else [0, *changes, len(flat)]
                counts = np.diff(edges).tolist()
            annotation["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}

    return apply


def add_a_category(content: dict[str, Any]) -> None:
    content["categories"].insert(0, {"id": 1, "name": "unicorn"})


def turn(image: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image.convert("RGB").transpose(TRANSPOSED).save(path, exif=exif)


def with_alpha(image: Image.Image, path: Path) -> None:
    image = image.convert("RGB")
    image.putalpha(7)
    image.save(path)


def in_folders(name: str) -> str:
    return f"{'odd' if int(name[0]) % 2 else 'even'}/{name}"


FORMS = {
    "plain": Form(),
    "ids permuted": Form(annotations=permute_ids),
    "EXIF 6, annotated upright": Form(picture=turn),
    "CMYK": Form(
        annotations=rename(lambda name: name.replace(".png", ".tif")),
        picture=lambda image, path: image.save(path.with_suffix(".tif")),
    ),
    "byte order mark": Form(encode=lambda text: text.encode("utf-8-sig")),
    "back-slashes": Form(annotations=rename(lambda name: f"all\\{name}"), stored=lambda name: f"all/{name}"),
    "run lengths in lists": Form(annotations=run_lengths(as_text=False)),
    "run lengths as text": Form(annotations=run_lengths(as_text=True)),
    "names in NFC, files in NFD": Form(
        annotations=rename(lambda name: unicodedata.normalize("NFC", f"caf\u00e9{name}")),
        stored=lambda name: unicodedata.normalize("NFD", f"caf\u00e9{name}"),
    ),
    "two folders": Form(annotations=rename(in_folders), stored=in_folders),
    "an unused category": Form(annotations=add_a_category),
    "an alpha channel": Form(picture=with_alpha),
}


def write(folder: Path, form: Form) -> None:
    content = deepcopy(plain_annotations())
    form.annotations(content)
    for number, image in enumerate(pictures()):
        path = folder / "images" / form.stored(f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        form.picture(image, path)
    (folder / "all.json").write_bytes(form.encode(json.dumps(content, ensure_ascii=False)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    for name, form in FORMS.items():
        write(folder / name, form)
    return folder


@pytest.fixture(scope="module", autouse=True)
def cache(folders):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folders / "cache")
        yield


def recipe(folders: Path, name: str, task: str, *overrides: str) -> SolverRecipe:
    files = {"annotations": str(folders / name / "all.json"), "images": str(folders / name / "images")}
    size = 32 if task == INSTANCES else 64
    data = {"train": files, "batch_size": 3, "transform.image_size": size, "transform.flip_p": 0.5}
    common = ["train.trackers=[]", "train.num_workers=0", "evaluation.split=train", "train.log_every=50"]
    overrides = [f"tasks.{task}.data.{key}={json.dumps(value)}" for key, value in data.items()] + common + [*overrides]
    name = "sample_coco_aitp" if task == INSTANCES else "sample_coco_pose_aitp"
    return load_recipe(name, SolverRecipe, overrides)


def train(arguments: list[str]) -> None:
    spec = importlib.util.spec_from_file_location("script_train", SCRIPTS / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(arguments)


@pytest.fixture(scope="module")
def segmenter(folders):
    """Trained on the plain form, until it finds something."""
    torch.manual_seed(0)
    tokenizer = VQTokenizer(
        downsample_ratio=8, base_channels=4, num_vq_embeddings=16, vq_embed_dim=8, sample_size=16,
        value_range=[0.0, 1.0], unit="mask", loss_type="mse",
    )  # fmt: skip
    torch.nn.init.normal_(tokenizer.quantizer.embedding.weight)
    torch.nn.init.constant_(tokenizer.decoder.conv_out.bias, 1.0)  # every mask fills its box, as here they do
    tokenizer.save_pretrained(folders / "tokenizer")
    task = f"tasks.{INSTANCES}"
    files = {"annotations": str(folders / "plain/all.json"), "images": str(folders / "plain/images")}
    train(
        [
            "sample_coco_aitp",
            f"{task}.data.train={json.dumps(files)}",
            f"{task}.data.batch_size=6",
            f"{task}.data.transform.image_size=32",
            f"{task}.settings.num_objects=2",
            f"{task}.tokenizer={folders / 'tokenizer'}",
            "model.backbone_config={model_type: resnet, embedding_size: 8, hidden_sizes: [8, 16], depths: [1, 1], "
            "layer_type: basic, out_features: [stage2]}",
            "model.config={num_coordinate_bins: 16, d_model: 32, encoder_layers: 1, decoder_layers: 1, num_heads: 2, "
            "ffn_dim: 64, dropout: 0.0, drop_path_rate: 0.0, max_position_embeddings: 65}",
            "optimizer.lr=1e-2",
            "train.max_steps=60",
            "train.trackers=[]",
            "train.num_workers=0",
            "evaluation.num_samples=2",
            f"output_dir={folders / 'segmenter'}",
        ]
    )
    return folders / "segmenter"


@pytest.fixture(scope="module")
def pose_folder(folders):
    save_with_remote_code(pose_model(pose_config()), pose_processor(), folders / "poses")
    return folders / "poses"


def measured(folders: Path, name: str, task: str, model: Path) -> tuple[dict[str, float], list]:
    """Metrics, and everything that was found, by the place of its image in the file and by the name of its class."""
    results, metrics = folders / f"{task}.json", folders / "metrics.json"
    data = ["--data", f"coco:{folders / name / 'all.json'}", "--images", str(folders / name / "images")]
    files = ["--results", str(results), "--output", str(metrics)]
    evaluate(["--model", str(model), "--task", task, "--batch-size", "2", *data, *files])
    content = json.loads((folders / name / "all.json").read_text(encoding="utf-8-sig"))
    places = {image["id"]: place for place, image in enumerate(content["images"])}
    names = {category["id"]: category["name"] for category in content["categories"]}
    found = [
        entry | {"image_id": places[entry["image_id"]], "category_id": names[entry["category_id"]]}
        for entry in json.loads(results.read_text())
    ]
    order = sorted(found, key=lambda entry: (entry["image_id"], -entry["score"], entry["category_id"]))
    return next(iter(json.loads(metrics.read_text())["results"].values())), order


def samples(folders: Path, name: str, task: str, model: Path) -> list[dict[str, Any]]:
    """The first batches of a training, classes by their names."""
    made = recipe(folders, name, task, f"tasks.{task}.tokenizer=none", "output_dir=none").tasks[task]
    stream = made.stream(load_model(model).config.task(task))
    names = made.data.class_names()
    batches = list(training_batches(stream, Accelerator(cpu=True), num_batches=4, done=0, num_workers=0, seed=0))
    for batch in batches if task == INSTANCES else []:
        for label in batch["labels"]:
            label["class_labels"] = [names[number] for number in label["class_labels"].tolist()]
    return batches


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if torch.is_tensor(one) else one == other


@pytest.fixture(scope="module")
def plain_objects(folders, segmenter):
    metrics, found = measured(folders, "plain", INSTANCES, segmenter)
    assert metrics["bbox_AP"] > 0 and metrics["segm_AP"] > 0 and metrics["num_images"] == NUM_IMAGES
    return metrics, found, samples(folders, "plain", INSTANCES, segmenter)


@pytest.fixture(scope="module")
def plain_poses(folders, pose_folder):
    metrics, found = measured(folders, "plain", POSES, pose_folder)
    assert metrics["num_persons"] == NUM_IMAGES and found
    return metrics, found, samples(folders, "plain", POSES, pose_folder)


QUIRKS = [name for name in FORMS if name != "plain"]


@pytest.mark.parametrize("name", QUIRKS)
def test_objects(folders, segmenter, plain_objects, name):
    metrics, found, seen = plain_objects
    assert measured(folders, name, INSTANCES, segmenter) == (metrics, found)
    assert len(seen) == 4 and equal(samples(folders, name, INSTANCES, segmenter), seen)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUIRKS)
def test_poses(folders, pose_folder, plain_poses, name):
    metrics, found, seen = plain_poses
    assert measured(folders, name, POSES, pose_folder) == (metrics, found)
    assert len(seen) == 4 and equal(samples(folders, name, POSES, pose_folder), seen)
