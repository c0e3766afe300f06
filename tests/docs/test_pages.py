# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The snippets of README.md and of docs/, run page by page as they stand, in a folder that holds what they name: photographs,
data and tiny models of one's own. (Pages that need others have tests of their own.) And whether commands are such that their
parsers take them, also where they are not run.
"""

import json
import re
import shutil
from importlib import import_module
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from published_tokenizers import made_up_weights
from repository import REPOSITORY
from snippets import PAGES, Snippet, read_snippets, run, verb_of
from tiny import TINY_BACKBONE, tiny_config
from tiny_dense import SEMANTICS
from tiny_objects import DETECTION, INSTANCES, object_config, object_model, object_processor

from ait_hf import (
    AiTForDepthEstimation,
    AiTForInstanceSegmentation,
    AiTForSemanticSegmentation,
    AiTImageProcessor,
    VQTokenizer,
    load_depth_png,
    save_depth_png,
)
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.recipes.parsing import dump_recipe, load_recipe
from ait_hf.training.solver import SolverRecipe
from ait_hf.training.tokenizer import TokenizerRecipe


TESTED_ELSEWHERE = ("docs/fine_tuning.md", "docs/new_task.md", "docs/tokens.md", "docs/data.md", "docs/export.md")
PHOTO_SIZE, ROOM_SIZE = (72, 128), (256, 256)  # height, width

TINY_TOKENIZER = {"base_channels": 2, "num_res_blocks": 1, "num_vq_embeddings": 20, "vq_embed_dim": 12}
MASKS = {"downsample_ratio": 16, "value_range": [0.0, 1.0], "unit": "mask", "loss_type": "mse"}
TINY_SOLVER = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_heads": 4, "ffn_dim": 48}
BACKBONE = {key: value for key, value in TINY_BACKBONE.items() if key not in ("model_type", "image_size")}
SHORT = [
    "train={max_steps: 2, trackers: []}",
    "evaluation.num_samples=2",
]
SMALL_DATA = ["data.transform={crop_size: 64}", "data.batch_size=2"]
NAMES = ["cat", "dog"]
NUM_OBJECTS = 5  # as a snippet asks for
TINY_OBJECTS = {"codebooks": [["mask", 20]], "num_coordinate_bins": 32, "num_classes": 80}
SHORT_RECIPES = {
    "sample_rgbd_tokenizer": (TokenizerRecipe, [*SMALL_DATA, f"model.config={json.dumps(TINY_TOKENIZER)}"]),
    "sample_rgbd_aitp": (
        SolverRecipe,
        [
            *(f"tasks.depth.{override}" for override in SMALL_DATA),
            f"model.config={json.dumps(TINY_SOLVER)}",
            f"model.backbone_config={json.dumps(BACKBONE)}",
        ],
    ),
    "tokenizer_mask_coco": (
        TokenizerRecipe,
        ["data.batch_size=2", f"model.config={json.dumps(TINY_TOKENIZER | MASKS)}", "train.num_workers=0"],
    ),
    "ait_swinv2_b_insseg": (
        SolverRecipe,
        [
            f"tasks.{INSTANCES}.data.transform={{image_size: 64}}",
            f"tasks.{INSTANCES}.data.batch_size=2",
            f"tasks.{INSTANCES}.settings={{num_objects: 3}}",
            f"model.config={json.dumps(TINY_SOLVER | TINY_OBJECTS)}",
            "train.num_workers=0",
        ],
    ),
    "sample_camvid_labels_aitp": (
        SolverRecipe,
        [
            f"tasks.{SEMANTICS}.data.transform={{image_size: 64}}",
            f"tasks.{SEMANTICS}.data.batch_size=2",
            f"model.config={json.dumps(TINY_SOLVER | {'num_coordinate_bins': 0})}",
            "train.num_workers=0",
            "evaluation.split=val",
        ],
    ),
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A folder with everything that the pages name but an original checkpoint."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    write_photo(folder / "photo.jpg", rng)
    (folder / "docs").symlink_to(REPOSITORY / "docs")
    shutil.copy(REPOSITORY / "docs/assets/room.png", folder)
    write_frames(folder / "my-data", rng)
    Image.fromarray(ellipse(30, 40, 20, 30)).save(folder / "mask.png")
    weights = {name: value.numpy() for name, value in made_up_weights("paligemma-mask").items()}
    np.savez(folder / "vae-oid.npz", **weights)
    write_coco(folder / "my-coco", rng)
    save_models(folder)
    save_object_models(folder)
    save_label_tokenizer(folder)
    write_labels(folder / "my-labels", rng)
    (folder / "boxes.json").write_text(json.dumps({"room.png": [[97, 6, 38, 115]]}), encoding="utf-8")
    for name, (kind, overrides) in SHORT_RECIPES.items():
        recipe = load_recipe(name, kind, SHORT + overrides)
        (folder / name).write_text(dump_recipe(recipe), encoding="utf-8")  # a file comes before a shipped recipe
    return folder


def save_models(folder: Path) -> None:
    """Untrained, but scaled so that depth maps are positive and not constant."""
    torch.manual_seed(0)
    tokenizer = VQTokenizer(**TINY_TOKENIZER, sample_size=96)
    torch.nn.init.normal_(tokenizer.quantizer.embedding.weight)
    torch.nn.init.constant_(tokenizer.decoder.conv_out.bias, 2.0)  # metres
    tokenizer.save_pretrained(folder / "runs/my-tokenizer")  # which one snippet trains and a slow one builds on
    model = AiTForDepthEstimation(tiny_config(parallel=True))
    torch.nn.init.normal_(model.model.decoder.embed_tokens.weight)
    model.load_tokenizer("depth", tokenizer)
    processor = AiTImageProcessor(size={"height": 96, "width": 96}, do_normalize=False)
    save_with_remote_code(model, processor, folder / "my-model")


def save_object_models(folder: Path) -> None:
    classes = {"num_classes": len(NAMES), "id2label": dict(enumerate(NAMES))}
    config = object_config(parallel=True, max_position_embeddings=21 * NUM_OBJECTS + 1, **classes)
    config.tokenizers["mask"]["sample_size"], config.tasks[INSTANCES]["grid_size"] = 64, [4, 4]
    for task in config.tasks.values():
        task["num_groups"] = NUM_OBJECTS
    save_with_remote_code(
        object_model(config, AiTForInstanceSegmentation), object_processor(), folder / "my-segmenter"
    )
    detector = object_model(object_config([DETECTION], **TINY_SOLVER))
    save_with_remote_code(detector, object_processor(), folder / "my-detector")
    tokenizer = VQTokenizer(**TINY_TOKENIZER, **MASKS, sample_size=64)
    tokenizer.save_pretrained(folder / "runs/my-mask-tokenizer")  # which one slow snippet trains and another builds on


def save_label_tokenizer(folder: Path) -> None:
    classes = {"in_channels": 3, "out_channels": 3, "unit": "class", "loss_type": "cross_entropy"}
    tokenizer = VQTokenizer(**TINY_TOKENIZER, **classes, sample_size=64)
    tokenizer.save_pretrained(folder / "my-label-tokenizer")


def write_labels(folder: Path, rng: np.random.Generator) -> None:
    """Photographs with the numbers of three classes."""
    for split in ("train", "val"):
        for part in ("images", "annotations"):
            (folder / part / split).mkdir(parents=True)
        for number in range(3):
            write_photo(folder / f"images/{split}/{number}.jpg", rng)
            labels = Image.fromarray(rng.integers(0, 3, PHOTO_SIZE, dtype=np.uint8))
            labels.save(folder / f"annotations/{split}/{number}.png")


def write_photo(path: Path, rng: np.random.Generator) -> None:
    Image.fromarray(rng.integers(0, 256, (*PHOTO_SIZE, 3), dtype=np.uint8)).save(path)


def write_frames(folder: Path, rng: np.random.Generator) -> None:
    frames = []
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for number, split in enumerate(["train"] * 3 + ["val"] * 2):
        rgb, depth = f"rgb/{number}.jpg", f"depth/{number}.png"
        write_photo(folder / rgb, rng)
        save_depth_png(rng.uniform(1, 9, PHOTO_SIZE), folder / depth)
        frames.append({"rgb": rgb, "depth": depth, "depth_scale": 1000, "split": split})
    (folder / "index.json").write_text(json.dumps(frames), encoding="utf-8")


def ellipse(y: float, x: float, half_height: float, half_width: float) -> np.ndarray:
    rows, columns = np.mgrid[: PHOTO_SIZE[0], : PHOTO_SIZE[1]]
    inside = ((rows - y) / half_height) ** 2 + ((columns - x) / half_width) ** 2 <= 1
    return np.uint8(255) * inside


def write_coco(folder: Path, rng: np.random.Generator) -> None:
    """Three photographs with two rectangles each, the same in both splits."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(3):
        write_photo(folder / f"images/{number}.jpg", rng)
        images.append({"id": number, "file_name": f"{number}.jpg", "height": PHOTO_SIZE[0], "width": PHOTO_SIZE[1]})
        for category in range(len(NAMES)):
            x, y, width, height = 10 + 50 * category, 10 + number, 40, 30
            corners = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": category, "iscrowd": 0}
                | {"bbox": [x, y, width, height], "area": width * height, "segmentation": [corners]}
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")


