# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Poses, classes of pixels and other maps: in Python and by `ait predict`."""

import json
import runpy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from repository import SCRIPTS
from saved_model import picture, save_tiny_model
from tiny import tiny_config
from tiny_dense import CLASSES, KEYPOINTS, LABELS, NORMALS, SEMANTICS, SIZE, TASKS, TOKENIZERS, dense_model
from transformers import pipeline

from ait_hf import AiTForDenseTokenGeneration, AiTForSemanticSegmentation, AiTImageProcessor, load_depth_png
from ait_hf.data.skeletons import COCO_SKELETON, Skeleton
from ait_hf.drawing.page import resize_picture
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.inference.loading import load_model_and_processor, load_processor
from ait_hf.model.image_processing_pose_ait import AiTPoseImageProcessor
from ait_hf.tasks.depth.prediction import predict_depth
from ait_hf.tasks.maps.drawing import colorize_map
from ait_hf.tasks.maps.prediction import predict_maps
from ait_hf.tasks.objects.prediction import predict_objects
from ait_hf.tasks.poses.prediction import detect_people, generate_poses, person_task, predict_poses
from ait_hf.tasks.semantics.prediction import predict_semantics


DETECTION = "object-detection"
FRAME = {"height": SIZE, "width": SIZE}
NAMES = ["person", "thing", "floor", "wall", "box", "sphere"]
WHOLE = [9.6, 9.6, 76.8, 76.8]  # 1.25 times as large it is a square image of 96 pixels
PROCESSORS = {
    DETECTION: AiTImageProcessor(
        size={"max_height": SIZE, "max_width": SIZE}, do_normalize=True, do_pad=True, pad_size=FRAME
    ),
    LABELS: AiTImageProcessor(size=FRAME),
    KEYPOINTS: AiTPoseImageProcessor(size=FRAME, do_normalize=False),
    SEMANTICS: AiTImageProcessor(size={"max_height": SIZE, "max_width": SIZE}, do_pad=True, pad_size=FRAME),
    NORMALS: AiTImageProcessor(size=FRAME),
}


def many_tasks(tasks=tuple(PROCESSORS), model_class=AiTForDenseTokenGeneration):
    """A random model of several tasks; its people have COCO's joints."""
    detection = {"task_id": 0, "slots": ["coordinate"] * 4 + ["class"], "output_type": "objects", "num_groups": 5}
    declared = TASKS | {DETECTION: detection | {"class_range": [0, 2]}, LABELS: TASKS[LABELS] | {"task_id": 1}}
    tokenizers = TOKENIZERS | {"pose": TOKENIZERS["pose"] | {"num_joints": 17}}
    used = [slot for task in tasks for slot in declared[task]["slots"] if slot in tokenizers]
    config = tiny_config(
        tasks={task: declared[task] | {"image_size": [SIZE, SIZE]} for task in tasks},
        tokenizers={name: tokenizers[name] for name in used},
        codebooks=[[name, tokenizers[name]["num_vq_embeddings"]] for name in used],
        num_task_ids=6,
        id2label=dict(enumerate(NAMES)),
    )
    model = dense_model(config, model_class)
    with torch.no_grad():
        model.model.decoder.embed_positions.weight.mul_(10)  # else every object is like the one before
        for name in {"segment", "labels", "normals"} & set(used):
            model.tokenizers[name].decoder.conv_out.weight.mul_(300)
    return model


@pytest.fixture(scope="module")
def model():
    return many_tasks()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "many"
    save_with_remote_code(model, PROCESSORS, folder)
    return folder


def generate(model, task, image):
    pixel_values = PROCESSORS[task](image, return_tensors="pt").pixel_values
    return model.generate(pixel_values=pixel_values, task=task)


@pytest.mark.parametrize("task", [SEMANTICS, LABELS])
def test_classes_are_those_of_the_maps_at_the_images_size(model, task):
    images = [picture(48, 96, 1), picture(60, 40, 2)]
    predictions = predict_semantics(model, PROCESSORS[task], images, task=task)
    for image, prediction in zip(images, predictions, strict=True):
        maps = generate(model, task, image).class_maps
        height, width = PROCESSORS[task].resized_size(image.height, image.width)
        scores = F.interpolate(maps[..., :height, :width], size=(image.height, image.width), mode="bilinear")[0]
        assert prediction.dtype == torch.int64 and prediction.shape == (image.height, image.width)
        chosen = scores.gather(0, prediction[None])[0]
        torch.testing.assert_close(chosen, scores.amax(0), atol=1e-5, rtol=0)
        assert set(prediction.unique().tolist()) <= set(CLASSES)


