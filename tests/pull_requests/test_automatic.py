"""Pull requests that tasks ask for when they are started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.github.service import FakeGitHub
from tests.support.backends import USER, Repository, Row
from tests.support.github.names import NAME, TOKEN
from tests.support.live_server import ServerFactory
from tests.support.places import Place
from tests.support.pull_requests import Hosted
from tests.support.waiting import eventually
from utils.config.settings import Settings
from utils.database.migrations import migrate

if TYPE_CHECKING:
    from tests.support.database.postgres_server import PostgresServer

ASKED: dict[str, Any] = {"auto_pr": True}
pytestmark = pytest.mark.cloud_with_all("a pull request is made from what is stored")

CHANGE = "script:\nwrite made.txt here\nprint done"


@pytest.fixture(autouse=True, scope="module")
def _short_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utils.pull_requests.automatic.FIRST_PAUSE_SECONDS", 0.01)
        patch.setattr("utils.pull_requests.automatic.SCAN_SECONDS", 0.05)
        yield


def with_pull_request(hosted: Hosted, task_id: int) -> Row:
    """Wait until a task has its pull request; return its row."""
    return eventually(lambda: row if (row := hosted.row(task_id)).get("pr_url") else None)


def last_error(hosted: Hosted, task_id: int) -> Row:
    """Wait until an event of a task tells of an error; return it."""

    def read() -> Row | None:
        events = hosted.backend.events(task_id)
        errors = [event["data"] for event in events if event["kind"] == "error"]
        return errors[-1] if errors else None

    return eventually(read)


def refused(hosted: Hosted, **body: Any) -> tuple[int, str]:
    """Ask for a task that must be refused; return the status and the code."""
    fields = {"prompt": "true", "repo_url": hosted.url, **ASKED, **body}
    answer = hosted.backend.post("/start-task", **fields)
    assert answer["error"].startswith("auto_pr: ")
    return answer["http_status"], answer["code"]


def test_the_pull_request_of_a_completed_task_is_opened_once_as_the_endpoint_would(
    hosted: Hosted,
) -> None:
    row = with_pull_request(hosted, hosted.task(**ASKED))
    assert row["execution_metadata"]["auto_pr"] is True
    [pull] = hosted.pulls
    assert (row["pr_number"], row["pr_state"]) == (pull.number, "open")
    tree = hosted.rev(f"{row['pr_branch']}^{{tree}}")
    assert tree == row["execution_metadata"]["tree_hash"]
    answer = hosted.created(row["id"])
    assert (answer["pr_number"], answer["created"]) == (pull.number, False)
    kinds = [event["kind"] for event in hosted.backend.events(row["id"])]
    assert kinds.count("pull_request") == 1
    assert "error" not in kinds


def test_a_task_without_changes_gets_none(hosted: Hosted) -> None:
    idle = hosted.task("true", **ASKED)
    # They are opened in the order in which their tasks end.
    with_pull_request(hosted, hosted.task(**ASKED))
    assert len(hosted.pulls) == 1
    assert "error" not in [event["kind"] for event in hosted.backend.events(idle)]


def test_a_failure_is_told_in_the_events_and_the_task_stays_completed(hosted: Hosted) -> None:
    hosted.github.fail("bad_credentials", "POST .*/pulls$")
    task_id = hosted.task(**ASKED)
    error = last_error(hosted, task_id)
    assert error["code"] == "github_token_refused"
    assert f"send POST /create-pr/{task_id}." in error["message"]
    assert TOKEN not in error["message"]
    assert hosted.row(task_id)["status"] == "completed"
    hosted.github.failing.clear()
    assert hosted.created(task_id)["created"] is True


def test_a_github_that_cannot_answer_now_is_asked_again(hosted: Hosted) -> None:
    # It names three seconds; an outage would take 30.
    hosted.github.fail("too_many_requests", "POST .*/pulls$", times=1)
    row = with_pull_request(hosted, hosted.task(**ASKED))
    assert len(hosted.pulls) == 1
    assert "error" not in [event["kind"] for event in hosted.backend.events(row["id"])]


def test_a_later_turn_updates_the_pull_request(hosted: Hosted) -> None:
    row = with_pull_request(hosted, hosted.task(**ASKED))
    more = {"role": "user", "content": "echo again >>two.txt", "run": True}
    hosted.backend.post(f"/tasks/{row['id']}/chat", **more, github_token=TOKEN)
    tree = hosted.backend.wait(row["id"])["execution_metadata"]["tree_hash"]
    assert tree != row["execution_metadata"]["tree_hash"]
    eventually(lambda: hosted.rev(f"{row['pr_branch']}^{{tree}}") == tree)
    assert len(hosted.pulls) == 1


def test_a_project_decides_for_tasks_that_do_not_say(hosted: Hosted) -> None:
    fields = {"name": "demo", "repo_url": hosted.url, "settings": {"auto_pr": True}}
    project = hosted.backend.post("/projects", **fields)["project"]["id"]
    silent = hosted.task(project_id=project)
    unwilling = hosted.task(project_id=project, auto_pr=False)
    with_pull_request(hosted, silent)
    assert len(hosted.pulls) == 1
    assert "auto_pr" not in hosted.row(unwilling)["execution_metadata"]
    assert refused(hosted, auto_pr=None, project_id=project) == (400, "github_token_needed")


def test_a_task_is_refused_where_no_pull_request_can_ever_be_opened(
    hosted: Hosted, small_origin: Repository
) -> None:
    assert refused(hosted) == (400, "github_token_needed")
    local = {"repo_url": small_origin.url, "github_token": TOKEN}
    assert refused(hosted, **local) == (400, "repository_not_on_github")
    assert refused(hosted, attempts=2, github_token=TOKEN) == (400, "invalid_request")


@pytest.fixture
def held_github(served_github: FakeGitHub) -> Iterator[FakeGitHub]:
    """Provide a GitHub that does not answer requests for new pull requests yet."""
    served_github.fail("hang", "POST .*/pulls$")
    yield served_github
    served_github.failing.clear()


@pytest.fixture(params=["sqlite", "engine"])
def rows(request: pytest.FixtureRequest) -> dict[str, str]:
    """Provide the variables of a server on SQLite, or on a PostgreSQL with the task engine."""
    if request.param == "sqlite":
        return {}
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    url = postgres.create("automatic_pulls")
    migrate(Settings.model_validate({"database_url": url}))
    return {"DATABASE_URL": url}


@pytest.mark.local_only("the end of the server is what matters, not the place")
def test_a_server_that_is_killed_after_the_push_opens_one_pull_request_when_it_is_back(
    new_server: ServerFactory, place: Place, held_github: FakeGitHub, rows: dict[str, str]
) -> None:
    server = new_server(GITHUB_API_URL=held_github.api_url, **rows)
    server.start()
    assert ("engine.used" in server.output.read_text()) == bool(rows)
    url = f"{held_github.url}/{NAME}.git"
    task_id = server.client(USER).start(CHANGE, url, github_token=TOKEN, **ASKED)
    bare = held_github.repositories[NAME].bare
    eventually(lambda: list((bare / "refs" / "heads").rglob(f"task-{task_id}")))
    server.kill()
    assert held_github.pulls(NAME) == []
    held_github.failing.clear()
    server.start()
    client = server.client(USER)
    eventually(lambda: client.task(task_id).get("pr_url"))
    [pull] = held_github.pulls(NAME)
    row = client.task(task_id)
    assert (row["pr_number"], row["pr_branch"]) == (pull.number, f"async-code/task-{task_id}")

    def kinds() -> list[str]:
        return [event["kind"] for event in client.events(task_id)]

    # The row is written before the event.
    eventually(lambda: "pull_request" in kinds())
    assert (kinds().count("pull_request"), kinds().count("error")) == (1, 0)
    assert (row["status"], place.project) == ("completed", None)
