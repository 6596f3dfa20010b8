"""Drives the web page in headless Chromium."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP myserver 127.0.0.1",
]  # fmt: skip
PATIENCE_S = 60.0  # timeout of what always happens, long enough for a loaded machine


def find_browser() -> str:
    """Path of Chromium, "" where it is not found."""
    return os.environ.get("VAMPNET_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), "")


@contextmanager
def started_browser() -> Iterator[Any]:
    """Start Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as made:
        started = made.chromium.launch(executable_path=find_browser(), args=FLAGS, headless=True)
        yield started
        started.close()


class Visit:
    """The page in a new browser context.

    Attributes:
        foreign: URLs that it requested from other hosts.
        complaints: its JavaScript errors.
    """

    def __init__(self, browser, address, **options):
        self.address, self.foreign, self.complaints = address, [], []
        options.setdefault("viewport", {"width": 1280, "height": 900})
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(1000 * PATIENCE_S)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#vary")

    def _note(self, url: str) -> None:
        here = f"{urlsplit(self.address).scheme}://{urlsplit(self.address).netloc}/"
        if not url.startswith((here, "data:", "blob:")):
            self.foreign.append(url)

    def open(self, path: Path) -> None:
        """Select a file and wait for its waveform and mask."""
        self.page.set_input_files("#clip-input input[type=file]", str(path))
        self.page.wait_for_selector("#clip-picture .sound")
        self.page.wait_for_selector("#mask .mask:not(.empty)")

    def choose(self, preset: str) -> None:
        self.page.click("#preset input")
        self.page.get_by_role("option", name=preset, exact=True).click()

    def slider(self, name: str) -> float:
        return float(self.page.input_value(f"#{name} input[type=number]"))

    def set_slider(self, name: str, value: float) -> None:
        box = self.page.locator(f"#{name} input[type=number]")
        box.fill(str(value))
        box.blur()

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def wait(self, condition, what: str, timeout_s: float = PATIENCE_S):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"timeout while waiting for {what}"
            self.page.wait_for_timeout(50)

    def take(self, timeout_s: float = PATIENCE_S) -> None:
        """Press Vary and wait for a further take."""
        before = self.page.locator("#takes label").count()
        self.page.click("#vary")
        labels = self.page.locator("#takes label")
        self.wait(lambda: labels.count() == before + 1, "a take", timeout_s)
