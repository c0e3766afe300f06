# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""From a folder and some photographs to depth maps of the photographs' sizes, or to the objects and poses in them."""

import math
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..data.files import IMAGE_SUFFIXES, FileFinder, files_with_suffix
from ..data.skeletons import COCO_SKELETON, Skeleton
from ..model.configuration_ait import AiTConfig
from ..model.image_processing_ait import AiTImageProcessor
from ..model.image_processing_pose_ait import AiTPoseImageProcessor, Boxes
from ..model.image_reading_ait import read_image as read_image
from ..model.image_reading_ait import upright_height_and_width
from ..model.modeling_ait import AiTDepthEstimatorOutput, AiTForDenseTokenGeneration, AiTPoseEstimatorOutput
from ..model.poses_ait import mirrored_joints
from .loading import MODEL, load_config, load_solver, loading
from .windows import predict_with_windows_and_flip


DEPTH_TASK = "depth"
OBJECT_TASKS = ("object-detection", "instance-segmentation")
POSE_TASK = "keypoint-detection"
SEMANTIC_TASK = "semantic-segmentation"
PERSON = "person"  # the class of objects that have poses


def load_model_and_processor(
    folder: str | Path,
    task: str = DEPTH_TASK,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
) -> tuple[AiTForDenseTokenGeneration, AiTImageProcessor]:
    """
    Load a saved model, ready to predict, and the image processor of the task: that in `image_processors/TASK`, where a
    model of several tasks has one for each, or else the one beside the model.

    Args:
        folder (`str` or `Path`): As [`~ait_hf.hub.remote_code.save_with_remote_code`] or `save_pretrained` wrote it.
        task (`str`): A task that the model has to have.
        device (`str` or `torch.device`): Where to put the model.
        dtype (`str` or `torch.dtype`): Of its weights; the codebook stays float32.

    Raises:
        FileNotFoundError: The folder or a file in it is missing.
        ValueError: It holds another architecture, a damaged or incomplete checkpoint, or a model without the task.
    """
    processor = load_processor(folder, task)
    return load_model(folder, device, dtype), processor


def load_model(
    folder: str | Path, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32"
) -> AiTForDenseTokenGeneration:
    """The model alone, as [`load_model_and_processor`] loads it."""
    return load_solver(Path(folder), dtype=dtype).to(device)


def load_processor(folder: str | Path, task: str) -> AiTImageProcessor:
    """
    The image processor of a task of a saved model, as of [`load_model_and_processor`].

    Raises:
        FileNotFoundError: The folder or a file in it is missing.
        ValueError: It holds another architecture, a damaged file, or a model without the task.
    """
    output_type = load_config(Path(folder)).task(task).output_type
    own = Path(folder) / "image_processors" / task
    processor_folder = own if own.is_dir() else Path(folder)
    if not (file := processor_folder / "preprocessor_config.json").is_file():
        raise FileNotFoundError(f"{file} does not exist: give the folder of {MODEL}.")
    processor_class = AiTPoseImageProcessor if output_type == "pose" else AiTImageProcessor
    with loading(Path(folder), MODEL):
        return processor_class.from_pretrained(processor_folder)


def find_images(patterns: Sequence[str | Path]) -> list[Path]:
    """
    Image files named by files, folders (all images directly in them but hidden ones) and globs, in that order, each once.
    See [`~ait_hf.data.files.FileFinder`] for how names may differ from those of the files.

    Raises:
        FileNotFoundError: A file is missing, or a folder or glob has no images.
        ValueError: Two files have the same stem, so that results named after them would overwrite each other.
    """
    found: dict[Path, None] = {}
    finder = FileFinder()
    for pattern in patterns:
        path = Path(pattern)
        if path.is_file():
            matches = [path]
        elif path.is_dir():
            matches = files_with_suffix(path, IMAGE_SUFFIXES)
        elif has_magic(str(pattern)):
            spelled = {str(pattern)} | {unicodedata.normalize(form, str(pattern)) for form in ("NFC", "NFD")}
            matches = sorted({Path(match) for one in spelled for match in glob(one, recursive=True)})
            matches = [match for match in matches if match.is_file()]
        elif (meant := finder.find(Path(path.anchor or "."), str(pattern))) is not None:
            matches = [meant]
        else:
            raise FileNotFoundError(f"{pattern} does not exist{finder.hint(Path(path.anchor or '.'), str(pattern))}.")
        if not matches:
            raise FileNotFoundError(f"{pattern} has no images.")
        found |= dict.fromkeys(matches)
    stems: dict[str, Path] = {}
    for path in found:
        stem = unicodedata.normalize("NFC", path.stem)
        if stem in stems:
            raise ValueError(f"{stems[stem]} and {path} have the same stem: predict them into different folders.")
        stems[stem] = path
    return list(found)