def test_maps_are_those_generated_at_the_images_size(model):
    images = [picture(48, 96, 1), picture(SIZE, SIZE, 2)]
    predictions = predict_maps(model, PROCESSORS[NORMALS], images, task=NORMALS)
    for image, prediction in zip(images, predictions, strict=True):
        outputs = generate(model, NORMALS, image)
        for name, maps in (("predicted_map", outputs.predicted_map), ("uncertainty", outputs.uncertainty[:, None])):
            expected = F.interpolate(maps, size=(image.height, image.width), mode="bilinear")[0]
            torch.testing.assert_close(prediction[name].view_as(expected), expected, atol=1e-4, rtol=1e-4)
    hard = predict_maps(model, PROCESSORS[NORMALS], images, task=NORMALS, soft_detokenizer=False)
    assert not torch.allclose(hard[0]["predicted_map"], predictions[0]["predicted_map"], atol=1e-2)


def test_a_pose_in_a_box_around_all_of_the_image(model):
    image = picture(SIZE, SIZE, 3)
    ((person,),) = predict_poses(model, PROCESSORS[KEYPOINTS], [image], [[WHOLE]])
    pixel_values = torch.tensor(np.asarray(image)).permute(2, 0, 1)[None] / 255
    outputs = model.generate(pixel_values=pixel_values, task=KEYPOINTS)
    torch.testing.assert_close(person["keypoints"], outputs.pred_keypoints[0], atol=1e-2, rtol=0)
    torch.testing.assert_close(person["scores"], outputs.keypoint_scores[0], atol=1e-4, rtol=0)


def test_people_stay_with_their_images(model):
    images = [picture(50, 80, 4), picture(40, 40, 5), picture(70, 60, 6)]
    boxes = [[[10, 5, 30, 40], [40, 0, 20, 45]], [], [[5, 5, 50, 60]]]
    together = predict_poses(model, PROCESSORS[KEYPOINTS], images, boxes, batch_size=2)
    assert [len(people) for people in together] == [2, 0, 1]
    for image, of_image, people in zip(images, boxes, together):
        for box, person in zip(of_image, people):
            ((alone,),) = predict_poses(model, PROCESSORS[KEYPOINTS], [image], [[box]])
            torch.testing.assert_close(person["keypoints"], alone["keypoints"], atol=1e-2, rtol=1e-4)
            x, y, width, height = box
            assert person["bbox"].tolist() == [x, y, x + width, y + height]
    assert predict_poses(model, PROCESSORS[KEYPOINTS], images[:2], [[], []]) == [[], []]


def test_the_flip_test_does_not_know_left_from_right(model):
    """A mirrored image has the mirrored pose, its joints on the other side."""
    image = picture(SIZE, SIZE, 3)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    poses = []
    for shown in (image, mirrored):
        ((person,),) = predict_poses(model, PROCESSORS[KEYPOINTS], [shown], [[WHOLE]], flip_test=True)
        poses.append(person["keypoints"])
    swapped = poses[1][COCO_SKELETON.flip_order]
    torch.testing.assert_close(swapped[:, 0], SIZE - 1 - poses[0][:, 0], atol=1e-2, rtol=0)
    torch.testing.assert_close(swapped[:, 1], poses[0][:, 1], atol=1e-2, rtol=0)
    pixel_values = torch.tensor(np.asarray(image)).permute(2, 0, 1)[None] / 255
    once, averaged = (
        generate_poses(model, pixel_values, KEYPOINTS, order).pred_keypoints
        for order in (None, COCO_SKELETON.flip_order)
    )
    assert (once - averaged).abs().max() > 0.1


