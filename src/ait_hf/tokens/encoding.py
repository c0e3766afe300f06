# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Maps, masks and COCO annotations as lines of text for fine-tuning: what `tokens encode` does."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_utils import BatchFeature

from ..data.coco import decode_segmentation
from ..data.coco_files import box_corners, clipped_box, entries, read_annotations
from ..data.files import files_with_suffix
from ..data.json_values import finite_numbers, flag
from ..model.image_reading_ait import reading
from ..model.tokenization_vq import VQTokenizer
from .conventions import crop_edges, get_convention, location_numbers
from .image_processing_tokens import AiTTokenProcessor
from .journal import Journal
from .paligemma import TASKS, encode_objects
from .token_format import TokenFormat


SUFFIXES = (".png", ".npy", ".tif", ".tiff")


def encode_source(
    source: Path,
    output: Path,
    vq_tokenizer: VQTokenizer,
    processor: AiTTokenProcessor,
    token_format: TokenFormat,
    task: str = "segment",
    prompt: str | None = None,
    batch_size: int = 16,
) -> dict[str, Any]:
    """
    Writes a JSONL file with `image`, `prefix` and `suffix` of every sample. Run again after it was broken off, it goes on
    exactly there.

    Args:
        source: A COCO json file (for masks); a JSONL file whose lines have `map`, or `mask` and perhaps `box` (ymin, xmin,
            ymax, xmax, shares) and `label`, and perhaps `image` and `prefix`; or a folder of maps or masks (`.png`,
            `.npy`, `.tif`), each by itself. Files in a JSONL file are relative to it.
        output: JSONL file.
        vq_tokenizer, processor, token_format: Of a converted folder.
        task: For COCO: `"segment"` or `"detect"`.
        prompt: The `prefix` of samples that have none of their own; `"segment LABEL"` for masks with a label and
            `"depth"` for maps by default.
        batch_size: Samples, for COCO images, at a time.

    Returns:
        `samples` and `lines` counted; `crowds` that were left out; `errors`, a sentence for every file or annotation
        that could not be read.

    Raises:
        FileNotFoundError, ValueError: The source is none of these, or has no sample.
    """
    samples = _samples(source, get_convention(processor.convention).is_mask, task)
    job = {"source": str(source.absolute()), "samples": digest_of(samples), "convention": processor.convention}
    job |= {"weights": weights_digest(vq_tokenizer)}
    job |= {"task": task, "prompt": prompt, "format": token_format.to_dict(), "side": processor.side}
    encode = _Encoder(vq_tokenizer.eval(), processor, token_format, task, prompt)
    journal = Journal(output, job)
    done = journal.run(samples, batch_size, encode, len(samples))
    lines = [record for entry in done for record in entry["records"]]
    journal.finish("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in lines))
    return {
        "samples": len(done),
        "lines": len(lines),
        "crowds": sum(entry["crowds"] for entry in done),
        "errors": [error for entry in done for error in entry["errors"]],
    }


@dataclass
class _Encoder:
    """Samples as entries of the journal."""

    vq_tokenizer: VQTokenizer
    processor: AiTTokenProcessor
    token_format: TokenFormat
    task: str
    prompt: str | None

    def __call__(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        entries = [{"records": [], "errors": [], "crowds": 0} for _ in samples]
        prepared = []
        for sample, entry in zip(samples, entries):
            try:
                if "annotations" in sample:
                    self._encode_coco(sample, entry)
                else:
                    prepared.append((sample, entry, self._prepare(sample)))
            except (ValueError, OSError) as error:
                entry["errors"].append(f"{sample['name']}: {error}")
        if prepared:
            pixels = torch.cat([inputs.pixel_values for _, _, inputs in prepared])
            ids = self.vq_tokenizer.tokenize(pixels.to(self.vq_tokenizer.device)).cpu()
            for codes, (sample, entry, inputs) in zip(ids, prepared):
                entry["records"].append(self._record(codes, sample, inputs))
        return entries

    def _prepare(self, sample: dict[str, Any]) -> BatchFeature:
        """A map or mask by itself; what its text needs is checked here, so that it does not cost the batch."""
        if sample.get("label") is not None:
            self.token_format.checked_label(sample["label"])
        pixels = read_pixels(Path(sample["file"]))
        if not get_convention(self.processor.convention).is_mask:
            return self.processor(pixels)
        inputs = self.processor(pixels, boxes=sample.get("box"))
        _check_locations(inputs.locations[0])
        return inputs

    def _record(self, codes: torch.LongTensor, sample: dict[str, Any], inputs: BatchFeature) -> dict[str, str]:
        label, locations, default = sample.get("label"), None, "depth"
        if "locations" in inputs:
            locations, default = inputs.locations, f"{TASKS[0]} {label}" if label else TASKS[0]
        suffix = self.token_format.to_text(codes, locations, None if label is None else [label])
        return {"image": sample["image"], "prefix": sample.get("prefix") or self.prompt or default, "suffix": suffix}

    def _encode_coco(self, sample: dict[str, Any], entry: dict[str, Any]) -> None:
        size = (sample["height"], sample["width"])
        labels, boxes, masks = [], [], []
        for annotation in sample["annotations"]:
            if annotation["iscrowd"]:
                entry["crowds"] += 1
                continue
            try:
                box, mask = self._object(annotation, size)
            except ValueError as error:
                entry["errors"].append(f"annotation {annotation['id']}: {error}")
                continue
            labels.append(annotation["label"])
            boxes.append(box)
            masks.append(mask)
        if labels:
            masks = masks if self.task == "segment" else None
            tools = (self.processor, self.vq_tokenizer, self.token_format)
            records = encode_objects(labels, np.stack(boxes), masks, *tools)
            identity = {"image": sample["image"], "image_id": sample["image_id"], "height": size[0], "width": size[1]}
            entry["records"] += [identity | record for record in records]

    def _object(self, annotation: dict[str, Any], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        """Box and mask of one annotation, checked, so that an object that cannot be encoded does not cost its image."""
        corners = box_corners(annotation | {"bbox": finite_numbers(annotation["bbox"], 4, "its box has a bbox")})
        corners = corners and clipped_box(corners, {"height": size[0], "width": size[1]})
        if corners is None:
            raise ValueError("its box has no area in the image.")
        x1, y1, x2, y2 = corners
        box = np.array([y1 / size[0], x1 / size[1], y2 / size[0], x2 / size[1]], np.float32)
        mask = None
        if self.task == "segment":
            mask = decode_segmentation(json.dumps(annotation.get("segmentation") or ""), *size).astype(bool)
            if not mask.any():
                raise ValueError("its mask is empty.")
            crop_edges(box, size, "its box")
        _check_locations(location_numbers(box))
        return box, mask


def _check_locations(locations: np.ndarray | torch.LongTensor) -> None:
    y1, x1, y2, x2 = locations
    if y2 <= y1 or x2 <= x1:
        raise ValueError("its box is empty once it is rounded to location tokens.")


def digest_of(samples: list[dict[str, Any]]) -> str:
    """Of what JSON can hold."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(json.dumps(sample).encode())
    return digest.hexdigest()


def weights_digest(vq_tokenizer: VQTokenizer) -> str:
    """Of all weights, so that work with others is not gone on with."""
    digest = hashlib.sha256()
    for tensor in vq_tokenizer.state_dict().values():
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _samples(source: Path, is_mask: bool, task: str) -> list[dict[str, Any]]:
    if task not in TASKS:
        raise ValueError(f"The task is one of {', '.join(TASKS)}, got {task!r}.")
    if source.is_dir():
        samples = _folder_samples(source)
    elif source.suffix == ".jsonl":
        samples = _jsonl_samples(source, "mask" if is_mask else "map")
    elif source.suffix == ".json" and is_mask:
        samples = _coco_samples(source)
    elif not source.exists():
        raise FileNotFoundError(f"There is neither a file nor a folder {source}.")
    else:
        raise ValueError(
            f"{source} is no folder, no .jsonl file and "
            + ("no .json file with COCO annotations." if is_mask else "maps are not read from anything else.")
        )
    if not samples:
        raise ValueError(f"{source} holds nothing to encode.")
    return samples


def _folder_samples(folder: Path) -> list[dict[str, Any]]:
    files = files_with_suffix(folder, SUFFIXES)
    return [{"name": path.name, "file": str(path), "image": path.name} for path in files]


def _jsonl_samples(source: Path, key: str) -> list[dict[str, Any]]:
    samples = []
    for number, line in enumerate(read_jsonl(source), start=1):
        if not isinstance(line.get(key), str):
            raise ValueError(f"Line {number} of {source} has no {key!r} that names a file.")
        known = {name: line[name] for name in ("box", "label", "prefix") if line.get(name) is not None}
        for name in ("label", "prefix"):
            if not isinstance(known.get(name, ""), str):
                raise ValueError(f"Line {number} of {source} has a {name} that is no text: {known[name]!r}.")
        file = str(source.parent / line[key])
        samples.append(known | {"name": line[key], "file": file, "image": line.get("image", line[key])})
    return samples


def _coco_samples(source: Path) -> list[dict[str, Any]]:
    content = read_annotations(source)
    names = {entry["id"]: str(entry["name"]).strip() for entry in entries(content, "categories", source)}
    images = entries(content, "images", source)
    by_image = {image["id"]: [] for image in images}
    for annotation in entries(content, "annotations", source):
        if annotation["category_id"] not in names:
            raise ValueError(
                f"{source}: annotation {annotation['id']} has category_id {annotation['category_id']}, which is not among "
                "the categories."
            )
        if annotation["image_id"] not in by_image:
            raise ValueError(
                f"{source}: annotation {annotation['id']} has image_id {annotation['image_id']}, which is not among the images."
            )
        crowd = flag(annotation.get("iscrowd", 0), f"{source}: annotation {annotation['id']} has iscrowd")
        label = names[annotation["category_id"]]
        by_image[annotation["image_id"]].append(annotation | {"iscrowd": crowd, "label": label})
    return [
        {"name": f"image {image['id']}", "image": image.get("file_name", str(image["id"])), "image_id": image["id"]}
        | {"height": image["height"], "width": image["width"], "annotations": by_image[image["id"]]}
        for image in images
    ]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All lines; `ValueError` for one that is no JSON object."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            content = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"Line {number} of {path} is not valid JSON ({error}).") from error
        if not isinstance(content, dict):
            raise ValueError(f"Line {number} of {path} is no JSON object.")
        lines.append(content)
    return lines


def read_pixels(path: Path) -> np.ndarray:
    """A map or mask as it is stored: 8 bits stay 8 bits, 16 bits and `.npy` are values. One sentence if it cannot."""
    if path.suffix.lower() == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path.name} is truncated or no array of numbers.") from error
    with reading(path), Image.open(path) as image:
        return np.array(image.convert("L") if image.mode == "LA" else image)
