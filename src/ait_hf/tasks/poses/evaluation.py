# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring keypoint detection and pose tokenizers, in one process or several."""

import math
from collections import UserList, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torchvision.ops import box_convert, box_iou

from ...data.classes import ABSENT
from ...data.coco_files import read_coco_file
from ...data.coco_keypoints import person_category, with_joints_in_order
from ...data.json_values import check_box_format, finite_number, finite_numbers, read_json, whole_number
from ...data.picture_sizes import check_pictures
from ...data.pixels import picture_of
from ...data.pose_transforms import PoseEvalTransform
from ...data.skeletons import COCO_SKELETON, Skeleton
from ...data.tables import evenly, only_columns
from ...inference.generating import check_frame
from ...metrics import CocoMetric, read_coco
from ...metrics.measuring import Row, evaluating, measure_all, measure_rows
from ...metrics.pose import correct_joints
from ...metrics.reconstruction import code_usage, pose_errors
from ...model.image_processing_pose_ait import AiTPoseImageProcessor
from ...model.image_reading_ait import read_image
from ...model.modeling_ait import AiTForDenseTokenGeneration, AiTPoseEstimatorOutput
from ...model.poses_ait import crop_to_image, transform_points
from ...model.tokenization_pose import PoseTokenizer
from .prediction import POSE_TASK, check_joints, check_skeleton, generate_poses, predict_poses


# A person with joints: a row of `load_coco_keypoints` or of synthetic people.
PersonRow = dict[str, Any]
# A person to find: `image`, `image_id` and `box` (x1, y1, x2, y2 in pixels), and perhaps `score` (of the box).
BoxRow = dict[str, Any]
CocoResults = list[dict[str, Any]]

READ_COLUMNS = ("image_id", "height", "width", "id", "box", "keypoints", "area", "iscrowd")
TORSO = ("right_shoulder", "left_hip")
PERSON_CATEGORY = 1  # that of `pose_ground_truth`, as in COCO


@dataclass(frozen=True)
class PCK:
    """
    Which joints count as correct: those that lie no farther from where they should be than a share of a length of the person.

    Args:
        reference: The names of the two joints that the length lies between. People who lack one are not counted. By default
            the torso, where the skeleton has both of its joints.
        share: Of that length.
    """

    reference: tuple[str, str] | None = None
    share: float = 0.2

    def numbers(self, skeleton: Skeleton) -> tuple[int, int] | None:
        """Those of the reference; `None` if it is left out and there is no torso. `ValueError` for a joint that the skeleton
        lacks."""
        first, second = self.reference or TORSO
        if {first, second} <= set(skeleton.joints):
            return skeleton.joints.index(first), skeleton.joints.index(second)
        if self.reference is None:
            return None
        raise ValueError(
            f"--pck-reference names {first} and {second}, but the joints of the skeleton {skeleton.name} are "
            f"{', '.join(skeleton.joints)}."
        )

    def values(self, truth: dict[str, Any], found: Sequence[Row], skeleton: Skeleton) -> dict[str, float]:
        """`PCK`, the share of correct joints among those of all counted people, 0..1, and `num_pck_persons`, how many these
        are; nothing if there are none. A person has the joints of the box that overlaps most with the annotated one, or, if
        none does by half, none that is correct.

        Args:
            truth: A COCO dictionary of the images, with the joints in the skeleton's order.
            found: Of people `image_id`, `box` (x, y, width, height in pixels) and `keypoints` (three numbers a joint).
        """
        reference = self.numbers(skeleton)
        by_image, num_correct, counted = defaultdict(list), 0, []
        for person in found:
            by_image[person["image_id"]].append(person)
        people = [entry for entry in truth["annotations"] if entry["image_id"] in by_image and not entry["iscrowd"]]
        for entry in people if reference is not None else ():
            joints = torch.tensor(entry.get("keypoints") or [0.0] * 3 * len(skeleton.joints)).reshape(1, -1, 3)
            candidates = by_image[entry["image_id"]]
            boxes = torch.tensor([entry["bbox"], *(person["box"] for person in candidates)], dtype=torch.float64)
            overlaps = box_iou(*box_convert(boxes, "xywh", "xyxy").split([1, len(candidates)]))[0]
            own = candidates[int(overlaps.argmax())]["keypoints"]
            counts = correct_joints(torch.tensor(own).reshape(1, -1, 3)[..., :2], joints, reference, self.share)
            num_correct += int(counts["num_correct"]) if overlaps.max() >= 0.5 else 0
            counted += [int(counts["num_counted"])] if counts["num_counted"] else []
        return {"PCK": num_correct / sum(counted), "num_pck_persons": len(counted)} if counted else {}


