# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The page that runs the exported depth model of `rooms` in the reader's browser: it gives what the model gives."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from browser import SCREENS, check_width, chromium, open_page
from repository import REPOSITORY
from saved_model import picture

from ait_hf import pretrained
from ait_hf.inference.loading import load_model_and_processor
from ait_hf.model.image_reading_ait import read_image


pytestmark = pytest.mark.browser
BUILT = REPOSITORY / "docs/assets/live/built"
LISTEN = """() => { window.predicted = new Promise((done) =>
    document.addEventListener("predicted", (event) => done(event.detail), { once: true })); }"""


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Of the page of the built site."""
    assert (BUILT / "model.onnx").is_file(), "`make docs` makes what the page loads"
    site = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(site)]
    subprocess.run(mkdocs, cwd=REPOSITORY, env=environment, check=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/live/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


def predicted(image) -> np.ndarray:
    model, processor = load_model_and_processor(pretrained("rooms"), "depth")
    with torch.no_grad():
        return model.generate(**processor(image, return_tensors="pt"), task="depth").predicted_depth[0].numpy()


def check_depth(page, image) -> None:
    detail = page.evaluate("window.predicted")
    depth = np.reshape(detail["depth"], (detail["height"], detail["width"]))
    # A pixel may be rounded to the next of 256 levels.
    np.testing.assert_allclose(depth, predicted(image), atol=0.02)
    assert re.search(r"in \d+ ms on your machine", page.locator("#live-said").inner_text())
    assert f"From {depth.min():.2f} to {depth.max():.2f} metres" in page.locator("#live-said").inner_text()


def test_depth_of_a_room_and_of_a_picture_of_ones_own(browser, address, tmp_path):
    with open_page(browser, address) as page:
        page.evaluate(LISTEN)
        page.locator("#live-examples img").nth(2).click()
        check_depth(page, read_image(BUILT / "room_2.png"))
        page.evaluate(LISTEN)
        picture(90, 131, 3).save(tmp_path / "mine.png")
        page.set_input_files("#live-file", tmp_path / "mine.png")
        check_depth(page, read_image(tmp_path / "mine.png"))
        page.locator("#live-depth").hover()
        assert re.fullmatch(r"\d+\.\d\d m", page.locator("#live-point").inner_text())


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_is_wider_than_the_screen(browser, address, screen):
    with open_page(browser, address, screen) as page:
        check_width(page)


def test_what_is_no_picture_is_said(browser, address, tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    with open_page(browser, address) as page:
        page.set_input_files("#live-file", tmp_path / "broken.png")
        page.get_by_text("That did not work").wait_for()
