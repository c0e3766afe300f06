# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring semantic segmentation and its tokenizers, in one process or several."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from ...data.pixels import picture_of
from ...data.semantic_transforms import SemanticEvalTransform
from ...inference.generating import check_frame
from ...metrics.measuring import Row, evaluating, measure_all, measure_rows, pictures_beside
from ...metrics.reconstruction import code_usage
from ...metrics.semantic import SemanticMetric, class_counts
from ...model.image_processing_ait import AiTImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from ...model.tokenization_vq import IGNORED_LABEL, VQTokenizer
from ..base import frame_processor
from .prediction import SEMANTIC_TASK


# `image` (PIL or uint8 (height, width, 3)) and `label_map` (uint8 (height, width), classes 0..n-1, 255 ignored).
LabelledImage = dict[str, Any]
# `pixel_values` (batch, 3, height, width) and `label_maps`, those of the images at their own sizes.
Batch = dict[str, Any]


def labelled_image_collator(rows: Sequence[LabelledImage], processor: AiTImageProcessor) -> Batch:
    """Rows, prepared as for a prediction, as a batch for [`evaluate_semantic`]: `pixel_values` float32 `(batch, 3,
    height, width)` and `label_maps`, uint8 `(h, w)` each; `ValueError` if one has another size than its image."""
    images = pictures_beside(rows, "label_map", "a label map")
    return {
        "pixel_values": processor(images, return_tensors="pt")["pixel_values"],
        "label_maps": [torch.tensor(row["label_map"]) for row in rows],
    }


def evaluate_semantic(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    batches: Iterable[Batch],
    *,
    class_names: Sequence[str],
    class_numbers: Sequence[int] | None = None,
    task: str = SEMANTIC_TASK,
    accelerator: Accelerator | None = None,
    description: str | None = None,
    **settings,
) -> dict[str, float]:
    """Intersection over union and accuracies of the classes that a model gives to pixels, at the images' own sizes:
    on every process the values of [`~ait_hf.metrics.SemanticMetric`].

    Args:
        model, processor, accelerator, description: As of [`~ait_hf.tasks.base.Kind.evaluate`].
        batches: As of [`labelled_image_collator`], or of the evaluation in training.
        class_names: Of the data.
        class_numbers: For every class of the data its number among the task's, see
            [`~ait_hf.data.classes.pair_classes`]; by default they are the same. Classes of the task that the data lack
            do not count for the means; a pixel that is taken for one is missed.
        settings: Of `generate()`.

    Raises:
        ValueError: There are no images or no pixel that counts, the model has another number of classes, or the
            processor makes images of another size than the model takes.
    """
    check_frame(model, processor, task)
    num_classes = len(model.config.classes(task))
    if class_numbers is None:
        if num_classes != len(class_names):
            raise ValueError(f"The task {task} has {num_classes} classes, but the data have {len(class_names)}.")
        class_numbers = range(num_classes)
    pairs = sorted(zip(class_numbers, class_names, strict=True))
    measured = {number: name for number, name in pairs if number in range(num_classes)}

    def measure(batch: Batch) -> list[Row]:
        scores = _class_scores(model, batch["pixel_values"], task, settings)
        truth = [renumbered(label_map, class_numbers) for label_map in batch["label_maps"]]
        found = processor.post_process_semantic_segmentation(scores, [tuple(label_map.shape) for label_map in truth])
        return _counted(found, truth, num_classes, measured)

    with evaluating(model):
        return measure_all(batches, measure, partial(_summary, list(measured.values())), accelerator, description)


def renumbered(label_map: torch.Tensor, class_numbers: Sequence[int]) -> torch.Tensor:
    """A label map with `class_numbers[k]` for class k; 255 stays."""
    table = torch.full((256,), IGNORED_LABEL, dtype=torch.long, device=label_map.device)
    table[: len(class_numbers)] = torch.tensor(class_numbers, device=label_map.device)
    return table[label_map.long()]


def measure_label_maps(
    predict: Callable[[Batch], list[torch.Tensor]], batches: Iterable[Batch], class_names: Sequence[str], **measuring
) -> dict[str, float]:
    """As [`evaluate_semantic`], of whatever predicts the label maps of a batch: integers of the sizes of its
    `label_maps`, classes 0..n-1."""

    def measure(batch: Batch) -> list[Row]:
        return _counted(predict(batch), batch["label_maps"], len(class_names), range(len(class_names)))

    return measure_all(batches, measure, partial(_summary, class_names), **measuring)


def _counted(
    found: Sequence[torch.Tensor], truth: Sequence[torch.Tensor], num_classes: int, measured: Iterable[int]
) -> list[Row]:
    """The counts of the `measured` classes in label maps of all `num_classes`."""
    counts = [
        class_counts(prediction, label_map.to(prediction.device), num_classes)
        for prediction, label_map in zip(found, truth, strict=True)
    ]
    return [{"counts": of_image[:, list(measured)].tolist()} for of_image in counts]


def _summary(class_names: Sequence[str], rows: list[Row], num_codes: int | None = None) -> dict[str, float]:
    """The metric of rows with counts of these classes and, of so many codes, with ids."""
    metric = SemanticMetric(class_names, keep_in_memory=True)
    metric.add_counts([row["counts"] for row in rows])
    usage = {} if num_codes is None else code_usage(np.concatenate([row["ids"] for row in rows]), num_codes)
    return metric.compute() | usage


