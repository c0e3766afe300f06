# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle_codec
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_data import write_objects
from tiny import mixed_config

from ait_hf import AiTForDenseTokenGeneration, AiTImageProcessor, AiTTaskConfig, VQTokenizer
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.data.coco import coco_classes, load_coco
from ait_hf.data.object_transforms import ObjectEvalTransform
from ait_hf.data.pixels import object_collator
from ait_hf.data.rooms.objects import OBJECT_CLASSES, SyntheticObjects
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.metrics import read_coco
from ait_hf.model.masks_ait import crop_masks
from ait_hf.tasks.objects.drawing import object_gallery
from ait_hf.tasks.objects.evaluation import (
    coco_ground_truth,
    coco_results,
    evaluate_mask_tokenizer,
    evaluate_objects,
    image_collator,
    object_gallery_rows,
)


FRAME = (160, 160)
TASK = "instance-segmentation"
CATEGORY_IDS = [1, 2, 5]
DECLARED = AiTTaskConfig(task_id=1, slots=[], image_size=FRAME)
CATS = {"images": [{"id": 4}], "annotations": [], "categories": [{"id": number} for number in CATEGORY_IDS]}


def frame_processor(size: tuple[int, int] = FRAME) -> AiTImageProcessor:
    height, width = size
    return AiTImageProcessor(
        size={"max_height": height, "max_width": width},
        do_normalize=True,
        do_pad=True,
        pad_size={"height": height, "width": width},
    )


def output(boxes: list, labels: list, scores: list, masks: torch.Tensor | None = None) -> SimpleNamespace:
    """One image's objects; boxes relative to the frame."""
    return SimpleNamespace(
        pred_boxes=torch.tensor(boxes, dtype=torch.float32).reshape(1, -1, 4),
        class_labels=torch.tensor([labels]),
        class_scores=torch.tensor([scores]),
        pred_masks=None if masks is None else masks[None],
    )


class Oracle(torch.nn.Module):
    """Answers with what it was told, one image after the other, in the place of a model that knows the task's frame."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, answers: list[SimpleNamespace], num_classes: int = len(CATEGORY_IDS)):
        super().__init__()
        self.answers = list(answers)
        self.config = SimpleNamespace(classes=lambda _: range(num_classes), task=lambda _: DECLARED)
        self.codebook = None if answers[0].pred_masks is None else "mask"
        self.seen = []

    def grammar(self, task: str) -> SimpleNamespace:
        return SimpleNamespace(codebook=self.codebook)

    def generate(self, pixel_values: torch.Tensor, **settings) -> SimpleNamespace:
        assert not self.training and pixel_values.shape[1:] == (3, *FRAME)
        self.seen.append((pixel_values, settings))
        answers = [self.answers.pop(0) for _ in pixel_values]
        if len(answers) == 1:
            return answers[0]
        (names,) = {tuple(vars(answer)) for answer in answers}
        parts = {name: [getattr(answer, name) for answer in answers] for name in names}
        return SimpleNamespace(**{name: None if p[0] is None else torch.cat(p) for name, p in parts.items()})


def true_answer(row: dict, masks: np.ndarray, count: int = 64) -> SimpleNamespace:
    """What a perfect model says of a row: its objects in the frame, then noise of low scores up to `count`."""
    height, width = masks.shape[1:]
    processor = frame_processor()
    scale_y, scale_x = (new / old for new, old in zip(processor.resized_size(height, width), (height, width)))
    boxes = torch.tensor(np.asarray(row["boxes"])).reshape(-1, 4)
    numbers = torch.arange(len(boxes))
    relative = boxes * torch.tensor([scale_x, scale_y] * 2) / torch.tensor([FRAME[1], FRAME[0]] * 2)
    rest = count - len(boxes)
    answer = output(
        [*relative.tolist(), *[[0.0, 0.0, 0.1, 0.1]] * rest],
        [*map(int, row["class_labels"]), *[0] * rest],
        [0.9] * len(boxes) + [0.01] * rest,
    )
    crops = crop_masks(torch.tensor(masks), boxes, numbers, 64)
    answer.pred_masks = torch.cat([crops, torch.zeros(rest, 64, 64)])[None]
    return answer


@pytest.fixture(scope="module")
def coco(data_dir, tmp_path_factory):
    """Rows of the real sample, its annotation file, its classes' category ids, and the masks of every row."""
    annotations = data_dir / "coco_tiny" / "annotations" / "instances_train2017.json"
    rows = load_coco(annotations, data_dir / "coco_tiny" / "train2017", cache_dir=tmp_path_factory.mktemp("cache"))
    with redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
    masks = []
    for row in rows.select_columns(["annotation_id", "height", "width"]):
        decoded = [truth.annToMask(truth.anns[number]) for number in row["annotation_id"]]
        masks.append(np.stack(decoded) if decoded else np.zeros((0, row["height"], row["width"]), np.uint8))
    return rows, annotations, coco_classes(annotations)[1], masks


