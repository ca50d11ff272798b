"""A person keeps schedules on the page."""

from __future__ import annotations

import pytest

from tests.fixtures.page import NewSite
from tests.support.live_server import LiveServer
from tests.support.page.accessibility import Check
from tests.support.page.views import Site
from utils.api.requests import EXAMPLE_USER_ID

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")


def test_a_schedule_is_made_paused_continued_and_deleted(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    site = new_site(server.port, refusals={400}, timezone_id="Europe/Berlin")
    page = site.page
    site.sign_in()
    site.open_view("Schedules")
    page.get_by_text("No schedules yet.").wait_for()
    client = server.client(EXAMPLE_USER_ID)
    client.post("/projects", {"name": "Shop", "repo_url": small_repository})
    site.open_view("Tasks")
    site.open_view("Schedules")
    add(site, "every day", "Shop")
    page.get_by_role("alert").get_by_text("cron: must have five fields").wait_for()
    site.fill("Times", "30 6 * * 1-5")
    site.click("Add schedule")
    site.heading("Each morning").wait_for()
    page.get_by_text("30 6 * * 1-5 · Europe/Berlin").wait_for()
    page.get_by_text("Next: ").get_by_text("6:30:00").wait_for()
    check = Check(site)
    check.look("schedules")
    assert check.faults == []
    change(site, server)
    site.click("Pause Each morning")
    page.get_by_text("Paused", exact=True).wait_for()
    page.reload()
    site.click("Go on with Each morning")
    page.get_by_text("Next: ").wait_for()
    site.click("Delete schedule Each morning")
    site.confirm("Delete schedule")
    page.get_by_text("No schedules yet.").wait_for()


def change(site: Site, server: LiveServer) -> None:
    """Change what the schedule says, and leave where its tasks work."""
    client = server.client(EXAMPLE_USER_ID)
    [before] = client.get("/schedules").body["schedules"]
    site.click("Edit schedule Each morning")
    dialog = site.page.get_by_role("dialog")
    dialog.get_by_label("Instructions for the agent").fill("Update all of it.")
    dialog.get_by_label("Times").fill("0 7 * * 1-5")
    dialog.get_by_label("Project").select_option(label="None")
    dialog.get_by_label("Priority").select_option(label="Normal")
    dialog.get_by_role("switch", name="Open a pull request").check()
    dialog.get_by_role("button", name="Save schedule").click()
    dialog.get_by_role("alert").get_by_text("auto_pr: ").wait_for()
    dialog.get_by_role("switch", name="Open a pull request").uncheck()
    site.confirm("Save schedule")
    site.page.get_by_text("Next: ").get_by_text("7:00:00").wait_for()
    [after] = client.get("/schedules").body["schedules"]
    assert before["task"].pop("priority") == "high"
    assert before["task"].pop("project_id") > 0
    assert after["task"] == {**before["task"], "prompt": "Update all of it.", "auto_pr": False}


def add(site: Site, times: str, project: str) -> None:
    """Fill in the form for a new schedule, and send it."""
    site.fill("Instructions for the agent", "Update the dependencies.")
    site.page.get_by_label("Project").select_option(label=project)
    site.page.get_by_label("Priority").select_option(label="High")
    site.fill("Name", "Each morning")
    site.fill("Times", times)
    site.click("Add schedule")
