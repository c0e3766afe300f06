# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The page is there for a model of any kind, and what `ait app` cannot do is said in a sentence."""

import re
import sys

import gradio as gr
import pytest
from models_of_kinds import MEASURED, save_model

from ait_hf.app.answers import AnswerReader
from ait_hf.app.interface import _parsed_boxes, build, launch_settings
from ait_hf.app.seeing import Seer
from ait_hf_cli import main


@pytest.mark.parametrize("name", ["depth", "poses", "class masks"])
def test_a_page_shows_what_the_models_tasks_have(name, tmp_path):
    seer = Seer(save_model(name, tmp_path / "model"))
    page = build(seer, AnswerReader([]), [], name)
    shown = {item["props"].get("elem_id"): item["props"] for item in page.config["components"]}
    assert f"card-{MEASURED[name].task}" in shown
    assert ("grid" in shown) == (name != "poses")
    assert shown["boxes"]["visible"] == (name == "poses")


def test_style_asks_no_other_machine():
    settings = launch_settings()
    assert not re.findall(r"https?://|@import", settings["css"])
    fonts = [*settings["theme"]._font, *settings["theme"]._font_mono]
    assert not [font for font in fonts if isinstance(font, gr.themes.GoogleFont)]


BOXES = {
    "": None,
    "\n \n": None,
    "1, 2, 3, 4": [[1, 2, 3, 4]],
    "1,2,3,4\n\n5, 6.5, 7, 8": [[1, 2, 3, 4], [5, 6.5, 7, 8]],
}


@pytest.mark.parametrize("text", BOXES)
def test_boxes_are_read_line_by_line(text):
    assert _parsed_boxes(text) == BOXES[text]


@pytest.mark.parametrize("text", ["1, 2, 3", "1, 2, 3, four", "1 2 3 4", "1, 2, 3, 4\n5"])
def test_other_boxes_are_refused(text):
    with pytest.raises(ValueError, match=r"Box \d, '.*', is not x, y, width, height"):
        _parsed_boxes(text)


REFUSALS = {
    "no model": (["--model", "nowhere/model"], "nowhere/model does not exist: give the folder of a saved AiT model."),
    "no preset": (["--tokenizer", "paligemma=x.npz"], "There is no preset 'paligemma'; there are paligemma-mask"),
    "no tokenizer": (["--tokenizer", "nowhere"], "nowhere has no token_format.json"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_it_cannot_do_is_said_in_a_sentence(name, capsys):
    arguments, sentence = REFUSALS[name]
    with pytest.raises(SystemExit) as end:
        main(["app", *arguments])
    assert end.value.code == 2 and capsys.readouterr().err.startswith(f"ait app: {sentence}")


def test_without_gradio_it_says_how_to_get_it(monkeypatch, capsys):
    for name in ("ait_hf.app.interface", "ait_hf.app.parts", "ait_hf.app.token_tab"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit):
        main(["app", "--model", "nowhere/model"])
    assert capsys.readouterr().err == "ait app: The app needs gradio: pip install 'ait-hf[app]'.\n"
