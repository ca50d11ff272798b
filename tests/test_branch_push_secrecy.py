"""The token of a push is known to git's own helper alone, and to the one host it is for."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.backends import Repository, Row, wait_for
from tests.branch_pushes import TOKEN, open_to_partial_clones, push, request_of, result_of
from tests.git_server import GitServer, serve_git
from tests.source_files import ROOT
from utils.branch_push import PushLimits, PushRequest, remove_leftovers
from utils.errors import AppError, PushRefused

NEEDLES = tuple(
    form.encode()
    for form in (
        TOKEN,
        quote(TOKEN, safe=""),
        base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode(),
    )
)

# Stands before git and sh on the PATH, and writes down how they were called and what lies on disk.
RECORDER = """#!/bin/sh
{ tr '\\0' '\\n' </proc/$$/environ; printf '%s\\n' "$0" "$@"; grep -rs . "$HOME"; } >>'RECORD'
PATH='REST' exec NAME "$@"
"""
# A server that pushes what it reads.
PROGRAM = """
import pickle, sys
from utils.branch_push import push_branch
from utils.redaction import Redactor
push_branch(*pickle.load(sys.stdin.buffer), Redactor())
"""


@dataclass(frozen=True)
class Recorded:
    """A server, a request, an environment with recorders in it, and what they write."""

    server: GitServer
    request: PushRequest
    environment: dict[str, str]
    record: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with serve_git(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("secrecy") / "repository")
    repository.commit("echo one >one; echo two >two")
    return repository


@pytest.fixture(scope="module")
def result(repository: Repository) -> Row:
    return result_of(repository, "echo more >>one; chmod +x two")


@pytest.fixture
def recorded(server: GitServer, repository: Repository, result: Row, tmp_path: Path) -> Recorded:
    url = server.publish(repository, "secrecy", TOKEN)
    open_to_partial_clones(server.bare("secrecy"))
    server.requests.clear()
    tools, record, path = tmp_path / "tools", tmp_path / "record", os.environ["PATH"]
    tools.mkdir()
    for name in ("git", "sh"):
        text = RECORDER.replace("RECORD", str(record)).replace("REST", path).replace("NAME", name)
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:{path}"}
    return Recorded(server, request_of(url, result), environment, record)


def hidden_in(data: bytes) -> bool:
    return not any(needle in data for needle in NEEDLES)


def test_no_token_is_in_arguments_environments_files_or_the_log(
    recorded: Recorded, tmp_path: Path
) -> None:
    limits = PushLimits(tmp_path / "work", 20.0, recorded.environment)
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        input=pickle.dumps((recorded.request, limits)),
        capture_output=True,
        check=True,
    )
    calls = recorded.record.read_bytes()
    assert any(header for _, _, header in recorded.server.requests)
    assert b"\npush\n--porcelain\n" in calls
    assert b"partialClone = origin" in calls
    assert hidden_in(calls)
    assert b"branch_pushed" in finished.stdout
    assert hidden_in(finished.stdout + finished.stderr)
    assert TOKEN not in repr(recorded.request)


def test_nothing_of_the_person_who_runs_the_server_is_used(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[core]\n\thooksPath = {home}\n[url "x:"]\n\tinsteadOf = http'
    )
    (home / "pre-push").write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    (home / "pre-push").chmod(0o755)
    (home / ".netrc").write_text("default login x password from-netrc\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_TRACE_CURL", str(tmp_path / "trace"))
    monkeypatch.setenv("GIT_ASKPASS", "false")
    push(tmp_path, recorded.request)
    assert not mark.exists()
    assert not (tmp_path / "trace").exists()
    sent = {header for _, _, header in recorded.server.requests if header}
    assert sent == {"Basic " + NEEDLES[2].decode()}


def test_no_other_host_gets_the_token(recorded: Recorded, tmp_path: Path) -> None:
    with serve_git(tmp_path / "other") as other:
        other.tokens["secrecy"] = "another-token"
        recorded.server.redirects["secrecy"] = f"http://localhost:{other.port}"
        try:
            with pytest.raises(PushRefused) as raised:
                push(tmp_path, recorded.request)
        finally:
            del recorded.server.redirects["secrecy"]
    assert raised.value.code == "repository_moved"
    assert other.requests == []


def test_the_helper_answers_for_its_repository_only(recorded: Recorded, tmp_path: Path) -> None:
    other = f"http://localhost:{recorded.server.port}/team/secrecy.git"
    # The wrapper sends git elsewhere, as a configuration or a redirect might.
    tools = Path(recorded.environment["PATH"].partition(":")[0])
    rest = os.environ["PATH"]
    (tools / "git").write_text(
        f"#!/bin/sh\nexport GIT_CONFIG_VALUE_0_={other}\nPATH='{rest}'\n"
        f'exec git -c "url.{other}.insteadOf={recorded.request.repo_url}" "$@"\n'
    )
    with pytest.raises(AppError) as raised:
        push(tmp_path, recorded.request, environment=recorded.environment)
    assert raised.value.code == "github_token_refused"
    assert {header for _, _, header in recorded.server.requests} == {None}


def test_a_push_that_takes_too_long_leaves_no_process(recorded: Recorded, tmp_path: Path) -> None:
    recorded.server.hanging.add("secrecy")
    try:
        with pytest.raises(AppError) as raised:
            push(tmp_path, recorded.request, timeout_seconds=0.3)
    finally:
        recorded.server.hanging.discard("secrecy")
    assert raised.value.code == "git_timeout"
    wait_for(lambda: not processes_below(tmp_path))


def test_what_a_killed_server_left_is_removed_by_the_next(
    recorded: Recorded, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    recorded.server.hanging.add("secrecy")
    limits = PushLimits(work, 20.0, {"PATH": os.environ["PATH"]})
    child = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=subprocess.PIPE)
    assert child.stdin is not None
    with child.stdin:
        pickle.dump((recorded.request, limits), child.stdin)
    wait_for(lambda: processes_below(tmp_path))
    child.kill()
    child.wait()
    recorded.server.hanging.discard("secrecy")
    for process in processes_below(tmp_path):
        process.kill()
    files = [path for path in work.rglob("*") if path.is_file()]
    assert files
    assert all(hidden_in(path.read_bytes()) for path in files)
    remove_leftovers(work)
    assert list(work.iterdir()) == []


def processes_below(folder: Path) -> list[psutil.Process]:
    """Return the git processes whose home is below a folder."""
    found = []
    for process in psutil.process_iter(["environ"]):
        home = (process.info["environ"] or {}).get("GIT_DIR", "")
        if home.startswith(str(folder)):
            found.append(process)
    return found
