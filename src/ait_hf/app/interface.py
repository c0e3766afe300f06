# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The app's page: one photograph at the left, and tabs of what is seen in it, of its tokens and of answers."""

from collections.abc import Callable, Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from ..model.image_reading_ait import read_image_header
from .answers import AnswerReader
from .parts import BUTTONS, NO_PHOTOGRAPH, picture_of, told
from .seeing import Box, Seer
from .token_tab import TokenTab


HOUR = 3600  # seconds; how long files of visitors are kept
THRESHOLD = 0.3  # least score of objects, as of `ait predict`
NO_TOKENIZER = (
    "Boxes (`<loc0000>…`) are shown at once. Codes need the tokenizer of the model that wrote them; this app was started "
    "without any: `ait app --tokenizer paligemma-mask=vae-oid.npz` (the preset and its file) gives it one."
)
PLACEHOLDER = "<loc0100><loc0200><loc0700><loc0800> cat"
FONTS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONOSPACE = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def launch_settings() -> dict[str, Any]:
    """Arguments of gradio's `launch()`: how the page looks, and that it asks no other machine for anything."""
    theme = gr.themes.Base(
        primary_hue="teal", secondary_hue="teal", neutral_hue="slate", font=FONTS, font_mono=MONOSPACE
    )
    style = files("ait_hf.app").joinpath("style.css").read_text(encoding="utf-8")
    return {"theme": theme, "css": style, "footer_links": [], "run_history": False, "share": False}


