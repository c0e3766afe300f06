# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""`ait demo`: what it shows is what it measured, and the same steps learn the same."""

import argparse
import base64
import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from browser import SCREENS, check_width, chromium, open_page, served
from models_of_kinds import save_model
from PIL import Image
from saved_model import picture

from ait_hf.commands import demo, demo_learning
from ait_hf.commands.demo_learning import LADDER, TRAINING_SECONDS, Learning, chosen_steps
from ait_hf.commands.demo_page import FILMED
from ait_hf.commands.demo_pictures import SIDE, Room, Viewer, telling_rooms
from ait_hf.data.rooms.depth import render_room
from ait_hf.data.rooms.rendering import LABEL_CLASSES
from ait_hf.inference.loading import load_model, load_processor
from ait_hf.tasks.semantics.drawing import class_palette
from ait_hf_cli import main


SHORT = {"seed": 5, "steps": 2, "quick": True, "start": time.perf_counter()}


def learned(output: Path, film=lambda viewer, metrics: {}) -> dict:
    """In one process, a few steps of everything."""
    return Learning(argparse.Namespace(output=str(output), **SHORT)).run(None, film=film)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run that was filmed: its folder and its report."""
    folder = tmp_path_factory.mktemp("demo")
    show = demo.Show(argparse.Namespace(output=str(folder), **SHORT))
    model = Viewer.from_folder(save_model("depth", folder / "brought"))
    show.page.show(model, telling_rooms(1))
    show.page.set_up_film(SimpleNamespace(look=lambda room: room.truth), show.film_rooms)
    during = []

    def film(viewer: Viewer, metrics: dict[str, float]) -> dict[str, Image.Image]:
        pictures = show.film(viewer, metrics)
        during.append((folder / "index.html").read_text())
        return pictures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_learning, "SECONDS_PER_FRAME", 1e9)  # one at the end, however slow this machine is
        report = learned(folder, film)
    show.finish(report)
    return folder, report, during


class Page(HTMLParser):
    """What a page has: texts, pictures, and addresses of anything."""

    def __init__(self, text: str):
        super().__init__()
        self.texts, self.tags, self.addresses = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.addresses += [value for name, value in attributes if name in ("src", "href", "data", "action")]

    def handle_data(self, text):
        self.texts.append(text.strip())

    def pictures(self) -> list[Image.Image]:
        coded = [attributes["src"].partition(",")[2] for tag, attributes in self.tags if tag == "img"]
        return [Image.open(io.BytesIO(base64.b64decode(text))) for text in coded]


# The page


def test_the_page_needs_nothing_else(run):
    page = Page((run[0] / "index.html").read_text())
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    assert not {"script", "iframe"} & {tag for tag, _ in page.tags} and "url(" not in " ".join(page.texts)
    sizes = [found.size for found in page.pictures()]
    # A room, its depth and uncertainty with what is below them; the filmed rooms, a line of the film, one of another model, the
    # truth; curves.
    assert sizes.count((SIDE, SIDE)) == 5 + 4 + 3 * 4 * len(FILMED) and len(sizes) == sizes.count((SIDE, SIDE)) + 1


def test_the_page_is_read_again_until_all_is_done(run):
    folder, _, during = run
    refresh = ("meta", {"http-equiv": "refresh", "content": "10"})
    assert len(during) == 1 and refresh in Page(during[0]).tags
    assert refresh not in Page((folder / "index.html").read_text()).tags
    title = "How good it is"
    assert title in Page((folder / "index.html").read_text()).texts and title not in Page(during[0]).texts


def test_every_number_on_the_page_is_of_the_run(run):
    folder, report, _ = run
    texts = Page((folder / "index.html").read_text()).texts
    written = json.loads((folder / "metrics.json").read_text())
    assert written["rows"] == report["rows"] and written["steps"] == 2 and written["seed"] == 5
    names = [row["name"] for row in written["rows"]]
    assert names == ["mean of every pixel", "tokenizers", "trained now, hard", "trained now, soft"]
    for row in written["rows"]:
        expected = [f"{row[key]:.3f}" if key in row else "" for key in demo.COLUMNS]
        start = texts.index(row["name"])
        cells = [text for text in texts[start + 1 :] if text][: sum(map(bool, expected))]
        assert cells == [text for text in expected if text]
    last = next(row for row in reversed(written["history"]) if "eval_depth/rmse" in row)
    note = f"RMSE {last['eval_depth/rmse']:.2f} m, mask AP50 {last['eval_instance-segmentation/segm_AP50']:.2f}"
    assert note in texts


def test_what_is_known_in_advance_is_right(run):
    """The mean of every pixel does not depend on what was learned."""
    rows = {row["name"]: row for row in run[1]["rows"]}
    train = np.stack([render_room((0, 0, number))["depth"] for number in range(8)]).astype(float)
    mean = np.nanmean(np.where(train > 0, train, np.nan), axis=0)
    errors = []
    for number in range(8):
        depth = render_room((2, 0, number))["depth"]
        errors.append(np.sqrt(np.mean((np.nan_to_num(mean) - depth)[depth > 0] ** 2)))
    assert rows["mean of every pixel"]["depth/rmse"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_pictures_of_the_film_are_kept(run):
    names = {path.name for path in (run[0] / "joint/pictures").iterdir()}
    assert names == {f"room-{room.number}-{view}-step-00000002.png" for room in telling_rooms(4) for view in FILMED}


@pytest.mark.browser
def test_a_browser_shows_all_of_it(run):
    with chromium() as browser, served(run[0]) as address:
        for screen in SCREENS:
            with open_page(browser, f"{address}index.html", screen) as page:
                check_width(page)
                widths = page.eval_on_selector_all("img", "found => found.map(image => image.naturalWidth)")
                assert widths and all(widths)
                assert page.locator(".numbers tr").count() == 1 + len(run[1]["rows"])


# Learning


def test_who_is_watched_learns_the_same(run, tmp_path):
    """And the same steps and seed give the same numbers."""
    folder, report, _ = run
    again = learned(tmp_path)
    assert again["rows"] == report["rows"]
    first, second = (load_model(place / "joint").state_dict() for place in (folder, tmp_path))
    assert first.keys() == second.keys()
    assert all(torch.equal(weights, second[name]) for name, weights in first.items())
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize(
    "seconds, steps",
    [(TRAINING_SECONDS / 1000, 1000), (TRAINING_SECONDS / 999, 800), (1e-9, LADDER[-1]), (1e9, LADDER[0])],
)
def test_as_many_steps_as_there_is_time_for(seconds, steps):
    assert chosen_steps(seconds) == steps


# Pictures


def test_a_room_is_the_one_that_is_measured():
    """Rendered larger: every fourth pixel is near that of the small one."""
    room, small = Room(1), render_room((2, 0, 1))
    wall = np.abs(room.depth[2::4, 2::4] - small["depth_complete"])
    assert np.median(wall) < 0.02
    assert room.truth.keys() == {"depth", "instances", "classes"}
    assert Room(1, people=True).truth.keys() == {"depth", "instances", "classes", "poses"}


@pytest.mark.parametrize("name, views", [("depth", ["depth", "uncertainty", "error"]), ("instances", ["instances"])])
def test_a_viewer_sees_what_its_model_has_tasks_for(name, views, tmp_path):
    viewer = Viewer.from_folder(save_model(name, tmp_path / name))
    seen = [viewer.look(Room(number)) for number in (0, 1)]
    assert list(seen[0]) == views and not viewer.knows_people
    for view in views:
        assert seen[0][view].shape == (SIDE, SIDE, 3) and seen[0][view].dtype == np.uint8
        assert (seen[0][view] != seen[1][view]).any()


def test_classes_have_the_colours_of_the_truth(tmp_path):
    """Whatever numbers they have in the model."""
    names = LABEL_CLASSES[:-1][::-1]
    folder = save_model("label maps", tmp_path / "labels", names)
    room, (task,) = Room(0), load_model(folder).config.tasks
    seen = Viewer.from_folder(folder).look(room)["classes"]
    processor, model = load_processor(folder, task), load_model(folder)
    outputs = model.generate(**processor(room.image, return_tensors="pt"), task=task)
    (labels,) = processor.post_process_semantic_segmentation(outputs, [(SIDE, SIDE)])
    palette = dict(zip(LABEL_CLASSES, class_palette(len(LABEL_CLASSES)).astype(float)))
    colors = np.array([palette[names[number]] for number in range(len(names))])[labels.numpy()]
    expected = np.asarray(room.image) + 0.6 * (colors - np.asarray(room.image))
    assert np.abs(seen - expected).max() < 1


# What is given wrongly


@pytest.mark.parametrize(
    "arguments, environment, message",
    [
        (["--steps", "0"], {}, "0 is not positive"),
        (["train.max_steps=3"], {}, "unrecognized arguments: train.max_steps=3"),
        (["--output", "FILE"], {}, "FILE: File exists"),
        ([], {"RANK": "0"}, "run it without accelerate launch"),
    ],
)
def test_what_is_given_wrongly_is_said_in_a_sentence(arguments, environment, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "FILE").touch()
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="2"):
        main(["demo", *arguments])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("ait demo: ") and message in error
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


# All of it


@pytest.mark.slow
def test_two_processes_learn_the_same_again_and_what_to_do_next_works(tmp_path):
    """In a folder without a clone."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    picture(60, 90).save(tmp_path / "photo.jpg")

    def ait(*arguments: str) -> str:
        command = [sys.executable, "-c", "from ait_hf_cli import main; main()", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert not re.search("warn|torchao|deprecated", done.stderr, re.I), done.stderr[-3000:]
        return done.stdout

    ait("demo", "--quick", "--steps", "3", "--seed", "2", "--output", "first")
    said = ait("demo", "--quick", "--steps", "3", "--seed", "2", "--output", "again")
    first, again = (json.loads((tmp_path / place / "metrics.json").read_text()) for place in ("first", "again"))
    assert first["rows"] == again["rows"] and first["steps"] == 3
    assert "The same again: ait demo --steps 3 --seed 2" in said and "index.html" in said
    own = [text for _, text in demo.next_commands(Path("again"), 3, "") if "again" in text and "train" not in text]
    assert len(own) == 2
    for text in own:
        ait(*shlex.split(text)[1:])
    assert (tmp_path / "seen/photo_all.png").is_file()