TORSO_PCK = PCK()


def person_collator(rows: Sequence[BoxRow], processor: AiTPoseImageProcessor) -> dict[str, Any]:
    """People to find, prepared as for a prediction, as a batch for [`evaluate_poses`]: `pixel_values` float32
    `(batch, 3, height, width)` and `persons`, dictionaries with `image_id`, `box` and `score`."""
    images = [picture_of(row) for row in rows]
    persons = [
        {"image_id": torch.tensor(int(row["image_id"])), "score": torch.tensor(float(row.get("score", 1.0)))}
        | {"box": torch.tensor(np.asarray(row["box"], dtype=np.float32))}
        for row in rows
    ]
    boxes = [[_x_y_width_height(np.asarray(row["box"], dtype=np.float64))] for row in rows]
    pixel_values = processor(images, boxes=boxes, return_tensors="pt")["pixel_values"]
    return {"pixel_values": pixel_values, "persons": persons}


def evaluate_poses(
    model: AiTForDenseTokenGeneration,
    processor: AiTPoseImageProcessor,
    batches: Iterable[dict[str, Any]],
    ground_truth: dict[str, Any] | str | PathLike,
    *,
    task: str = POSE_TASK,
    skeleton: Skeleton = COCO_SKELETON,
    image_ids: Sequence[int] | None = None,
    flip_test: bool = False,
    pck: PCK = TORSO_PCK,
    accelerator: Accelerator | None = None,
    description: str | None = None,
    **settings,
) -> tuple[dict[str, float], CocoResults]:
    """COCO's average precision and recall of the joints that a model finds in people's boxes (object keypoint
    similarity): on every process the values of [`~ait_hf.metrics.CocoMetric`] for keypoints, with `num_persons` and
    `num_images`; and all results in the official format, whose file pycocotools reads, with the joints in the order of
    the ground truth. The score of a person is the mean score of the joints times that of the box. Beside them the values
    of `pck`.

    Args:
        model, processor, accelerator, description: As of [`~ait_hf.tasks.base.Kind.evaluate`].
        batches: As of [`person_collator`] or [`~ait_hf.data.pose_transforms.pose_collator`]; without a `score`, that
            of a box is 1.
        ground_truth: A COCO dictionary, see [`pose_ground_truth`], or the path of an official JSON file; its joints
            are found by their names. Those that it lacks do not count.
        skeleton ([`Skeleton`]): What the model's joints are.
        image_ids: The images that count; by default those of the batches. (Where a detector found nobody, whoever is
            there has been missed.)
        flip_test (`bool`): Predict crops mirrored, too, and average the joints.
        pck ([`PCK`]): Which joints count as correct.
        settings: Of `generate()`.

    Raises:
        FileNotFoundError: There is no such file of annotations.
        ValueError: There is nobody to find, an image is not in the ground truth, the joints of model and skeleton are
            not the same, the ground truth has others annotated, or the processor makes crops of another size than the
            model takes.
    """
    check_frame(model, processor, task)
    check_skeleton(model, task, skeleton)
    flip_order = skeleton.flip_order if flip_test else None

    def predict(batch: dict[str, Any]) -> AiTPoseEstimatorOutput:
        pixel_values = batch["pixel_values"].to(model.device, model.dtype)
        return generate_poses(model, pixel_values, task, flip_order, **settings)

    measuring = {"skeleton": skeleton, "image_ids": image_ids, "pck": pck}
    measuring |= {"accelerator": accelerator, "description": description}
    with evaluating(model):
        return measure_poses(predict, processor, batches, ground_truth, **measuring)


