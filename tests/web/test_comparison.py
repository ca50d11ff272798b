"""A person has agents do the same task, compares what they did, and chooses, on the page."""

from __future__ import annotations

import re

import pytest

from tests.fixtures.page import NewSite
from tests.support.live_server import LiveServer
from tests.support.page.accessibility import Check
from tests.support.waiting import eventually

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")


def test_agents_are_compared_and_one_is_chosen(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    site = new_site(server.port)
    site.sign_in()
    page = site.page
    site.fill("Instructions for the agent", "Say hello")
    site.fill("Repository", small_repository)
    page.get_by_role("switch", name="Compare").check()
    site.fill("Check command", "test -e README.md")
    site.click("Start task")
    page.wait_for_url(re.compile(r"/groups/\d+$"))
    page.locator(".facts .status", has_text="Ended").wait_for()
    table = page.get_by_role("region", name="Comparison")
    assert table.get_by_role("row").count() == 3
    assert table.get_by_text("Completed").count() == 2
    check = Check(site)
    check.look("comparison")
    assert check.faults == []
    site.click("Choose Codex")
    table.get_by_text("Chosen").wait_for()
    page.set_viewport_size({"width": 390, "height": 844})
    eventually(lambda: not page.evaluate("document.documentElement.scrollWidth > innerWidth"))
    table.get_by_role("link", name="Codex").click()
    page.get_by_role("link", name="Comparison").wait_for()


def test_all_tasks_of_a_comparison_are_cancelled_at_once(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    site = new_site(server.port)
    page = site.page
    site.sign_in()
    site.fill("Instructions for the agent", "script:\nwrite one.txt one\\n\nsleep 600")
    site.fill("Repository", small_repository)
    page.get_by_role("switch", name="Compare").check()
    page.get_by_role("checkbox", name="Codex").uncheck()
    site.fill("Attempts of each", "3")
    site.click("Start task")
    table = page.get_by_role("region", name="Comparison")
    eventually(lambda: table.get_by_text("Running").count() == 3)
    site.click("Cancel all")
    site.confirm("Let them work")
    site.click("Cancel all")
    site.confirm("Cancel all")
    page.locator(".facts .status", has_text="Ended").wait_for()
    assert table.get_by_text("Cancelled").count() == 3
    assert page.get_by_role("button", name="Cancel all").count() == 0