@pytest.fixture(scope="module")
def rooms():
    rooms = SyntheticObjects("test", (96, 128))
    return [rooms[number] for number in range(6)]


def test_a_perfect_model_of_real_images_is_perfect(coco):
    rows, annotations, category_ids, masks = coco
    rows, masks = rows.select(range(12)), masks[:12]
    answers = [true_answer(row, mask) for row, mask in zip(rows.remove_columns("image"), masks)]
    batches = torch.utils.data.DataLoader(rows, batch_size=5, collate_fn=lambda s: image_collator(s, processor=p))
    p = frame_processor()
    model = Oracle(answers, len(category_ids)).train()
    values, results = evaluate_objects(
        model, p, batches, annotations, task=TASK, category_ids=category_ids, num_objects=64
    )
    assert values["bbox_AP"] == pytest.approx(1) and values["segm_AP50"] == pytest.approx(1)
    assert values["segm_AP"] > 0.8  # what 64x64 masks can show
    assert values["num_images"] == 12 and len(results) == 12 * 64
    assert model.training
    assert all(settings["num_objects"] == 64 and settings["task"] == TASK for _, settings in model.seen)


def test_results_are_official_results(coco, tmp_path):
    """pycocotools itself reads them from a file, and measures the same."""
    rows, annotations, category_ids, masks = coco
    rows, masks = rows.select(range(8)), masks[:8]
    generator = torch.Generator().manual_seed(0)
    answers = [true_answer(row, mask, 40) for row, mask in zip(rows.remove_columns("image"), masks)]
    for answer in answers:
        answer.pred_boxes += 0.02 * torch.randn(answer.pred_boxes.shape, generator=generator)
        answer.class_scores = torch.rand(answer.class_scores.shape, generator=generator)
    batches = [image_collator([row], processor=frame_processor()) for row in rows]
    values, results = evaluate_objects(
        Oracle(answers, len(category_ids)),
        frame_processor(),
        batches,
        annotations,
        task=TASK,
        category_ids=category_ids,
    )
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "masks.json").write_text(json.dumps([{k: r[k] for k in r if k != "bbox"} for r in results]))
    content = json.loads(Path(annotations).read_text())
    (tmp_path / "truth.json").write_text(
        json.dumps(content | {"annotations": [{"iscrowd": 0} | a for a in content["annotations"]]})
    )
    with redirect_stdout(io.StringIO()):
        truth = COCO(tmp_path / "truth.json")
        for kind, name in (("bbox", "results.json"), ("segm", "masks.json")):
            official = COCOeval(truth, truth.loadRes(str(tmp_path / name)), kind)
            official.params.imgIds = list(rows["image_id"])
            official.evaluate()
            official.accumulate()
            official.summarize()
            measured = [value for key, value in values.items() if key.startswith(kind)]
            assert measured == pytest.approx(official.stats.tolist()) and 0 < official.stats[0] < 1


def test_ground_truth_from_rows_is_that_of_the_file(coco):
    rows, annotations, category_ids, _ = coco
    from_rows, official = coco_ground_truth(rows, category_ids), read_coco(annotations)
    assert from_rows["images"] == [{key: i[key] for key in ("id", "height", "width")} for i in official["images"]]
    assert {c["id"] for c in from_rows["categories"]} == {c["id"] for c in official["categories"]}
    given = {a["id"]: a for a in official["annotations"]}
    numbers = [number for row in rows.remove_columns("image") for number in row["annotation_id"]]
    assert len(numbers) == len(given) == len(from_rows["annotations"])
    for number, annotation in zip(numbers, from_rows["annotations"]):
        for key in ("image_id", "category_id", "segmentation"):
            assert annotation[key] == given[number][key]
        assert annotation["bbox"] == pytest.approx(given[number]["bbox"], abs=1e-2)
        assert annotation["area"] == pytest.approx(given[number]["area"], rel=1e-5)