def measure_poses(
    predict: Callable[[dict[str, Any]], Any],
    processor: AiTPoseImageProcessor,
    batches: Iterable[dict[str, Any]],
    ground_truth: dict[str, Any] | str | PathLike,
    *,
    skeleton: Skeleton = COCO_SKELETON,
    image_ids: Sequence[int] | None = None,
    pck: PCK = TORSO_PCK,
    accelerator: Accelerator | None = None,
    description: str | None = None,
) -> tuple[dict[str, float], CocoResults]:
    """As [`evaluate_poses`], of whatever finds joints: `predict` gives of a batch `pred_keypoints` `(people, joints, 2)`
    in pixels of the crops and `keypoint_scores` `(people, joints)`, 0..1."""
    pck.numbers(skeleton)  # what is wrong with its joints shows before anything is predicted
    truth = read_coco(ground_truth)
    name = "The ground truth" if isinstance(ground_truth, dict) else str(ground_truth)
    category, numbers = person_category(truth, name, skeleton)
    places = [numbers.index(joint) if joint in numbers else ABSENT for joint in range(len(skeleton.joints))]
    truth = with_joints_in_order(truth, name, skeleton)
    for section, key in {"annotations": "category_id", "categories": "id"}.items():
        truth |= {section: [entry for entry in truth[section] if entry[key] == category]}
    metric = CocoMetric("keypoints", ground_truth=truth, sigmas=skeleton.sigmas, keep_in_memory=True)

    def measure(batch: dict[str, Any]) -> list[Row]:
        boxes = [[_x_y_width_height(person["box"])] for person in batch["persons"]]
        found = processor.post_process_pose_estimation(predict(batch), boxes)
        rows = []
        for (pose,), person in zip(found, batch["persons"], strict=True):
            result = _result(pose, int(person["image_id"]), category, float(person.get("score", 1.0)))
            rows.append(result | {"box": _x_y_width_height(person["box"])})
        return rows

    def summarize(rows: list[Row]) -> tuple[dict[str, float], CocoResults]:
        results = [{key: value for key, value in row.items() if key != "box"} for row in rows]
        results = [result | {"keypoints": _rearranged(result["keypoints"], numbers)} for result in results]
        measured = [result | {"keypoints": _rearranged(result["keypoints"], places)} for result in results]
        return _coco_values(metric, measured, image_ids) | pck.values(truth, rows, skeleton), results

    return measure_all(batches, measure, summarize, accelerator, description)


def pose_ground_truth(rows: Iterable[PersonRow], skeleton: Skeleton = COCO_SKELETON) -> dict[str, Any]:
    """The COCO dictionary of people of [`~ait_hf.data.coco_keypoints.load_coco_keypoints`], or like them, which holds
    nobody else; images are not decoded."""
    images, annotations = {}, []
    for row in only_columns(rows, READ_COLUMNS):
        image_id = int(row["image_id"])
        images[image_id] = {"id": image_id, "height": int(row["height"]), "width": int(row["width"])}
        joints, box = (np.asarray(row[key], dtype=np.float64) for key in ("keypoints", "box"))
        annotation = {"id": len(annotations) + 1, "image_id": image_id, "category_id": PERSON_CATEGORY}
        annotation |= {"area": float(row["area"]), "iscrowd": int(row["iscrowd"]), "bbox": _x_y_width_height(box)}
        known = {"keypoints": joints.flatten().tolist(), "num_keypoints": int((joints[:, 2] > 0).sum())}
        annotations.append(annotation | known)
    category = {"id": PERSON_CATEGORY, "name": "person", "keypoints": list(skeleton.joints)}
    return {"images": list(images.values()), "categories": [category], "annotations": annotations}


