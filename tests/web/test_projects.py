"""A person keeps projects, and uses one for a new task, on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.page import NewSite
from tests.support.git.repositories import make_repository
from tests.support.live_server import LiveServer
from tests.support.page.accessibility import Check
from tests.support.page.views import Site, TaskListView, TaskView

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")

LONG_NAME = "A name without any blank, " + "x" * 150


def test_a_project_is_made_changed_used_and_deleted(
    server: LiveServer, new_site: NewSite, small_repository: str, tmp_path: Path
) -> None:
    other = str(make_repository(tmp_path / "other"))
    site = new_site(server.port, refusals={400, 409})
    page = site.page
    site.sign_in()
    site.fill("Instructions for the agent", "Begun, and not sent")
    site.open_view("Projects")
    page.get_by_text("No projects yet.").wait_for()
    for name, repository in (("Shop", small_repository), (LONG_NAME, other)):
        add(site, name, repository)
        site.heading(name).wait_for()
    add(site, "Again", other)
    page.get_by_role("alert").wait_for()

    site.click("Edit project Shop")
    check = Check(site)
    check.look("a project that is edited")
    edit(site)
    check.look("projects")
    assert check.faults == []

    page.get_by_role("link", name="0 tasks of Market").click()
    use_for_a_task(site)
    page.get_by_label("Project", exact=True).select_option(label=LONG_NAME)
    page.get_by_text("No task matches.").wait_for()

    site.open_view("Projects")
    site.click("Delete project Market")
    page.get_by_text("Its 1 task").wait_for()
    site.confirm("Delete project")
    site.heading("Market").wait_for(state="detached")
    site.open_view("Tasks")
    page.get_by_text("No tasks yet.").wait_for()


def edit(site: Site) -> None:
    """Change the project in the open form, and find the changes."""
    dialog = site.page.get_by_role("dialog")
    texts = {"Description": "Sells things.", "Name": "Market", "Setup script": "echo prepared"}
    for label, text in texts.items():
        dialog.get_by_label(label).fill(text)
    dialog.get_by_role("switch", name="Open pull requests").check()
    site.confirm("Save project")
    site.heading("Market").wait_for()
    site.page.get_by_text("Sells things.").wait_for()
    site.click("Edit project Market")
    assert dialog.get_by_label("Setup script").input_value() == "echo prepared"
    assert dialog.get_by_role("switch", name="Open pull requests").is_checked()
    dialog.get_by_role("button", name="Leave it as it is").click()


def add(site: Site, name: str, repository: str) -> None:
    """Fill in the form for a new project, and send it."""
    site.fill("Name", name)
    site.fill("Repository", repository)
    site.click("Add project")


def use_for_a_task(site: Site) -> None:
    """Start a task in the project that the address names, and find it in the project's list."""
    site.page.get_by_text("No task matches.").wait_for()
    instructions = site.page.get_by_label("Instructions for the agent")
    assert instructions.input_value() == "Begun, and not sent"
    instructions.fill("Say hello")
    assert site.page.get_by_role("switch", name="Open a pull request").is_checked()
    site.click("Start task")
    # The project asks for pull requests, which a folder of this machine cannot have.
    site.click("Start without a pull request")
    site.page.wait_for_url("**/tasks/*")
    task = TaskView(site)
    task.wait_for_status("Completed")
    site.page.get_by_text("The setup has taken").wait_for()
    site.page.go_back()
    TaskListView(site).wait_for(task.number, "Completed")
    site.page.reload()
    TaskListView(site).wait_for(task.number, "Completed")
