# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring object models and mask tokenizers as COCO does, in one process or several."""

import json
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from pycocotools import mask as rle_codec
from torchvision.ops import box_convert
from transformers.utils import ModelOutput

from ...data.pixels import picture_of
from ...data.segmentations import as_text, clean_segmentation, decode_segmentation, encoded_mask
from ...data.tables import only_columns
from ...inference.generating import check_frame
from ...metrics import CocoMetric, ReconstructionMetric, mask_reconstruction_errors, read_coco
from ...metrics.measuring import Row, evaluating, measure_all, measure_rows
from ...model.image_processing_ait import AiTImageProcessor
from ...model.masks_ait import crop_masks, paste_masks, rle_to_mask
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ...model.tokenization_vq import VQTokenizer
from .prediction import predict_objects


# An image with its objects: a row of `load_coco`, or one with decoded `masks`, as of synthetic rooms.
ObjectRow = dict[str, Any]
CocoResults = list[dict[str, Any]]

READ_COLUMNS = ("image_id", "height", "width", "boxes", "class_labels", "iscrowd", "area", "segmentation")
SMALLEST_BOX = 2  # pixels; a smaller object is not rebuilt (reference §1)


def image_collator(rows: Sequence[ObjectRow], processor: AiTImageProcessor) -> dict[str, Any]:
    """Rows with `image` and `image_id`, prepared as for a prediction, as a batch for [`evaluate_objects`]:
    `pixel_values` float32 `(batch, 3, height, width)` and `labels`, dictionaries with `image_id` and `orig_size`."""
    images = [picture_of(row) for row in rows]
    labels = [
        {"image_id": torch.tensor(int(row["image_id"])), "orig_size": torch.tensor(image.shape[:2])}
        for row, image in zip(rows, images)
    ]
    return {"pixel_values": processor(images, return_tensors="pt")["pixel_values"], "labels": labels}


def evaluate_objects(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    batches: Iterable[dict[str, Any]],
    ground_truth: dict[str, Any] | str | PathLike,
    *,
    task: str,
    category_ids: Sequence[int | None],
    accelerator: Accelerator | None = None,
    description: str | None = None,
    score_threshold: float = 0.0,
    top_k: int | None = None,
    **settings,
) -> tuple[dict[str, float], CocoResults]:
    """COCO's average precision and recall of the boxes and, if the task has them, masks that a model finds: on every
    process the values of [`~ait_hf.metrics.CocoMetric`] as `bbox_AP`, ... and `segm_AP`, ..., with `num_images`; and
    all results in the official format, whose file pycocotools reads.

    Args:
        model, processor, accelerator, description: As of [`~ait_hf.tasks.base.Kind.evaluate`].
        batches: As of [`image_collator`] or [`~ait_hf.data.pixels.object_collator`].
        ground_truth: A COCO dictionary, see [`coco_ground_truth`], or the path of an official JSON file. Of a task
            with masks, objects without one are left out, as in training.
        category_ids: The ground truth's category of every class of the task, from its first; `None` for one that the
            ground truth lacks, of which what is found does not count. See [`~ait_hf.data.classes.pair_classes`].
        score_threshold (`float`): Least score of an object that counts. COCO counts all, up to 100 per image.
        top_k (`int`, *optional*): So many pairs of an object and a class of every image, instead of each object with
            its chosen class; see [`~AiTImageProcessor.post_process_object_detection`]. (Not that of `generate()`.)
        settings: Of `generate()`.

    Raises:
        FileNotFoundError: There is no such file of annotations.
        ValueError: There are no images, an image is not in the ground truth or comes twice, the categories are not the
            model's classes, or the processor makes images of another size than the model takes.
    """
    check_frame(model, processor, task)
    classes = model.config.classes(task)
    if len(category_ids) != len(classes):
        raise ValueError(f"The model knows {len(classes)} classes, but the data have {len(category_ids)}.")
    chosen = {"score_threshold": score_threshold, "top_k": top_k, "first_class": classes.start}

    def find(batch: dict[str, Any]) -> list[Row]:
        outputs = model.generate(batch["pixel_values"].to(model.device, model.dtype), task=task, **settings)
        image_ids = [int(label["image_id"]) for label in batch["labels"]]
        sizes = [tuple(label["orig_size"].tolist()) for label in batch["labels"]]
        return coco_results(outputs, image_ids, sizes, category_ids, processor, **chosen)

    measuring = {"accelerator": accelerator, "description": description}
    with_masks = model.grammar(task).codebook is not None
    with evaluating(model):
        return measure_objects(
            find, batches, ground_truth, category_ids=category_ids, with_masks=with_masks, **measuring
        )


