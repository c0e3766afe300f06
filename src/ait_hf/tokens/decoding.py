# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Answers of a model as maps, masks and COCO results: what `tokens decode` does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle_codec

from ..data.coco import coco_classes
from ..data.writing import write_text
from ..model.image_reading_ait import read_image_header
from ..model.tokenization_vq import VQTokenizer
from .conventions import get_convention
from .encoding import digest_of, read_jsonl, weights_digest
from .image_processing_tokens import AiTTokenProcessor
from .journal import Journal
from .paligemma import coco_results, decode_answers
from .text import parse_text
from .token_format import TokenFormat


RESULTS = "results.json"
REPORT = "answers.jsonl"


def decode_source(
    source: Path,
    output: Path,
    vq_tokenizer: VQTokenizer,
    processor: AiTTokenProcessor,
    token_format: TokenFormat,
    images: Path | None = None,
    annotations: Path | None = None,
    rule: str = "recommended",
    fill: str | int | None = None,
    batch_size: int = 16,
) -> dict[str, Any]:
    """
    Writes what the answers in a JSONL file mean into a folder. Run again after it was broken off, it goes on exactly
    there.

    Of every answer: `NUMBER_0.npy` (float32 map at the image's size) and `NUMBER_0.png` (8-bit picture, as the model's own
    scripts draw it), one of each block; for masks `NUMBER_0.png` (0 and 255; soft by the demo's rule), one of each object.
    `answers.jsonl` lists them with labels, boxes, repairs and damages. With `annotations`, also `results.json` for COCO's
    evaluation.

    Args:
        source: JSONL file whose lines have `answer` or `suffix`, and `height` and `width`, or `image`, a file in
            `images`. Maps without a size keep the tokenizer's. For COCO results also `image_id`.
        output: Folder.
        vq_tokenizer, processor, token_format: Of a converted folder.
        images: Folder of the images.
        annotations: COCO json file with the categories.
        rule: Of boxes and masks, see [`decode_answers`].
        fill: For maps: what to put where codes are missing, see [`parse_text`]; by default such a block is damaged.
        batch_size: Answers at a time.

    Returns:
        `answers`, `blocks`, `damaged` and `repaired` counted; `results` and `left_out` with annotations.

    Raises:
        FileNotFoundError, ValueError: A line lacks something, or the options do not fit the convention.
    """
    is_mask = get_convention(processor.convention).is_mask
    if not is_mask and annotations is not None:
        raise ValueError("COCO results are of masks and boxes, not of maps: leave the annotations out.")
    if is_mask and fill is not None:
        raise ValueError("A damaged mask is left out, never filled: leave fill out.")
    categories = dict(zip(*coco_classes(annotations))) if annotations is not None else None
    samples = [
        _sample(*line, source, images, is_mask, categories is not None) for line in enumerate(read_jsonl(source))
    ]
    if not samples:
        raise ValueError(f"{source} holds no answers.")
    job = {"source": str(source.absolute()), "convention": processor.convention, "rule": rule}
    job |= {"samples": digest_of(samples), "weights": weights_digest(vq_tokenizer)}
    job |= {"annotations": None if annotations is None else str(annotations.absolute()), "fill": fill}
    journal = Journal(output / REPORT, job | {"format": token_format.to_dict()})

    def work(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if is_mask:
            return _decode_masks(batch, output, vq_tokenizer, token_format, rule, categories)
        return [_decode_maps(sample, output, vq_tokenizer, processor, token_format, fill) for sample in batch]

    done = journal.run(samples, batch_size, work, len(samples))
    found = {"answers": len(done), "blocks": sum(len(entry["blocks"]) for entry in done)}
    blocks = [block for entry in done for block in entry["blocks"]]
    found["damaged"] = sum(block["damage"] is not None for block in blocks)
    found["repaired"] = sum(bool(block["repairs"]) for block in blocks)
    if categories is not None:
        results = [result for entry in done for result in entry["results"]]
        write_text(output / RESULTS, json.dumps(results))
        found |= {"results": len(results), "left_out": [reason for entry in done for reason in entry["left_out"]]}
    kept = ("number", "image", "blocks")
    journal.finish("".join(json.dumps({name: entry[name] for name in kept}) + "\n" for entry in done))
    return found


def _sample(
    number: int, line: dict[str, Any], source: Path, images: Path | None, is_mask: bool, needs_id: bool
) -> dict[str, Any]:
    """One line of the source, checked, before anything is decoded."""
    where = f"Line {number + 1} of {source}"
    answer = line.get("answer", line.get("suffix"))
    if not isinstance(answer, str):
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
    return {
        "number": number,
        "image": line.get("image"),
        "image_id": line.get("image_id"),
        "text": answer,
        "size": size,
    }


def _decode_masks(
    batch: list[dict[str, Any]],
    output: Path,
    vq_tokenizer: VQTokenizer,
    token_format: TokenFormat,
    rule: str,
    categories: dict[str, int] | None,
) -> list[dict[str, Any]]:
    sizes = [sample["size"] for sample in batch]
    answers = decode_answers([sample["text"] for sample in batch], sizes, vq_tokenizer, rule, token_format)
    entries = []
    for sample, objects in zip(batch, answers):
        entry = {"number": sample["number"], "image": sample["image"], "blocks": [], "results": [], "left_out": []}
        for index, found in enumerate(objects):
            file = None
            if found["mask"] is not None:
                file = f"{sample['number']:06d}_{index}.png"
                pixels = (found["mask"].double() * 255).round().to(torch.uint8).numpy()
                Image.fromarray(pixels).save(output / file)
            described = {name: found[name] for name in ("label", "box", "damage", "text")}
            entry["blocks"].append(described | {"file": file, "repairs": []})
        if categories is not None:
            binary = [found | {"mask": _binary(found["mask"])} for found in objects]
            results, entry["left_out"] = coco_results(binary, sample["image_id"], categories)
            entry["results"] = [_compressed(result) for result in results]
        entries.append(entry)
    return entries


def _binary(mask: torch.Tensor | None) -> torch.Tensor | None:
    return None if mask is None else mask > 0.5 if mask.is_floating_point() else mask


def _compressed(result: dict[str, Any]) -> dict[str, Any]:
    if "segmentation" in result:
        rle = rle_codec.frPyObjects(result["segmentation"], *result["segmentation"]["size"])
        result["segmentation"] = rle | {"counts": rle["counts"].decode()}
    return result


@torch.no_grad()
def _decode_maps(
    sample: dict[str, Any],
    output: Path,
    vq_tokenizer: VQTokenizer,
    processor: AiTTokenProcessor,
    token_format: TokenFormat,
    fill: str | int | None,
) -> dict[str, Any]:
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
