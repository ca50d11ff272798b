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
