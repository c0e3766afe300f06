# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Takes the pictures of docs/app.md, into docs/assets: what `ait app` shows of a rendered room, and its tokens.

    .venv-app/bin/python scripts/app_pictures.py
    .venv-app/bin/python scripts/app_pictures.py --model runs/my-model --output pictures

Needs the environment of `make test-app`, and Chromium.
"""

import argparse
import io
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from ait_hf import pretrained
from ait_hf.app.answers import AnswerReader
from ait_hf.app.examples import write_examples
from ait_hf.app.interface import build, launch_settings
from ait_hf.app.seeing import Seer
from ait_hf.recipes.faults import command


VIEW = {"width": 1280, "height": 1000}
WIDTH = 960  # of a picture, pixels
COLORS = 200  # of its palette: a fifth of the size of a picture in all colours
EXAMPLE = 3  # the first room with people
CELL = (0.4, 0.4)  # of the grid of codes, from its upper left corner to its lower right one


def save_page(page: Page, path: Path) -> None:
    page.mouse.move(0, 0)
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled"))).convert("RGB")
    picture = picture.resize((WIDTH, picture.height * WIDTH // picture.width), Image.Resampling.LANCZOS)
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def take_pictures(page: Page, output: Path) -> None:
    page.locator("#examples img").nth(EXAMPLE).click()
    page.wait_for_selector("#results", state="visible")
    save_page(page, output / "app.png")
    page.get_by_role("tab", name="Tokens").click()
    page.click("#read-tokens")
    grid = page.locator("#grid img")
    size = grid.bounding_box()
    grid.click(position={"x": size["width"] * CELL[0], "y": size["height"] * CELL[1]})
    page.locator("#near button.thumbnail-item").nth(2).click()
    page.wait_for_selector("#after img")
    save_page(page, output / "app_tokens.png")


@command("app_pictures.py")
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a model (default: rooms, which the package brings)")
    parser.add_argument("--output", type=Path, default=Path("docs/assets"))
    options = parser.parse_args(arguments)
    folder = Path(options.model or pretrained("rooms"))
    seer = Seer(folder)
    with TemporaryDirectory() as examples, sync_playwright() as playwright:
        app = build(seer, AnswerReader([]), write_examples(Path(examples), seer.knows_people), folder.name)
        _, address, _ = app.launch(**launch_settings(), prevent_thread_lock=True, quiet=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=VIEW)
        page.set_default_timeout(60_000)
        page.goto(address)
        take_pictures(page, options.output)
        browser.close()
        app.close()


if __name__ == "__main__":
    main()
