# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Debian's Chromium, driven by playwright; whatever a page says or asks for that it should not is a failure."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest


ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LOCAL = {"127.0.0.1", "localhost"}
SCREENS = {"desktop": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}


def chromium_path() -> str:
    """Skips the test if there is no Chromium, or fails it where `.ci/run` has installed one."""
    path = shutil.which("chromium")
    if path is None:
        reason = "There is no chromium: install it, as by `apt-get install chromium`."
        if os.environ.get("AIT_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@contextmanager
def chromium() -> Iterator:
    """A running browser."""
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder's pages, ending in a slash."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@contextmanager
def open_page(browser, address: str, screen: str = "desktop") -> Iterator:
    """A page at an address. At the end: no error on its console, and no request that left the machine."""
    faults = []
    page = browser.new_page(viewport=SCREENS[screen])
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))

    def check(request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname not in LOCAL:
            faults.append(f"asked {request.url}")

    page.on("request", check)
    page.goto(address)
    yield page
    page.close()
    assert not faults, faults


def check_width(page) -> None:
    """Nothing of a page reaches beyond the screen at its right."""
    assert page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth")
