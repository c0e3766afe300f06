# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The app in a real browser: what it shows is what a direct call gives, and nothing leaves the machine."""

import io
import runpy
from dataclasses import dataclass

import numpy as np
import pytest
from browser import SCREENS, check_width, chromium, open_page
from PIL import Image
from published_tokenizers import made_up_weights
from repository import REPOSITORY
from safetensors.torch import save_file
from saved_model import picture
from transformers import set_seed

from ait_hf import pretrained
from ait_hf.app.answers import AnswerReader, load_answer_tokenizer
from ait_hf.app.examples import write_examples
from ait_hf.app.interface import THRESHOLD, build, launch_settings
from ait_hf.app.seeing import Seer
from ait_hf.app.token_tab import MAP_SIDE
from ait_hf.app.token_view import TokenView
from ait_hf.drawing.page import resize_picture
from ait_hf.drawing.token_grid import code_overlay
from ait_hf.model.image_reading_ait import read_image


pytestmark = pytest.mark.browser
PATIENCE = 60_000  # milliseconds
SEGMENT = "<loc0100><loc0200><loc0700><loc0800>" + "<seg007>" * 16 + " cat"
DEPTH = "<DEPTH_START>" + "<DEPTH_5>" * 100 + "<DEPTH_END>"


@dataclass(frozen=True)
class App:
    address: str
    seer: Seer
    reader: AnswerReader
    examples: list


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    save_file(made_up_weights("paligemma-mask"), folder / "vae-oid.safetensors")
    seer = Seer(pretrained("rooms"))
    reader = AnswerReader([load_answer_tokenizer(f"paligemma-mask={folder / 'vae-oid.safetensors'}")])
    examples = write_examples(folder, seer.knows_people)
    page = build(seer, reader, examples, "rooms")
    _, address, _ = page.launch(**launch_settings(), prevent_thread_lock=True, quiet=True)
    yield App(address, seer, reader, examples)
    page.close()


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser, app):
    with open_page(browser, app.address) as opened:
        opened.set_default_timeout(PATIENCE)
        opened.wait_for_selector("#see")
        yield opened


def pixels(page, image) -> np.ndarray:
    """Of a picture that the page shows, as it was sent."""
    body = page.request.get(image.get_attribute("src")).body()
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))


def upload(page, path) -> None:
    page.set_input_files("#photograph input[type=file]", path)
    page.wait_for_selector("#photograph img", state="attached")  # what is no picture has no size


def saved(page, links) -> dict[str, bytes]:
    """What links save, by name. Only the first is clicked: Chromium drops in silence what exceeds ten downloads in a second, and
    all cards have more."""
    files = {link.get_attribute("download"): page.request.get(link.get_attribute("href")).body() for link in links}
    with page.expect_download() as download:
        links[0].click()
    assert files[download.value.suggested_filename] == download.value.path().read_bytes()
    return files


def wait_for_sentence(page, words: str) -> None:
    """Until a message says this."""
    page.locator("[data-testid=toast-body]", has_text=words).wait_for()


def test_all_tasks_of_a_photograph_and_their_files_are_those_of_a_direct_call(page, app, tmp_path):
    photo = tmp_path / "holiday.png"
    picture(120, 160, 7).save(photo)
    upload(page, photo)
    page.click("#see")
    page.wait_for_selector("#results", state="visible")
    for task, seen in app.seer.see(photo, tmp_path, THRESHOLD).items():
        card = page.locator(f"#card-{task}")
        card.scroll_into_view_if_needed()
        shown = [pixels(page, image) for image in card.locator("img").all()]
        expected = [seen.picture] if seen.uncertainty is None else [seen.image, seen.picture, seen.uncertainty]
        assert len(shown) == len(expected)
        for one, other in zip(shown, expected):
            np.testing.assert_array_equal(one, other)
        assert seen.summary in card.inner_text()
        links = card.locator("[data-testid=download-link]:has-text('⇣')").all()
        assert len(links) == len(seen.files)
        assert saved(page, links) == {path.name: path.read_bytes() for path in seen.files}
    assert {path.suffix for path in tmp_path.glob("*/*")} >= {".png", ".json", ".npz"}