def measure_objects(
    find: Callable[[dict[str, Any]], list[Row]],
    batches: Iterable[dict[str, Any]],
    ground_truth: dict[str, Any] | str | PathLike,
    *,
    category_ids: Sequence[int | None],
    with_masks: bool,
    accelerator: Accelerator | None = None,
    description: str | None = None,
) -> tuple[dict[str, float], CocoResults]:
    """As [`evaluate_objects`], of whatever finds objects.

    Args:
        find: Of every image of a batch its row, see [`coco_results`].
        with_masks: Whether masks are measured beside boxes.
    """
    truth = read_coco(ground_truth, with_masks=with_masks)
    order = [category for category in category_ids if category is not None]
    if missing := set(order) - {category["id"] for category in truth["categories"]}:
        raise ValueError(f"The ground truth has no category {min(missing)}.")
    kinds = ("bbox", "segm") if with_masks else ("bbox",)
    metrics = {kind: CocoMetric(kind, ground_truth=truth, category_ids=order, keep_in_memory=True) for kind in kinds}

    def summarize(rows: list[Row]) -> tuple[dict[str, float], CocoResults]:
        values = _coco_values(metrics, rows) | {"num_images": len(rows)}
        return values, [result for row in rows for result in row["results"]]

    return measure_all(batches, find, summarize, accelerator, description)


def coco_results(
    outputs: ModelOutput,
    image_ids: Sequence[int],
    target_sizes: Sequence[tuple[int, int]],
    category_ids: Sequence[int | None],
    processor: AiTImageProcessor,
    *,
    score_threshold: float = 0.0,
    top_k: int | None = None,
    first_class: int = 0,
) -> list[Row]:
    """A batch of generated objects in COCO's results format, in pixels of the original images.

    Args:
        outputs: Of `generate()` on an object task.
        image_ids, target_sizes: Id of every image, and height and width of the original one, pixels.
        category_ids, processor, score_threshold, top_k: As for [`evaluate_objects`].
        first_class: The model's number of the task's first class.

    Returns:
        For every image `image_id` and `results`: dictionaries with `image_id`, `category_id`, `score`, `bbox` (x, y,
        width, height) and, where the output has masks, `segmentation` (a compressed RLE, as text).
    """
    chosen = {"target_sizes": target_sizes, "top_k": top_k}
    detections = processor.post_process_object_detection(outputs, threshold=score_threshold, **chosen)
    masks = [[]] * len(image_ids)
    if outputs.pred_masks is not None:
        masks = processor.object_masks_rle(outputs, score_threshold=score_threshold, **chosen)
    rows = []
    for image_id, detection, image_masks in zip(image_ids, detections, masks, strict=True):
        boxes = box_convert(detection["boxes"].cpu().double(), "xyxy", "xywh").tolist()
        labels, scores = detection["labels"].tolist(), detection["scores"].tolist()
        results = [
            {"image_id": image_id, "category_id": category_ids[label - first_class], "bbox": box, "score": score}
            for label, box, score in zip(labels, boxes, scores, strict=True)
        ]
        for result, rle in zip(results, image_masks):
            result["segmentation"] = as_text(rle_codec.frPyObjects(rle, *rle["size"]))
        kept = [result for result in results if result["category_id"] is not None]
        rows.append({"image_id": image_id, "results": kept})
    return rows


