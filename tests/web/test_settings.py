"""A person makes and revokes an API key, chooses colours, and is told when a session ends."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.page import NewSite
from tests.support.live_server import LiveServer
from tests.support.page.accessibility import Check

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")


def test_a_key_is_shown_once_and_the_chosen_colours_stay(
    server: LiveServer, new_site: NewSite
) -> None:
    site = new_site(server.port)
    page = site.page
    site.sign_in()
    site.open_view("Settings")
    site.fill("Name of a new key", "Laptop")
    page.get_by_label("It may").select_option(label="Read only")
    site.click("Make a key")
    key = page.locator(".secret").inner_text()
    check = Check(site)
    check.look("a new key")
    assert check.faults == []

    def status() -> int:
        address = f"http://127.0.0.1:{server.port}/api/tasks"
        return httpx.get(address, headers={"Authorization": f"Bearer {key}"}).status_code

    assert status() == 200
    page.get_by_role("group", name="Appearance").get_by_role("button", name="Dark").click()
    page.reload()
    page.get_by_text("Laptop").wait_for()
    assert key not in page.content()
    dark = page.get_by_role("group", name="Appearance").get_by_role("button", name="Dark")
    assert dark.get_attribute("aria-pressed") == "true"
    page.emulate_media(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(18, 19, 22)"
    site.click("As the system")
    assert page.evaluate(ground) == "rgb(247, 247, 245)"

    site.click("Revoke Laptop")
    site.confirm("Keep it")
    assert status() == 200
    site.click("Revoke Laptop")
    site.confirm("Revoke key")
    page.get_by_role("listitem").filter(has_text="Laptop").wait_for(state="detached")
    assert status() == 401


def test_a_missing_task_and_an_ended_session_are_told(
    server: LiveServer, new_site: NewSite
) -> None:
    site = new_site(server.port, refusals={401, 404})
    page = site.page
    site.sign_in()
    site.go("/tasks/4711")
    page.get_by_role("alert").wait_for()
    page.get_by_role("link", name="Go to your tasks").click()
    site.heading("New task").wait_for()
    # A view that asks for nothing more by itself: it would find the end of the session first.
    with page.expect_response("**/api/keys"):
        site.open_view("Settings")
    page.get_by_text("Stored encrypted").wait_for()
    # They are for administrators.
    assert site.heading("Workers").count() == 0
    broken = "{...JSON.parse(localStorage[name]), accessToken: 'x', refreshToken: 'y'}"
    page.evaluate(f"name => localStorage[name] = JSON.stringify({broken})", "async-code-session")
    site.open_view("Projects")
    page.get_by_text("Your session has ended. Sign in again.").wait_for()
    site.click("Continue as development user")
    site.heading("Projects").wait_for()