def test_what_is_wrong_is_said_in_a_sentence(page, tmp_path):
    page.click("#see")
    wait_for_sentence(page, "Choose a photograph first")
    assert page.locator("#results").is_hidden()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    upload(page, tmp_path / "broken.png")
    page.click("#see")
    wait_for_sentence(page, "broken.png cannot be read as an image")


def test_another_code_in_the_place_of_one(page, app):
    image = read_image(app.examples[0])
    page.locator("#examples img").first.click()
    page.wait_for_selector("#results", state="visible")
    page.get_by_role("tab", name="Tokens").click()
    task = page.locator("#token-task input:checked").get_attribute("value")
    page.click("#read-tokens")
    page.wait_for_selector("#grid img")
    view = TokenView(app.seer.model, app.seer.processors[task], task)
    set_seed(0)
    (block,) = view.read(image)
    place = page.locator("#grid img").bounding_box()
    rows, columns = block.ids.shape
    cell = (rows - 1, 1)
    spot = {"x": place["width"] * 1.5 / columns, "y": place["height"] * (rows - 0.5) / rows}
    page.locator("#grid img").click(position=spot)
    page.wait_for_selector("#near img")
    overlay = code_overlay(np.asarray(image), block.ids, view.entropy(block), block.box, cell)
    np.testing.assert_array_equal(pixels(page, page.locator("#grid img")), np.asarray(overlay))
    neighbors = view.neighbors(int(block.ids[cell]))
    captions = page.locator("#near .caption-label").all_inner_texts()
    assert captions == [f"{code} · {distance:.2f}" for code, distance in neighbors]
    page.locator("#near button.thumbnail-item").nth(2).click()
    page.wait_for_selector("#after img")
    change = view.change(block, cell, neighbors[2][0])
    for name in ("before", "after", "difference"):
        expected = resize_picture(getattr(change, name), MAP_SIDE)
        np.testing.assert_array_equal(pixels(page, page.locator(f"#{name} img")), np.asarray(expected))
    assert change.summary in page.locator("#change-said").inner_text()
    page.fill("#code input", str(view.num_codes))
    page.click("#decode-code")
    wait_for_sentence(page, f"are 0 to {view.num_codes - 1}")


def test_answers_of_other_models(page, app):
    page.get_by_role("tab", name="Answers").click()
    page.fill("#answer textarea", SEGMENT)
    page.click("#decode")
    page.wait_for_selector("#decoded img")
    answer = app.reader.read(SEGMENT)
    np.testing.assert_array_equal(pixels(page, page.locator("#decoded img")), answer.picture)
    assert answer.sentences[0] in page.locator("#said").inner_text()
    page.fill("#answer textarea", DEPTH)
    page.click("#decode")
    wait_for_sentence(page, "--tokenizer molmoact-depth=FILE")


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_is_wider_than_the_screen(browser, app, screen):
    with open_page(browser, app.address, screen) as page:
        page.set_default_timeout(PATIENCE)
        page.locator("#examples img").last.click()
        page.wait_for_selector("#results", state="visible")
        check_width(page)
        page.get_by_role("tab", name="Tokens").click()
        page.click("#read-tokens")
        page.wait_for_selector("#grid img")
        page.locator("#grid img").click()
        page.wait_for_selector("#near img")
        check_width(page)


def test_pictures_of_the_documentation(page, tmp_path):
    runpy.run_path(str(REPOSITORY / "scripts/app_pictures.py"))["take_pictures"](page, tmp_path)
    taken = {path.name: Image.open(path).width for path in tmp_path.iterdir()}
    assert taken == {path.name: Image.open(path).width for path in (REPOSITORY / "docs/assets").glob("app*.png")}
    assert all(path.stat().st_size <= 150_000 for path in tmp_path.iterdir())