def evaluate_semantic_tokenizer(
    tokenizer: VQTokenizer,
    rows: Sequence[LabelledImage],
    *,
    class_names: Sequence[str],
    class_numbers: Sequence[int] | None = None,
    image_size: Sequence[int],
    **measuring,
) -> dict[str, float]:
    """How well a tokenizer rebuilds label maps, which a model that makes no mistake could reach, and how evenly it
    uses its codes: on every process the values of [`~ait_hf.metrics.SemanticMetric`], `perplexity` and `code_usage`.

    A tokenizer of label maps (unit "class") rebuilds them at the frame's size. One of masks (unit "mask") rebuilds the
    mask of every class that an image shows, squeezed into its square; the highest value wins.

    Args:
        rows: Labelled images by number.
        class_names: Of the data.
        class_numbers: For every class of the data its number in the tokenizer's label maps; by default they are the
            same.
        image_size: Height and width in pixels of the frame that a model's images are fitted into.
        measuring: `accelerator`, `batch_size`, `description`, see [`~ait_hf.metrics.measuring.measure_rows`].

    Raises:
        ValueError: The tokenizer is of something else or of another number of classes.
    """
    of_label_maps = tokenizer.config.unit == "class"
    num_classes = tokenizer.config.out_channels if of_label_maps else len(class_names)
    if not of_label_maps:  # in the order of their names: where two masks are equal, the first wins
        class_numbers = [sorted(class_names).index(name) for name in class_names]
    elif class_numbers is None:
        class_numbers, num_classes = range(len(class_names)), len(class_names)
    rebuild = _rebuilder(tokenizer, num_classes)
    pairs = sorted(zip(class_numbers, class_names, strict=True))
    measured = {number: name for number, name in pairs if number in range(num_classes)}
    transform = SemanticEvalTransform(tuple(image_size), normalize=False)
    processor = frame_processor(image_size, normalize=False)

    def measure(row: LabelledImage) -> Row:
        sample = transform(row)
        class_maps, ids = rebuild(renumbered(sample["labels"], class_numbers).to(tokenizer.device))
        truth = renumbered(sample["label_map"], class_numbers)
        scores = SimpleNamespace(class_maps=class_maps[None])
        found = processor.post_process_semantic_segmentation(scores, [tuple(truth.shape)])
        (counted,) = _counted(found, [truth], num_classes, measured)
        return counted | {"ids": ids.flatten().tolist()}

    summarize = partial(_summary, list(measured.values()), num_codes=tokenizer.config.num_vq_embeddings)
    return measure_rows(tokenizer, rows, lambda batch: [measure(row) for row in batch], summarize, **measuring)


def _rebuilder(
    tokenizer: VQTokenizer, num_classes: int
) -> Callable[[torch.LongTensor], tuple[torch.Tensor, torch.LongTensor]]:
    """Function from a label map (height, width) to scores (classes, h, w) and codes."""
    unit, known = tokenizer.config.unit, tokenizer.config.out_channels
    if unit not in ("class", "mask"):
        raise ValueError(f"This tokenizer is of {unit!r}, neither of label maps nor of masks.")
    if unit == "class" and known != num_classes:
        raise ValueError(f"The tokenizer knows {known} classes, but the data have {num_classes}.")

    def rebuild(labels: torch.LongTensor) -> tuple[torch.Tensor, torch.LongTensor]:
        if unit == "class":
            ids = tokenizer.tokenize(labels[None])
            return tokenizer.detokenize(ids=ids)[0].float().softmax(0), ids
        side = tokenizer.config.sample_size
        small = F.interpolate(labels[None, None].float(), size=(side, side), mode="nearest-exact")[0, 0]
        present = labels[labels != IGNORED_LABEL].unique()
        ids = tokenizer.tokenize((small == present[:, None, None]).float()[:, None])
        scores = torch.full((num_classes, side, side), -1.0, device=labels.device)
        scores[present] = tokenizer.detokenize(ids=ids)[:, 0].float()
        return scores, ids

    return rebuild


def semantic_gallery_rows(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    rows: Sequence[LabelledImage],
    *,
    class_numbers: Sequence[int] | None = None,
    task: str = SEMANTIC_TASK,
    **settings,
) -> list[dict[str, np.ndarray]]:
    """What a model finds in some images, as rows of [`~ait_hf.tasks.semantics.drawing.semantic_gallery`], classes
    being numbered as the task's; `class_numbers`, `task` and `settings` as for [`evaluate_semantic`]."""
    gallery = []
    for row in rows:
        batch = labelled_image_collator([row], processor=processor)
        with evaluating(model):
            scores = _class_scores(model, batch["pixel_values"], task, settings)
        truth = np.asarray(row["label_map"])
        if class_numbers is not None:
            truth = renumbered(torch.tensor(truth), class_numbers).numpy()
        size = tuple(truth.shape)
        (found,) = processor.post_process_semantic_segmentation(scores, [size])
        best = scores.class_maps.clamp(0, 1).amax(1, keepdim=True)
        certainty = SimpleNamespace(predicted_map=best, uncertainty=1 - best[:, 0])
        uncertainty = processor.post_process_dense_prediction(certainty, [size])[0]["uncertainty"].cpu().numpy()
        drawn = {"image": picture_of(row), "truth": truth, "prediction": found.cpu().numpy()}
        gallery.append(drawn | {"uncertainty": uncertainty})
    return gallery


def _class_scores(
    model: AiTForDenseTokenGeneration, pixel_values: torch.Tensor, task: str, settings: dict[str, Any]
) -> SimpleNamespace:
    """What the model generates, with `class_maps` of the task's own classes, as the data count them."""
    pixel_values = pixel_values.to(model.device, model.dtype)
    outputs, classes = model.generate(pixel_values=pixel_values, task=task, **settings), model.config.classes(task)
    return SimpleNamespace(class_maps=outputs.class_maps[:, classes.start : classes.stop])
