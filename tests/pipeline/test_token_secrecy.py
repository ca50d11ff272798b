"""Tests that only git receives a token, by a search in every other place."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.support.backends import USER, Backend, Repository, Row, open_backend, shell_agent
from tests.support.git.server import GitServer
from tests.support.places import Place
from tests.support.stored_files import stored_files
from tests.support.waiting import eventually

TOKEN = "marked/token+3f9a1c7e"
WRONG = "wrong/token+8d2b6e5f"
NEEDLES = tuple(
    form.encode()
    for token in (TOKEN, WRONG)
    for form in (
        token,
        quote(token, safe=""),
        base64.b64encode(f"x-access-token:{token}".encode()).decode(),
    )
)

# Precedes git on the PATH and records how git was called.
RECORDER = """#!/bin/sh
{ tr '\\0' '\\n' </proc/$$/environ; printf '%s\\n' "$@"; env; } >>RECORD
PATH=REST exec git "$@"
"""

LOOK_AROUND = """
env; set; cat .git/config ~/.gitconfig ../work/* 2>/dev/null; grep -r . .. -s | head -c 100000
for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/cmdline; tr '\\0' '\\n' <$p/environ; done 2>/dev/null |
    grep token
ls -l /proc/self/fd; cat <&3
echo x >x
"""


@dataclass(frozen=True)
class Finished:
    """Two tasks with tokens, and the recorded calls of git."""

    backend: Backend
    task: Row
    refused: Row
    calls: bytes


@pytest.fixture(scope="module")
def finished(
    place: Place,
    tmp_path_factory: pytest.TempPathFactory,
    sample: Repository,
    git_server: GitServer,
) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("secrecy")
    wrapper = folder / "bin" / "git"
    wrapper.parent.mkdir()
    pipe, path = wrapper.with_name("pipe"), os.environ["PATH"]
    wrapper.write_text(RECORDER.replace("RECORD", str(pipe)).replace("REST", f"'{path}'"))
    wrapper.chmod(0o755)
    url = git_server.publish(sample, "secrecy", TOKEN)
    git_server.requests.clear()
    shown = {"isolated_readable_paths": (str(wrapper.parent),)}
    with (
        before_git(place, wrapper.parent),
        recorded(pipe, folder / "record") as read,
        open_backend(folder / "data", place, log_level="DEBUG", **shown) as backend,
        shell_agent(),
    ):
        backend.complete("echo x >x", url, github_token=TOKEN)
        task = backend.perform(LOOK_AROUND, url, github_token=TOKEN)
        refused = backend.perform("echo x >x", url, github_token=WRONG)
        yield Finished(backend, task, refused, read())


@contextmanager
def recorded(pipe: Path, record: Path) -> Iterator[Callable[[], bytes]]:
    """Provide a function that returns what has been written to a pipe.

    Isolated sandboxes can write to no file outside of them, but to a pipe that they are shown.
    """
    os.mkfifo(pipe)
    with (
        record.open("wb") as file,
        subprocess.Popen(["cat", pipe], stdout=file),
        # The copy goes on until the last writer is gone.
        pipe.open("wb", buffering=0) as writer,
    ):

        def read() -> bytes:
            end = uuid4().bytes
            writer.write(end)
            eventually(lambda: end in record.read_bytes())
            return record.read_bytes()

        yield read


@contextmanager
def before_git(place: Place, folder: Path) -> Iterator[None]:
    """Make sandboxes search a folder for commands first."""
    if place.cloud:
        place.cloud.configure(tools=str(folder))
        yield
        place.cloud.configure(tools="")
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield


def hidden_in(data: bytes) -> bool:
    return not any(needle in data for needle in NEEDLES)


def test_the_tokens_reached_the_server(finished: Finished, git_server: GitServer) -> None:
    sent = {header for _, path, header in git_server.requests if "secrecy" in path and header}
    assert len(sent) == 2
    assert finished.refused["error_code"] == "clone_auth_failed"


def test_no_token_is_in_arguments_or_environments_of_git(finished: Finished) -> None:
    assert b"credential.helper=" in finished.calls
    assert hidden_in(finished.calls)


def test_no_token_is_in_anything_the_agent_can_read(finished: Finished) -> None:
    output = finished.backend.output(finished.task["id"])
    assert "TMPDIR=" in output
    assert "[redacted]" not in output
    assert hidden_in(output.encode())


def test_no_token_is_in_any_file_or_row_of_the_server(finished: Finished) -> None:
    files = stored_files(finished.backend.folder)
    assert [path for path, content in files.items() if not hidden_in(content)] == []
    project = finished.backend.place.project
    if project:
        stored = project.dump()
        assert finished.task["repo_url"].encode() in stored
        assert hidden_in(stored)
    else:
        assert any(path.suffix == ".db" for path in files)


def test_no_token_is_in_answers_or_metrics(finished: Finished) -> None:
    client = finished.backend.app.test_client()
    for row in (finished.task, finished.refused):
        for path in (f"/tasks/{row['id']}", f"/tasks/{row['id']}/events", "/metrics", "/tasks"):
            answer = client.get(path, headers={"X-User-ID": USER})
            assert answer.status_code == 200
            assert hidden_in(answer.get_data())


def test_no_token_is_in_the_log(
    finished: Finished, git_server: GitServer, capfd: pytest.CaptureFixture[str]
) -> None:
    url = git_server.url("secrecy")
    finished.backend.perform("echo x >x", url, github_token=WRONG)
    finished.backend.post("/start-task", prompt="x", repo_url=url, github_token=[WRONG])
    captured = capfd.readouterr()
    assert "task.ended" in captured.err
    assert hidden_in((captured.out + captured.err).encode())


@pytest.mark.parametrize("form", [TOKEN, quote(TOKEN, safe=""), "base64"])
def test_a_token_that_an_agent_prints_or_writes_is_redacted_in_its_output(
    finished: Finished, git_server: GitServer, form: str
) -> None:
    if form == "base64":
        form = base64.b64encode(f"user:{TOKEN}:x".encode()).decode()
    half = len(form) // 2
    script = f"printf '%s' '{form[:half]}'; sleep 0.3; echo '{form[half:]}'; echo '{form}' >&2"
    task = finished.backend.complete(
        f"a='{form[:half]}'\n{script.replace(form, '$a' + form[half:])}\necho x >x",
        git_server.url("secrecy"),
        github_token=TOKEN,
    )
    assert "[redacted]" in finished.backend.output(task["id"])
    assert hidden_in(finished.backend.output(task["id"]).encode())