def test_crowds_and_objects_without_masks_stay_what_they_are():
    row = {"image_id": 9, "height": 40, "width": 50, "boxes": [[0, 0, 20, 10], [5, 5, 30, 40]], "class_labels": [2, 0]}
    rle = {"size": [40, 50], "counts": [0, 2000]}
    row |= {"iscrowd": [False, True], "area": [200.0, 875.0], "segmentation": ["", json.dumps(rle)]}
    truth = coco_ground_truth([row], CATEGORY_IDS)
    expected = [
        {"bbox": [0, 0, 20, 10], "area": 200, "iscrowd": 0, "category_id": 5, "image_id": 9, "id": 1},
        {"bbox": [5, 5, 25, 35], "area": 875, "iscrowd": 1, "category_id": 1, "image_id": 9, "id": 2},
    ]
    expected[1]["segmentation"] = rle
    assert truth["annotations"] == expected


def test_a_perfect_model_of_rooms_is_perfect_and_one_that_mixes_classes_up_is_not(rooms):
    truth = coco_ground_truth(rooms, CATEGORY_IDS)
    batches = [image_collator([room], processor=frame_processor()) for room in rooms]
    values = []
    for shift in (0, 1):
        answers = [true_answer(room, room["masks"], 10) for room in rooms]
        for answer in answers:
            answer.class_labels = (answer.class_labels + shift) % len(CATEGORY_IDS)
        arguments = {"task": TASK, "category_ids": CATEGORY_IDS}
        values.append(evaluate_objects(Oracle(answers), frame_processor(), batches, truth, **arguments)[0])
    assert values[0]["bbox_AP"] == pytest.approx(1) and values[0]["segm_AP50"] == pytest.approx(1)
    assert values[1]["bbox_AP50"] < 0.3


def test_batches_of_the_evaluation_transform_are_those_of_the_image_processor(coco, rooms):
    rows = [coco[0][0], coco[0][1]]
    for samples in (rows, rooms[:2]):
        ours = image_collator(samples, processor=frame_processor())
        theirs = object_collator([ObjectEvalTransform(FRAME)(sample) for sample in samples])
        assert torch.allclose(ours["pixel_values"], theirs["pixel_values"], atol=1e-5)
        for label, other in zip(ours["labels"], theirs["labels"]):
            for name in ("image_id", "orig_size"):
                assert torch.equal(label[name], other[name])


def test_results_are_boxes_by_corner_and_size_in_original_pixels():
    """A 40x80 image fills the upper half of the frame at twice its size."""
    outputs = output([[0.25, 0.125, 0.5, 0.25], [0.5, 0.5, 0.25, 0.25]], [2, 0], [0.75, 0.25])
    ((row),) = coco_results(outputs, [4], [(40, 80)], CATEGORY_IDS, frame_processor())
    assert row == {
        "image_id": 4,
        "results": [
            {"image_id": 4, "category_id": 5, "bbox": [20.0, 10.0, 20.0, 10.0], "score": 0.75},
            {"image_id": 4, "category_id": 1, "bbox": [20.0, 20.0, 20.0, 20.0], "score": 0.25},  # corners in order
        ],
    }
    ((row),) = coco_results(outputs, [4], [(40, 80)], CATEGORY_IDS, frame_processor(), score_threshold=0.5)
    assert [result["score"] for result in row["results"]] == [0.75]