def input_size(model_size: Sequence[int], image_size: Sequence[int], tta: bool) -> tuple[int, int]:
    """
    Height and width that an image is resized to before the model sees it or windows of it.

    Args:
        model_size: Height and width of the model's input.
        image_size: Height and width of the image.
        tta: Whether the model sees square windows: then the image's height becomes the model's and its shape stays.
            Otherwise the whole image is squeezed into the model's input.

    Raises:
        ValueError: With `tta`, the model's input is not square, or the image is higher than wide.
    """
    if not tta:
        return tuple(model_size)
    if model_size[0] != model_size[1]:
        raise ValueError(f"Windows are square, but this model's input is {model_size[0]}x{model_size[1]}.")
    if image_size[0] > image_size[1]:
        raise ValueError(
            f"Windows slide along the width, but an image is higher ({image_size[0]}) than wide ({image_size[1]}): "
            "predict it without test-time augmentation."
        )
    return model_size[0], round(image_size[1] * model_size[0] / image_size[0])


@torch.no_grad()
def predict_depth(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    *,
    tta: bool = False,
    **settings,
) -> list[dict[str, torch.Tensor]]:
    """
    Depth and uncertainty of images, at the images' sizes.

    Args:
        model ([`AiTForDenseTokenGeneration`]): In evaluation mode.
        processor ([`AiTImageProcessor`]): Its image processor.
        images: A batch of PIL images or tensors `(3, H, W)`, of any sizes. Floating-point tensors hold 0..1, others
            0..255.
        tta (`bool`): Follow the published test protocol instead of squeezing each image into the model's input:
            square windows side by side, each also mirrored, averaged.
        settings: Of `generate()`: `soft_solver`, `soft_detokenizer`, `soft_temperature`.

    Returns:
        For every image `predicted_depth` and `uncertainty`, float32 `(H, W)`: metres, at least 1e-3, and 0..1.

    Raises:
        ValueError: There are no images, the model has no depth task, or windows do not fit (see [`input_size`]).
    """
    predict = _predict_windows if tta else _predict_whole
    model_size = model.config.task(DEPTH_TASK).image_size
    prepared = defaultdict(list)
    for number, image in enumerate(images):
        prepared[input_size(model_size, image_height_and_width(image), tta)].append(number)
    if not prepared:
        raise ValueError("There are no images to predict.")
    predictions: dict[int, dict[str, torch.Tensor]] = {}
    for size, members in prepared.items():
        chosen = [images[number] for number in members]
        outputs = predict(model, prepare_images(model, processor, chosen, size), settings)
        maps = processor.post_process_depth_estimation(outputs, [image_height_and_width(image) for image in chosen])
        predictions |= zip(members, maps)
    return [predictions[number] for number in range(len(images))]


def image_height_and_width(image: Image.Image | torch.Tensor) -> tuple[int, int]:
    """Height and width in pixels of a PIL image, turned upright as processors do it, or a tensor `(channels, H, W)`."""
    return upright_height_and_width(image) if isinstance(image, Image.Image) else tuple(image.shape[-2:])


def prepare_images(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    size: tuple[int, int] | None = None,
    **inputs,
) -> torch.Tensor:
    """`pixel_values` of images as [`predict_depth`] takes them, where and as the model needs them: `(batch, 3, *size)`,
    or of the processor's own size. `inputs`: what else the processor wants, such as `boxes`."""
    changes: dict[str, Any] = {} if size is None else {"size": {"height": size[0], "width": size[1]}}
    if torch.is_tensor(images[0]) and images[0].is_floating_point():
        changes["do_rescale"] = False
    pixel_values = processor(list(images), return_tensors="pt", **inputs, **changes)["pixel_values"]
    return pixel_values.to(model.device, model.dtype)


def _predict_whole(model, pixel_values: torch.Tensor, settings: dict):
    return model.generate(pixel_values=pixel_values, task=DEPTH_TASK, return_dict_in_generate=True, **settings)


