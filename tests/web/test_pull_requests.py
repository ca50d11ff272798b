"""A person opens the pull request of a task on the page, and is told what stands in the way."""

from __future__ import annotations

import pytest

from tests.fakes.github.service import FakeGitHub
from tests.fixtures.page import NewSite
from tests.support.github.names import NAME, TOKEN
from tests.support.live_server import ServerFactory
from tests.support.page.views import NewTaskForm, Site
from tests.support.waiting import eventually

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")

# A server that refuses pull requests of simulated results, unless they are asked for by name.
PRODUCTION = {
    "ALLOW_LOCAL_REPOS": "true",
    "ENABLE_SCRIPTED_PROMPTS": "true",
    "ENVIRONMENT": "production",
    "HOST": "127.0.0.1",
    "SANDBOX": "local",
    "TRUST_USER_ID": "true",
    "JWT_SECRET": "0123456789abcdef0123456789abcdef",
}


def test_refusals_are_explained_and_their_remedies_are_buttons(
    new_server: ServerFactory, new_site: NewSite, public_github: FakeGitHub
) -> None:
    server = new_server(GITHUB_API_URL=public_github.api_url, **PRODUCTION)
    server.start()
    site = new_site(server.port, refusals={400, 409})
    site.sign_in()
    site.open_view("Settings")
    site.fill("GitHub token", TOKEN)
    site.click("Store the token")
    site.page.get_by_text("A token is stored.").wait_for()
    site.open_view("Tasks")
    repository = f"{public_github.url}/{NAME}"
    offered = site.page.locator(f'datalist option[value="{repository}"]')
    offered.wait_for(state="attached")
    site.fill("Repository", repository)
    site.page.get_by_label("Branch").focus()
    site.page.locator('datalist option[value="main"]').wait_for(state="attached")

    wish_for_one(site, repository)
    site.page.get_by_role("tab", name="Pull request").click()
    site.fill("Base branch", "gone")
    site.click("Create pull request")
    site.click("Open a draft of it anyway")
    site.click("Name another base branch")
    base = site.page.get_by_label("Base branch")
    eventually(lambda: base.evaluate("element => element === document.activeElement"))
    base.fill("")
    # The consent of before still counts.
    site.click("Create pull request")
    site.page.get_by_text("opened as a draft").wait_for()
    site.page.get_by_role("status").get_by_text("auto_pr: ").wait_for(state="detached")
    (pull,) = public_github.pulls(NAME)
    assert pull.title.startswith("[simulated]")
    site.page.get_by_role("link", name=f"Pull request #{pull.number}").wait_for()
    site.click("Update pull request")
    site.page.get_by_text("updated as a draft").wait_for()
    assert len(public_github.pulls(NAME)) == 1


def wish_for_one(site: Site, repository: str) -> None:
    """Start a task that asks for its pull request, and be told why there is none."""
    site.page.get_by_role("switch", name="Open a pull request").check()
    task = NewTaskForm(site).start("script:\nprint begun\nsleep 600", repository)
    task.wait_for_log("begun")
    site.page.get_by_text("Pull request when done").wait_for()
    task.say("script:\nwrite made.txt here", "Interrupt and send")
    task.wait_for_status("Completed")
    # Nobody has agreed to one of a simulated result. It is told without a new look at the page.
    site.page.get_by_role("status").get_by_text("auto_pr: the pull request was not").wait_for()
