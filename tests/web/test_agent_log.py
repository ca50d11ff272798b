"""The log of a real agent's program is safe to read: Markdown, tools that unfold, and costs."""

from __future__ import annotations

import os

import pytest

from tests.fixtures.page import NewSite
from tests.support.agents.programs import PROGRAMS
from tests.support.live_server import ServerFactory
from tests.support.page.views import NewTaskForm, TaskListView

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")

# An agent repeats what it reads in a repository, so it may say anything.
PROMPT = """say **Bold** and `code` <img src=x onerror=alert(1)> ![picture](https://evil.example/p.png)
say [a link](javascript:alert(1))
write notes.md Hello.\\n
"""


@pytest.mark.not_isolated("the agent's program lies beside its sandbox")
def test_messages_are_harmless_tools_unfold_and_the_list_shows_the_cost(
    new_server: ServerFactory, new_site: NewSite, small_repository: str
) -> None:
    server = new_server(
        ANTHROPIC_API_KEY="sk-ant-marked4711",
        PATH=f"{PROGRAMS}:{os.environ['PATH']}",
        SIMULATE_WITH_REAL_AGENT="true",
    )
    server.start()
    # The site fails after the test if any of this ran, or asked another host.
    site = new_site(server.port)
    site.sign_in()
    task = NewTaskForm(site).start(PROMPT, small_repository)
    task.wait_for_status("Completed")
    log = site.page.get_by_role("list", name="Log")
    log.get_by_text("<img src=x onerror=alert(1)>").wait_for()
    assert log.locator(".markdown strong", has_text="Bold").count() == 1
    assert log.locator("img, script, [onerror]").count() == 0
    assert log.locator('a[href^="javascript"]').count() == 0
    tool = log.locator("details.tool").first
    content = tool.locator("pre").first
    assert not content.is_visible()
    tool.locator("summary").click()
    content.wait_for()
    site.open_view("Tasks")
    TaskListView(site).row(task.number).get_by_text("$0.0123").wait_for()
