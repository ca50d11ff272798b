"""A person without a mouse starts a task, follows it and cancels it."""

from __future__ import annotations

import re

import pytest

from tests.fixtures.page import NewSite
from tests.support.live_server import LiveServer
from tests.support.page.keyboard import Keys
from tests.support.page.views import Site, TaskView

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")

IS_INSIDE = """
() => document.activeElement === document.body || !!document.activeElement.closest("dialog")
"""


def test_a_task_is_started_found_and_cancelled_by_keys(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    site = new_site(server.port)
    page, keys = site.page, Keys(site.page)
    site.sign_in()
    page.reload()
    site.heading("New task").wait_for()
    assert keys.tab_to("Skip to the content") == ["Skip to the content"]
    keys.press("Enter")
    assert keys.tab_to("Instructions for the agent") == ["Instructions for the agent"]
    keys.type("script:\nprint at work\nsleep 600")
    keys.tab_to("Repository")
    keys.type(small_repository)
    keys.tab_to("Start task")
    keys.press("Enter")
    page.wait_for_url(re.compile(r"/tasks/\d+$"))
    task = TaskView(site)
    task.wait_for_log("at work")
    keys.wait_for_focus("main")

    page.go_back()
    page.locator(".task-row").first.wait_for()
    keys.tab_to("Status", most=30)
    keys.press("Tab", "Enter")
    page.wait_for_url(f"**/tasks/{task.number}")
    task.wait_for_stage("Agent")
    assert keys.tab_to("Cancel task") == ["The whole prompt", "Cancel task"]

    cancel_after_a_second_thought(keys, site)
    task.wait_for_status("Cancelled")
    keys.wait_for_focus("Start again")
    keys.tab_to("Log")
    keys.press("ArrowRight")
    page.get_by_role("tabpanel", name="Changes").get_by_text(
        "The agent changed nothing."
    ).wait_for()
    keys.press("ArrowLeft")
    keys.tab_to("Say what to do next", most=6)


def cancel_after_a_second_thought(keys: Keys, site: Site) -> None:
    """Open the dialog twice; it holds the focus, and gives it back."""
    keys.press("Enter")
    dialog = site.page.get_by_role("dialog")
    dialog.wait_for()
    for _ in range(4):
        keys.press("Tab")
        assert site.page.evaluate(IS_INSIDE)
    keys.press("Escape")
    dialog.wait_for(state="detached")
    keys.wait_for_focus("Cancel task")
    keys.press("Enter")
    dialog.wait_for()
    keys.tab_to("Cancel task")
    keys.press("Enter")
