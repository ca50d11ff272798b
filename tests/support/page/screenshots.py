"""Draws the pictures of the page for the docs: `python -m tests.support.page.screenshots`.

It starts a server with a sample repository, has the scripted agent work on it, and takes each view
on a computer in light colours and on a phone in dark ones.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from demo.sample import ensure_sample
from tests.support.live_server import LiveServer
from tests.support.page.browser import find_browser, open_browser
from tests.support.page.views import NewTaskForm, Site
from tests.support.source_files import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PICTURES = ROOT / "docs" / "images"
FORMS = ((1280, 860, "light"), (390, 844, "dark"))
PROMPTS = (
    "Explain in the README how to run the tests",
    "Refuse negative prices in the basket, and add a test for it",
    "Take ten per cent off baskets from 100.00 upwards, and test it.",
)


@contextmanager
def started() -> Iterator[tuple[LiveServer, Path]]:
    """Run a server; provide it with a repository that tasks can work on."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder, "acme", "shop")
        ensure_sample(repository, os.environ["PATH"])
        server = LiveServer(Path(folder, "server"))
        server.start()
        try:
            yield server, repository
        finally:
            server.stop()


def prepare(site: Site, repository: Path) -> None:
    """Sign in, and have tasks of which one has changes."""
    site.sign_in()
    for prompt in PROMPTS:
        site.open_view("Tasks")
        NewTaskForm(site).start(prompt, str(repository)).wait_for_status("Completed")


def draw(site: Site, width: int, repository: Path) -> None:
    """Take a picture of each view."""
    page = site.page

    def take(name: str) -> None:
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=PICTURES / f"{name}-{width}.png")

    site.open_view("Tasks")
    page.locator(".task-row").nth(len(PROMPTS) - 1).wait_for()
    site.fill("Repository", "https://github.com/acme/shop")
    take("tasks")
    page.locator(".task-row a").first.click()
    page.locator(".log-item").first.wait_for()
    take("log")
    page.get_by_role("tab", name="Changes").click()
    page.locator(".d2h-diff-table").first.wait_for()
    take("changes")
    page.get_by_role("tab", name="Pull request").click()
    take("pull-request")
    draw_comparison(site, repository)
    take("comparison")


def draw_comparison(site: Site, repository: Path) -> None:
    """Start a comparison, and wait for its end."""
    site.open_view("Tasks")
    site.fill("Instructions for the agent", PROMPTS[1])
    site.fill("Repository", str(repository))
    site.page.get_by_role("switch", name="Compare").check()
    site.fill("Attempts of each", "2")
    site.fill("Check command", "true")
    site.click("Start task")
    site.page.locator(".facts .status", has_text="Ended").wait_for()


def draw_all(browser: Browser, server: LiveServer, repository: Path) -> None:
    """Take all pictures, in each form."""
    PICTURES.mkdir(exist_ok=True)
    for place, (width, height, scheme) in enumerate(FORMS):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="light" if scheme == "light" else "dark",
            reduced_motion="reduce",
        )
        site = Site(context.new_page(), f"http://127.0.0.1:{server.port}")
        if place == 0:
            prepare(site, repository)
        else:
            site.sign_in()
        draw(site, width, repository)
        context.close()


def main() -> int:
    """Draw the pictures; return the exit code."""
    program = find_browser()
    if program is None:
        sys.stderr.write("Chromium is not installed: apt install chromium\n")
        return 1
    with started() as (server, repository), open_browser(program) as browser:
        draw_all(browser, server, repository)
    return 0


if __name__ == "__main__":
    sys.exit(main())
