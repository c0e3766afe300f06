# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of maps, masks and COCO annotations as lines of text for fine-tuning, and of answers back: what `ait tokens` does."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle_codec
from tqdm.auto import tqdm
from transformers.image_processing_utils import BatchFeature

from ..data.coco import coco_classes, decode_segmentation
from ..data.coco_files import box_corners, clipped_box, entries, read_annotations
from ..data.files import files_with_suffix
from ..data.json_values import finite_numbers, flag
from ..data.writing import write_text
from ..model.image_reading_ait import read_image_header, reading
from ..model.tokenization_vq import VQTokenizer
from .conventions import crop_edges, get_convention, location_numbers
from .image_processing_tokens import AiTTokenProcessor
from .paligemma import TASKS, coco_results, decode_answers, encode_objects
from .text import parse_text
from .token_format import TokenFormat


SUFFIXES = (".png", ".npy", ".tif", ".tiff")
REPORT = "answers.jsonl"
Sample = dict[str, Any]
Tools = tuple[VQTokenizer, AiTTokenProcessor, TokenFormat]  # of a converted folder


def read_jsonl(path: Path) -> list[Sample]:
    """All lines; `ValueError` for one that is no JSON object."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"Line {number} of {path} is not valid JSON ({error}).") from error
        if not isinstance(lines[-1], dict):
            raise ValueError(f"Line {number} of {path} is no JSON object.")
    return lines


def _journal(output: Path) -> Path:
    return output.with_name(f".{output.name}.journal")


def work_through(
    output: Path,
    source: Path,
    samples: list[Sample],
    tools: Tools,
    work: Callable[[list[Sample]], list[Sample]],
    batch_size: int,
    **options: Any,
) -> list[Sample]:
    """
    `work` on all samples in batches, and what it gave for each of them. That is kept in a journal beside the output, one line
    for each sample, so that the same work with the same tools and options goes on exactly where it was broken off.

    Raises:
        ValueError: The journal is of another job.
    """
    vq_tokenizer, processor, token_format = tools
    weights, path = hashlib.sha256(), _journal(output)
    for tensor in vq_tokenizer.state_dict().values():
        weights.update(tensor.detach().float().cpu().numpy().tobytes())
    job = {"source": str(source.absolute()), "convention": processor.convention, "format": token_format.to_dict()}
    job |= {"samples": hashlib.sha256("".join(map(json.dumps, samples)).encode()).hexdigest()}
    header = json.dumps(job | {"weights": weights.hexdigest()} | options, sort_keys=True) + "\n"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    whole = [line for line in lines if line.endswith("\n")]  # the last one may have been cut off
    if whole and whole[0] != header:
        raise ValueError(
            f"{path} is what is left of another job with this output: remove it, or run that job to its end."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(whole) < max(len(lines), 1):
        write_text(path, "".join(whole or [header]))
    done = [json.loads(line) for line in whole[1:]]
    with path.open("a", encoding="utf-8") as file, tqdm(total=len(samples), initial=len(done), unit="sample") as bar:
        for first in range(len(done), len(samples), batch_size):
            fresh = work(samples[first : first + batch_size])
            done += fresh
            file.writelines(json.dumps(entry) + "\n" for entry in fresh)
            file.flush()
            bar.update(len(fresh))
    return done


def finish(output: Path, text: str) -> None:
    """Writes the output, all of it or nothing, and removes the journal."""
    write_text(output, text)
    _journal(output).unlink()


def encode_source(
    source: Path, output: Path, tools: Tools, task: str = "segment", prompt: str | None = None, batch_size: int = 16
) -> dict[str, Any]:
    """
    Writes a JSONL file with `image`, `prefix` and `suffix` of every sample, see [`work_through`].

    Args:
        source: A COCO json file (for masks); a JSONL file whose lines have `map`, or `mask` and perhaps `box` (ymin, xmin,
            ymax, xmax, shares) and `label`, and perhaps `image` and `prefix`; or a folder of maps or masks (`.png`,
            `.npy`, `.tif`), each by itself. Files in a JSONL file are relative to it.
        output: JSONL file.
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
    vq_tokenizer, processor, token_format = tools
    samples = _samples(source, get_convention(processor.convention).is_mask, task)
    encode = _Encoder(vq_tokenizer.eval(), processor, token_format, task, prompt)
    options = {"task": task, "prompt": prompt, "side": processor.side}
    done = work_through(output, source, samples, tools, encode, batch_size, **options)
    lines = [record for entry in done for record in entry["records"]]
    finish(output, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in lines))
    errors = [error for entry in done for error in entry["errors"]]
    counts = {"samples": len(done), "lines": len(lines), "crowds": sum(entry["crowds"] for entry in done)}
    return counts | {"errors": errors}


