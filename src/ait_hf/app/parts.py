# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the tabs of the app share."""

import functools
from collections.abc import Callable

import gradio as gr

from ..recipes.faults import is_fault, sentence


BUTTONS = ["download", "fullscreen"]  # of pictures
NO_PHOTOGRAPH = "Choose a photograph first, or click one of the examples."


def told(handler: Callable) -> Callable:
    """A handler whose errors of what it was given are said in one sentence; those of code keep their traceback."""

    @functools.wraps(handler)
    def handle(*arguments):
        try:
            yield from handler(*arguments)
        except Exception as error:
            if not is_fault(error):
                raise
            raise gr.Error(sentence(error), title="", print_exception=False) from error

    return handle


def picture_of(label: str, **arguments) -> gr.Image:
    """A picture that is only shown, without loss."""
    return gr.Image(label=label, format="png", interactive=False, buttons=BUTTONS, **arguments)
