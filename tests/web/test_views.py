"""All views are usable by everybody: by their colours, on a phone, and with many tasks."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.fixtures.page import NewSite
from tests.support.live_server import LiveServer
from tests.support.page.accessibility import Check
from tests.support.page.views import NewTaskForm, TaskListView, TaskView
from tests.support.waiting import eventually
from utils.api.requests import EXAMPLE_USER_ID

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")

PROMPT = """script:
print \\033[32mgreen\\033[0m \\033[38;5;220myellow\\033[0m
append file-00.txt One more line.\\n
rename file-01.txt moved.txt
usage 1200 300 1.25
"""
TASKS = 500
PAGE = 100


def test_every_view_has_contrast_names_and_room_on_a_phone(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    site = new_site(server.port, refusals={400})
    check = Check(site)
    site.go()
    site.page.get_by_text("Use an API key or a token").click()
    check.look("sign-in")
    site.sign_in()
    task = NewTaskForm(site).start(PROMPT, small_repository)
    task.wait_for_status("Completed")
    check.look("log")
    changes = task.open_changes()
    changes.file("file-00.txt").get_by_text("One more line.").wait_for()
    check.look("changes")
    changes.choose("Split")
    check.look("split changes")
    site.page.get_by_role("tab", name="Pull request").click()
    site.click("Create pull request")
    site.page.get_by_role("alert").wait_for()
    check.look("pull request")
    for name in ("Tasks", "Projects", "Schedules", "Usage", "Settings"):
        site.open_view(name)
        site.heading(name).first.wait_for()
        if name == "Usage":
            costs = site.page.get_by_role("region", name="Usage").get_by_role("row")
            costs.filter(has_text="Total").get_by_text("$1.25").first.wait_for()
            site.page.get_by_role("img", name="Cost of each day. Most on").wait_for()
        check.look(name)
    assert check.faults == []


def test_a_list_of_500_tasks_is_searched_and_followed_to_its_end(
    server: LiveServer, new_site: NewSite
) -> None:
    client = server.client(EXAMPLE_USER_ID)
    old = [legacy_task(number) for number in range(1, TASKS + 1)]
    assert client.post("/migrate-legacy-tasks", {"tasks": old}).body["migrated"] == TASKS
    site = new_site(server.port)
    site.sign_in()
    tasks = TaskListView(site)
    for shown in range(PAGE, TASKS, PAGE):
        eventually(partial(has_rows, tasks, shown))
        # By key: rows below get their heights only when they are seen, so the button moves.
        site.page.get_by_role("button", name="Show older tasks").press("Enter")
    eventually(partial(has_rows, tasks, TASKS))
    tasks.search("number 137 of")
    eventually(partial(has_rows, tasks, 1))
    tasks.rows.first.get_by_role("link").click()
    site.page.wait_for_url("**/tasks/*")
    TaskView(site).wait_for_status("Completed")


def has_rows(tasks: TaskListView, number: int) -> bool:
    return bool(tasks.rows.count() == number)


def legacy_task(number: int) -> dict[str, Any]:
    """Return a task as the old backend exported it."""
    prompt = {
        "role": "user",
        "content": f"Do task number {number} of them",
        "timestamp": "2025-01-01T10:00:00Z",
    }
    return {
        "id": number,
        "status": "completed",
        "agent": "claude",
        "repo_url": "https://github.com/octocat/Hello-World",
        "target_branch": "main",
        "chat_messages": [prompt],
        "created_at": "2025-01-01T10:00:00Z",
    }