def test_people_are_objects_of_that_class(model):
    processor = PROCESSORS[DETECTION]
    images = [picture(48, 96, seed) for seed in range(6)]
    found = detect_people(model, processor, images, threshold=0.0)
    objects = predict_objects(model, processor, images, task=DETECTION, threshold=0.0)
    numbers = []
    for people, candidates in zip(found, objects, strict=True):
        expected = []
        for label, (x1, y1, x2, y2), score in zip(
            *(candidates[name].tolist() for name in ("labels", "boxes", "scores"))
        ):
            x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, 96), min(y2, 48)
            if NAMES[label] == "person" and x2 - x1 >= 1 and y2 - y1 >= 1:
                expected.append([x1, y1, x2 - x1, y2 - y1, score])
        measured = torch.cat([people["boxes"], people["scores"][:, None]], dim=1)
        torch.testing.assert_close(measured, torch.tensor(expected).reshape(-1, 5))
        numbers.append(len(expected))
    assert 0 < sum(numbers) < 6 * 5
    assert [len(people["scores"]) for people in detect_people(model, processor, images, threshold=1.0)] == [0] * 6


def test_what_cannot_be_predicted_is_refused(model):
    images, poses = [picture(48, 96)], PROCESSORS[KEYPOINTS]
    with pytest.raises(ValueError, match="'depth'|Unknown task"):
        predict_maps(model, PROCESSORS[NORMALS], images, task="depth")
    with pytest.raises(ValueError, match="is of the type 'map', but semantic or label_map is needed"):
        predict_semantics(model, PROCESSORS[NORMALS], images, task=NORMALS)
    with pytest.raises(ValueError, match="96x96 pixels, but this image processor makes 480x480"):
        predict_maps(model, AiTImageProcessor(), images, task=NORMALS)
    with pytest.raises(ValueError, match="is of the type 'semantic', but pose is needed"):
        predict_poses(model, poses, images, [[WHOLE]], task=SEMANTICS)
    with pytest.raises(ValueError, match="got 2 for 1 images"):
        predict_poses(model, poses, images, [[WHOLE], []])
    stick = Skeleton("stick", ("top", "bottom"), (), ((0, 1),), (0.1, 0.1))
    with pytest.raises(ValueError, match="have 17 joints, but the skeleton stick has 2"):
        predict_poses(model, poses, images, [[WHOLE]], skeleton=stick)
    for predict in (
        predict_semantics,
        lambda *given: predict_poses(*given, []),
        lambda *given: predict_maps(*given, task=NORMALS),
    ):
        with pytest.raises(ValueError, match="no images"):
            predict(model, poses, [])
    with pytest.raises(ValueError, match="finds no people by itself"):
        person_task(tiny_config())


def test_the_image_segmentation_pipeline(tmp_path):
    """Of a model whose only segmentation is semantic, asked for it or not."""
    model = many_tasks((SEMANTICS,), AiTForSemanticSegmentation)
    save_with_remote_code(model, PROCESSORS[SEMANTICS], tmp_path)
    image = picture(60, 40, 2)
    segmenter = pipeline("image-segmentation", model=str(tmp_path), device="cpu")
    found = segmenter(image, subtask="semantic")
    (expected,) = predict_semantics(model, PROCESSORS[SEMANTICS], [image])
    assert [segment["label"] for segment in found] == [NAMES[number] for number in expected.unique()]
    for segment in found:
        differing = np.asarray(segment["mask"]) != 255 * (expected == NAMES.index(segment["label"])).numpy()
        assert segment["mask"].size == image.size and differing.mean() < 0.01
    for unasked, segment in zip(segmenter(image), found, strict=True):
        assert unasked["label"] == segment["label"] and list(unasked["mask"].getdata()) == list(
            segment["mask"].getdata()
        )


# predict.py

predict = runpy.run_path(str(SCRIPTS / "predict.py"))["main"]


@pytest.fixture
def photos(tmp_path):
    images = {"wide": picture(48, 96, 1), "high": picture(90, 60, 2)}
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
    return images


def run(saved, task, tmp_path, *options) -> set[str]:
    files = [str(tmp_path / name) for name in ("wide.png", "high.png")]
    arguments = ["--model", str(saved), "--task", task, "--output", str(tmp_path / "out")]
    predict([*arguments, *map(str, options), *files])
    return {path.name for path in (tmp_path / "out").iterdir()}


def written(*kinds):
    return {f"{name}_{kind}" for name in ("wide", "high") for kind in kinds}


def test_processors_are_those_of_the_tasks(saved):
    for task, processor in PROCESSORS.items():
        assert type(load_processor(saved, task)) is type(processor)