def _predict_windows(model, pixel_values: torch.Tensor, settings: dict) -> AiTDepthEstimatorOutput:
    def predict(crops: torch.Tensor) -> torch.Tensor:
        outputs = _predict_whole(model, crops, settings)
        # As published, depth is averaged before it is clipped; `outputs.predicted_depth` is clipped already.
        return torch.stack([model.detokenize(outputs), outputs.uncertainty], dim=1)

    num_windows = math.ceil(pixel_values.shape[-1] / pixel_values.shape[-2])
    maps = predict_with_windows_and_flip(pixel_values, predict, num_windows)
    return AiTDepthEstimatorOutput(predicted_depth=maps[:, 0], uncertainty=maps[:, 1])


@torch.no_grad()
def predict_objects(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    *,
    task: str,
    threshold: float = 0.3,
    **settings,
) -> list[dict[str, Any]]:
    """
    Objects in images, in pixels of the images.

    Args:
        model ([`AiTForDenseTokenGeneration`]): In evaluation mode.
        processor ([`AiTImageProcessor`]): The image processor of the task.
        images: As for [`predict_depth`].
        task (`str`): "object-detection" or "instance-segmentation".
        threshold (`float`): Least score, 0..1, of an object that is kept.
        settings: Of `generate()`: `num_objects`, `do_sample`, `top_p`, `soft_solver`, `soft_detokenizer`,
            `soft_temperature`.

    Returns:
        For every image a dictionary of its n objects: `scores` and `labels` `(n,)`, `boxes` `(n, 4)` (x1 <= x2 and
        y1 <= y2, not clipped), and for instance segmentation `masks`, n run lengths of
        [`~ait_hf.model.masks_ait.masks_to_rle`].

    Raises:
        ValueError: There are no images, the model has no such task, or the processor makes images of another size
            than the model was trained on.
    """
    if not images:
        raise ValueError("There are no images to predict.")
    check_frame(model, processor, task)
    pixel_values = prepare_images(model, processor, images)
    outputs = model.generate(pixel_values=pixel_values, task=task, return_dict_in_generate=True, **settings)
    sizes = [image_height_and_width(image) for image in images]
    objects = processor.post_process_object_detection(outputs, threshold, sizes)
    if outputs.pred_masks is not None:
        masks = processor.object_masks_rle(outputs, sizes, score_threshold=threshold)
        objects = [found | {"masks": found_masks} for found, found_masks in zip(objects, masks)]
    return objects


def check_frame(model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, task: str) -> None:
    """
    Boxes are relative to the size that a model was trained on.

    Raises:
        ValueError: The processor makes images of another size, or the model has no such task.
    """
    (height, width), expected = processor.frame_size(), tuple(model.config.task(task).image_size)
    if (height, width) != expected:
        raise ValueError(
            f"The task {task} takes images of {expected[0]}x{expected[1]} pixels, but this image processor makes "
            f"{height}x{width}: use the processor that was saved for it."
        )


@torch.no_grad()
def predict_poses(
    model: AiTForDenseTokenGeneration,
    processor: AiTPoseImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    boxes: Boxes,
    *,
    task: str = POSE_TASK,
    flip_test: bool = False,
    skeleton: Skeleton = COCO_SKELETON,
    batch_size: int = 32,
    **settings,
) -> list[list[dict[str, torch.Tensor]]]:
    """
    Joints of people in images, in pixels of the images.

    Args:
        model ([`AiTForDenseTokenGeneration`]): In evaluation mode.
        processor ([`AiTPoseImageProcessor`]): The image processor of the task.
        images: As for [`predict_depth`].
        boxes: One list per image of people's boxes `[x, y, width, height]`, pixels; it may be empty.
        task (`str`): Whose output is poses.
        flip_test (`bool`): Average with the prediction of the mirrored crop.
        skeleton ([`Skeleton`]): What the model's joints are; `flip_test` has to know left from right.
        batch_size (`int`): People at a time.
        settings: Of `generate()`: `soft_solver`, `soft_detokenizer`, `soft_temperature`.

    Returns:
        For every image a list of people in the order of the boxes, as of
        [`~AiTPoseImageProcessor.post_process_pose_estimation`]: `keypoints` `(joints, 2)`, `scores` `(joints,)`,
        `labels` `(joints,)` and `bbox` `(4,)`.

    Raises:
        ValueError: There are no images, not as many lists of boxes, a box without area, the task is unknown or of
            another kind, the processor makes crops of another size than the model was trained on, or the model has
            not the skeleton's joints.
    """
    if not images:
        raise ValueError("There are no images to predict.")
    check_output_type(model, task, ("pose",))
    check_frame(model, processor, task)
    check_skeleton(model, task, skeleton)
    if len(boxes) != len(images):
        raise ValueError(f"One list of boxes per image is needed: got {len(boxes)} for {len(images)} images.")
    if not any(map(len, boxes)):
        return [[] for _ in images]
    crops = prepare_images(model, processor, images, boxes=boxes)
    flip_order = skeleton.flip_order if flip_test else None
    parts = [generate_poses(model, part, task, flip_order, **settings) for part in crops.split(batch_size)]
    outputs = AiTPoseEstimatorOutput(
        pred_keypoints=torch.cat([part.pred_keypoints for part in parts]),
        keypoint_scores=torch.cat([part.keypoint_scores for part in parts]),
    )
    return processor.post_process_pose_estimation(outputs, boxes)


