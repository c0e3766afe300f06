# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The app in a browser: `ait app`."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers.utils import logging

from ..app.answers import AnswerReader, load_answer_tokenizer
from ..app.examples import write_examples
from ..app.seeing import Seer
from .predict import best_device


def run(options: argparse.Namespace) -> None:
    try:
        from ..app.interface import build, launch_settings
    except ModuleNotFoundError as error:
        raise ImportError(f"The app needs {error.name}: pip install 'ait-hf[app]'.") from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    reader = AnswerReader([load_answer_tokenizer(given) for given in options.tokenizer])
    seer = Seer(options.model, options.device or best_device(), options.dtype)
    with TemporaryDirectory() as folder:
        examples = write_examples(Path(folder), seer.knows_people)
        name = Path(options.model).name
        page = build(seer, reader, examples, name)
        chosen = {"server_name": options.host, "server_port": options.port, "inbrowser": options.open}
        _, address, _ = page.launch(**launch_settings(), **chosen, prevent_thread_lock=True, quiet=True)
        print(f"What {name} sees: {address} (Ctrl+C ends it)", flush=True)
        page.block_thread()