def write_original_checkpoint(folder: Path, golden: Path) -> None:
    case = golden / "08_e2e_depth_ar"
    config = json.loads((case / "case.json").read_text(encoding="utf-8"))["config"]
    (folder / "original.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(case / "checkpoint.pth", folder / "original.pth")


# What must hold after a snippet that contains the words: `names` are its Python variables.


def check_picture(folder: Path, names: dict) -> None:
    with Image.open(folder / "room.png") as room, Image.open(REPOSITORY / "docs/assets/room.png") as shown:
        np.testing.assert_allclose(np.asarray(room), np.asarray(shown), atol=2)


def check_first_command(folder: Path, names: dict) -> None:
    check_rooms_files(folder / "seen")


def check_readme_command(folder: Path, names: dict) -> None:
    check_rooms_files(folder / "predictions")


def check_rooms_files(folder: Path) -> None:
    assert load_depth_png(folder / "room_depth.png").shape == ROOM_SIZE
    objects = json.loads((folder / "room_objects.json").read_text(encoding="utf-8"))
    assert objects and all(found["segmentation"]["size"] == list(ROOM_SIZE) for found in objects)
    with Image.open(folder / "room_labels.png") as labels, Image.open(folder / "room_all.png") as side_by_side:
        assert labels.size == ROOM_SIZE and side_by_side.width > 2 * side_by_side.height


def check_predict(folder: Path, names: dict) -> None:
    check_rooms_files(folder / "predictions")
    assert load_depth_png(folder / "hard/room_depth.png").shape == ROOM_SIZE
    (person,) = json.loads((folder / "poses/room_keypoints.json").read_text(encoding="utf-8"))
    assert len(person["keypoints"]) == 17


def check_readme_pipeline(folder: Path, names: dict) -> None:
    assert names["depth"]["predicted_depth"].shape == ROOM_SIZE and (folder / "room_depth.png").is_file()


def check_pipeline(folder: Path, names: dict) -> None:
    depth = names["result"]["predicted_depth"]
    assert depth.shape == ROOM_SIZE and 0 < depth.min() < depth.max() < 20


def check_soft_and_hard(folder: Path, names: dict) -> None:
    assert not torch.equal(names["soft"].predicted_depth, names["hard"].predicted_depth)
    assert 0 <= names["soft"].uncertainty.min() < names["soft"].uncertainty.max() <= 1


def check_object_pipelines(folder: Path, names: dict) -> None:
    assert names["boxes"] and names["masks"]
    assert all(set(box["box"]) == {"xmin", "ymin", "xmax", "ymax"} for box in names["boxes"])
    assert all(mask["mask"].size == ROOM_SIZE and mask["score"] >= 0.3 for mask in names["masks"])
    assert {"floor", "wall"} <= {part["label"] for part in names["classes"]}


def check_pose_pipeline(folder: Path, names: dict) -> None:
    (person,) = names["people"]
    assert len(person["keypoints"]) == 17 and {"x", "y", "score"} <= set(person["keypoints"][0])


def check_tokens(folder: Path, names: dict) -> None:
    (found,) = names["objects"]
    assert found["label"] == "cat" and found["damage"] is None
    assert found["box"] == (10, 10, 71, 51) and found["mask"].shape == PHOTO_SIZE


def check_generate(folder: Path, names: dict) -> None:
    assert names["result"]["predicted_depth"].shape == names["result"]["uncertainty"].shape == ROOM_SIZE
    assert names["outputs"].num_forwards == 1


def check_generate_objects(folder: Path, names: dict) -> None:
    outputs, result = names["outputs"], names["result"]
    assert outputs.class_scores.shape == (1, NUM_OBJECTS) and outputs.num_forwards == 5 * NUM_OBJECTS + 1
    assert outputs.pred_boxes.shape == (1, NUM_OBJECTS, 4) and outputs.pred_masks.shape[:2] == (1, NUM_OBJECTS)
    assert result["segmentation"].shape == ROOM_SIZE
    assert set(result["segmentation"].unique().tolist()) - {-1} == {s["id"] for s in result["segments_info"]}


def check_tokenize(folder: Path, names: dict) -> None:
    assert names["restored"].shape == names["depth"].shape == (1, 1, *ROOM_SIZE)
    assert (names["restored"] - names["depth"]).abs().mean() < (names["depth"] - names["depth"].mean()).abs().mean()


def check_tokenize_mask(folder: Path, names: dict) -> None:
    both, either = names["restored"] & names["masks"], names["restored"] | names["masks"]
    assert both.sum() / either.sum() > 0.8


def check_grammar(folder: Path, names: dict) -> None:
    assert names["grammar"].length >= len(names["grammar"].group) > 0


def check_train_tokenizer(folder: Path, names: dict) -> None:
    history = json.loads((folder / "runs/my-tokenizer/history.json").read_text(encoding="utf-8"))
    assert history[-1]["step"] == 2 and history[-1]["eval_rmse"] > 0
    assert VQTokenizer.from_pretrained(folder / "runs/my-tokenizer").config.sample_size == 64


def check_train(folder: Path, names: dict) -> None:
    assert AiTForDepthEstimation.from_pretrained(folder / "runs/my-model").config.parallel


def check_train_objects(folder: Path, names: dict) -> None:
    history = json.loads((folder / "runs/my-mask-tokenizer/history.json").read_text(encoding="utf-8"))
    assert history[-1]["step"] == 2 and history[-1]["eval_mse"] > 0
    assert VQTokenizer.from_pretrained(folder / "runs/my-mask-tokenizer").config.unit == "mask"
    history = json.loads((folder / "runs/my-segmenter/history.json").read_text(encoding="utf-8"))
    assert history[-1]["step"] == 2
    config = AiTForInstanceSegmentation.from_pretrained(folder / "runs/my-segmenter").config
    assert list(config.id2label.values()) == NAMES and config.tasks[INSTANCES]["image_size"] == [64, 64]


def check_train_semantics(folder: Path, names: dict) -> None:
    history = json.loads((folder / "runs/my-semantic-model/history.json").read_text(encoding="utf-8"))
    assert history[-1]["step"] == 2 and 0 <= history[-1][f"eval_{SEMANTICS}/mIoU"] <= 1
    config = AiTForSemanticSegmentation.from_pretrained(folder / "runs/my-semantic-model").config
    assert list(config.id2label.values()) == ["road", "sky", "tree"]


def check_evaluate_rooms(folder: Path, names: dict) -> None:
    result = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["results"]
    assert all(values["num_images"] == 32 and 0 < values["rmse"] < 0.96 for values in result.values())


def check_evaluate(folder: Path, names: dict) -> None:
    result = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["results"]
    assert all(0 <= values[name] <= 1 for values in result.values() for name in ("bbox_AP", "segm_AP50"))
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert {entry["image_id"] for entry in found} == {0, 1, 2}
    assert all({"category_id", "bbox", "score", "segmentation"} <= set(entry) for entry in found)


def check_convert(folder: Path, names: dict) -> None:
    assert not AiTForDepthEstimation.from_pretrained(folder / "converted").config.parallel


def check_remote_code(folder: Path, names: dict) -> None:
    assert type(names["model"]).__name__ == "AiTForDepthEstimation"


def check_nothing(folder: Path, names: dict) -> None:
    """What a command prints is tested where the command is."""


CHECKS = {
    "render_room(": check_picture,
    "ait env": check_nothing,
    "--model rooms docs/assets/room.png": check_readme_command,
    "--output seen": check_first_command,
    "--boxes boxes.json": check_predict,
    'depth = pipeline("depth-estimation"': check_readme_pipeline,
    'estimate = pipeline("depth-estimation"': check_pipeline,
    "soft.sequences": check_soft_and_hard,
    'pipeline("object-detection"': check_object_pipelines,
    'pipeline("keypoint-estimation"': check_pose_pipeline,
    "vae-oid.npz": check_tokens,
    'task="depth", soft_temperature': check_generate,
    'task="instance-segmentation", num_objects': check_generate_objects,
    "tokenizer.tokenize(depth)": check_tokenize,
    "tokenizer.tokenize(squares": check_tokenize_mask,
    "TaskGrammar.from_config": check_grammar,
    "train sample_rgbd_tokenizer": check_train_tokenizer,
    "train sample_rgbd_aitp": check_train,
    "train ait_swinv2_b_insseg": check_train_objects,
    "train sample_camvid_labels_aitp": check_train_semantics,
    "ait evaluate --model rooms": check_evaluate_rooms,
    "ait evaluate --model my-model": check_evaluate,
    "ait convert": check_convert,
    "trust_remote_code=True": check_remote_code,
}


def words_of(snippet: Snippet) -> str:
    found = [words for words in CHECKS if words in snippet.code]
    assert len(found) == 1, f"The snippet has {len(found)} checks instead of one:\n{snippet.code}"
    return found[0]


RUN = {
    page: [snippet for snippet in read_snippets(page) if snippet.kind in ("python", "bash") and snippet.runs]
    for page in PAGES
    if page not in TESTED_ELSEWHERE
}


def test_every_check_has_its_snippet():
    assert {words_of(snippet) for snippets in RUN.values() for snippet in snippets} == set(CHECKS)


@pytest.mark.parametrize("page", [page for page, snippets in RUN.items() if snippets])
def test_snippets_run(page, workspace, request, monkeypatch):
    monkeypatch.chdir(workspace)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", workspace / "cache")
    for snippet in RUN[page]:
        if "--original " in snippet.code:
            write_original_checkpoint(workspace, request.getfixturevalue("golden_dir"))
        names = snippet.run_python() if snippet.kind == "python" else {}
        for command in snippet.commands() if snippet.kind == "bash" else ():
            run(command)
        CHECKS[words_of(snippet)](workspace, names)


@pytest.mark.parametrize("page", PAGES)
def test_pages_have_no_other_blocks(page):
    """What is marked in another way would be run by nobody."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    kinds = re.findall(r"^ *```(\w+)", text, re.M)
    assert set(kinds) <= {"bash", "python", "yaml", "bibtex", "text"}
    assert len(read_snippets(page)) == len(kinds)
    assert text.count("<!--") == sum(not snippet.runs for snippet in read_snippets(page))


PLACEHOLDERS = {"RECIPE": "rooms_depth_aitp", "$data": "nyu"}
COMMANDS = [
    pytest.param(*found, id=f"{page}: {' '.join(command)}"[:100])
    for page in PAGES
    for snippet in read_snippets(page)
    for command in (snippet.commands() if snippet.kind == "bash" and not snippet.runs else ())
    if (found := verb_of([PLACEHOLDERS.get(word, word) for word in command]))
]


@pytest.mark.parametrize(("verb", "arguments"), COMMANDS)
def test_commands_that_are_not_run_are_understood(verb, arguments):
    import_module(f"ait_hf_cli.{verb}").parse_arguments(arguments, f"ait {verb}")


def test_commands_are_those_of_the_makefile():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^make ([\w-]+)", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.M)
    assert set(commands) >= {"demo", "test", "docs"}
    assert all(re.search(rf"^{command}:", makefile, re.M) for command in commands)
