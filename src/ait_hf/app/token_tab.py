# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The tab of tokens: click a code in the picture, see its neighbours in the codebook, decode with another."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image
from transformers import set_seed

from ..drawing.page import resize_picture
from ..drawing.token_grid import code_overlay
from ..model.image_reading_ait import read_image
from .parts import NO_PHOTOGRAPH, picture_of, told
from .seeing import SEED, Seer
from .token_view import NUM_NEIGHBORS, Change, CodeBlock, TokenView, has_places


OVERLAY_SIDE, PATCH_SIDE, MAP_SIDE = 800, 96, 320  # longer sides of pictures, pixels
LEAD = (
    "A map or mask is a grid of codes. Each cell shows the likeliest code; its colour is the entropy of all codes there, from "
    "dark (certain) to yellow (a guess). **Click a cell.**"
)
NO_PLACES = "No task of this model writes codes that stand for places of the picture."
NO_BLOCKS = "Nothing has a score of at least {:g} in this photograph: choose a lower one in the settings."


@dataclass(frozen=True)
class Reading:
    """What the tab has read of a photograph, and which cell of which block was clicked."""

    task: str
    image: Image.Image
    blocks: list[CodeBlock]
    number: int = 0
    cell: tuple[int, int] | None = None
    codes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())  # in the two galleries

    @property
    def block(self) -> CodeBlock:
        return self.blocks[self.number]