@dataclass
class _Encoder:
    """Samples as entries of the journal."""

    vq_tokenizer: VQTokenizer
    processor: AiTTokenProcessor
    token_format: TokenFormat
    task: str
    prompt: str | None

    def __call__(self, samples: list[Sample]) -> list[Sample]:
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
                label, locations, default = sample.get("label"), None, "depth"
                if "locations" in inputs:
                    locations, default = inputs.locations, f"{TASKS[0]} {label}" if label else TASKS[0]
                suffix = self.token_format.to_text(codes, locations, None if label is None else [label])
                prefix = sample.get("prefix") or self.prompt or default
                entry["records"].append({"image": sample["image"], "prefix": prefix, "suffix": suffix})
        return entries

    def _prepare(self, sample: Sample) -> BatchFeature:
        """A map or mask by itself; what its text needs is checked here, so that it does not cost the batch."""
        if sample.get("label") is not None:
            self.token_format.checked_label(sample["label"])
        pixels = read_pixels(Path(sample["file"]))
        if not get_convention(self.processor.convention).is_mask:
            return self.processor(pixels)
        inputs = self.processor(pixels, boxes=sample.get("box"))
        _check_locations(inputs.locations[0])
        return inputs

    def _encode_coco(self, sample: Sample, entry: Sample) -> None:
        size, found = (sample["height"], sample["width"]), []
        entry["crowds"] = sum(annotation["iscrowd"] for annotation in sample["annotations"])
        for annotation in sample["annotations"]:
            try:
                if not annotation["iscrowd"]:
                    found.append((annotation["label"], *self._object(annotation, size)))
            except ValueError as error:
                entry["errors"].append(f"annotation {annotation['id']}: {error}")
        if found:
            labels, boxes, masks = zip(*found)
            masks = masks if self.task == "segment" else None
            tools = (self.processor, self.vq_tokenizer, self.token_format)
            records = encode_objects(labels, np.stack(boxes), masks, *tools)
            identity = {name: sample[name] for name in ("image", "image_id", "height", "width")}
            entry["records"] += [identity | record for record in records]

    def _object(self, annotation: Sample, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
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


def _samples(source: Path, is_mask: bool, task: str) -> list[Sample]:
    if task not in TASKS:
        raise ValueError(f"The task is one of {', '.join(TASKS)}, got {task!r}.")
    if source.is_dir():
        files = files_with_suffix(source, SUFFIXES)
        samples = [{"name": path.name, "file": str(path), "image": path.name} for path in files]
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


def _jsonl_samples(source: Path, key: str) -> list[Sample]:
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


def _coco_samples(source: Path) -> list[Sample]:
    content = read_annotations(source)
    names = {entry["id"]: str(entry["name"]).strip() for entry in entries(content, "categories", source)}
    images = entries(content, "images", source)
    by_image = {image["id"]: [] for image in images}
    for annotation in entries(content, "annotations", source):
        where = f"{source}: annotation {annotation['id']}"
        for key, known, section in (("category_id", names, "categories"), ("image_id", by_image, "images")):
            if annotation[key] not in known:
                raise ValueError(f"{where} has {key} {annotation[key]}, which is not among the {section}.")
        crowd = flag(annotation.get("iscrowd", 0), f"{where} has iscrowd")
        label = names[annotation["category_id"]]
        by_image[annotation["image_id"]].append(annotation | {"iscrowd": crowd, "label": label})
    return [
        {"name": f"image {image['id']}", "image": image.get("file_name", str(image["id"])), "image_id": image["id"]}
        | {"height": image["height"], "width": image["width"], "annotations": by_image[image["id"]]}
        for image in images
    ]


def read_pixels(path: Path) -> np.ndarray:
    """A map or mask as it is stored: 8 bits stay 8 bits, 16 bits and `.npy` are values. One sentence if it cannot."""
    if path.suffix.lower() == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path.name} is truncated or no array of numbers.") from error
    with reading(path), Image.open(path) as image:
        return np.array(image.convert("L") if image.mode == "LA" else image)


