# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Answers of vision-language models, `<loc…><seg…>` or `<DEPTH_…>`, as boxes, masks and maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..inference.loading import load_tokenizer
from ..model.image_reading_ait import read_image
from ..model.tokenization_vq import VQTokenizer
from ..tasks.kinds import kind_of_unit
from ..tasks.objects.drawing import draw_objects
from ..tokens import PRESETS, TokenFormat, decode_answers, get_preset, parse_text


CANVAS = (448, 448)  # height and width of the picture that is drawn on without a photograph, pixels
BACKGROUND = 236  # its grey
NOTHING = "The text has no tokens of a known format: paste an answer with <loc0000>, <seg000>, <DEPTH_0> or <depth_0>."


@dataclass(frozen=True)
class AnswerTokenizer:
    """
    What reads the answers of one model.

    Args:
        name: Of its preset, or of its folder.
        token_format: How the codes are written.
        tokenizer: That decodes them; `None` if none was given.
    """

    name: str
    token_format: TokenFormat
    tokenizer: VQTokenizer | None = None

    def finds(self, text: str) -> bool:
        """Whether a text has blocks of this format."""
        return bool(parse_text(text, self.token_format, strict=False))


@dataclass(frozen=True)
class Answer:
    """What was read: a picture uint8 `(height, width, 3)`, and a sentence on each block."""

    picture: np.ndarray
    sentences: list[str]


def load_answer_tokenizer(given: str) -> AnswerTokenizer:
    """
    Of `PRESET=FILE`, a published model's weights, or of a folder that `ait convert --tokenizer` wrote.

    Raises:
        ValueError: There is no such preset, or it is not the tokenizer of that preset.
        FileNotFoundError: A file is missing.
    """
    preset, is_preset, file = given.partition("=")
    if is_preset:
        token_format = get_preset(preset).token_format
        return AnswerTokenizer(preset, token_format, VQTokenizer.from_original(file, preset=preset))
    token_format, tokenizer = TokenFormat.from_pretrained(given), load_tokenizer(given, [VQTokenizer])
    token_format.check_tokenizer(tokenizer)
    return AnswerTokenizer(Path(given).resolve().name, token_format, tokenizer)


class AnswerReader:
    """
    Reads answers with the tokenizers that one gives it. Where several fit a text, the first does, unless another is named.

    Args:
        tokenizers: Of [`load_answer_tokenizer`].
    """

    def __init__(self, tokenizers: Sequence[AnswerTokenizer]):
        self.tokenizers = {item.name: item for item in tokenizers}
        if len(self.tokenizers) < len(tokenizers):
            raise ValueError(f"Two tokenizers have one name: {', '.join(item.name for item in tokenizers)}.")
        self.formats = self.tokenizers | {
            name: AnswerTokenizer(name, preset.token_format)
            for name, preset in PRESETS.items()
            if name not in self.tokenizers
        }

    def read(self, text: str, name: str | None = None, photograph: str | Path | None = None) -> Answer:
        """
        Args:
            text: An answer, with anything around its blocks.
            name: Of one of the tokenizers; by default the first that fits.
            photograph: File of the picture that the answer is about.

        Raises:
            ValueError: The text has no blocks of a known format, or there is no tokenizer for its codes.
        """
        chosen = self.formats.values() if name is None else [self.tokenizers[name]]
        reader = next((item for item in chosen if item.finds(text)), None)
        if reader is None:
            raise ValueError(NOTHING if name is None else f"The text has no tokens as {name} writes them.")
        blocks = parse_text(text, reader.token_format, strict=False)
        has_codes = reader.token_format.locations is None or any(block.ids is not None for block in blocks)
        if reader.tokenizer is None and has_codes:
            alike = [name for name, preset in PRESETS.items() if preset.token_format == reader.token_format]
            raise ValueError(
                f"The text has codes of {' or '.join(alike)}, but the app was started without that tokenizer: start it "
                f"with --tokenizer {alike[0]}=FILE."
            )
        pixels = np.full((*CANVAS, 3), BACKGROUND, np.uint8)
        if photograph is not None:
            pixels = np.asarray(read_image(photograph, Path(photograph).name))
        if reader.token_format.locations is not None:
            return _objects(text, reader, pixels)
        return _maps(text, reader, pixels.shape[:2])


def _objects(text: str, reader: AnswerTokenizer, pixels: np.ndarray) -> Answer:
    (found,) = decode_answers([text], [pixels.shape[:2]], reader.tokenizer, token_format=reader.token_format)
    shown = [item for item in found if item["box"] is not None]
    labels = [item["label"] or "object" for item in shown]
    masks = [np.zeros(pixels.shape[:2], bool) if item["mask"] is None else item["mask"].numpy() for item in shown]
    picture = draw_objects(
        pixels, [item["box"] for item in shown], range(len(shown)), masks=masks or None, class_names=labels
    )
    return Answer(np.asarray(picture), [_object_sentence(item) for item in found])


def _object_sentence(item: dict) -> str:
    name = item["label"] or "object"
    if item["damage"] is not None:
        return f"{name}: {item['damage']}."
    mask = "without a mask" if item["mask"] is None else f"a mask of {int(item['mask'].sum())} pixels"
    return f"{name}: box {', '.join(map(str, item['box']))} (x1, y1, x2, y2), {mask}."


@torch.no_grad()
def _maps(text: str, reader: AnswerTokenizer, size: tuple[int, int]) -> Answer:
    blocks = parse_text(text, reader.token_format, strict=False)
    good = [block.ids for block in blocks if block.ids is not None]
    sentences = [
        f"Map {number}: {block.damage or '; '.join(block.repairs) or 'a whole block of codes'}."
        for number, block in enumerate(blocks, start=1)
    ]
    if not good:
        raise ValueError(" ".join(sentences))
    kind = kind_of_unit(reader.tokenizer.config.unit)
    maps = kind.decoded(reader.tokenizer.detokenize(ids=torch.stack(good)))
    draw, scale = kind.map_painter(reader.tokenizer.config, maps)
    pictures = [Image.fromarray(np.asarray(draw(values.numpy()))) for values in maps]
    pictures = [picture.resize((size[1], size[0]), Image.Resampling.BILINEAR) for picture in pictures]
    sentences.append(f"In the colours{scale}." if scale else "")
    return Answer(np.concatenate([np.asarray(picture) for picture in pictures]), list(filter(None, sentences)))
