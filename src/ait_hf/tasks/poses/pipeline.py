# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The pipeline that transformers lacks: from photographs to the joints of people. Importing it registers it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

from PIL import Image
from torch.utils.data import StackDataset
from transformers import AutoModelForPoseEstimation, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from ...inference.pipeline_images import load_picture
from ...model.image_processing_ait import AiTImageProcessor
from ...model.image_processing_pose_ait import AiTPoseImageProcessor
from ...model.modeling_ait import AiTForDenseTokenGeneration
from .prediction import POSE_TASK, detect_people, person_task, predict_poses


KEYPOINT_PIPELINE = "keypoint-estimation"
AnImage = str | Image.Image | Mapping[str, Any]


class KeypointEstimationPipeline(Pipeline):
    """Joints of the people in an image, by an AiT model with the task "keypoint-detection".

    ```python
    >>> import ait_hf
    >>> from transformers import pipeline

    >>> estimator = pipeline("keypoint-estimation", model="runs/rooms/pose_aitp")
    >>> people = estimator("photo.jpg", boxes=[[120, 40, 80, 210]])  # x, y, width, height of every person
    >>> people[0]["keypoints"][0]
    {'label': 0, 'x': 163.2, 'y': 61.7, 'score': 0.83}
    ```

    Without boxes the model's own detections of people take their place, if it has a task of objects with the class
    "person".

    Args:
        image_processor ([`AiTPoseImageProcessor`], *optional*): Cuts out people; by default the one that was saved with
            the model for its task.
        object_image_processor ([`AiTImageProcessor`], *optional*): That of the model's task of objects, by default as
            saved.
    """

    _load_processor = False
    _load_image_processor = False  # the one beside a model of several tasks may be another task's
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(
        self,
        model: AiTForDenseTokenGeneration,
        *,
        image_processor: AiTPoseImageProcessor | None = None,
        object_image_processor: AiTImageProcessor | None = None,
        **kwargs,
    ):
        if image_processor is None:
            image_processor = AiTPoseImageProcessor.from_pretrained(**_saved_processor(model, POSE_TASK))
        super().__init__(model, image_processor=image_processor, **kwargs)
        self.object_image_processor = object_image_processor

    def __call__(
        self, inputs: AnImage | Iterable[AnImage], boxes: Iterable[Any] | None = None, **kwargs
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]] | Iterator[list[dict[str, Any]]]:
        """
        Args:
            inputs: An image (PIL, path or address), or a list, a data set or a generator of them. Instead of an image
                there may be a dictionary (a row of a data set) with `image` and, if its people are known, `boxes`.
            boxes (*optional*): Of one image a list of boxes `[x, y, width, height]` in pixels, of several such a list for
                each; may be empty. Without it the model finds the people itself.
            batch_size, num_workers (`int`, *optional*): As in all pipelines.
            threshold (`float`, *optional*, defaults to 0.3): Least score of a person that the model finds itself.
            timeout (`float`, *optional*): Seconds that the download of an image may take.

        Returns:
            For an image a list of people, for a list of images a list of such lists, for a data set or a generator an
            iterator over such lists. A person is a dictionary with `score` (mean score of the joints times that of the
            box, which is 1 where it was given), `box` (`xmin`, `ymin`, `xmax`, `ymax`, pixels) and `keypoints`: for
            every joint its number `label`, `x` and `y` in pixels of the image, and `score`.

        Raises:
            ValueError: There are not as many lists of boxes as images, a box makes no sense, a threshold is given beside
                boxes, or, without boxes, the model cannot find people.
        """
        if boxes is not None and "threshold" in kwargs:
            raise ValueError("The threshold is that of people whom the model finds: leave it out beside boxes.")
        if isinstance(inputs, (str, Image.Image, Mapping)):
            return super().__call__({"image": inputs, "boxes": boxes}, **kwargs)
        if isinstance(inputs, Sized) and isinstance(boxes, Sized) and len(boxes) != len(inputs):
            raise ValueError(f"One list of boxes per image is needed: got {len(boxes)} for {len(inputs)} images.")
        columns = {"image": inputs} if boxes is None else {"image": inputs, "boxes": boxes}
        rows = (dict(zip(columns, row)) for row in zip(*columns.values(), strict=True))
        if isinstance(inputs, (list, tuple)):
            return super().__call__(list(rows), **kwargs)
        if isinstance(inputs, Sized) and isinstance(boxes, Sequence | None):
            return super().__call__(StackDataset(**columns), **kwargs)
        return super().__call__(rows, **kwargs)

    def _sanitize_parameters(self, threshold: float | None = None, timeout: float | None = None):
        reading = {} if timeout is None else {"timeout": timeout}
        return reading, {} if threshold is None else {"threshold": threshold}, {}

    def preprocess(self, inputs: AnImage, timeout: float | None = None) -> dict[str, Any]:
        boxes = None
        while isinstance(inputs, Mapping):  # a row, perhaps with boxes that were given beside it
            if "image" not in inputs:
                found = ", ".join(map(str, inputs))
                raise ValueError(f"A row needs an image under the key 'image'; this one has {found}.")
            boxes = inputs.get("boxes") if boxes is None else boxes
            inputs = inputs["image"]
        return {"image": load_picture(inputs, timeout), "boxes": boxes}

    def _forward(self, inputs: dict[str, Any], **settings) -> dict[str, Any]:
        if not isinstance(inputs["image"], list):  # one, which the library does not collate
            outputs = self._forward({name: [value] for name, value in inputs.items()}, **settings)
            return {name: value for name, (value,) in outputs.items()}
        images, boxes = inputs["image"], list(inputs["boxes"])
        scores = [None if of_image is None else [1.0] * len(of_image) for of_image in boxes]
        if unknown := [number for number, of_image in enumerate(boxes) if of_image is None]:
            pictures = [images[number] for number in unknown]
            found = detect_people(self.model, self._people_processor(), pictures, **settings)
            for number, people in zip(unknown, found):
                boxes[number], scores[number] = people["boxes"].cpu(), people["scores"].tolist()
        return {"people": predict_poses(self.model, self.image_processor, images, boxes), "box_scores": scores}

    def _people_processor(self) -> AiTImageProcessor:
        """Image processor of the task that finds people."""
        task = person_task(self.model.config)
        if self.object_image_processor is None:
            self.object_image_processor = AiTImageProcessor.from_pretrained(**_saved_processor(self.model, task))
        return self.object_image_processor

    def postprocess(self, outputs: dict[str, Any]) -> list[dict[str, Any]]:
        people = []
        for person, score in zip(outputs["people"], outputs["box_scores"], strict=True):
            joints = zip(*(person[name].tolist() for name in ("labels", "keypoints", "scores")))
            keypoints = [{"label": label, "x": x, "y": y, "score": certainty} for label, (x, y), certainty in joints]
            box = dict(zip(("xmin", "ymin", "xmax", "ymax"), person["bbox"].tolist()))
            people.append({"score": float(score * person["scores"].mean()), "box": box, "keypoints": keypoints})
        return people


def _saved_processor(model: AiTForDenseTokenGeneration, task: str) -> dict[str, str]:
    """Where [`~ait_hf.hub.remote_code.save_with_remote_code`] put the image processor of a task: of several tasks each has
    a folder of its own."""
    model.config.task(task)
    if not model.name_or_path:
        raise ValueError(f"This model was not loaded from a folder: pass the image processor of {task}.")
    saved = {"pretrained_model_name_or_path": model.name_or_path}
    return saved if len(model.config.tasks) == 1 else saved | {"subfolder": f"image_processors/{task}"}


PIPELINE_REGISTRY.register_pipeline(
    KEYPOINT_PIPELINE, pipeline_class=KeypointEstimationPipeline, pt_model=AutoModelForPoseEstimation, type="image"
)
