"""The page starts a task over several repositories, and shows the changes of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.page import NewSite
from tests.support.backends import Repository
from tests.support.live_server import LiveServer
from tests.support.page.views import NewTaskForm
from utils.api.requests import EXAMPLE_USER_ID
from utils.models.tasks import priority_number

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")


def test_each_repository_has_its_changes(
    server: LiveServer, new_site: NewSite, tmp_path: Path
) -> None:
    origins = [Repository(tmp_path / name) for name in ("app", "lib")]
    for origin in origins:
        origin.commit("echo one >one.txt")
    client = server.client(EXAMPLE_USER_ID)
    site = new_site(server.port)
    site.sign_in()
    site.page.get_by_label("Priority").select_option(label="High")
    task = NewTaskForm(site).start("Say hello", origins[0].url, further=[origins[1].url])
    number = task.number
    task.wait_for_status("Completed")
    task.open_changes()
    for name in ("app", "lib"):
        part = site.page.get_by_role("region", name=name)
        part.get_by_role("heading", name=name).wait_for()
        assert part.locator(".file-name").all_inner_texts() == ["AI_GENERATED.md"]
    with site.page.expect_download() as download:
        part.get_by_role("button", name="Download patch").click()
    assert download.value.suggested_filename == f"task-{number}-lib.patch"
    again = task.start_again()
    again.wait_for_status("Completed")
    row = client.task(again.number)
    assert [one["name"] for one in row["repositories"]] == ["app", "lib"]
    assert row["execution_metadata"]["priority"] == priority_number("high")