@pytest.mark.parametrize("task", [SEMANTICS, LABELS])
def test_predict_writes_classes(saved, photos, tmp_path, task):
    assert run(saved, task, tmp_path) == written("labels.png", "semantics.png")
    model, processor = load_model_and_processor(saved, task)
    for (name, image), expected in zip(
        photos.items(), predict_semantics(model, processor, list(photos.values()), task=task)
    ):
        with Image.open(tmp_path / "out" / f"{name}_labels.png") as labels:
            assert labels.mode == "P" and np.array_equal(np.asarray(labels), expected.numpy())
            assert labels.convert("RGB").getcolors() is not None
        with Image.open(tmp_path / "out" / f"{name}_semantics.png") as drawn:
            assert drawn.width >= image.width


def test_predict_writes_a_task_of_ones_own(saved, photos, tmp_path):
    assert run(saved, NORMALS, tmp_path, "--batch-size", 1) == written("normals.npy", "normals.png")
    model, processor = load_model_and_processor(saved, NORMALS)
    for (name, image), expected in zip(
        photos.items(), predict_maps(model, processor, list(photos.values()), task=NORMALS)
    ):
        values = np.load(tmp_path / "out" / f"{name}_normals.npy")
        assert values.dtype == np.float32 and values.shape == (image.height, image.width, 3)
        np.testing.assert_allclose(values, expected["predicted_map"].permute(1, 2, 0), atol=1e-4, rtol=1e-3)
        with Image.open(tmp_path / "out" / f"{name}_normals.png") as drawn:
            np.testing.assert_array_equal(np.asarray(drawn), colorize_map(values, "unit_vector"))