def coco_ground_truth(rows: Iterable[ObjectRow], category_ids: Sequence[int]) -> dict[str, Any]:
    """The COCO dictionary of images with their objects, with areas, crowds and segmentations where the rows have
    them; images are not decoded.

    Args:
        rows: Rows of [`~ait_hf.data.coco.load_coco`], or rows with `image_id`, `boxes` (x1, y1, x2, y2, pixels),
            `class_labels` and decoded `masks` `(n, height, width)`, none of which is a crowd.
        category_ids: Category of every class label.
    """
    images, annotations = [], []
    for row in only_columns(rows, READ_COLUMNS):
        image_id, masks = int(row["image_id"]), row.get("masks")
        height, width = (row["height"], row["width"]) if masks is None else np.shape(masks)[1:]
        images.append({"id": image_id, "height": height, "width": width})
        for number, (box, label) in enumerate(zip(row["boxes"], row["class_labels"], strict=True)):
            x1, y1, x2, y2 = (float(corner) for corner in box)
            annotation = {"image_id": image_id, "category_id": category_ids[int(label)], "id": len(annotations) + 1}
            annotation |= {"bbox": [x1, y1, x2 - x1, y2 - y1], **_annotated_object(row, number)}
            annotations.append(annotation)
    categories = [{"id": category, "name": str(category)} for category in category_ids]
    return {"images": images, "categories": categories, "annotations": annotations}


def object_gallery_rows(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    rows: Sequence[ObjectRow],
    *,
    task: str,
    class_names: Sequence[str],
    class_numbers: Sequence[int] | None = None,
    **settings,
) -> list[dict[str, Any]]:
    """What a model finds in images with objects, as of [`coco_ground_truth`], one after the other, as rows of
    [`~ait_hf.tasks.objects.drawing.object_gallery`]. `class_names` are those of the task; `class_numbers` say for
    every class of the rows its number among them, by default the same; `settings` as for [`evaluate_objects`]."""
    gallery = []
    for row in rows:
        image = picture_of(row)
        with evaluating(model):
            (found,) = predict_objects(model, processor, [Image.fromarray(image)], task=task, **settings)
        found["labels"] -= model.config.classes(task).start
        prediction = {name: found[name].cpu().numpy() for name in ("boxes", "labels", "scores")}
        labels = np.asarray(row["class_labels"], dtype=np.int64)
        labels = labels if class_numbers is None else np.asarray(class_numbers)[labels]
        truth = {"boxes": np.asarray(row["boxes"]).reshape(-1, 4), "labels": labels}
        if "masks" in found:
            masks = [_decoded_mask(row, number) for number in range(len(labels))]
            kept = [number for number, mask in enumerate(masks) if mask is not None]
            truth = {name: values[kept] for name, values in truth.items()}
            truth["masks"] = np.array([masks[number].numpy() for number in kept], dtype=bool).reshape(
                -1, *image.shape[:2]
            )
            prediction["masks"] = np.array([rle_to_mask(rle).numpy() for rle in found["masks"]], dtype=bool).reshape(
                -1, *image.shape[:2]
            )
        gallery.append({"image": image, "prediction": prediction, "truth": truth, "class_names": list(class_names)})
    return gallery


def _annotated_object(row: ObjectRow, number: int) -> dict[str, Any]:
    """`iscrowd`, `area` and, if it has any, `segmentation`."""
    if "masks" in row:
        mask = np.asarray(row["masks"][number], dtype=np.uint8)
        return {"iscrowd": 0, "area": int(mask.sum()), "segmentation": encoded_mask(mask)}
    annotated, segmentation = {"iscrowd": int(row["iscrowd"][number]), "area": row["area"][number]}, None
    if text := row["segmentation"][number]:
        where = f"Image {row['image_id']}, object {number}"
        segmentation = clean_segmentation(json.loads(text), row["height"], row["width"], where)
    return annotated if segmentation is None else annotated | {"segmentation": segmentation}


