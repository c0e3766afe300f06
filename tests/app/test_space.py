# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The folder of the Space: its front matter is what the Hub takes, and its app starts."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import gradio
import pytest
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement
from packaging.version import Version
from repository import PROJECT, REPOSITORY


SPACE = REPOSITORY / "space"
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # that the Hub knows


def test_front_matter_is_what_the_hub_takes():
    card = SpaceCard.load(SPACE / "README.md", ignore_metadata_errors=False)
    data = card.data.to_dict()
    assert data["sdk"] == "gradio" and (SPACE / data["app_file"]).is_file()
    assert {data["colorFrom"], data["colorTo"]} <= COLORS and len(data["short_description"]) <= 60
    assert data["license"] == PROJECT["license"].lower() and len(data["emoji"]) == 1
    (needed,) = (Requirement(item) for item in PROJECT["optional-dependencies"]["app"] if item.startswith("gradio"))
    assert data["sdk_version"] in needed.specifier and Version(data["sdk_version"]) <= Version(gradio.__version__)
    assert f">={data['python_version']}" == PROJECT["requires-python"]


def test_requirements_are_this_package_with_its_app():
    (line,) = (SPACE / "requirements.txt").read_text().splitlines()
    requirement = Requirement(line)
    assert requirement.name == PROJECT["name"] and PROJECT["version"] in requirement.specifier
    assert requirement.extras == {"app"} <= PROJECT["optional-dependencies"].keys()


@pytest.mark.browser
def test_it_starts_where_the_environment_says():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port)}
    process = subprocess.Popen([sys.executable, SPACE / "app.py"], env=environment)
    try:
        page = None
        while page is None and process.poll() is None:
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}").read().decode()
            except urllib.error.URLError:
                time.sleep(0.5)
        assert page is not None and "rooms · All in Tokens" in page
    finally:
        process.terminate()
        process.wait()