def test_masks_keep_to_their_objects_when_some_are_left_out():
    boxes, scores = [[0.0, 0.0, 0.25, 0.25], [0.5, 0.25, 1.0, 0.5]], [0.25, 0.75]
    outputs = output(boxes, [0, 1], scores, torch.ones(2, 64, 64))
    for threshold, places in ((0.0, [(0, 0, 20, 20), (40, 20, 40, 20)]), (0.5, [(40, 20, 40, 20)])):
        ((row),) = coco_results(outputs, [4], [(80, 80)], CATEGORY_IDS, frame_processor(), score_threshold=threshold)
        for result, (x, y, width, height) in zip(row["results"], places, strict=True):
            with redirect_stdout(io.StringIO()):
                index = COCO()
            index.imgs = {4: {"height": 80, "width": 80}}
            expected = np.zeros((80, 80), np.uint8)
            expected[y : y + height, x : x + width] = 1
            np.testing.assert_array_equal(index.annToMask(result), expected)


def test_with_top_k_an_object_may_have_several_classes():
    """Both objects in their two likeliest classes; the model's classes 4, 5 and 6 are the task's 0, 1 and 2."""
    boxes = [[0.0, 0.0, 0.25, 0.25], [0.5, 0.25, 1.0, 0.5]]
    outputs = output(boxes, [5, 6], [0.5, 0.6], torch.ones(2, 64, 64))
    probabilities = [[0, 0, 0, 0, 0.0625, 0.5, 0.25, 0.1875], [0, 0, 0, 0, 0.3, 0, 0.6, 0.1]]
    outputs.class_logits = torch.tensor([probabilities]).log()
    arguments = {"top_k": 4, "score_threshold": 0.1, "first_class": 4}
    ((row),) = coco_results(outputs, [4], [(80, 80)], CATEGORY_IDS, frame_processor(), **arguments)
    expected = [(5, 40, 0.6), (2, 0, 0.5), (1, 40, 0.3), (5, 0, 0.25)]
    for result, (category, left, score) in zip(row["results"], expected, strict=True):
        assert (result["category_id"], result["bbox"][0]) == (category, left)
        assert result["score"] == pytest.approx(score)
        assert rle_codec.toBbox(result["segmentation"]).tolist() == result["bbox"]
    ((best),) = coco_results(outputs, [4], [(80, 80)], CATEGORY_IDS, frame_processor(), top_k=1, first_class=4)
    assert best["results"] == row["results"][:1]


def test_second_guesses_raise_average_precision(rooms):
    """The model chooses wrongly, but gives the right class nearly as much."""
    truth = coco_ground_truth(rooms, CATEGORY_IDS)
    batches = [image_collator([room], processor=frame_processor()) for room in rooms]
    values = []
    for top_k in (None, 20):
        answers = [true_answer(room, room["masks"], 10) for room in rooms]
        for answer in answers:
            is_object = answer.class_scores[..., None] > 0.5
            right = torch.nn.functional.one_hot(answer.class_labels, 3)
            classes = is_object * (0.4 * right + 0.5 * right.roll(1, dims=2))
            answer.class_logits = torch.cat([classes, 1 - classes.sum(2, keepdim=True)], dim=2).log()
            answer.class_labels = classes.argmax(2)
            answer.class_scores = classes.amax(2)
        arguments = {"task": TASK, "category_ids": CATEGORY_IDS, "top_k": top_k}
        values.append(evaluate_objects(Oracle(answers), frame_processor(), batches, truth, **arguments)[0])
    for name in ("bbox_AP50", "segm_AP50"):
        assert values[0][name] < 0.1 and values[1][name] > 0.3


def test_nothing_good_enough_is_zero():
    truth = CATS | {"annotations": [{"image_id": 4, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}]}
    batch = image_collator([{"image_id": 4, "image": np.zeros((40, 80, 3), np.uint8)}], processor=frame_processor())
    model = Oracle([output([[0, 0, 1, 1]], [0], [0.4])])
    arguments = {"task": "object-detection", "category_ids": CATEGORY_IDS, "score_threshold": 0.5}
    values, results = evaluate_objects(model, frame_processor(), [batch], truth, **arguments)
    assert values["bbox_AP"] == 0 and results == []
    assert not any(name.startswith("segm") for name in values)