def test_predict_writes_poses_in_given_boxes(saved, photos, tmp_path):
    boxes = {"wide.png": [[10, 5, 30, 40], [40, -3, 20, 45]], "high.png": [], "unasked.png": [[0, 0, 1, 1]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    options = ["--boxes", tmp_path / "boxes.json", "--flip-test"]
    assert run(saved, KEYPOINTS, tmp_path, *options) == written("keypoints.json", "keypoints.png")
    model, processor = load_model_and_processor(saved, KEYPOINTS)
    (expected,) = predict_poses(model, processor, [photos["wide"]], [boxes["wide.png"]], flip_test=True)
    people = json.loads((tmp_path / "out" / "wide_keypoints.json").read_text())
    for person, pose in zip(people, expected, strict=True):
        assert tuple(person["keypoints"]) == COCO_SKELETON.joints
        joints = torch.tensor(list(person["keypoints"].values()))
        torch.testing.assert_close(joints[:, :2], pose["keypoints"], atol=1e-2, rtol=1e-4)
        torch.testing.assert_close(joints[:, 2], pose["scores"], atol=1e-4, rtol=0)
        assert person["box"] == pose["bbox"].tolist()
        assert person["score"] == pytest.approx(pose["scores"].mean().item(), abs=1e-4)
    assert json.loads((tmp_path / "out" / "high_keypoints.json").read_text()) == []


def test_predict_finds_the_people_itself(saved, photos, tmp_path):
    run(saved, KEYPOINTS, tmp_path, "--threshold", 0)
    people = json.loads((tmp_path / "out" / "wide_keypoints.json").read_text())
    (found,) = detect_people(*load_model_and_processor(saved, DETECTION), [photos["wide"]], threshold=0.0)
    assert len(people) == len(found["boxes"]) > 0
    for person, (x, y, width, height), score in zip(people, found["boxes"].tolist(), found["scores"].tolist()):
        assert person["box"] == pytest.approx([x, y, x + width, y + height], abs=1e-3)
        mean = np.mean([joint[2] for joint in person["keypoints"].values()])
        assert person["score"] == pytest.approx(mean * score, rel=1e-3)


def test_predict_writes_all_tasks_and_an_overview(saved, photos, tmp_path):
    """Of the two tasks that write NAME_labels.png, that with the higher number is done."""
    files = ["objects.json", "objects.png", "keypoints.json", "keypoints.png", "labels.png", "semantics.png"]
    assert run(saved, "all", tmp_path, "--threshold", 0) == written(*files, "normals.npy", "normals.png", "all.png")
    model, processor = load_model_and_processor(saved, SEMANTICS)
    assert model.config.task(SEMANTICS).task_id > model.config.task(LABELS).task_id
    (expected,) = predict_semantics(model, processor, [photos["wide"]], task=SEMANTICS)
    with Image.open(tmp_path / "out" / "wide_labels.png") as labels:
        assert np.array_equal(np.asarray(labels), expected.numpy())
    with Image.open(tmp_path / "out" / "wide_all.png") as overview:
        page = np.asarray(overview)
        assert overview.width > 5 * 320  # the image and four tasks
    with Image.open(tmp_path / "out" / "wide_normals.png") as normals:
        expected = np.asarray(resize_picture(np.asarray(normals), 320))
    last = page[26 : 26 + len(expected), 10 + 4 * (320 + 8) :]  # below its title, after four columns with gaps
    np.testing.assert_array_equal(last[:, : expected.shape[1]], expected)


def test_predict_leaves_out_of_all_tasks_what_needs_boxes(photos, tmp_path, capsys):
    """A model that was fine-tuned to other objects has lost its class of people."""
    saved = tmp_path / "model"
    processors = {task: PROCESSORS[task] for task in (KEYPOINTS, NORMALS)}
    save_with_remote_code(many_tasks(tuple(processors)), processors, saved)
    assert run(saved, "all", tmp_path) == written("normals.npy", "normals.png", "all.png")
    assert f"Left out: {KEYPOINTS}, " in capsys.readouterr().out
    (tmp_path / "boxes.json").write_text('{"wide.png": [[10, 5, 30, 40]], "high.png": []}')
    assert run(saved, "all", tmp_path, "--boxes", tmp_path / "boxes.json") > written("keypoints.json")
    assert "Left out" not in capsys.readouterr().out


def test_predict_goes_by_what_a_task_puts_out(photos, tmp_path):
    """A task of depth has its windows and files whatever its name."""
    declared = tiny_config().tasks["depth"]
    saved = save_tiny_model(tmp_path / "model", tasks={"distance": declared})
    picture(48, 64, 3).save(tmp_path / "high.png")
    assert run(saved, "distance", tmp_path, "--tta") == written("depth.png", "color.png", "uncertainty.png")
    model, processor = load_model_and_processor(saved, "distance")
    (expected,) = predict_depth(model, processor, [photos["wide"]], task="distance", tta=True)
    depth = load_depth_png(tmp_path / "out/wide_depth.png")
    np.testing.assert_allclose(depth, expected["predicted_depth"], atol=1e-3)


def test_predict_refuses_what_does_not_fit_the_task(saved, photos, tmp_path, capsys):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "one.json").write_text('{"wide.png": []}')
    (tmp_path / "outside.json").write_text('{"wide.png": [[0, 0, 5, 5], [96, 0, 5, 5]], "high.png": []}')
    (tmp_path / "short.json").write_text('{"wide.png": [[1, 2, 3]], "high.png": []}')
    alone = tmp_path / "alone"
    save_with_remote_code(many_tasks((KEYPOINTS,)), PROCESSORS[KEYPOINTS], alone)
    capsys.readouterr()  # the bars of saving

    def refused(task, *options, model=saved) -> str:
        with pytest.raises(SystemExit) as caught:
            run(model, task, tmp_path, *options)
        message = capsys.readouterr().err
        assert caught.value.code == 2 and message.count("\n") == 1
        return message

    def boxes(name):
        return refused(KEYPOINTS, "--boxes", tmp_path / name)

    assert "--flip-test has no meaning for the task normals" in refused(NORMALS, "--flip-test")
    assert "--threshold has no meaning for the task labels" in refused(LABELS, "--threshold", 0.5)
    assert "--boxes has no meaning" in refused(SEMANTICS, "--boxes", tmp_path / "one.json")
    assert "Unknown skeleton 'horse'" in refused(KEYPOINTS, "--skeleton", "horse")
    assert "leave out it or --boxes" in refused(KEYPOINTS, "--threshold", 0.5, "--boxes", tmp_path / "one.json")
    assert "finds no people by itself" in refused(KEYPOINTS, model=alone)
    assert "nowhere.json does not exist" in boxes("nowhere.json")
    assert "not a JSON file" in boxes("broken.json")
    assert "must hold" in boxes("list.json")
    assert "no list of boxes for high.png" in boxes("one.json")
    assert "box 1 of wide.png, [96, 0, 5, 5], has no area inside" in boxes("outside.json")
    assert "box 0 of wide.png is [1, 2, 3]; 4 finite numbers" in boxes("short.json")
    assert not (tmp_path / "out").exists()
