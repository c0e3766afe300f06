# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The page that runs the exported depth model of `rooms` in the reader's browser: it gives what the model gives."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from browser import SCREENS, check_width, chromium, open_page, served
from PIL import Image
from repository import REPOSITORY
from saved_model import picture

from ait_hf import pretrained
from ait_hf.inference.loading import load_model_and_processor
from ait_hf.model.image_reading_ait import read_image


pytestmark = pytest.mark.browser
BUILT = REPOSITORY / "docs/assets/live/built"
PATIENCE = 60_000  # milliseconds
LEVEL = 1 / 255  # of a pixel; rounding may go one up or down
SHOWN = """async () => {
    const { depth, height, width } = (await import("../assets/live/live.js")).shown;
    return { depth: Array.from(depth), height, width }; }"""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Of the page in the built site."""
    assert BUILT.is_dir(), "`make docs` makes what the page loads"
    site = tmp_path_factory.mktemp("site")
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(site)]
    subprocess.run(mkdocs, cwd=REPOSITORY, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=True)
    with served(site) as root:
        yield f"{root}live/"


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def depth_of():
    """Depth of a picture as `generate()` gives it, float32 `(height, width)`, metres."""
    model, processor = load_model_and_processor(pretrained("rooms"), "depth")

    @torch.no_grad()
    def depth(image: Image.Image) -> np.ndarray:
        outputs = model.generate(**processor(image, return_tensors="pt"), task="depth")
        return outputs.predicted_depth[0].numpy()

    return depth


def wait_for_depth(page) -> None:
    page.locator("#live-said", has_text="on your machine").wait_for(timeout=PATIENCE)


def check_depth(page, expected: np.ndarray) -> None:
    """Waits for a prediction, and compares it and what is said of it."""
    wait_for_depth(page)
    detail = page.evaluate(SHOWN)
    depth = np.reshape(detail["depth"], (detail["height"], detail["width"]))
    np.testing.assert_allclose(depth, expected, atol=2 * LEVEL * np.ptp(expected))
    said = page.locator("#live-said").inner_text()
    assert re.search(r"in \d+ ms on your machine", said)
    assert f"From {depth.min():.2f} to {depth.max():.2f} metres" in said


def test_depth_of_a_room_and_of_a_picture_of_ones_own(browser, address, depth_of, tmp_path):
    loaded = {}
    with open_page(browser, address) as page:
        page.on("response", lambda response: loaded.update({response.url: int(response.headers["content-length"])}))
        page.locator("#live-examples img").nth(2).click()
        check_depth(page, depth_of(read_image(BUILT / "room_2.png")))
        picture(90, 131, 3).save(tmp_path / "mine.png")
        page.set_input_files("#live-file", tmp_path / "mine.png")
        page.locator("#live-photograph[width='131']").wait_for()  # then what was said of the room is gone
        check_depth(page, depth_of(read_image(tmp_path / "mine.png")))
        page.locator("#live-depth").hover()
        assert re.fullmatch(r"\d+\.\d\d m", page.locator("#live-point").inner_text())
    megabytes = sum(size for url, size in loaded.items() if "/built/" in url and not url.endswith(".png")) / 1e6
    assert f"about {megabytes:.0f} MB" in (REPOSITORY / "docs/live.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_is_wider_than_the_screen(browser, address, screen):
    with open_page(browser, address, screen) as page:
        page.locator("#live-examples img").last.click()
        wait_for_depth(page)
        check_width(page)


def test_what_is_no_picture_is_said(browser, address, tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    with open_page(browser, address) as page:
        page.set_input_files("#live-file", tmp_path / "broken.png")
        page.get_by_text("That did not work").wait_for()
