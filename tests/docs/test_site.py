# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The site of `make docs`: that it builds without a warning, and that its reference is whole; and the links of README.md."""

import os
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from repository import REPOSITORY

import ait_hf
import ait_hf.metrics
import ait_hf.tokens


MODULES = (ait_hf, ait_hf.tokens, ait_hf.metrics)


class Loads(HTMLParser):
    """What a browser fetches by itself to show a page: scripts, styles, pictures."""

    def __init__(self, page: str):
        super().__init__()
        self.addresses = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        styles = ("stylesheet", "preload", "modulepreload", "icon")
        if tag in ("script", "img", "iframe", "source") or (tag == "link" and values.get("rel") in styles):
            self.addresses.append(values.get("src") or values.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """All pages, built as `make docs` does, but that notebooks are not run: they have tests of their own."""
    folder = tmp_path_factory.mktemp("site")
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    for command in ([sys.executable, "docs/building/generated_pages.py", "--quick"], mkdocs):
        environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_every_public_name_is_in_the_reference(site):
    pages = "".join(path.read_text(encoding="utf-8") for path in site.glob("reference/*/index.html"))
    missing = [f"{module.__name__}.{name}" for module in MODULES for name in module.__all__]
    # What two modules have is there once.
    missing = [name for name in missing if f'id="{name}"' not in pages and name != "ait_hf.AiTTokenProcessor"]
    assert not missing


def test_links_of_docstrings_are_links(site):
    page = (site / "reference/tokens/index.html").read_text(encoding="utf-8")
    parameters = page.split('id="ait_hf.tokens.soft_decode"')[1].split('id="ait_hf.tokens.SoftDecoding"')[0]
    assert (
        'href="../tokenizers/#ait_hf.VQTokenizer"' in parameters and 'href="#ait_hf.tokens.TokenFormat"' in parameters
    )
    for path in site.glob("reference/*/index.html"):
        text = re.sub(r"<pre.*?</pre>", "", path.read_text(encoding="utf-8"), flags=re.S)
        assert "[<code>" not in text and "[`" not in text and "<autoref" not in text, path


def test_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        addresses = Loads(path.read_text(encoding="utf-8")).addresses
        assert addresses and not [address for address in addresses if re.match("(https?:)?//", address)], path


def test_every_command_is_on_its_page(site):
    page = (site / "reference/commands/index.html").read_text(encoding="utf-8")
    assert {"ait train", "ait predict", "ait tokens encode", "ait demo tokens"} <= set(
        re.findall(r"<h2[^>]*>(ait [\w ]+)<", page)
    )
    assert "rooms_depth_aitp" in page


def test_plugins_are_those_that_zensical_has_too():
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    plugins = yaml.safe_load(text)["plugins"]
    assert {plugin if isinstance(plugin, str) else next(iter(plugin)) for plugin in plugins} == {
        "search",
        "mkdocstrings",
    }


def test_links_of_the_readme_become_absolute_for_a_package():
    absolute_links = runpy.run_path(str(REPOSITORY / "docs/building/absolute_links.py"))["absolute_links"]
    given = "[![a](https://b/c)](LICENSE) ![p](docs/p.png) [d](docs/d.md#e) [f](#f) [g](https://h)"
    made = "[![a](https://b/c)](R/blob/v1/LICENSE) ![p](R/raw/v1/docs/p.png) [d](R/blob/v1/docs/d.md#e) [f](#f) [g](https://h)"
    assert absolute_links(given, "R", "v1") == made
    text = absolute_links((REPOSITORY / "README.md").read_text(encoding="utf-8"), "https://host/owner/name", "v1")
    assert all(target.startswith("https://") for target in re.findall(r"\]\(([^)\s]+)\)", text))


def test_links_of_the_readme_lead_somewhere():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    for target in (target for target in targets if not target.startswith("http")):
        path, _, heading = target.partition("#")
        assert (REPOSITORY / path).is_file(), target
        headings = re.findall(r"^#+ (.+)$", (REPOSITORY / path).read_text(encoding="utf-8"), re.M) if heading else []
        anchors = [re.sub(r"[^\w -]", "", words.lower()).replace(" ", "-") for words in headings]
        assert not heading or heading in anchors, target
