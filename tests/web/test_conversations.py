"""A person goes on with the agent of a task on the page."""

from __future__ import annotations

import pytest

from tests.fixtures.page import NewSite
from tests.support.live_server import LiveServer
from tests.support.page.views import NewTaskForm

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")


def test_the_agent_goes_on_with_what_it_is_told(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    site = new_site(server.port)
    site.sign_in()
    task = NewTaskForm(site).start("script:\nwrite one.txt one\\n", small_repository)
    task.wait_for_status("Completed")
    task.say("script:\nprint second turn\nwrite two.txt two\\n\nsleep 600")
    task.wait_for_log("second turn")
    task.say("script:\nwrite never.txt never\\n")
    site.click("Take back")
    site.page.get_by_role("button", name="Take back").wait_for(state="detached")
    task.say("script:\nprint third turn\nwrite three.txt three\\n", button="Interrupt and send")
    task.wait_for_log("third turn")
    task.wait_for_status("Completed")
    assert task.open_changes().names() == ["one.txt", "three.txt", "two.txt"]


def test_a_plan_is_made_carried_out_and_made_again(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    site = new_site(server.port)
    page = site.page
    site.sign_in()
    page.get_by_role("switch", name="Plan first").check()
    task = NewTaskForm(site).start("Say hello", small_repository)
    task.wait_for_status("Completed")
    task.wait_for_log("Plan: ")
    page.get_by_text("The agent has made a plan, and changed nothing.").wait_for()
    box = page.get_by_label("Say what to do next")
    box.fill("Written, and not sent")
    page.get_by_role("tab", name="Changes").click()
    page.get_by_text("A plan changes nothing.").wait_for()
    page.get_by_role("tab", name="Log").click()
    assert box.input_value() == "Written, and not sent"
    site.click("Carry out the plan")
    assert task.open_changes().names() == ["AI_GENERATED.md"]
    page.get_by_role("tab", name="Log").click()
    page.get_by_role("button", name="Carry out the plan").wait_for(state="detached")
    assert box.input_value() == "Written, and not sent"

    # The first turn of a task is what starts again: the plan.
    again = task.start_again()
    assert again.number != task.number
    again.wait_for_status("Completed")
    page.get_by_role("button", name="Carry out the plan").wait_for()
