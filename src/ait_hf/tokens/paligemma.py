# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""PaliGemma's answers as boxes, masks and labels of an image, and annotated objects as its prompts and answers."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ..model.masks_ait import masks_to_rle
from ..model.tokenization_vq import VQTokenizer
from .conventions import PasteRule, box_edges, get_paste_rule, location_numbers, paste_mask
from .image_processing_tokens import AiTTokenProcessor
from .text import TokenBlock, parse_text
from .token_format import TokenFormat, get_preset


FORMAT = get_preset("paligemma-mask").token_format
TASKS = ("segment", "detect")


def decode_answers(
    texts: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    vq_tokenizer: VQTokenizer,
    rule: str = "recommended",
    token_format: TokenFormat = FORMAT,
) -> list[list[dict[str, Any]]]:
    """
    Objects of PaliGemma's answers, in pixels of their images. All masks are decoded together.

    Args:
        texts: Answers, with anything around the objects.
        sizes: `(height, width)` of every image.
        vq_tokenizer ([`VQTokenizer`]): Of masks, with `value_range` (0, 1).
        rule: `"recommended"`: boxes come back as they were encoded. `"evaluator"`: as Big Vision scores: one object at
            the very beginning of an answer, what follows is ignored, edges are cut off. `"demo"`: boxes and soft masks
            as the public demo draws them.
        token_format: Of the answers.

    Returns:
        For every answer a list of plain dictionaries in its order: `label` (`str` or `None`), `box` (x1, y1, x2, y2,
        whole pixels, ends exclusive; `None` if it cannot be read), `mask` (`(height, width)`, bool, or float64 0..1 by
        the demo's rule; `None` for a box alone), `damage` (`None`, or why the object could not be read in full; its mask
        is then `None`) and `text`, what was read.

    Raises:
        ValueError: There are not as many sizes as texts, or there is no such rule.
    """
    chosen = get_paste_rule(rule)
    if len(texts) != len(sizes):
        raise ValueError(f"One image size per answer is needed: got {len(sizes)} for {len(texts)} answers.")
    read = _evaluated_blocks if rule == "evaluator" else lambda text, form: parse_text(text, form, strict=False)
    answers = [
        [_object(block, text, size, chosen) for block in read(text, token_format)] for text, size in zip(texts, sizes)
    ]
    masked = [(*found, size) for objects, size in zip(answers, sizes) for found in objects if found[1] is not None]
    if masked:
        with torch.no_grad():
            ids = torch.stack([ids for _, ids, _ in masked]).to(vq_tokenizer.device)
            maps = vq_tokenizer.detokenize(ids=ids)[:, 0].float().cpu().numpy()
        for (found, _, size), values in zip(masked, maps):
            x1, y1, x2, y2 = found["box"]
            found["mask"] = torch.from_numpy(paste_mask(values, (y1, x1, y2, x2), size, chosen))
    return [[found for found, _ in objects] for objects in answers]


def _evaluated_blocks(text: str, token_format: TokenFormat) -> list[TokenBlock]:
    codes = rf"(?:{token_format.codes.regex()}){{{token_format.num_tokens}}}"
    match = re.match(rf"(?:{token_format.locations.regex()}){{4}}{codes}", text)
    if match is None:
        reason = f"the answer does not begin with 4 locations and {token_format.num_tokens} codes"
        return [TokenBlock(damage=reason, span=(0, len(text)))]
    return parse_text(match[0], token_format, strict=False)


def _object(
    block: TokenBlock, text: str, size: tuple[int, int], rule: PasteRule
) -> tuple[dict[str, Any], torch.LongTensor | None]:
    """An object whose mask is not decoded yet, and the codes of that, if they are good."""
    found = {"label": block.label, "box": None, "mask": None, "damage": block.damage, "text": text[slice(*block.span)]}
    if block.locations is not None:
        y1, x1, y2, x2 = box_edges(block.locations, size, rule)
        if y2 > y1 and x2 > x1:
            found["box"] = (x1, y1, x2, y2)
        elif block.damage is None:
            found["damage"] = f"the box has no pixel in an image of {size[0]}x{size[1]}"
    return found, block.ids if found["damage"] is None else None


def coco_results(
    objects: Iterable[dict[str, Any]], image_id: int, category_ids: dict[str, int], score: float = 1.0
) -> tuple[list[dict[str, Any]], list[str]]:
    """
    Objects of one image as entries of COCO's results.

    Args:
        objects: Of [`decode_answers`], by a rule with binary masks.
        image_id: Of the image.
        category_ids: Id of every category by its name; labels are compared without regard to case.
        score: Of the objects: an answer has no scores.

    Returns:
        Entries with `image_id`, `category_id`, `bbox` (x, y, width, height), `score` and, for objects with a mask,
        `segmentation` (uncompressed run lengths, which `pycocotools.mask.frPyObjects` compresses); and why each of the
        other objects was left out.
    """
    known = {name.casefold(): number for name, number in category_ids.items()}
    results, left_out = [], []
    for found in objects:
        if found["damage"] is not None:
            left_out.append(found["damage"])
        elif (found["label"] or "").casefold() not in known:
            left_out.append(f"the label {found['label']!r} is no category")
        else:
            x1, y1, x2, y2 = found["box"]
            entry = {"image_id": image_id, "category_id": known[found["label"].casefold()]}
            entry |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            if found["mask"] is not None:
                (entry["segmentation"],) = masks_to_rle(found["mask"][None])
            results.append(entry)
    return results, left_out


def encode_objects(
    labels: Sequence[str],
    boxes: np.ndarray,
    masks: Sequence[np.ndarray] | None,
    processor: AiTTokenProcessor,
    vq_tokenizer: VQTokenizer,
    token_format: TokenFormat = FORMAT,
) -> list[dict[str, str]]:
    """
    Objects of one image as prompts and answers for fine-tuning: of every label `"segment cat"` and all cats, in the
    order of the objects, with their label behind each; without masks `"detect cat"` and boxes.

    Args:
        labels: Of the objects; not empty.
        boxes: `(n, 4)`, ymin, xmin, ymax, xmax as shares of the sides.
        masks: Of the whole image, one of each object; `None` for boxes alone.
        processor ([`AiTTokenProcessor`]): Of the convention `paligemma-mask`.
        vq_tokenizer ([`VQTokenizer`]): Of masks.
        token_format: Of the answers.

    Returns:
        One dictionary with `prefix` and `suffix` for every label, in the order in which labels first come.

    Raises:
        ValueError: A box has no pixel, a mask other values than two, or a label does not fit the format.
    """
    if masks is None:
        ids, locations = None, torch.from_numpy(location_numbers(boxes))
    else:
        inputs = processor(list(masks), boxes=boxes)
        ids = vq_tokenizer.tokenize(inputs.pixel_values.to(vq_tokenizer.device)).cpu()
        locations = inputs.locations
    records = []
    for label in dict.fromkeys(labels):
        chosen = [number for number, name in enumerate(labels) if name == label]
        suffix = token_format.to_text(None if ids is None else ids[chosen], locations[chosen], [label] * len(chosen))
        records.append({"prefix": f"{TASKS[masks is None]} {label}", "suffix": suffix})
    return records
