"""A person starts tasks on the page, watches them, reads what they changed, and cancels one."""

from __future__ import annotations

import base64

import pytest

from tests.fixtures.page import NewSite
from tests.support.live_server import LiveServer
from tests.support.page.images import png
from tests.support.page.views import NewTaskForm, TaskListView

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")


# Colours of a terminal, and text that looks like HTML.
SCRIPT = f"""script:
print \\033[31mred\\033[0m \\033[38;5;208morange\\033[0m <b style="color:red">plain</b>
write src/greeting.py def greet():\\n    return "hello"\\n
append file-00.txt One more line.\\n
rename file-01.txt moved.txt
delete file-02.txt
bytes logo.png {base64.b64encode(png(7)).decode()}
bytes data.bin {base64.b64encode(bytes(range(256))).decode()}
"""


def test_a_task_is_started_watched_and_read(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    site = new_site(server.port, viewport={"width": 1280, "height": 900})
    site.sign_in()
    task = NewTaskForm(site).start(SCRIPT, small_repository)
    task.wait_for_status("Completed")
    task.wait_for_log('<b style="color:red">plain</b>')
    red = site.page.locator(".ansi-red-fg")
    assert red.inner_text() == "red"
    orange = site.page.locator(".output span", has_text="orange")
    assert orange.evaluate("element => element.style.color").startswith("light-dark")

    changes = task.open_changes()
    assert changes.names() == [
        "data.bin",
        "file-00.txt",
        "file-02.txt",
        "logo.png",
        "file-01.txt → moved.txt",
        "src/greeting.py",
    ]
    changes.file("src/greeting.py").get_by_text("greet():").wait_for()
    assert changes.file("file-00.txt").locator(".d2h-file-side-diff").count() == 2
    changes.choose("Unified")
    changes.file("file-00.txt").locator(".d2h-code-line").first.wait_for()
    changes.toggle("file-00.txt")
    changes.file("file-00.txt").locator(".d2h-code-line").first.wait_for(state="detached")
    assert changes.file("data.bin").get_by_text("A binary file").is_visible()
    image = changes.file("logo.png").get_by_role("img", name="logo.png, after")
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 7

    site.open_view("Tasks")
    TaskListView(site).wait_for(task.number, "Completed")


def test_a_task_is_cancelled_and_seen_to_end_in_the_list(
    server: LiveServer, new_site: NewSite, small_repository: str
) -> None:
    site = new_site(server.port, refusals={404})
    site.sign_in()
    prompt = "script:\nwrite kept.txt kept\\n\nprint at work\nsleep 600"
    task = NewTaskForm(site).start(prompt, small_repository)
    task.wait_for_log("at work")
    task.wait_for_stage("Agent")

    site.open_view("Tasks")
    tasks = TaskListView(site)
    tasks.wait_for(task.number, "Running")
    tasks.search("no task has this prompt")
    site.page.get_by_text("No task matches.").wait_for()
    tasks.search("kept.txt")
    task = tasks.open(task.number)
    task.cancel()
    task.wait_for_status("Cancelled")
    assert task.open_changes().names() == ["kept.txt"]
    site.page.go_back()
    tasks.wait_for(task.number, "Cancelled")
    tasks.open(task.number).delete()
    site.heading("New task").wait_for()
    site.go(f"/tasks/{task.number}")
    site.page.get_by_text("There is no such task.").wait_for()
