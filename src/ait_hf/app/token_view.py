# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The tokens of a prediction: where in the photograph a code stands, how sure it is, what another would change."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..drawing.colors import ERROR_COLORS, paint, value_limits
from ..inference.images import image_height_and_width, prepare_images
from ..model.generation_ait import AiTGenerateOutput
from ..model.image_processing_ait import AiTImageProcessor
from ..model.modeling_ait import AiTForDenseTokenGeneration, AiTObjectDetectionOutput
from ..model.quantization_ait import apply_temperature, token_entropy
from ..model.tokenization_vq import VQTokenizer
from ..tasks.kinds import kind_of_unit


NUM_NEIGHBORS = 8
PATCH_CELLS = 3  # a code alone is decoded as a square of so many times itself, of which the middle is shown


@dataclass(frozen=True)
class CodeBlock:
    """
    Soft tokens of one map, or of the mask of one object or class.

    Args:
        name: What it shows.
        box: Where in the photograph, x1, y1, x2, y2 in pixels; may reach beyond it.
        probabilities: float32 `(rows, columns, codes)`, on the CPU.
    """

    name: str
    box: tuple[float, float, float, float]
    probabilities: torch.Tensor

    @property
    def ids(self) -> np.ndarray:
        """The likeliest codes, int64 `(rows, columns)`."""
        return self.probabilities.argmax(-1).numpy()

    def cell_at(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column of the code at a place of the photograph, pixels; `None` beside the block."""
        rows, columns, _ = self.probabilities.shape
        left, top, right, bottom = self.box
        row, column = (y - top) / (bottom - top) * rows, (x - left) / (right - left) * columns
        return (int(row), int(column)) if 0 <= row < rows and 0 <= column < columns else None

    def replaced(self, cell: tuple[int, int], code: int) -> "CodeBlock":
        """The block with that code in the place of the soft token of a cell."""
        probabilities = self.probabilities.clone()
        probabilities[cell] = 0
        probabilities[(*cell, code)] = 1
        return CodeBlock(self.name, self.box, probabilities)


@dataclass(frozen=True)
class Change:
    """What another code changes: pictures uint8 `(height, width, 3)` of the map before and after and of their
    difference, and one sentence."""

    before: np.ndarray
    after: np.ndarray
    difference: np.ndarray
    summary: str


class TokenView:
    """
    Reads the soft tokens of one task of a model. The codes of poses stand for joints, not for places, so that there is
    nothing to see of them: [`has_places`].

    Args:
        model, processor: The model and the image processor of the task.
        task: Of the model.
    """

    def __init__(self, model: AiTForDenseTokenGeneration, processor: AiTImageProcessor, task: str):
        self.model, self.processor, self.task = model, processor, task
        self.tokenizer: VQTokenizer = model.task_tokenizer(task)
        self.config: dict[str, Any] = self.tokenizer.config
        self.kind = kind_of_unit(self.config["unit"])
        self.entropy_temperature = model.config.task(task).entropy_temperature

    @property
    def num_codes(self) -> int:
        return self.config["num_vq_embeddings"]

    @torch.no_grad()
    def read(self, image: Image.Image, threshold: float = 0.0) -> list[CodeBlock]:
        """The blocks of a photograph, those of the best scores first: one for a task of one map, else those of the objects or
        classes whose score is at least `threshold`."""
        pixel_values = prepare_images(self.model, self.processor, [image])
        outputs = self.model.generate(pixel_values=pixel_values, task=self.task)
        grid = self.model.config.task(self.task).grid_size
        blocks = outputs.soft_tokens[0].float().cpu().unflatten(0, (-1, *grid))
        if not outputs.soft_detokenizer:
            blocks = torch.nn.functional.one_hot(blocks.argmax(-1), self.num_codes).float()
        blocks = apply_temperature(blocks, outputs.soft_temperature)
        found = [
            (score, CodeBlock(name, box, block))
            for name, score, box, block in zip(*self._places(outputs, image_height_and_width(image)), blocks)
            if score >= threshold
        ]
        return [block for _, block in sorted(found, key=lambda pair: -pair[0])]

    def _places(
        self, outputs: AiTGenerateOutput, size: tuple[int, int]
    ) -> tuple[list[str], list[float], list[tuple[float, ...]]]:
        """Name, score, and box in pixels of the photograph, of every block."""
        names, scores = [self.task], torch.ones(1, 1)
        if outputs.class_scores is not None:
            scores = outputs.class_scores.float().cpu()
            named = zip(outputs.class_labels[0].tolist(), scores[0].tolist())
            names = [f"{self.model.config.id2label[label]} {score:.2f}" for label, score in named]
        boxes = outputs.pred_boxes
        if boxes is None:  # all of what the model sees
            boxes = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(*scores.shape, 4)
        placed = AiTObjectDetectionOutput(pred_boxes=boxes.cpu(), class_scores=scores, class_labels=scores.long())
        (placed,) = self.processor.post_process_object_detection(placed, threshold=0.0, target_sizes=[size])
        return names, scores[0].tolist(), [tuple(box) for box in placed["boxes"].tolist()]

    def entropy(self, block: CodeBlock) -> np.ndarray:
        """Of the soft tokens, float32 `(rows, columns)`, 0 (certain) to 1."""
        return token_entropy(apply_temperature(block.probabilities, self.entropy_temperature)).numpy()

    def likeliest(self, block: CodeBlock, cell: tuple[int, int]) -> list[tuple[int, float]]:
        """Codes and probabilities of a cell, the best first."""
        found = block.probabilities[cell].topk(min(NUM_NEIGHBORS, self.num_codes))
        return list(zip(found.indices.tolist(), found.values.tolist()))

    def neighbors(self, code: int) -> list[tuple[int, float]]:
        """The nearest other codes in the codebook and their distances, which are relative to the mean distance of two
        codes."""
        distances = self._distances[code]
        found = distances.argsort(stable=True)[1 : NUM_NEIGHBORS + 1]
        return [(int(other), float(distances[other])) for other in found]

    @cached_property
    def _distances(self) -> torch.Tensor:
        codes = self.tokenizer.quantizer.embedding.weight.detach().double().cpu()
        distances = torch.cdist(codes, codes)
        mean = distances.sum() / (self.num_codes * (self.num_codes - 1))
        return distances.fill_diagonal_(-1) / mean.clamp(min=torch.finfo(mean.dtype).tiny)

    @cached_property
    def _patches(self) -> torch.Tensor:
        """What every code decodes to among its like, `(codes, [channels,] side, side)`."""
        codes = torch.arange(self.num_codes, device=self.tokenizer.device)
        squares = codes[:, None, None].expand(-1, PATCH_CELLS, PATCH_CELLS)
        with torch.no_grad():
            decoded = torch.cat([self.tokenizer.detokenize(ids=part) for part in squares.split(32)])
        side = decoded.shape[-1] // PATCH_CELLS
        first = PATCH_CELLS // 2 * side
        return self.kind.decoded(decoded[..., first : first + side, first : first + side])

    def patches(self, codes: Sequence[int]) -> list[np.ndarray]:
        """Pictures of codes, uint8 `(side, side, 3)`, in the colours of all of them."""
        draw, _ = self.kind.map_painter(self.config, self._patches)
        return [np.asarray(draw(self._patches[code].numpy())) for code in codes]

    @torch.no_grad()
    def change(self, block: CodeBlock, cell: tuple[int, int], code: int) -> Change:
        """What it changes to decode the block with another code in a cell, whose other tokens stay soft.

        Raises:
            ValueError: The codebook has no such code.
        """
        if not 0 <= code < self.num_codes:
            raise ValueError(f"The codes of {self.task} are 0 to {self.num_codes - 1}, but {code} was asked for.")
        both = torch.stack([block.probabilities, block.replaced(cell, code).probabilities])
        maps = self.kind.decoded(self.tokenizer.detokenize(probabilities=both.to(self.tokenizer.device)))
        draw, scale = self.kind.map_painter(self.config, maps)
        before, after = (np.asarray(draw(values.numpy())) for values in maps)
        if maps.is_floating_point():
            difference = (maps[1] - maps[0]).square().sum(0).sqrt().numpy()
            mean, largest, unit = difference.mean(), difference.max(), self.config["unit"]
            said = f"the map by {mean:.3g} on average and {largest:.3g} at most (unit: {unit})"
        else:
            difference = (maps[1] != maps[0]).float().numpy()
            said = f"the class of {difference.mean():.1%} of the pixels"
        picture = paint(difference, *value_limits(difference, 0.0, None), ERROR_COLORS)
        row, column = cell
        place = f"row {row + 1}, column {column + 1}"
        sentence = f"Code {code} alone in {place}, where {int(block.ids[cell])} is the likeliest, changes {said}."
        colors = f" Colours: {scale.removeprefix(', ')}." if scale else ""
        return Change(before, after, picture, sentence + colors)


def has_places(model: AiTForDenseTokenGeneration, task: str) -> bool:
    """Whether the task writes codes that stand for places of an image."""
    return model.grammar(task).codebook is not None and isinstance(model.task_tokenizer(task), VQTokenizer)