def decode_source(
    source: Path,
    output: Path,
    tools: Tools,
    images: Path | None = None,
    annotations: Path | None = None,
    rule: str = "recommended",
    fill: str | int | None = None,
    batch_size: int = 16,
) -> dict[str, Any]:
    """
    Writes what the answers in a JSONL file mean into a folder, see [`work_through`].

    Of every answer: `NUMBER_0.npy` (float32 map at the image's size) and `NUMBER_0.png` (8-bit picture, as the model's own
    scripts draw it), one of each block; for masks `NUMBER_0.png` (0 and 255; soft by the demo's rule), one of each object.
    `answers.jsonl` lists them with labels, boxes, repairs and damages. With `annotations`, also `results.json` for COCO's
    evaluation.

    Args:
        source: JSONL file whose lines have `answer` or `suffix`, and `height` and `width`, or `image`, a file in
            `images`. Maps without a size keep the tokenizer's. For COCO results also `image_id`.
        output, images: Folders.
        annotations: COCO json file with the categories.
        rule, fill: See [`decode_answers`] for masks, and [`parse_text`] for maps; by default a damaged map is left out.
        batch_size: Answers at a time.

    Returns:
        `answers`, `blocks`, `damaged` and `repaired` counted; `results` and `left_out` with annotations.

    Raises:
        FileNotFoundError, ValueError: A line lacks something, or the options do not fit the convention.
    """
    is_mask = get_convention(tools[1].convention).is_mask
    if not is_mask and annotations is not None:
        raise ValueError("COCO results are of masks and boxes, not of maps: leave the annotations out.")
    if is_mask and fill is not None:
        raise ValueError("A damaged mask is left out, never filled: leave fill out.")
    categories = dict(zip(*coco_classes(annotations))) if annotations is not None else None
    samples = [
        _answer(*line, source, images, is_mask, categories is not None) for line in enumerate(read_jsonl(source))
    ]
    if not samples:
        raise ValueError(f"{source} holds no answers.")

    def decode(batch: list[Sample]) -> list[Sample]:
        if is_mask:
            return _decode_masks(batch, output, tools, rule, categories)
        return [_decode_maps(sample, output, tools, fill) for sample in batch]

    options = {"rule": rule, "annotations": None if annotations is None else str(annotations.absolute()), "fill": fill}
    done = work_through(output / REPORT, source, samples, tools, decode, batch_size, **options)
    blocks = [block for entry in done for block in entry["blocks"]]
    damaged, repaired = (sum(bool(block[name]) for block in blocks) for name in ("damage", "repairs"))
    found = {"answers": len(done), "blocks": len(blocks), "damaged": damaged, "repaired": repaired}
    if categories is not None:
        results = [result for entry in done for result in entry["results"]]
        write_text(output / "results.json", json.dumps(results))
        found |= {"results": len(results), "left_out": [reason for entry in done for reason in entry["left_out"]]}
    report = [{name: entry[name] for name in ("number", "image", "blocks")} for entry in done]
    finish(output / REPORT, "".join(json.dumps(line) + "\n" for line in report))
    return found


def _answer(number: int, line: Sample, source: Path, images: Path | None, is_mask: bool, needs_id: bool) -> Sample:
    """One line of the source, checked, before anything is decoded."""
    where, text = f"Line {number + 1} of {source}", line.get("answer", line.get("suffix"))
    if not isinstance(text, str):
        raise ValueError(f"{where} has neither answer nor suffix with a text.")
    size = None
    if "height" in line and "width" in line:
        size = (line["height"], line["width"])
        if not all(type(side) is int and side > 0 for side in size):
            raise ValueError(f"{where} has height {size[0]!r} and width {size[1]!r}, which are no numbers of pixels.")
    elif images is not None and isinstance(line.get("image"), str):
        size = read_image_header(images / line["image"]).size
    elif is_mask:
        raise ValueError(f"{where} has no height and width: give them, or image and the folder of images.")
    if needs_id and type(line.get("image_id")) is not int:
        raise ValueError(f"{where} has no image_id, which COCO results need.")
    named = {name: line.get(name) for name in ("image", "image_id")}
    return {"number": number, **named, "text": text, "size": size}


def _decode_masks(
    batch: list[Sample], output: Path, tools: Tools, rule: str, categories: dict[str, int] | None
) -> list[Sample]:
    vq_tokenizer, _, token_format = tools
    texts, sizes = ([sample[name] for sample in batch] for name in ("text", "size"))
    answers = decode_answers(texts, sizes, vq_tokenizer, rule, token_format)
    entries = []
    for sample, objects in zip(batch, answers):
        entry = {"number": sample["number"], "image": sample["image"], "blocks": [], "results": [], "left_out": []}
        for index, found in enumerate(objects):
            described = {name: found[name] for name in ("label", "box", "damage", "text")}
            described |= {"file": None, "repairs": []}
            if found["mask"] is not None:
                described["file"] = f"{sample['number']:06d}_{index}.png"
                pixels = (found["mask"].double() * 255).round().to(torch.uint8).numpy()
                Image.fromarray(pixels).save(output / described["file"])
                found["mask"] = found["mask"] > 0.5
            entry["blocks"].append(described)
        if categories is not None:
            entry["results"], entry["left_out"] = coco_results(objects, sample["image_id"], categories)
            for result in entry["results"]:
                if "segmentation" in result:
                    rle = rle_codec.frPyObjects(result["segmentation"], *result["segmentation"]["size"])
                    result["segmentation"] = rle | {"counts": rle["counts"].decode()}
        entries.append(entry)
    return entries


@torch.no_grad()
def _decode_maps(sample: Sample, output: Path, tools: Tools, fill: str | int | None) -> Sample:
    vq_tokenizer, processor, token_format = tools
    entry = {"number": sample["number"], "image": sample["image"], "blocks": []}
    for index, block in enumerate(parse_text(sample["text"], token_format, strict=False, fill=fill)):
        described = {"label": block.label, "damage": block.damage, "repairs": block.repairs, "file": None}
        if block.ids is not None:
            maps = vq_tokenizer.detokenize(ids=block.ids[None].to(vq_tokenizer.device)).cpu()
            (values,) = processor.post_process_maps(maps, None if sample["size"] is None else [sample["size"]])
            described["file"] = f"{sample['number']:06d}_{index}.npy"
            np.save(output / described["file"], values.numpy())
            if get_convention(processor.convention).picture is not None:
                (picture,) = processor.post_process_pictures(values[None, None])
                Image.fromarray(picture).save((output / described["file"]).with_suffix(".png"))
        entry["blocks"].append(described)
    return entry