def test_what_cannot_be_evaluated_is_refused():
    model = Oracle([output([], [], [])])
    batch = image_collator([{"image_id": 3, "image": np.zeros((40, 80, 3), np.uint8)}], processor=frame_processor())

    def refused(match, batches=(batch,), truth=CATS, category_ids=CATEGORY_IDS, processor=None, error=ValueError):
        arguments = {"task": "object-detection", "category_ids": category_ids}
        with pytest.raises(error, match=match):
            evaluate_objects(model, processor or frame_processor(), batches, truth, **arguments)

    refused("no images to evaluate", batches=[])
    refused("no image 3")
    refused("knows 3 classes, but the data have 2", category_ids=[1, 2])
    refused("no category 9", category_ids=[1, 2, 9])
    refused("160x160 pixels, but this image processor makes 96x96", processor=frame_processor((96, 96)))
    refused("nowhere.json does not exist", truth="nowhere.json", error=FileNotFoundError)


# Mask tokenizers


class Memory(torch.nn.Module):
    """A tokenizer that remembers its maps, one code for each, in the place of one that was trained."""

    device = torch.device("cpu")

    def __init__(self, num_codes: int, size: int = 64):
        super().__init__()
        self.config = SimpleNamespace(sample_size=size, num_vq_embeddings=num_codes)
        self.maps = []

    def tokenize(self, maps: torch.Tensor) -> torch.LongTensor:
        self.maps += maps
        return torch.arange(len(self.maps) - len(maps), len(self.maps))[:, None, None]

    def detokenize(self, ids: torch.LongTensor) -> torch.Tensor:
        return torch.stack([self.maps[number] for number in ids.flatten().tolist()])


def test_a_tokenizer_that_forgets_nothing_rebuilds_all_objects(rooms):
    sides = np.concatenate([room["boxes"][:, 2:] - room["boxes"][:, :2] for room in rooms])
    num_objects = int((sides.min(1) >= 2).sum())
    values = evaluate_mask_tokenizer(Memory(num_objects), rooms, CATEGORY_IDS, batch_size=4)
    assert values["segm_AP"] == pytest.approx(num_objects / len(sides), abs=0.05) and values["boundary_AP"] > 0.8
    assert values["mse"] == 0 and values["iou"] == 1
    assert values["perplexity"] == pytest.approx(num_objects)
    assert (values["num_images"], values["num_objects"]) == (6, num_objects)


def test_the_finer_the_masks_the_better_the_rebuilt_objects(coco):
    rows, _, category_ids, _ = coco
    rows = rows.select(range(10))
    coarse, fine = (evaluate_mask_tokenizer(Memory(1000, size), rows, category_ids) for size in (8, 64))
    assert coarse["segm_AP"] < fine["segm_AP"] > 0.8
    assert coarse["boundary_AP"] < fine["boundary_AP"] < fine["segm_AP"]


