"""A result of many files and many lines can be read, with images before and after their change."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest

from tests.fixtures.page import NewSite
from tests.support.backends import Repository
from tests.support.live_server import LiveServer
from tests.support.page.images import png
from tests.support.page.views import TaskView
from utils.api.requests import EXAMPLE_USER_ID

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")

FILES = 200
LINES = 2_000
ADDED = "One more line.\\n" * 20
# Most of both images is the same, so that git writes one of them as the difference to the other.
SAME = random.Random(1).randbytes(3_000)
WIDTH = "image => image.decode().then(() => image.naturalWidth)"


def test_many_files_and_lines_are_shown_and_images_before_and_after(
    server: LiveServer, new_site: NewSite, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "repository")
    (repository.folder / "art.png").write_bytes(png(5, SAME))
    repository.commit(f"for i in $(seq {FILES}); do seq 50 >file-$i.txt; done")
    changed = base64.b64encode(png(7, SAME)).decode()
    steps = [
        *(f"append file-{number}.txt {ADDED}" for number in range(1, FILES + 1)),
        f"bytes art.png {changed}",
        *(f"print line {number} of the log" for number in range(1, LINES + 1)),
        # What the agent says stands between what it prints.
        *(f"print message: step {number}" for number in range(1, 501)),
    ]
    site = new_site(server.port)
    page = site.page
    site.sign_in()
    number = server.client(EXAMPLE_USER_ID).start(
        "script:\n" + "\n".join(steps), str(repository.folder)
    )
    site.go(f"/tasks/{number}")
    task = TaskView(site)
    task.wait_for_status("Completed")
    task.wait_for_log("step 500")
    log = page.get_by_role("list", name="Log")
    assert log.get_by_text("line 1 of the log").count() == 0
    page.get_by_role("button", name="earlier entries").click()
    log.get_by_text("line 1 of the log").wait_for()

    changes = task.open_changes()
    assert len(changes.names()) == FILES + 1
    last = changes.file("file-99.txt")
    last.locator("summary").click()
    last.get_by_text("One more line.").first.wait_for()
    art = changes.file("art.png")
    for name, width in (("before", 5), ("after", 7)):
        assert art.get_by_role("img", name=f"art.png, {name}").evaluate(WIDTH) == width