def evaluate_mask_tokenizer(
    tokenizer: VQTokenizer, rows: Sequence[ObjectRow], category_ids: Sequence[int], **measuring
) -> dict[str, float]:
    """How well a mask tokenizer rebuilds annotated objects (paper, reconstruction AP), and how evenly it uses its
    codes. Every object that is no crowd and has a segmentation is cut to its box, tokenized, detokenized, pasted back
    and taken as a detection of score 1: what a model that makes no mistake could reach. Boxes with a side under 2
    pixels are left out.

    Args:
        rows, category_ids: As for [`coco_ground_truth`], rows by number.
        measuring: `accelerator`, `batch_size`, `description`, see [`~ait_hf.metrics.measuring.measure_rows`].

    Returns:
        On every process the values of [`~ait_hf.metrics.CocoMetric`] as `segm_AP`, ... and `boundary_AP`, ...; `mse`
        and `iou` of the cut masks, `perplexity` and `code_usage`, as of [`~ait_hf.metrics.ReconstructionMetric`];
        `num_images` and `num_objects`. `ValueError` if no object can be rebuilt.
    """
    rows = only_columns(rows, READ_COLUMNS)
    truth = read_coco(coco_ground_truth(rows, category_ids), with_masks=True)
    metrics = {kind: CocoMetric(kind, ground_truth=truth, keep_in_memory=True) for kind in ("segm", "boundary")}

    def measure(batch: list[ObjectRow]) -> list[Row]:
        return [_rebuild_objects(tokenizer, row, category_ids) for row in batch]

    def summarize(rebuilt: list[Row]) -> dict[str, float]:
        with_objects = [row for row in rebuilt if row["ids"]]
        if not with_objects:
            raise ValueError(f"There is no object whose box has sides of {SMALLEST_BOX} pixels or more.")
        metric = ReconstructionMetric("mask", keep_in_memory=True)
        for row in with_objects:
            errors = {name: torch.tensor(values) for name, values in row["errors"].items()}
            metric.add_errors(errors, torch.tensor(row["ids"]))
        values = metric.compute(num_codes=tokenizer.config.num_vq_embeddings)
        values["num_objects"] = values.pop("num_images")
        del values["num_excluded"]
        return _coco_values(metrics, rebuilt) | values | {"num_images": len(rebuilt)}

    return measure_rows(tokenizer, rows, measure, summarize, **measuring)


def _rebuild_objects(tokenizer: VQTokenizer, row: ObjectRow, category_ids: Sequence[int]) -> Row:
    """One image's objects through the tokenizer and back: results, and the errors and codes of every object."""
    image_id = int(row["image_id"])
    boxes = torch.as_tensor(np.asarray(row["boxes"], dtype=np.float32).reshape(-1, 4))
    sides = boxes[:, 2:] - boxes[:, :2]
    crowd = row.get("iscrowd", [False] * len(boxes))
    chosen = [number for number in range(len(boxes)) if not crowd[number] and sides[number].min() >= SMALLEST_BOX]
    decoded = {number: mask for number in chosen if (mask := _decoded_mask(row, number)) is not None}
    if not decoded:
        return {"image_id": image_id, "results": [], "errors": {}, "ids": []}
    boxes = boxes[list(decoded)].to(tokenizer.device)
    masks = torch.stack(list(decoded.values())).to(tokenizer.device)
    crops = crop_masks(masks, boxes, torch.arange(len(decoded), device=boxes.device), tokenizer.config.sample_size)
    ids = tokenizer.tokenize(crops[:, None])
    maps = tokenizer.detokenize(ids=ids)[:, 0].float()
    errors = mask_reconstruction_errors(maps, crops)
    pasted = zip(decoded, paste_masks(maps, boxes, *masks.shape[1:]).cpu().numpy())
    found = [(category_ids[int(row["class_labels"][number])], encoded_mask(mask)) for number, mask in pasted]
    common = {"image_id": image_id, "score": 1.0}
    results = [common | {"category_id": category, "segmentation": rle} for category, rle in found]
    errors = {name: values.tolist() for name, values in errors.items()}
    return {"image_id": image_id, "results": results, "errors": errors, "ids": ids.flatten(1).tolist()}


def _decoded_mask(row: ObjectRow, number: int) -> torch.Tensor | None:
    """`None` for an object that has only a box."""
    if "masks" in row:
        return torch.as_tensor(row["masks"][number])
    text = row["segmentation"][number]
    return torch.as_tensor(decode_segmentation(text, row["height"], row["width"])) if text else None


def _coco_values(metrics: dict[str, CocoMetric], rows: Iterable[Row]) -> dict[str, float]:
    values = {}
    for kind, metric in metrics.items():
        for row in rows:
            metric.add_image(row["image_id"], row["results"])
        values |= {f"{kind}_{name}": value for name, value in metric.compute().items()}
    return values