class TokenTab:
    """
    Args:
        seer: The model.
    """

    def __init__(self, seer: Seer):
        tasks = [task for task in seer.kinds if has_places(seer.model, task)]
        tasks.sort(key=lambda task: not seer.model.grammar(task).is_one_map)  # what is one grid is understood first
        self.asks_score = {task for task in tasks if "threshold" in seer.kinds[task].predict_options}
        self.views = {task: TokenView(seer.model, seer.processors[task], task) for task in tasks}

    def add(self, photograph: gr.Image, threshold: gr.Slider) -> None:
        """Adds the components of the tab to the page."""
        if not self.views:
            gr.Markdown(NO_PLACES, elem_classes="lead")
            return
        tasks, state = list(self.views), gr.State()
        gr.Markdown(LEAD, elem_classes="lead")
        with gr.Row(elem_classes="controls"):
            task = gr.Radio(tasks, value=tasks[0], label="Task", scale=3, elem_id="token-task")
            button = gr.Button("Read its tokens", variant="primary", scale=1, min_width=160, elem_id="read-tokens")
        with gr.Row():
            with gr.Column(scale=5, min_width=300):
                grid = picture_of("Codes", elem_id="grid")
            with gr.Column(scale=4, min_width=280):
                block = gr.Dropdown([], label="Mask of", visible=False, elem_id="token-block")
                said = gr.Markdown(elem_id="cell")
                with gr.Column(visible=False) as others:
                    likely = self._gallery("Likeliest here, by the model", "likely")
                    near = self._gallery("Nearest in the codebook, by their distance", "near")
                    with gr.Row(elem_classes="controls"):
                        code = gr.Number(label="Or any code", precision=0, minimum=0, elem_id="code")
                        decode = gr.Button("Decode with it", elem_id="decode-code")
        with gr.Column(visible=False, elem_id="change") as changed:
            gr.HTML("<h2>Decoded with another code</h2>", elem_classes="card-title")
            with gr.Row():
                pictures = [picture_of(label, elem_id=label.lower()) for label in ("Before", "After", "Difference")]
            sentence = gr.Markdown(elem_id="change-said")

        of_cell = [state, grid, said, others, likely, near, changed]
        reading = {"inputs": [photograph, task, threshold], "outputs": [block, *of_cell]}
        for event in (button.click, task.input):
            event(told(self.read), **reading, concurrency_id="model")
        block.input(told(self.choose_block), [state, block], of_cell)
        grid.select(told(self.choose_cell), state, of_cell)
        of_change = [changed, *pictures, sentence]
        likely.select(told(self.choose_likely), state, of_change, concurrency_id="model")
        near.select(told(self.choose_near), state, of_change, concurrency_id="model")
        decode.click(told(self.decode), [state, code], of_change, concurrency_id="model")

    @staticmethod
    def _gallery(label: str, name: str) -> gr.Gallery:
        gr.HTML(f"<h3>{label}</h3>", elem_classes="card-title")
        shown = {"columns": NUM_NEIGHBORS // 2, "height": "auto", "object_fit": "contain", "format": "png"}
        inert = {"show_label": False, "allow_preview": False, "interactive": False, "buttons": []}
        return gr.Gallery(label=label, elem_id=name, elem_classes="codes", **shown, **inert)

    # Handlers, which yield what goes to the components.

    def read(self, photograph: str | None, task: str, threshold: float) -> Iterator[list]:
        if photograph is None:
            raise ValueError(NO_PHOTOGRAPH)
        image = read_image(photograph, Path(photograph).name)
        set_seed(SEED)
        blocks = self.views[task].read(image, threshold if task in self.asks_score else 0)
        if not blocks:
            raise ValueError(NO_BLOCKS.format(threshold))
        names = [(block.name, number) for number, block in enumerate(blocks)]
        yield [gr.Dropdown(names, value=0, visible=len(names) > 1), *self._shown(Reading(task, image, blocks))]

    def choose_block(self, reading: Reading, number: int) -> Iterator[list]:
        yield self._shown(replace(reading, number=number, cell=None))

    def choose_cell(self, reading: Reading, event: gr.SelectData) -> Iterator[list]:
        scale = max(reading.image.size) / OVERLAY_SIDE
        x, y = event.index
        cell = reading.block.cell_at(x * scale, y * scale)  # beside the grid it is none, and none is chosen
        yield self._shown(replace(reading, cell=cell))

    def choose_likely(self, reading: Reading, event: gr.SelectData) -> Iterator[list]:
        yield from self.decode(reading, reading.codes[0][event.index])

    def choose_near(self, reading: Reading, event: gr.SelectData) -> Iterator[list]:
        yield from self.decode(reading, reading.codes[1][event.index])

    def decode(self, reading: Reading, code: int | None) -> Iterator[list]:
        if code is None:
            raise ValueError("Which code? Type its number, or click one of the pictures.")
        change = self.views[reading.task].change(reading.block, reading.cell, int(code))
        yield [gr.Column(visible=True), *self._pictures(change), change.summary]

    def _shown(self, reading: Reading) -> list[Any]:
        """What all components that depend on the cell show."""
        view, block, cell = self.views[reading.task], reading.block, reading.cell
        entropy = view.entropy(block)
        image = np.asarray(reading.image)
        overlay = code_overlay(image, block.ids, entropy, block.box, cell, OVERLAY_SIDE)
        hidden = gr.Column(visible=False)
        if cell is None:
            return [reading, overlay, _of_grid(view, block, entropy), hidden, [], [], hidden]
        code, likely = int(block.ids[cell]), view.likeliest(block, cell)
        near = view.neighbors(code)
        chosen = tuple(code for code, _ in likely), tuple(code for code, _ in near)
        reading = replace(reading, codes=chosen)
        captions = [f"{n} · {p:.0%}" for n, p in likely], [f"{n} · {distance:.2f}" for n, distance in near]
        galleries = [
            gr.Gallery(self._patches(view, codes, lines), selected_index=None)
            for codes, lines in zip(chosen, captions)
        ]
        said = (
            f"**Code {code}** in row {cell[0] + 1}, column {cell[1] + 1}: {likely[0][1]:.0%} likely, entropy "
            f"{entropy[cell]:.2f}. **Click another code** to decode with it. A distance of 1 is the mean of any two codes."
        )
        return [reading, overlay, said, gr.Column(visible=True), *galleries, hidden]

    @staticmethod
    def _patches(view: TokenView, codes: tuple[int, ...], captions: list[str]) -> list[tuple[Image.Image, str]]:
        return [(resize_picture(patch, PATCH_SIDE), text) for patch, text in zip(view.patches(codes), captions)]

    @staticmethod
    def _pictures(change: Change) -> list[Image.Image]:
        return [resize_picture(picture, MAP_SIDE) for picture in (change.before, change.after, change.difference)]


def _of_grid(view: TokenView, block: CodeBlock, entropy: np.ndarray) -> str:
    rows, columns = block.ids.shape
    return (
        f"**{rows} × {columns} codes** of a codebook of {view.num_codes}, {len(np.unique(block.ids))} of them different. Mean "
        f"entropy {entropy.mean():.2f}, from {entropy.min():.2f} to {entropy.max():.2f}. Click a cell of the picture."
    )
