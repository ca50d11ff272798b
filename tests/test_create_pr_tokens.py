"""Whose token makes a pull request, where it goes, and where it never is."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.backends import USER, Repository, wait_for
from tests.fakes.github.state import App
from tests.github_names import LOGIN, TOKEN
from tests.pull_requests import SCRIPT, Hosted, open_hub
from tests.test_branch_push_secrecy import RECORDER
from utils.github_app import PERMISSIONS

pytest_plugins = ("tests.pull_request_fixtures",)
in_one_process = pytest.mark.local_only("how many may ask at once does not depend on the place")


def test_no_token_is_in_arguments_files_rows_answers_or_logs(
    small_origin: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    tools, record, path = tmp_path / "tools", tmp_path / "record", os.environ["PATH"]
    tools.mkdir()
    for name in ("git", "sh"):
        text = RECORDER.replace("RECORD", str(record)).replace("REST", path).replace("NAME", name)
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{path}")
    with open_hub(tmp_path, log_level="DEBUG") as hub:
        hosted = hub.host(small_origin)
        hosted.server.tokens.clear()
        task_id = int(hosted.backend.complete("echo more >>one.txt", hosted.url)["id"])
        hosted.server.tokens[hosted.name.partition("/")[2]] = TOKEN
        answers = [hosted.created(task_id), hosted.create(task_id, title="Again")]
        hosted.github.fail("bad_credentials", on="PATCH")
        answers.append(hosted.create(task_id, title="Once more"))
        answers.append({"rows": [hosted.row(task_id), hosted.backend.events(task_id)]})
        assert list((hosted.backend.folder / "pushes").iterdir()) == []
        files = [one for one in hosted.backend.folder.rglob("*") if one.is_file()]
        assert all(TOKEN.encode() not in one.read_bytes() for one in files)
    assert b"\npush\n--porcelain\n" in record.read_bytes()
    assert TOKEN.encode() not in record.read_bytes()
    assert TOKEN not in repr(answers)
    written = "".join(capfd.readouterr())
    assert "branch_pushed" in written
    assert TOKEN not in written


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
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    app = {"github_app_id": "4711", "github_app_private_key": secret.decode()}
    with open_hub(tmp_path, **app) as hub:
        hosted = hub.host(small_origin)
        granted = {**PERMISSIONS, "workflows": "write"}
        hub.github.apps["4711"] = App("4711", public.decode(), {hosted.name: 77}, granted)
        script = "mkdir -p .github/workflows; echo x >.github/workflows/x.yml"
        task_id = hosted.task(script)
        # Its tokens are made when they are needed; the git server knows none of them.
        hosted.server.tokens.clear()
        hosted.created(task_id, github_token=None, allow_workflow_changes=True)
        asked = [one.body for one in hub.github.requests if one.path.endswith("access_tokens")]
    assert [body["permissions"]["workflows"] for body in asked] == ["write"]


@in_one_process
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
            wait_for(lambda: len(hosted.github.requests) == places)
            assert hosted.refusal(other) == (503, "github_busy")
        finally:
            hosted.github.failing.clear()
            hosted.github.released.set()
    hosted.github.released.clear()
    assert hosted.created(other)["pr_number"]


@in_one_process
def test_what_takes_too_long_says_how_to_go_on(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = hosted.task()
    monkeypatch.setattr("utils.pull_requests.TOTAL_SECONDS", 5.0)
    hosted.github.requests.clear()
    answer = hosted.create(task_id)
    assert (answer["http_status"], answer["code"]) == (503, "pull_request_unfinished")
    assert hosted.github.requests == []
    assert "Send the same request again" in answer["error"]