def build(seer: Seer, reader: AnswerReader, examples: list[Path], name: str) -> gr.Blocks:
    """
    The page.

    Args:
        seer: The model.
        reader: Of answers.
        examples: Pictures to begin with.
        name: What the page calls the model.
    """
    with gr.Blocks(title=f"{name} · All in Tokens", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as page:
        gr.HTML(_header(seer, name), elem_id="header")
        with gr.Row(elem_id="panes"):
            with gr.Column(scale=4, min_width=300, elem_id="left"):
                photograph = _photograph()
                button = gr.Button("See", variant="primary", size="lg", elem_id="see")
                threshold, boxes = _settings(seer, photograph)
                shown = gr.Examples(
                    [[str(path)] for path in examples],
                    photograph,
                    label="Rendered rooms to begin with",
                    elem_id="examples",
                )
            with gr.Column(scale=9, min_width=320, elem_id="right"), gr.Tabs():
                with gr.Tab("See", id="see"):
                    outputs, see = _see_tab(seer)
                with gr.Tab("Tokens", id="tokens"):
                    TokenTab(seer).add(photograph, threshold)
                with gr.Tab("Answers", id="answers"):
                    _answers_tab(reader, photograph)
        for start in (button.click, shown.load_input_event.then):
            start(told(see), [photograph, threshold, boxes], outputs, concurrency_id="model")
    return page


def _photograph() -> gr.Image:
    """Where one is chosen; handlers get the path of the file as it was uploaded."""
    photograph = gr.Image(
        label="Photograph", type="filepath", sources=["upload", "clipboard"], height=320, elem_id="photograph"
    )
    # Gradio would open the file itself. One reader reads all pictures here, and says what is wrong with one.
    photograph.preprocess = lambda payload: None if payload is None else payload.path
    return photograph


def _header(seer: Seer, name: str) -> str:
    chips = "".join(f"<span class='chip'>{escape(task)}</span>" for task in seer.kinds)
    squares = "".join("<i></i>" for _ in range(9))
    return (
        f"<div class='mark'>{squares}</div><div><h1>All in Tokens</h1><p>What <b>{escape(name)}</b> sees in a photograph, "
        f"as tokens of a codebook.</p></div><div class='chips'>{chips}</div>"
    )


def _settings(seer: Seer, photograph: gr.Image) -> tuple[gr.Slider, gr.Textbox]:
    """Least score and boxes of people, shown as far as the model's tasks have them."""
    asks_score, asks_boxes = seer.takes("threshold"), seer.takes("boxes")
    with gr.Accordion("Settings", open=seer.needs_boxes, visible=asks_score or asks_boxes, elem_id="settings"):
        threshold = gr.Slider(
            0, 1, THRESHOLD, step=0.01, label="Least score", info="Of objects and people", visible=asks_score
        )
        info = "x, y, width, height in pixels, a person in each line"
        info += "" if seer.needs_boxes else "; empty: where the model finds people"
        boxes = gr.Textbox("", label="Boxes of people", info=info, lines=2, visible=asks_boxes, elem_id="boxes")
    if seer.needs_boxes:  # in plain view and to be changed: all of the picture
        photograph.change(told(_whole_picture), photograph, boxes)
    return threshold, boxes


def _whole_picture(photograph: str | None) -> Iterator[str]:
    if photograph is None:
        yield ""
    else:
        height, width = read_image_header(photograph, Path(photograph).name).size
        yield f"0, 0, {width}, {height}"


def _parsed_boxes(text: str) -> list[Box] | None:
    boxes = []
    for number, line in enumerate(filter(str.strip, text.splitlines()), start=1):
        try:
            box = [float(part) for part in line.split(",")]
        except ValueError:
            box = []
        if len(box) != 4:
            raise ValueError(f"Box {number}, {line.strip()!r}, is not x, y, width, height: four numbers with commas.")
        boxes.append(box)
    return boxes or None


def _see_tab(seer: Seer) -> tuple[list[gr.components.Component], Callable]:
    """Its components that results go to, and the handler that gives them."""
    hint = gr.HTML(f"<p>{NO_PHOTOGRAPH}</p>", elem_classes="hint")
    outputs: list = [hint]
    with gr.Column(visible=False, elem_id="results") as results:
        outputs.append(results)
        for task, kind in seer.kinds.items():
            with gr.Column(
                elem_classes=["card", "wide"] if kind.gives_uncertainty else "card", elem_id=f"card-{task}"
            ):
                gives = kind.text(seer.model.config.task(task)).gives
                gr.HTML(f"<h2>{escape(task)}</h2><p>{escape(gives)}</p>", elem_classes="card-title")
                with gr.Row():
                    if kind.gives_uncertainty:
                        outputs.append(gr.ImageSlider(label="Photograph | prediction", buttons=BUTTONS, format="png"))
                        outputs.append(picture_of("Uncertainty, dark is certain", elem_classes="uncertainty"))
                    else:
                        outputs.append(picture_of(task, show_label=False))
                outputs.append(gr.Markdown(elem_classes="summary"))
                outputs.append(gr.File(label="Files", file_count="multiple", elem_classes="files"))

    def see(photograph: str | None, threshold: float, boxes: str) -> Iterator[list]:
        """What every task gives of a photograph."""
        if photograph is None:
            raise ValueError(NO_PHOTOGRAPH)
        with TemporaryDirectory() as folder:  # gradio has copied what it shows when this goes on
            seen = seer.see(Path(photograph), Path(folder), threshold, _parsed_boxes(boxes))
            values: list = [gr.HTML(visible=False), gr.Column(visible=True)]
            for of_task in seen.values():
                if of_task.uncertainty is None:
                    values.append(of_task.picture)
                else:
                    values += [(of_task.image, of_task.picture), of_task.uncertainty]
                values += [of_task.summary, list(map(str, of_task.files))]
            yield values

    return outputs, see


def _answers_tab(reader: AnswerReader, photograph: gr.Image) -> None:
    names = list(reader.tokenizers)
    gr.Markdown(
        "Paste what a vision-language model answered: its boxes and masks, or its map. They are drawn over the photograph, "
        "if there is one.",
        elem_classes="lead",
    )
    gr.Markdown(f"Tokenizers: {', '.join(names)}." if names else NO_TOKENIZER, elem_classes="note")
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            text = gr.Textbox(label="Answer", lines=8, placeholder=PLACEHOLDER, elem_id="answer")
            chosen = gr.Dropdown(
                [("the first that fits", None), *((name, name) for name in names)],
                label="Tokenizer",
                visible=len(names) > 1,
                value=None,
            )
            decode = gr.Button("Decode", variant="primary", elem_id="decode")
        with gr.Column(scale=1, min_width=280):
            picture = picture_of("What it says", elem_id="decoded")
            said = gr.Markdown(elem_id="said")

    def read(text: str, name: str | None, photograph: str | None) -> Iterator[tuple]:
        """Boxes, masks or maps of an answer."""
        answer = reader.read(text, name, photograph)
        yield answer.picture, "\n".join(f"- {line}" for line in answer.sentences)

    decode.click(told(read), [text, chosen, photograph], [picture, said])