def generate_poses(
    model: AiTForDenseTokenGeneration,
    pixel_values: torch.Tensor,
    task: str = POSE_TASK,
    flip_order: Sequence[int] | None = None,
    **settings,
) -> AiTPoseEstimatorOutput:
    """
    Poses of crops, in pixels of the crops.

    Args:
        pixel_values: `(people, 3, height, width)`.
        flip_order (*optional*): Average with the prediction of the mirrored crops (the flip test); for every joint of
            a mirrored image the joint that it was.

    Returns:
        `pred_keypoints` `(people, joints, 2)` and `keypoint_scores` `(people, joints)`.
    """

    def generate(crops: torch.Tensor):
        return model.generate(pixel_values=crops, task=task, return_dict_in_generate=True, **settings)

    outputs = generate(pixel_values)
    keypoints, scores = outputs.pred_keypoints, outputs.keypoint_scores
    if flip_order is not None:
        mirrored = generate(pixel_values.flip(-1))
        keypoints = (keypoints + mirrored_joints(mirrored.pred_keypoints, pixel_values.shape[-1], flip_order)) / 2
        scores = (scores + mirrored.keypoint_scores[:, flip_order]) / 2
    return AiTPoseEstimatorOutput(pred_keypoints=keypoints, keypoint_scores=scores)


def check_skeleton(model: AiTForDenseTokenGeneration, task: str, skeleton: Skeleton) -> None:
    """`ValueError` if the poses of the task have another number of joints."""
    num_joints = model.tokenizers[model.grammar(task).codebook].config.num_joints
    if num_joints != len(skeleton.joints):
        raise ValueError(
            f"The model's poses have {num_joints} joints, but the skeleton {skeleton.name} has {len(skeleton.joints)}."
        )


def person_task(config: AiTConfig) -> str:
    """
    The model's own task that finds people for [`detect_people`].

    Raises:
        ValueError: It has none.
    """
    for task in OBJECT_TASKS:
        if task in config.tasks and PERSON in config.class_names(task):
            return task
    raise ValueError(
        f"This model finds no people by itself (it needs the task {' or '.join(OBJECT_TASKS)} with a class {PERSON!r}): "
        "give their boxes."
    )


def detect_people(
    model: AiTForDenseTokenGeneration,
    processor: AiTImageProcessor,
    images: Sequence[Image.Image | torch.Tensor],
    *,
    threshold: float = 0.3,
    **settings,
) -> list[dict[str, torch.Tensor]]:
    """
    People that the model itself finds, for [`predict_poses`].

    Args:
        model, images, threshold, settings: As for [`predict_objects`].
        processor ([`AiTImageProcessor`]): The image processor of the task [`person_task`].

    Returns:
        For every image `boxes` `(n, 4)`, x, y, width, height in pixels, cut to the image, and `scores` `(n,)`. Boxes
        of less than a pixel's width or height are left out.

    Raises:
        ValueError: As [`predict_objects`] and [`person_task`].
    """
    found = predict_objects(model, processor, images, task=person_task(model.config), threshold=threshold, **settings)
    people = []
    for objects, image in zip(found, images):
        height, width = image_height_and_width(image)
        corners = objects["boxes"].clamp(min=0).minimum(objects["boxes"].new_tensor([width, height, width, height]))
        boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
        is_person = torch.tensor([model.config.id2label[label] == PERSON for label in objects["labels"].tolist()])
        kept = is_person.bool().to(boxes.device) & (boxes[:, 2:] >= 1).all(1)
        people.append({"boxes": boxes[kept], "scores": objects["scores"][kept]})
    return people


def check_output_type(model: AiTForDenseTokenGeneration, task: str, output_types: Sequence[str]) -> None:
    """`ValueError` if the model has no such task, or its output is of none of these types."""
    output_type = model.config.task(task).output_type
    if output_type not in output_types:
        raise ValueError(
            f"The output of {task!r} is of the type {output_type!r}, but {' or '.join(output_types)} is needed."
        )