def read_detections(path: str | PathLike, truth: dict[str, Any], category: int) -> dict[int, list[dict[str, Any]]]:
    """The people that a detector found.

    Args:
        path: JSON file in COCO's results format: a list of dictionaries with `image_id`, `category_id`, `bbox` (x, y,
            width, height in pixels) and `score`.
        truth: The COCO dictionary of the images.
        category: Category of people; boxes of others are left out, and so are boxes without area.

    Returns:
        For every image of `truth` its boxes as `{"box": [x1, y1, x2, y2], "score": float}`.

    Raises:
        FileNotFoundError, ValueError: There is no such file or list, or it has an image that `truth` does not have.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist: give a file of detections in COCO's results format.")
    results = read_json(Path(path))
    if not isinstance(results, list):
        raise ValueError(f"{path} must hold a list of detections in COCO's results format.")
    images = {image["id"]: image for image in truth["images"]}
    found, boxes, sizes = {image_id: [] for image_id in images}, [], []
    for number, result in enumerate(results):
        where = f"{path}: detection {number}"
        missing = {"image_id", "category_id", "bbox", "score"} - (result.keys() if isinstance(result, dict) else set())
        if missing:
            raise ValueError(f"{where} has no {sorted(missing)[0]!r}: it is not in COCO's results format.")
        ids = (whole_number(result[key], f"{where} has {key}") for key in ("image_id", "category_id"))
        image_id, of_category = ids
        if image_id not in found:
            raise ValueError(f"{where} is of image {image_id}, which the annotations do not have.")
        x, y, width, height = finite_numbers(result["bbox"], 4, f"{where} has a bbox")
        score = finite_number(result["score"], f"{where} has a score")
        if of_category == category and width > 0 and height > 0:
            found[image_id].append({"box": [x, y, x + width, y + height], "score": score})
            boxes.append((x, y, width, height))
            sizes.append([images[image_id].get(side, math.inf) for side in ("width", "height")])
    check_box_format(np.reshape(boxes, (-1, 4)), np.reshape(sizes, (-1, 2)), str(path), detected=True)
    return found


class DetectedBoxes(UserList):
    """The boxes of a detector, with their images, which are read when asked for."""

    def __getitem__(self, number: int) -> BoxRow:
        box = super().__getitem__(number)
        return box | {"image": read_image(box["path"])}


def detected_people(
    boxes: str | PathLike,
    annotations: str | PathLike,
    images: str | PathLike,
    joints: Skeleton,
    num_images: int | None,
) -> tuple[dict[str, Any], list[int], DetectedBoxes]:
    """The people that a detector found in annotated images: the ground truth, the ids of the images, and the boxes in
    them as rows; `ValueError` if there is nobody, or as [`read_detections`].

    Args:
        boxes: Its file, see [`read_detections`].
        annotations, images: JSON file in COCO's format, and the folder of its images.
        joints: What the joints are.
        num_images: How many of the images, spread evenly; all if `None`.
    """
    content = read_coco_file(Path(annotations))
    category, _ = person_category(content.content, str(annotations), joints)
    found = read_detections(boxes, content.content, category)
    files = {image_id: str(file) for image_id, file in content.pictures(Path(images)).items()}
    sizes = {files[image["id"]]: (image["height"], image["width"]) for image in content.content["images"]}
    check_pictures(Path(annotations), sizes)  # also of those that show nobody
    image_ids = list(evenly(list(files), num_images))
    rows = [box | {"image_id": image_id, "path": files[image_id]} for image_id in image_ids for box in found[image_id]]
    if not rows:
        raise ValueError(f"{boxes} has no person in the chosen images.")
    return content.content, image_ids, DetectedBoxes(rows)


def evaluate_pose_tokenizer(
    tokenizer: PoseTokenizer,
    rows: Sequence[PersonRow],
    *,
    box_scale: float = 1.25,
    skeleton: Skeleton = COCO_SKELETON,
    pck: PCK = TORSO_PCK,
    **measuring,
) -> dict[str, float]:
    """How well a pose tokenizer rebuilds annotated people: what a model that makes no mistake could reach. The joints
    of every person inside the crop around the box go through the tokenizer and back, and count as found with score 1.

    Args:
        rows: People by number.
        box_scale: How much of the image the crops show around the box; what the tokenizer was trained with.
        measuring: `accelerator`, `batch_size`, `description`, see [`~ait_hf.metrics.measuring.measure_rows`].

    Returns:
        On every process the values of [`~ait_hf.metrics.CocoMetric`] for keypoints and of `pck`, `joint_error` (mean distance of
        joints in pixels of the crop, averaged over people), `perplexity` and `code_usage`, `num_persons` and
            `num_images`.

    Raises:
        ValueError: There is nobody, or the tokenizer has another number of joints than the `skeleton`.
    """
    check_joints("The tokenizer's poses have", tokenizer.config, "the", skeleton)
    rows = only_columns(rows, READ_COLUMNS)
    pck.numbers(skeleton)
    truth, size = pose_ground_truth(rows, skeleton), tokenizer.crop_size
    metric = CocoMetric("keypoints", ground_truth=truth, sigmas=skeleton.sigmas, keep_in_memory=True)
    transform = PoseEvalTransform(size, box_scale=box_scale, skeleton=skeleton, with_images=False)

    def measure(batch: list[PersonRow]) -> list[Row]:
        samples = [transform(row) for row in batch]
        labels = torch.stack([sample["labels"] for sample in samples]).to(tokenizer.device)
        ids = tokenizer.tokenize(labels)
        rebuilt = tokenizer.detokenize(ids=ids).float().cpu()
        errors = pose_errors(rebuilt, labels.cpu())["joint_error"].tolist()
        measured = []
        for sample, joints, codes, error in zip(samples, rebuilt, ids.flatten(1).tolist(), errors, strict=True):
            points = transform_points(joints, crop_to_image(sample["person"]["box"], size, transform.box_scale))
            pose = {"keypoints": points, "scores": torch.ones(len(points))}
            result = _result(pose, int(sample["person"]["image_id"]), PERSON_CATEGORY, 1.0)
            box = _x_y_width_height(sample["person"]["box"])
            measured.append({"result": result, "box": box, "ids": codes, "joint_error": error})
        return measured

    def summarize(measured: list[Row]) -> dict[str, float]:
        values = _coco_values(metric, [row["result"] for row in measured], None)
        errors = {"joint_error": float(np.mean([row["joint_error"] for row in measured]))}
        ids = np.concatenate([row["ids"] for row in measured])
        found = [row["result"] | {"box": row["box"]} for row in measured]
        return (
            values | pck.values(truth, found, skeleton) | errors | code_usage(ids, tokenizer.config.num_vq_embeddings)
        )

    return measure_rows(tokenizer, rows, measure, summarize, **measuring)


def pose_gallery_rows(
    model: AiTForDenseTokenGeneration, processor: AiTPoseImageProcessor, rows: Sequence[PersonRow], **settings
) -> list[dict[str, Any]]:
    """What a model finds in the boxes of people with joints, one after the other, as rows of
    [`~ait_hf.tasks.poses.drawing.pose_gallery`]; `settings` as for
    [`~ait_hf.tasks.poses.prediction.predict_poses`]."""
    gallery = []
    for row in rows:
        image = picture_of(row)
        box, truth = (np.asarray(row[key], dtype=np.float64) for key in ("box", "keypoints"))
        boxes = [[_x_y_width_height(box)]]
        with evaluating(model):
            ((pose,),) = predict_poses(model, processor, [Image.fromarray(image)], boxes, **settings)
        gallery.append({"image": image, "box": box, "truth": truth, "prediction": pose["keypoints"].numpy()})
    return gallery


def _result(pose: dict[str, torch.Tensor], image_id: int, category: int, box_score: float) -> dict[str, Any]:
    """One person in the official results format."""
    joints = torch.cat([pose["keypoints"].double(), torch.ones(len(pose["keypoints"]), 1)], dim=1)
    score = box_score * float(pose["scores"].mean())
    return {"image_id": image_id, "category_id": category, "keypoints": joints.flatten().tolist(), "score": score}


def _rearranged(keypoints: Sequence[float], numbers: Sequence[int]) -> list[float]:
    """x, y and another number of the joints with these numbers; of -1 the mean joint, which adds nothing to an extent."""
    joints = np.reshape(keypoints, (-1, 3))
    mean = joints[[number for number in numbers if number != ABSENT]].mean(0)
    return [value for number in numbers for value in (mean if number == ABSENT else joints[number]).tolist()]


def _coco_values(metric: CocoMetric, results: list[Row], image_ids: Sequence[int] | None) -> dict[str, float]:
    by_image = defaultdict(list)
    for result in results:
        by_image[result["image_id"]].append(result)
    image_ids = list(by_image) if image_ids is None else list(image_ids)
    for image_id in image_ids:
        metric.add_image(image_id, by_image[image_id])
    return metric.compute() | {"num_persons": len(results), "num_images": len(image_ids)}


def _x_y_width_height(box: np.ndarray | torch.Tensor) -> list[float]:
    return [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
