"""Starts the system's Chromium, and watches what a page says and asks for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Page, Request

# A shell draws pages as the others do, without what surrounds a page in a window, which takes half
# of the processor time.
NAMES = (
    "chromium-headless-shell",
    "chrome-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
PATIENCE_MILLISECONDS = 30_000

# Chromium refuses to run as root inside its sandbox, and shared memory may be small. Without a
# graphics card, a process for it only passes pictures on.
ARGUMENTS = (
    "--disable-dev-shm-usage",
    "--in-process-gpu",
    *(("--no-sandbox",) if os.geteuid() == 0 else ()),
)

MORE_LAUNCHES = 2


def find_browser() -> str | None:
    """Return the path of Chromium, None where it is not installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_browser(program: str) -> Iterator[Browser]:
    """Run Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = _launch(playwright.chromium, program)
        yield browser
        browser.close()


def _launch(chromium: BrowserType, program: str) -> Browser:
    """Start Chromium; it may crash at its start on a machine with many times its work to do."""
    from playwright.sync_api import Error

    for _ in range(MORE_LAUNCHES):
        with suppress(Error):
            return chromium.launch(executable_path=program, args=[*ARGUMENTS])
    return chromium.launch(executable_path=program, args=[*ARGUMENTS])


class Watcher:
    """Remembers the errors of a page, and its requests to hosts that it may not reach.

    A browser reports answers of 400 and above, and their lack, as errors; `refusals` are the
    statuses that are expected, and `outages` tells whether the server may be away.
    """

    def __init__(
        self, page: Page, *hosts: str, refusals: Collection[int] = (), outages: bool = False
    ) -> None:
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.requested: list[str] = []
        self._hosts = set(hosts)
        statuses = (f"status of {status}" for status in refusals)
        self._expected = (*statuses, *(("net::ERR_",) if outages else ()))
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note_request)

    def check(self) -> None:
        """Fail if the page reported an error or asked another host."""
        assert not self.errors, self.errors
        assert not self.elsewhere, self.elsewhere

    def _note_message(self, message: ConsoleMessage) -> None:
        if any(words in message.text for words in self._expected):
            return
        if message.type in {"error", "warning"}:
            self.errors.append(f"{message.text} ({message.location})")

    def _note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"blob", "data"}:
            return
        self.requested.append(request.url)
        if parts.netloc not in self._hosts:
            self.elsewhere.append(request.url)
