"""A person keeps schedules on the page."""

from __future__ import annotations

import pytest

from tests.fixtures.page import NewSite
from tests.support.live_server import LiveServer
from tests.support.page.accessibility import Check
from tests.support.page.views import Site

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")


def test_a_schedule_is_made_paused_continued_and_deleted(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    site = new_site(server.port, refusals={400}, timezone_id="Europe/Berlin")
    page = site.page
    site.sign_in()
    site.open_view("Schedules")
    page.get_by_text("No schedules yet.").wait_for()
    add(site, "every day", small_repository)
    page.get_by_role("alert").get_by_text("cron: must have five fields").wait_for()
    site.fill("Times", "30 6 * * 1-5")
    site.click("Add schedule")
    site.heading("Each morning").wait_for()
    page.get_by_text("30 6 * * 1-5 · Europe/Berlin").wait_for()
    page.get_by_text("Next: ").get_by_text("6:30:00").wait_for()
    check = Check(site)
    check.look("schedules")
    assert check.faults == []
    site.click("Pause Each morning")
    page.get_by_text("Paused", exact=True).wait_for()
    page.reload()
    site.click("Go on with Each morning")
    page.get_by_text("Next: ").wait_for()
    site.click("Delete schedule Each morning")
    site.confirm("Delete schedule")
    page.get_by_text("No schedules yet.").wait_for()


def add(site: Site, times: str, repository: str) -> None:
    """Fill in the form for a new schedule, and send it."""
    site.fill("Instructions for the agent", "Update the dependencies.")
    site.fill("Repository", repository)
    site.fill("Name", "Each morning")
    site.fill("Times", times)
    site.click("Add schedule")
