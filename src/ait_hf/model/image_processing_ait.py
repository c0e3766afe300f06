# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Images into the model, and its maps, boxes and masks back to the images' sizes."""

import math
from collections.abc import Callable
from functools import partial

import torch
from PIL import Image
from torch.nn import functional as F
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_outputs import SemanticSegmentationPostProcessorOutput
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ImageInput,
    PILImageResampling,
    SizeDict,
)
from transformers.modeling_outputs import DepthEstimatorOutput, ModelOutput
from transformers.processing_utils import ImagesKwargs, Unpack

from .image_reading_ait import rgb_image, upright_image
from .masks_ait import (
    PastedMask,
    choose_pairs,
    draw_segments,
    masks_of_pairs,
    on_host,
    overlapping_segments,
    paste_objects,
)
from .poses_ait import scale_points


TargetSizes = torch.Tensor | list[tuple[int, int]] | None  # (height, width) of every image


class AiTImageProcessor(TorchvisionBackend):
    """
    Image processor of AiT.

    By default an image becomes RGB, is resized to 480×480 (bilinear, antialiased) and divided by 255: the input of the
    depth models. The COCO models see images of another kind, which the usual arguments describe: the longer side 640,
    ImageNet's mean and standard deviation, zeros at the right and bottom:

    ```python
    AiTImageProcessor(
        size={"max_height": 640, "max_width": 640},
        do_normalize=True,
        do_pad=True,
        pad_size={"height": 640, "width": 640},
    )
    ```

    Sides that follow from `max_height` and `max_width` are `int(side * scale + 0.5)`, as in the published
    preprocessing; the library would round them down.

    Images are PIL images, NumPy arrays or tensors, one or a list, of different sizes if they are resized or padded to
    one. PIL images are turned upright as their EXIF orientation says, and their alpha is dropped: what is given or asked for
    in pixels of an image is in those of the upright one (`PIL.ImageOps.exif_transpose`). Arrays hold 0..255 unless `do_rescale=False` is passed. `pixel_values` is always float32,
    `(batch, channels, height, width)`.

    All arguments are those of transformers' image processors (`transformers.processing_utils.ImagesKwargs`).

    Raises:
        ValueError: If there are no images, or an image is empty, contains NaN or infinity, or is a PIL image with one
            channel of more than 8 bits that is to become RGB.
    """

    do_convert_rgb = True
    do_resize = True
    size = {"height": 480, "width": 480}
    default_to_square = True
    resample = PILImageResampling.BILINEAR
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = False
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    model_input_names = ["pixel_values"]

    def preprocess(self, images: ImageInput, **kwargs: Unpack[ImagesKwargs]) -> BatchFeature:
        """Images to `pixel_values`; arguments override the processor's own for this call."""
        if isinstance(images, (list, tuple)) and not images:
            raise ValueError("The list of images is empty; pass at least one image.")
        return super().preprocess(images, **kwargs)

    def process_image(self, image: ImageInput, do_convert_rgb: bool | None = None, **kwargs) -> torch.Tensor:
        """Check one image and turn it into a `(channels, height, width)` tensor of its own dtype."""
        shape = image.size if isinstance(image, Image.Image) else tuple(image.shape)
        if 0 in shape:
            raise ValueError(f"An image is empty (shape {shape}); pass images with at least one pixel.")
        if isinstance(image, Image.Image):
            image = upright_image(image)
            if do_convert_rgb:
                image = rgb_image(image)  # not by the library, which shows what is transparent as white
        tensor = super().process_image(image, do_convert_rgb=do_convert_rgb, **kwargs)
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError("An image contains NaN or infinite values; replace them before processing.")
        return tensor

    def resize(self, image: torch.Tensor, size: SizeDict, **kwargs) -> torch.Tensor:
        """As in the library, but see [`~AiTImageProcessor.resized_size`]."""
        if size.max_height and size.max_width:
            height, width = fitted_size(*image.shape[-2:], (size.max_height, size.max_width))
            size = SizeDict(height=height, width=width)
        return super().resize(image, size, **kwargs)

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """
        Height and width, before padding, of an image of that height and width in the model's input; `ValueError` if
        `size` is neither `height` and `width` nor `max_height` and `max_width`.
        """
        if not self.do_resize:
            return height, width
        if self.size.max_height and self.size.max_width:
            return fitted_size(height, width, (self.size.max_height, self.size.max_width))
        if self.size.height and self.size.width:
            return self.size.height, self.size.width
        raise ValueError(
            "Where an image lies in the model's input is known for the sizes {height, width} and {max_height, "
            f"max_width}}, but this processor's is {dict(self.size)}."
        )

    def frame_size(self) -> tuple[int, int]:
        """Height and width of the model's input, padding included; `ValueError` if they depend on the images."""
        frame = self.pad_size if self.do_pad else self.size if self.do_resize else None
        if frame is None or not (frame.height and frame.width):
            raise ValueError(
                "The model's input has no fixed size: give the image processor a size of {height, width}, or "
                "do_pad=True and a pad_size."
            )
        return frame.height, frame.width

    def rescale_and_normalize(self, images: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        """As in the library, but float32 whatever the input's dtype and whichever steps are on."""
        return super().rescale_and_normalize(images.to(torch.float32), *args, **kwargs)

    def post_process_depth_estimation(
        self, outputs: DepthEstimatorOutput, target_sizes: TargetSizes = None
    ) -> list[dict[str, torch.Tensor]]:
        """
        Depth maps at the sizes of the original images.

        Args:
            outputs: Output of a depth model: `predicted_depth` `(batch, h, w)` in metres and, where the model gives
                it, `uncertainty` of the same shape.
            target_sizes: `(height, width)` of every original image (`ValueError` for another number), a list or a
                tensor. Without it the maps keep their size.

        Returns:
            One dictionary per image: `predicted_depth` `(height, width)`, float32, metres, and `uncertainty`
            `(height, width)`, float32, metres, where the output has it. Both are resized bilinearly.
        """
        maps = {"predicted_depth": outputs.predicted_depth, "uncertainty": getattr(outputs, "uncertainty", None)}
        maps = {name: values.to(torch.float32) for name, values in maps.items() if values is not None}
        sizes = _height_and_width(target_sizes, len(maps["predicted_depth"]), "depth maps")

        def resized(values: torch.Tensor, size: tuple[int, int] | None) -> torch.Tensor:
            return values if size is None else F.interpolate(values[None, None], size, mode="bilinear")[0, 0]

        return [{name: resized(maps[name][index], size) for name in maps} for index, size in enumerate(sizes)]

    def post_process_dense_prediction(
        self, outputs: ModelOutput, target_sizes: TargetSizes = None
    ) -> list[dict[str, torch.Tensor]]:
        """
        Maps of a task of your own at the sizes of the original images.

        Args:
            outputs: Output of a task whose output is a map: `predicted_map` `(batch, channels, h, w)` in the unit of
                the task's tokenizer, and `uncertainty` `(batch, h, w)` in that unit.
            target_sizes: As for [`~AiTImageProcessor.post_process_depth_estimation`]; without it padding stays.

        Returns:
            One dictionary per image: `predicted_map` `(channels, height, width)` and `uncertainty` `(height, width)`,
            float32. Padding is left out, then both are resized bilinearly, each channel by itself; `ValueError` if
            this processor's settings do not tell where an image lies in the model's input.
        """
        # Resized together: the uncertainty as one more channel.
        maps = torch.cat([outputs.predicted_map.float(), outputs.uncertainty.float()[:, None]], dim=1)
        sizes = _height_and_width(target_sizes, len(maps), "maps")
        maps = [self._to_image(*pair) for pair in zip(maps, sizes)]
        return [{"predicted_map": values[:-1], "uncertainty": values[-1]} for values in maps]

    def post_process_semantic_segmentation(
        self, outputs: ModelOutput, target_sizes: TargetSizes = None, return_segmentation_scores: bool = False
    ) -> list[torch.LongTensor] | list[SemanticSegmentationPostProcessorOutput]:
        """
        The likeliest class of every pixel of the original images.

        Args:
            outputs: Output of a semantic task: `class_maps` `(batch, num_classes, h, w)`, scores in 0..1; or, of another
                model, `logits` of that shape, whose softmax are the scores.
            target_sizes: As for [`~AiTImageProcessor.post_process_depth_estimation`]; without it padding stays.
            return_segmentation_scores: Also return the resized scores.

        Returns:
            For every image `(height, width)`, int64, numbers of the model's classes (`id2label`). Padding is left out,
            then the scores are resized bilinearly, one class at a time. With `return_segmentation_scores`, this is the
            `segmentation` of an output that has `segmentation_scores` `(num_classes, height, width)`, float32. Errors
            are those of [`~AiTImageProcessor.post_process_dense_prediction`].
        """
        class_maps = getattr(outputs, "class_maps", None)
        class_maps = outputs.logits.float().softmax(1) if class_maps is None else class_maps.float()
        sizes = _height_and_width(target_sizes, len(class_maps), "images of classes")
        labels = [_likeliest_class(maps, partial(self._to_image, size=size)) for maps, size in zip(class_maps, sizes)]
        if not return_segmentation_scores:
            return labels
        return [
            SemanticSegmentationPostProcessorOutput(
                data={"segmentation": segmentation, "segmentation_scores": self._to_image(maps, size)}
            )
            for segmentation, maps, size in zip(labels, class_maps, sizes)
        ]

    def _to_image(self, maps: torch.Tensor, size: tuple[int, int] | None) -> torch.Tensor:
        """
        Maps `(channels, h, w)` of the model's input, padding included, resized bilinearly to an original image of that
        size, `(channels, *size)`; as they are without one. Where the image ends inside a cell of a map, the cell counts as
        far as the image goes.
        """
        if size is None:
            return maps
        shown = [1.0, 1.0]
        if self.do_pad:
            shown = [part / whole for part, whole in zip(self.resized_size(*size), self.frame_size())]
        rows, columns = (share * length for share, length in zip(shown, maps.shape[-2:]))
        maps = maps[:, : math.ceil(rows), : math.ceil(columns)]
        v = _sampling_places(size[0], rows, maps.shape[1]).to(maps.dtype).to(maps.device, non_blocking=True)
        u = _sampling_places(size[1], columns, maps.shape[2]).to(maps.dtype).to(maps.device, non_blocking=True)
        grid = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
        return F.grid_sample(maps[None], grid[None], padding_mode="border", align_corners=False)[0]

    def post_process_object_detection(
        self, outputs: ModelOutput, threshold: float = 0.5, target_sizes: TargetSizes = None, top_k: int | None = None
    ) -> list[dict[str, torch.Tensor]]:
        """
        Detected objects in the original images. Raises `ValueError` if the number of sizes is not the batch size,
        `top_k` is below 1, or this processor's settings do not tell where an image lies in the model's input.

        Args:
            outputs: Output of a model of objects: `pred_boxes` `(batch, objects, 4)`, x1, y1, x2, y2 relative to the
                model's input, `class_scores` and `class_labels` `(batch, objects)`; for `top_k`, `class_logits` (as
                `generate()` calls them) or `logits` (as a head does) `(batch, objects, num_classes + 1)`, noise last. With
                `box_scores` `(batch, objects)`, scores are multiplied by them.
            threshold: Least score of an object that is kept.
            target_sizes: `(height, width)` of every original image, a list or a `(batch, 2)` tensor.
            top_k: By default, an object has the class that the model chose for it, as published. With a number, every
                object may have every class of its task, and so many pairs of an object and a class are kept of each
                image, those of the highest probabilities, as the library does for Deformable DETR. Average precision
                gains by it.

        Returns:
            One dictionary per image, its objects in the model's order, or with `top_k` the best first: `scores`
            `(n,)` in 0..1, `labels` `(n,)` int64, `boxes` `(n, 4)` float32, x1 <= x2 and y1 <= y2 in pixels of the
            original image, not clipped to it. Without `target_sizes`, the boxes stay relative to the model's input.
        """
        boxes = outputs.pred_boxes.float()
        if target_sizes is not None:
            sizes = _height_and_width(target_sizes, len(boxes), "images of objects")
            boxes = torch.stack([self._to_pixels(*pair) for pair in zip(boxes, sizes)])
        first, second = boxes[..., :2], boxes[..., 2:]
        boxes = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=-1)
        pairs = [choose_pairs(outputs, index, threshold, top_k) for index in range(len(boxes))]
        return [
            {"scores": of_image.scores, "labels": of_image.labels, "boxes": corners[of_image.objects]}
            for of_image, corners in zip(pairs, boxes)
        ]

    def post_process_instance_segmentation(
        self,
        outputs: ModelOutput,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        target_sizes: TargetSizes = None,
        return_coco_annotation: bool = False,
        return_binary_maps: bool = False,
        top_k: int | None = None,
    ) -> list[dict]:
        """
        Segmented objects in the original images, best first. Errors are those of
        [`~AiTImageProcessor.post_process_object_detection`], and `ValueError` if there are no masks, or both run
        lengths and binary maps are asked for.

        Args:
            outputs: As for [`~AiTImageProcessor.post_process_object_detection`], and `pred_masks`
                `(batch, objects, s, s)`, values about 0..1 inside the boxes.
            threshold: Least score of an object that is kept.
            mask_threshold: Least value of a mask that belongs to the object, above 0.
            overlap_mask_area_threshold: An object of whose area at most this share is left by objects of higher scores
                is no segment of the map. Run lengths and binary maps may overlap and hold it all the same.
            target_sizes: `(height, width)` of every original image, a list or a `(batch, 2)` tensor; by default, that
                of the model's input.
            return_coco_annotation: Instead of the map, a list of COCO's uncompressed run lengths, one per segment.
            return_binary_maps: Instead of the map, a boolean tensor `(segments, height, width)`.
            top_k: As for [`~AiTImageProcessor.post_process_object_detection`]. The map shows every object in its best
                class only.

        Returns:
            One dictionary per image. `segmentation` is a map `(height, width)`, int32, of segment ids, -1 where there
            is none, or what was asked for in its place. `segments_info` is a list with `id` (0, 1, ...), `label_id`,
            `was_fused` (always False) and `score` of every segment. Objects without a pixel are left out.
        """
        if return_coco_annotation and return_binary_maps:
            raise ValueError("Ask for run lengths (return_coco_annotation) or for return_binary_maps, not for both.")
        results = []
        chosen_from = on_host(outputs, top_k)
        for index, (boxes, size) in enumerate(self._boxes_and_sizes(outputs, target_sizes)):
            pairs = choose_pairs(chosen_from, index, threshold, top_k).best_first()
            paste = partial(paste_objects, outputs.pred_masks[index], boxes, size, mask_threshold)
            if return_coco_annotation:
                segmentation, segments = overlapping_segments(pairs, paste, PastedMask.rle)
            elif return_binary_maps:
                segmentation, segments = overlapping_segments(pairs, paste, PastedMask.whole)
                segmentation = torch.stack(segmentation) if segments else boxes.new_zeros(0, *size, dtype=torch.bool)
            else:
                segmentation = torch.full(size, -1, dtype=torch.int32)
                segments = draw_segments(segmentation, pairs, paste, overlap_mask_area_threshold)
            if not return_coco_annotation:
                segmentation = segmentation.to(outputs.pred_masks.device, non_blocking=True)
            results.append({"segmentation": segmentation, "segments_info": segments})
        return results

    def object_masks_rle(
        self,
        outputs: ModelOutput,
        target_sizes: TargetSizes,
        threshold: float = 0.5,
        score_threshold: float = 0.0,
        top_k: int | None = None,
    ) -> list[list[dict[str, list[int]]]]:
        """
        The mask of every object in the original images as run lengths, for COCO's results format.

        Masks may overlap and be empty: those of the objects that `post_process_object_detection(outputs,
        score_threshold, top_k=top_k)` returns, in its order, for every image a list of run lengths, see
        [`~ait_hf.model.masks_ait.masks_to_rle`]. One at a time is unpacked, each object's once.

        Args:
            outputs, target_sizes, top_k: As for [`~AiTImageProcessor.post_process_instance_segmentation`].
            threshold: Least value of a mask that belongs to the object, above 0.
            score_threshold: Least score of an object.
        """
        results, chosen_from = [], on_host(outputs, top_k)
        for index, (boxes, size) in enumerate(self._boxes_and_sizes(outputs, target_sizes)):
            objects = choose_pairs(chosen_from, index, score_threshold, top_k).objects
            paste = partial(paste_objects, outputs.pred_masks[index], boxes, size, threshold)
            results.append(masks_of_pairs(objects, paste, PastedMask.rle))
        return results

    def _boxes_and_sizes(
        self, outputs: ModelOutput, target_sizes: TargetSizes
    ) -> list[tuple[torch.Tensor, tuple[int, int]]]:
        """Of every image of objects with masks: boxes as predicted, pixels, on the CPU, and the size they refer to."""
        if getattr(outputs, "pred_masks", None) is None:
            raise ValueError(
                "These outputs have no masks of objects: predict with the task instance-segmentation. (For classes of "
                'pixels, post_process_semantic_segmentation; in the pipeline, subtask="semantic".)'
            )
        boxes = outputs.pred_boxes.float().cpu()
        if target_sizes is None:
            height, width = self.frame_size()
            return [(scale_points(relative, width, height), (height, width)) for relative in boxes]
        sizes = _height_and_width(target_sizes, len(boxes), "images of objects")
        return [(self._to_pixels(relative, size), size) for relative, size in zip(boxes, sizes)]

    def _to_pixels(self, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """From boxes relative to the model's input to pixels of an original image of that size."""
        (frame_height, frame_width), (height, width) = self.frame_size(), self.resized_size(*size)
        return scale_points(boxes, frame_width * size[1] / width, frame_height * size[0] / height)


def _sampling_places(num_pixels: int, extent: float, num_cells: int) -> torch.Tensor:
    """Where the centres of so many pixels, which cover that many of the cells, lie for `grid_sample`."""
    centers = (torch.arange(num_pixels, dtype=torch.float64) + 0.5) / num_pixels
    return centers * extent / num_cells * 2 - 1


def _likeliest_class(maps: torch.Tensor, resize: Callable[[torch.Tensor], torch.Tensor]) -> torch.LongTensor:
    """Arg-max over the resized maps `(num_classes, h, w)` of one image. A class that is nowhere is not chosen where all
    scores are 0; the first of the others is."""
    found = [label for label, score in enumerate(maps.flatten(1).amax(1).tolist()) if score != 0] or [0]
    best = resize(maps[found[0] : found[0] + 1])[0]
    labels = torch.full_like(best, found[0], dtype=torch.int64)
    for label in found[1:]:
        scores = resize(maps[label : label + 1])[0]
        labels.masked_fill_(scores > best, label)
        best = torch.maximum(best, scores)
    return labels


def fitted_size(height: int, width: int, frame: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
    """Height and width, at least 1, of an image resized to fit `frame` times `scale`, keeping its aspect."""
    ratio = min(frame[0] / height, frame[1] / width) * scale
    return max(1, int(height * ratio + 0.5)), max(1, int(width * ratio + 0.5))


def _height_and_width(target_sizes: TargetSizes, batch_size: int, what: str) -> list[tuple[int, int] | None]:
    if target_sizes is None:
        return [None] * batch_size
    if (count := len(target_sizes)) != batch_size:
        raise ValueError(f"One target size per image is needed: got {count} sizes for {batch_size} {what}.")
    return [(int(height), int(width)) for height, width in target_sizes]
