"""Clicks through the page and reads it, by the words that a person reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


class Site:
    """The page on one server, in one tab."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address

    def go(self, path: str = "/") -> None:
        """Open an address, as by typing it."""
        self.page.goto(f"{self.address}{path}")

    def sign_in(self) -> None:
        """Sign in as the development user."""
        self.go()
        self.page.get_by_role("button", name="Continue as development user").click()
        self.page.get_by_role("heading", name="New task").wait_for()

    def open_view(self, name: str) -> None:
        """Choose a view by its link on top."""
        self.page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()

    def heading(self, name: str) -> Locator:
        return self.page.get_by_role("heading", name=name)

    def click(self, name: str) -> None:
        """Click a button. Fails with what the page says instead, if it is not there."""
        from playwright.sync_api import TimeoutError as NotThere

        try:
            self.page.get_by_role("button", name=name, exact=True).click()
        except NotThere as error:
            said = self.page.get_by_role("alert").all_inner_texts()
            raise AssertionError(f"there is no button {name}; the page says {said}") from error

    def confirm(self, name: str) -> None:
        """Click a button of the dialog, and wait until the dialog is gone."""
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name=name, exact=True).click()
        dialog.wait_for(state="detached")

    def fill(self, label: str, text: str) -> None:
        """Type into a field."""
        self.page.get_by_label(label, exact=True).fill(text)


class NewTaskForm:
    """The form for a new task."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def start(
        self, prompt: str, repository: str, branch: str = "", further: Sequence[str] = ()
    ) -> TaskView:
        """Start a task, and return its view, to which the page goes."""
        self._site.fill("Instructions for the agent", prompt)
        self._site.fill("Repository", repository)
        if further:
            self._site.page.get_by_text("Further repositories").click()
        for number, another in enumerate(further, 2):
            self._site.click("Add a repository")
            self._site.fill(f"Repository {number}", another)
        if branch:
            self._site.fill("Branch", branch)
        self._site.click("Start task")
        self._site.page.wait_for_url(re.compile(r"/tasks/\d+$"))
        return TaskView(self._site)


class TaskView:
    """The view of one task."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.page = site.page
        self.number = int(self.page.url.rpartition("/")[2])

    def wait_for_status(self, word: str) -> None:
        """Wait until the head of the view shows a status."""
        self.page.locator(".facts .status", has_text=word).wait_for()

    def wait_for_stage(self, name: str) -> None:
        """Wait until a stage is the current one."""
        self.page.locator('[aria-current="step"]', has_text=name).wait_for()

    def wait_for_log(self, text: str) -> None:
        """Wait until the log shows a text."""
        self.page.get_by_role("list", name="Log").get_by_text(text).first.wait_for()

    def say(self, text: str, button: str = "Send") -> None:
        """Say something to the agent, and wait until the page has sent it."""
        box = self.page.get_by_label(re.compile("Say what to do"))
        box.fill(text)
        self._site.click(button)
        self.page.get_by_placeholder("Now also add a test").and_(
            self.page.locator(":placeholder-shown")
        ).wait_for()

    def cancel(self) -> None:
        """Cancel the task, and confirm it."""
        self._site.click("Cancel task")
        self._site.confirm("Cancel task")

    def delete(self) -> None:
        """Delete the task, and confirm it."""
        self._site.click("Delete task")
        self._site.confirm("Delete task")

    def start_again(self) -> TaskView:
        """Start the same task again; return the view of the new one."""
        self._site.click("Start again")
        self.page.wait_for_url(lambda url: not url.endswith(f"/{self.number}"))
        return TaskView(self._site)

    def open_changes(self) -> ChangesView:
        self.page.get_by_role("tab", name="Changes").click()
        return ChangesView(self._site)


class ChangesView:
    """The diff of a task."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._files = site.page.locator("details.file")

    def names(self) -> list[str]:
        """Return the names of the files, in order."""
        self._files.first.wait_for()
        return [
            name.strip() for name in self._files.locator("summary .file-name").all_inner_texts()
        ]

    def file(self, name: str) -> Locator:
        return self._files.filter(has=self._site.page.locator(".file-name", has_text=name))

    def toggle(self, name: str) -> None:
        """Fold or unfold a file."""
        self.file(name).locator("summary").click()

    def choose(self, form: str) -> None:
        """Choose `Split` or `Unified`."""
        self._site.click(form)


class TaskListView:
    """The list of tasks."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.rows = site.page.locator(".task-row")

    def row(self, number: int) -> Locator:
        return self._site.page.locator(f'.task-row:has(a[href="/tasks/{number}"])')

    def wait_for(self, number: int, status: str) -> None:
        """Wait until a task has a status."""
        self.row(number).get_by_text(status, exact=True).wait_for()

    def open(self, number: int) -> TaskView:
        """Go to the view of a task."""
        self.row(number).get_by_role("link").click()
        self._site.page.wait_for_url(f"**/tasks/{number}")
        return TaskView(self._site)

    def search(self, text: str) -> None:
        self._site.page.get_by_role("searchbox").fill(text)