def test_crowds_and_thin_objects_are_not_rebuilt():
    rectangle = {"size": [40, 50], "counts": [0, 2000]}
    row = {"image_id": 1, "height": 40, "width": 50, "class_labels": [0, 0, 0], "iscrowd": [False, True, False]}
    row |= {"boxes": [[0, 0, 50, 40], [0, 0, 50, 40], [3, 3, 4.9, 30]], "area": [2000.0, 2000.0, 30.0]}
    row["segmentation"] = [json.dumps(rectangle)] * 3
    values = evaluate_mask_tokenizer(Memory(4), [row], CATEGORY_IDS)
    assert values["num_objects"] == 1 and values["segm_AR100"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no object whose box"):
        evaluate_mask_tokenizer(Memory(4), [row | {"iscrowd": [True] * 3}], CATEGORY_IDS)


def test_a_real_tokenizer_uses_its_codes(rooms):
    torch.manual_seed(0)
    tokenizer = VQTokenizer(**mixed_config().tokenizers["mask"])
    values = evaluate_mask_tokenizer(tokenizer.train(), rooms, CATEGORY_IDS)
    assert 1 <= values["perplexity"] <= 16 and 0 <= values["iou"] <= 1
    assert tokenizer.training


# The command


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny model of both object tasks, with the rooms' three classes."""
    torch.manual_seed(0)
    shared = {"output_type": "objects", "num_groups": 3, "image_size": [96, 96]}
    tasks = {
        "object-detection": {"task_id": 0, "slots": ["coordinate"] * 4 + ["class"], **shared},
        TASK: {"task_id": 1, "slots": ["coordinate"] * 4 + ["class", "mask"], "grid_size": [2, 2], **shared},
    }
    names = dict(enumerate(OBJECT_CLASSES))
    model = AiTForDenseTokenGeneration(mixed_config(tasks=tasks, num_classes=len(names), id2label=names))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_with_remote_code(model.eval(), frame_processor((96, 96)), folder)
    return folder


def run(*arguments) -> None:
    evaluate([str(argument) for argument in arguments])


def test_command_on_rooms(saved, tmp_path, capsys):
    arguments = ["--model", saved, "--data", "synthetic", "--split", "test", "--limit", 3]
    arguments += ["--output", tmp_path / "metrics.json", "--gallery", tmp_path / "gallery.png"]
    run(*arguments, "--task", "object-detection", "--num-objects", 2, "--results", tmp_path / "results.json")
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["task"] == "object-detection" and report["num_objects"] == 2 and "protocol" not in report
    (values,) = report["results"].values()
    assert values["num_images"] == 3 and 0 <= values["bbox_AP"] <= 1
    found = json.loads((tmp_path / "results.json").read_text())
    assert [result["image_id"] for result in found] == [0, 0, 1, 1, 2, 2]
    run(*arguments, "--task", "object-detection", "--top-k", 5, "--results", tmp_path / "pairs.json")
    pairs = json.loads((tmp_path / "pairs.json").read_text())
    assert [result["image_id"] for result in pairs] == [0] * 5 + [1] * 5 + [2] * 5
    assert all(first["score"] >= second["score"] for first, second in zip(pairs[:5], pairs[1:5]))
    assert "bbox_AP50" in capsys.readouterr().out

    run(*arguments, "--task", TASK, "--modes", "all", "--tokenizer-reconstruction")
    results = json.loads((tmp_path / "metrics.json").read_text())["results"]
    assert len(results) == 5
    assert all("boundary_AP" in values or "bbox_AP" in values for values in results.values())
    with Image.open(tmp_path / "gallery.png") as drawn:
        assert drawn.width > 3 * 300


def test_command_samples_reproducibly(saved, tmp_path):
    arguments = ["--model", saved, "--task", TASK, "--data", "synthetic", "--split", "test", "--limit", 2]
    arguments += ["--output", tmp_path / "metrics.json", "--results"]
    for name, options in {"a": [], "b": [], "c": ["--top-p", 1e-6]}.items():
        run(*arguments, tmp_path / name, "--do-sample", *options)
    run(*arguments, tmp_path / "greedy")
    found = {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir() if not path.suffix}
    assert found["a"] == found["b"] != found["c"] == found["greedy"]


def test_command_on_coco_annotations(coco, data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    _, annotations, _, _ = coco
    torch.manual_seed(0)
    VQTokenizer(**mixed_config().tokenizers["mask"]).save_pretrained(tmp_path / "vq")
    data = ["--data", f"coco:{annotations}", "--images", data_dir / "coco_tiny" / "train2017", "--limit", 3]
    run("--tokenizer", tmp_path / "vq", "--task", TASK, *data, "--output", tmp_path / "metrics.json")
    values = json.loads((tmp_path / "metrics.json").read_text())["results"]["tokenizer"]
    assert values["num_images"] == 3 and values["num_objects"] > 3 and 1 <= values["perplexity"] <= 16


def test_command_on_tiles(tmp_path, capsys):
    """Pictures of 60 x 80: in tiles that hold them nothing changes, tiles of 40 are four of each."""
    folder = write_objects(tmp_path / "objects")
    (annotations,) = folder.glob("*.json")
    torch.manual_seed(0)
    VQTokenizer(**mixed_config().tokenizers["mask"]).save_pretrained(tmp_path / "vq")
    data = ["--data", f"coco:{annotations}", "--images", folder / "images", "--task", TASK]
    results = []
    for name, options in {"whole": [], "held": ["--tile-size", 200], "cut": ["--tile-size", 40]}.items():
        run("--tokenizer", tmp_path / "vq", *data, "--output", tmp_path / f"{name}.json", *options)
        results.append(json.loads((tmp_path / f"{name}.json").read_text())["results"]["tokenizer"])
    whole, held, cut = results
    assert held == whole and whole["num_images"] == 12 and cut["num_images"] == 48
    assert (
        whole["num_objects"] == 12 and cut["num_objects"] == 24
    )  # .75 and .5 of a box lie in the two tiles at the left
    for options, sentence in (
        (["--tile-overlap", 5], "give their --tile-size, too"),
        (["--tile-size", 40, "--tile-overlap", 40], "overlap must be at least 0 and below size, 40, got 40"),
    ):
        with pytest.raises(SystemExit):
            run("--tokenizer", tmp_path / "vq", *data, *options)
        assert sentence in capsys.readouterr().err


def test_command_refuses_bad_input_and_writes_nothing(saved, tmp_path, capsys):
    (tmp_path / "broken.json").write_text("{")

    def refused(*options, task=TASK, data="synthetic") -> str:
        with pytest.raises(SystemExit) as caught:
            run("--task", task, "--data", data, "--output", tmp_path / "metrics.json", *options)
        message = capsys.readouterr().err
        assert caught.value.code == 2 and message.count("\n") == 1
        return message

    model = ("--model", saved)
    on_rooms = (*model, "--split", "test", "--limit", 2)
    assert "--split of the synthetic rooms" in refused(*model)
    assert "give --limit" in refused(*model, "--split", "train")
    assert "leave out --images" in refused(*on_rooms, "--images", tmp_path)
    assert "--protocol has no meaning for objects" in refused(*on_rooms, "--protocol", "tta")
    assert "--num-objects has no meaning for depth" in refused(*on_rooms, "--num-objects", 2, task="depth")
    assert "--num-objects must lie in 1..3" in refused(*on_rooms, "--num-objects", 7)
    assert "--top-k must be at least 1" in refused(*on_rooms, "--top-k", 0)
    assert "need --model" in refused("--tokenizer", tmp_path, "--split", "test", "--top-k", 2)
    assert "no masks" in refused(*on_rooms, "--modes", "all", task="object-detection")
    assert "leave out --results or --modes" in refused(*on_rooms, "--modes", "all", "--results", tmp_path / "r.json")
    assert "add --do-sample" in refused(*on_rooms, "--top-p", 0.5)
    assert "need --model" in refused("--tokenizer", tmp_path, "--split", "test", "--num-objects", 2)
    assert "need --model" in refused("--tokenizer", tmp_path, "--split", "test", "--box-tolerance", 0.2)
    for wrong in (-0.2, "nan", "inf"):
        assert "--box-tolerance must be at least 0 and finite" in refused(*on_rooms, f"--box-tolerance={wrong}")
    assert "folder of" in refused(*on_rooms, "--results", tmp_path / "nowhere" / "r.json")
    assert "not on my_rgbd" in refused(*on_rooms, data="my_rgbd")
    coco = (*model, "--images", tmp_path)
    assert "--images DIR" in refused(*model, data="coco:missing.json")
    assert "leave out --split" in refused(*coco, "--split", "test", data="coco:missing.json")
    assert "missing.json do not exist" in refused(*coco, data="coco:missing.json")
    assert "not a JSON file" in refused(*coco, data=f"coco:{tmp_path / 'broken.json'}")
    assert not (tmp_path / "metrics.json").exists()


def test_gallery_rows_can_be_drawn(coco, rooms):
    rows, _, category_ids, masks = coco
    row = rows[2]
    model = Oracle([true_answer(row, masks[2])])
    (drawn,) = object_gallery_rows(model, frame_processor(), [row], task=TASK, class_names=["thing"] * 80)
    num_objects = len(row["boxes"])
    assert drawn["prediction"]["masks"].shape == (num_objects, row["height"], row["width"])
    np.testing.assert_allclose(drawn["prediction"]["boxes"], drawn["truth"]["boxes"], atol=1e-2)
    np.testing.assert_array_equal(drawn["truth"]["masks"], masks[2])
    assert (drawn["prediction"]["masks"] == drawn["truth"]["masks"]).mean() > 0.97
    nothing = Oracle([output([[0, 0, 1, 1]], [0], [0.1])])
    (empty,) = object_gallery_rows(nothing, frame_processor(), rooms[:1], task=TASK, class_names=OBJECT_CLASSES)
    assert object_gallery([drawn, empty]).width > 900
