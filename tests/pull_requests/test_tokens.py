"""The choice of the token for a pull request, and the limit of requests that wait for GitHub."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from uuid import uuid4

import pytest

from tests.fakes.github.state import App
from tests.support.backends import USER, WAIT_SECONDS, Repository
from tests.support.github.keys import PERMISSIONS, app_key, pem, public_pem
from tests.support.github.names import LOGIN, TOKEN
from tests.support.pull_requests import SCRIPT, SIMULATED, Hosted, actions_token, open_hub
from tests.support.waiting import eventually
from utils.api.endpoint import TOKEN_HEADER
from utils.pull_requests.concurrency import FOR_ONE_TASK

pytestmark = pytest.mark.cloud_with_all("a pull request is made from what is stored")

in_one_process = pytest.mark.local_only("how many may ask at once does not depend on the place")


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a GitHub that hangs waited for longer than it does."""
    monkeypatch.setattr("utils.pull_requests.service.STEP_SECONDS", 2 * WAIT_SECONDS)
    monkeypatch.setattr("utils.pull_requests.service.TOTAL_SECONDS", 4 * WAIT_SECONDS)


def test_the_stored_token_is_next_to_the_requests(hosted: Hosted) -> None:
    task_id = hosted.task()
    client = hosted.backend.app.test_client()
    try:
        client.put("/users/me", json={"github_token": TOKEN}, headers={"X-User-ID": USER})
        hosted.github.requests.clear()
        hosted.created(task_id, github_token=None)
    finally:
        client.put("/users/me", json={"github_token": None}, headers={"X-User-ID": USER})
    assert {request.token for request in hosted.github.requests} == {TOKEN}
    # Another one in the request counts more, even where it is of no use.
    assert hosted.refusal(task_id, github_token="ghp_unknown12") == (403, "github_token_refused")


@in_one_process
def test_the_header_is_next_to_the_body(hosted: Hosted) -> None:
    task_id = hosted.task()
    hosted.github.add_token("ghp_carols_own", "carol")

    def used_token(header: str, **body: str) -> set[str | None]:
        hosted.github.requests.clear()
        response = hosted.backend.app.test_client().post(
            f"/create-pr/{task_id}",
            json={**SIMULATED, **body},
            headers={"X-User-ID": USER, TOKEN_HEADER: header},
        )
        assert response.status_code == 200, response.text
        return {request.token for request in hosted.github.requests}

    assert used_token(TOKEN) == {TOKEN}
    assert used_token(TOKEN, github_token="ghp_carols_own") == {"ghp_carols_own"}
    assert used_token("ghp_carols_own", github_token=" ") == {"ghp_carols_own"}


def test_the_deployments_token_is_the_last(small_origin: Repository, tmp_path: Path) -> None:
    with open_hub(tmp_path, github_token=TOKEN) as hub:
        hosted = hub.host(small_origin)
        task_id = hosted.task()
        hosted.created(task_id, github_token=None)
        hub.github.add_token("ghp_carols_own", "carol")
        other = hub.host(small_origin)
        other.server.tokens.clear()
        other.created(other.task(), github_token="ghp_carols_own")
    assert (hosted.pulls[0].author, other.pulls[0].author) == (LOGIN, "carol")


def test_the_app_may_change_workflows_when_it_has_to(
    small_origin: Repository, tmp_path: Path
) -> None:
    key = app_key()
    app = {"github_app_id": "4711", "github_app_private_key": pem(key)}
    with open_hub(tmp_path, **app) as hub:
        hosted = hub.host(small_origin)
        granted = {**PERMISSIONS, "workflows": "write"}
        hub.github.apps["4711"] = App("4711", public_pem(key), {hosted.name: 77}, granted)
        script = "mkdir -p .github/workflows; echo x >.github/workflows/x.yml"
        task_id = hosted.task(script)
        # Its tokens are made when they are needed; the git server knows none of them.
        hosted.server.tokens.clear()
        hosted.created(task_id, github_token=None, allow_workflow_changes=True)
        asked = [one.body for one in hub.github.requests if one.path.endswith("access_tokens")]
    assert [body["permissions"]["workflows"] for body in asked] == ["write"]


def test_a_token_of_github_actions_is_enough(hosted: Hosted) -> None:
    task_id = hosted.task()
    token = actions_token(hosted)
    hosted.server.tokens.pop(hosted.name.partition("/")[2])
    assert hosted.created(task_id, github_token=token)["created"]


@in_one_process
@pytest.mark.usefixtures("patience")
def test_slow_requests_leave_threads_for_others(hosted: Hosted) -> None:
    places = max(1, hosted.services.settings.request_threads // 2)
    started = [hosted.backend.start(SCRIPT, hosted.url, github_token=TOKEN) for _ in range(places)]
    other = hosted.task()
    for task_id in started:
        hosted.backend.wait(task_id)
    hosted.github.requests.clear()
    hosted.github.fail("hang", on="GET /repos")
    with ThreadPoolExecutor(places) as threads:
        try:
            threads.map(hosted.create, started)
            eventually(lambda: len(hosted.github.requests) == places)
            assert hosted.refusal(other) == (503, "github_busy")
        finally:
            hosted.github.failing.clear()
            hosted.github.released.set()
    hosted.github.released.clear()
    assert hosted.created(other)["pr_number"]


@in_one_process
@pytest.mark.usefixtures("patience")
def test_requests_for_one_task_do_not_take_all_places(hosted: Hosted) -> None:
    assert hosted.services.settings.request_threads // 2 > FOR_ONE_TASK
    task_id = hosted.task()
    hosted.github.fail("hang", on="GET /repos")
    with ThreadPoolExecutor(FOR_ONE_TASK + 1) as threads:
        asked = [threads.submit(hosted.create, task_id) for _ in range(FOR_ONE_TASK + 1)]
        try:
            first = next(as_completed(asked, timeout=WAIT_SECONDS))
        finally:
            hosted.github.failing.clear()
            hosted.github.released.set()
    hosted.github.released.clear()
    assert first.result()["code"] == "github_busy"
    answers = [one.result()["http_status"] for one in asked]
    assert sorted(answers) == [200] * FOR_ONE_TASK + [503]
    assert len(hosted.pulls) == 1


@in_one_process
@pytest.mark.usefixtures("patience")
def test_strangers_take_no_turn_of_a_task(hosted: Hosted) -> None:
    task_id = hosted.task()
    hosted.github.fail("hang", on="GET /repos")
    hosted.github.requests.clear()

    def ask_as_stranger() -> int:
        client = hosted.backend.app.test_client()
        headers = {"X-User-ID": str(uuid4())}
        return client.post(f"/create-pr/{task_id}", json={}, headers=headers).status_code

    with ThreadPoolExecutor(2) as threads:
        asked = threads.submit(hosted.created, task_id)
        try:
            eventually(lambda: hosted.github.requests)
            assert threads.submit(ask_as_stranger).result(WAIT_SECONDS) == 404
            assert not asked.done()
        finally:
            hosted.github.failing.clear()
            hosted.github.released.set()
    hosted.github.released.clear()
    assert asked.result()["created"]


@in_one_process
def test_what_takes_too_long_says_how_to_go_on(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = hosted.task()
    monkeypatch.setattr("utils.pull_requests.service.TOTAL_SECONDS", 5.0)
    hosted.github.requests.clear()
    answer = hosted.create(task_id)
    assert (answer["http_status"], answer["code"]) == (503, "pull_request_unfinished")
    assert hosted.github.requests == []
    assert "Send the same request again" in answer["error"]
