"""The page goes on by itself when its streams break or cannot be had, and says what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fixtures.page import NewSite
from tests.support.live_server import LiveServer, ServerFactory
from tests.support.page.accessibility import Check
from tests.support.page.relay import relayed
from tests.support.page.views import NewTaskForm, TaskListView
from utils.api.requests import EXAMPLE_USER_ID

if TYPE_CHECKING:
    from playwright.sync_api import Response

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")

HIDE = """
(isHidden) => {
  Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""
SILENCE_MILLISECONDS = 31_000
SCRIPT = "script:\nprint begun\nsleep 600"


def test_task_and_list_go_on_after_an_outage_of_the_server(
    new_server: ServerFactory, new_site: NewSite, small_repository: str
) -> None:
    server = new_server()
    server.start()
    site = new_site(server.port, outages=True, refusals={503})
    page = site.page
    site.sign_in()
    task = NewTaskForm(site).start(SCRIPT, small_repository)
    task.wait_for_log("begun")
    second = page.context.new_page()
    second.goto(site.address)
    row = second.locator(f'.task-row:has(a[href="/tasks/{task.number}"])')
    row.get_by_text("Agent at work").wait_for()
    server.kill()
    page.get_by_text("The server does not answer.").wait_for()
    second.get_by_text("The server does not answer.").wait_for()
    site.open_view("Projects")
    page.get_by_role("alert").wait_for()
    check = Check(site)
    check.look("an outage")
    assert check.faults == []
    site.page.go_back()
    page.get_by_text("The server does not answer.").wait_for()

    server.start(PORT=server.port)
    task.wait_for_stage("Agent")
    page.get_by_text("The server does not answer.").wait_for(state="detached")
    second.get_by_text("The server does not answer.").wait_for(state="detached")
    # The page that was not told of it shows the end too.
    client = server.client(EXAMPLE_USER_ID)
    client.post(f"/tasks/{task.number}/cancel")
    task.wait_for_status("Cancelled")
    row.get_by_text("Cancelled").wait_for()


def test_without_streams_the_page_polls_and_in_the_background_it_needs_none(
    new_server: ServerFactory, new_site: NewSite, small_repository: str
) -> None:
    server = new_server(MAX_STREAMS=1, MAX_CONCURRENT_TASKS=1)
    server.start()
    # The place of a stream is free a moment after its tab is hidden; until then it is refused.
    first = new_site(server.port, refusals={503})
    with first.page.expect_response("**/api/events") as answered:
        first.sign_in()
    assert answered.value.ok
    site = new_site(server.port, refusals={503})
    site.sign_in()
    task = NewTaskForm(site).start("script:\nprint one\nsleep 600", small_repository)
    task.wait_for_log("one")
    # A task that was started elsewhere appears in the list, with its place.
    number = server.client(EXAMPLE_USER_ID).start("Wait", small_repository)
    site.open_view("Tasks")
    tasks = TaskListView(site)
    tasks.row(number).get_by_text("Number 1 in the queue").wait_for()
    tasks.open(task.number).cancel()
    task.wait_for_status("Cancelled")
    site.open_view("Tasks")
    tasks.wait_for(number, "Completed")

    # A tab that nobody sees leaves the stream to others, and comes back to all that has changed.
    first.page.evaluate(HIDE, True)
    site.page.evaluate(HIDE, True)
    site.page.evaluate(HIDE, False)
    with site.page.expect_response(lambda answer: is_stream(answer) and answer.ok):
        pass
    late = server.client(EXAMPLE_USER_ID).start("Late", small_repository)
    tasks.wait_for(late, "Completed")
    site.page.evaluate(HIDE, True)
    first.page.evaluate(HIDE, False)
    TaskListView(first).wait_for(late, "Completed")


def test_a_stream_that_falls_silent_is_opened_again(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    with relayed(server.port) as relay:
        site = new_site(relay.port)
        site.page.clock.install()
        site.sign_in()
        task = NewTaskForm(site).start(SCRIPT, small_repository)
        task.wait_for_log("begun")
        relay.silence_streams()
        server.client(EXAMPLE_USER_ID).post(f"/tasks/{task.number}/cancel")
        task.wait_for_status("Cancelled")
        last_words = site.page.get_by_text("The sandbox has ended")
        assert last_words.count() == 0
        site.page.clock.fast_forward(SILENCE_MILLISECONDS)
        last_words.wait_for()


def is_stream(answer: Response) -> bool:
    return answer.url.endswith("/api/events")
