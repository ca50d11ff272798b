"""The token of a push is known to git's own helper alone, and to the one host it is for."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.support.git.pushes import AMPLE_SECONDS, TOKEN, Target
from tests.support.git.server import HANG_SECONDS, serve_git
from tests.support.source_files import ROOT
from tests.support.stored_files import stored_files
from tests.support.waiting import eventually
from utils.errors import AppError, PushRefused
from utils.push.push import PushLimits, remove_leftovers

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
from utils.push.push import push_branch
from utils.redaction import Redactor
push_branch(*pickle.load(sys.stdin.buffer), Redactor())
"""


@dataclass(frozen=True)
class Recorded:
    """A target, an environment with recording programs, and the folder of their records."""

    target: Target
    environment: dict[str, str]
    record: Path


@pytest.fixture
def recorded(push_target: Target, tmp_path: Path) -> Recorded:
    tools, record, path = tmp_path / "tools", tmp_path / "record", os.environ["PATH"]
    tools.mkdir()
    for name in ("git", "sh"):
        text = RECORDER.replace("RECORD", str(record)).replace("REST", path).replace("NAME", name)
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    return Recorded(push_target, {"PATH": f"{tools}:{path}"}, record)


def hidden_in(data: bytes) -> bool:
    return not any(needle in data for needle in NEEDLES)


def test_no_token_is_in_arguments_environments_files_or_the_log(
    recorded: Recorded, tmp_path: Path
) -> None:
    limits = PushLimits(tmp_path / "work", AMPLE_SECONDS, recorded.environment)
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        input=pickle.dumps((recorded.target.request, limits)),
        capture_output=True,
        check=True,
    )
    calls = recorded.record.read_bytes()
    assert any(header for _, _, header in recorded.target.asked)
    assert b"\npush\n--porcelain\n" in calls
    assert b"partialClone = origin" in calls
    assert hidden_in(calls)
    assert b"push.finished" in finished.stdout
    assert hidden_in(finished.stdout + finished.stderr)
    assert TOKEN not in repr(recorded.target.request)


def test_nothing_of_the_person_who_runs_the_server_is_used(
    push_target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    push_target.push()
    assert not mark.exists()
    assert not (tmp_path / "trace").exists()
    sent = {header for _, _, header in push_target.asked if header}
    assert sent == {"Basic " + NEEDLES[2].decode()}


def test_no_other_host_gets_the_token(push_target: Target, tmp_path: Path) -> None:
    with serve_git(tmp_path / "other") as other:
        other.tokens[push_target.name] = "another-token"
        push_target.server.redirects[push_target.name] = f"http://localhost:{other.port}"
        with pytest.raises(PushRefused) as raised:
            push_target.push()
    assert raised.value.code == "repository_moved"
    assert other.requests == []


def test_the_helper_answers_for_its_repository_only(recorded: Recorded) -> None:
    url = recorded.target.request.repo_url
    other = url.replace("127.0.0.1", "localhost")
    # The wrapper sends git elsewhere, as a configuration or a redirect might.
    tools = Path(recorded.environment["PATH"].partition(":")[0])
    rest = os.environ["PATH"]
    (tools / "git").write_text(
        f"#!/bin/sh\nexport GIT_CONFIG_VALUE_0_={other}\nPATH='{rest}'\n"
        f'exec git -c "url.{other}.insteadOf={url}" "$@"\n'
    )
    with pytest.raises(AppError) as raised:
        recorded.target.push(environment=recorded.environment)
    assert raised.value.code == "github_token_refused"
    assert {header for _, _, header in recorded.target.asked} == {None}


def test_a_push_that_takes_too_long_leaves_no_process(push_target: Target, tmp_path: Path) -> None:
    push_target.server.hanging.add(push_target.name)
    with pytest.raises(AppError) as raised:
        push_target.push(timeout_seconds=0.3)
    assert raised.value.code == "git_timeout"
    # In the end the server answers, and they would end by themselves.
    eventually(lambda: not processes_below(tmp_path), HANG_SECONDS / 2)


def test_what_a_killed_server_left_is_removed_by_the_next(
    push_target: Target, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    push_target.server.hanging.add(push_target.name)
    limits = PushLimits(work, AMPLE_SECONDS, {"PATH": os.environ["PATH"]})
    child = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=subprocess.PIPE)
    assert child.stdin is not None
    with child.stdin:
        pickle.dump((push_target.request, limits), child.stdin)
    eventually(lambda: processes_below(tmp_path))
    child.kill()
    child.wait()
    eventually(lambda: not killed_below(tmp_path))
    files = stored_files(work)
    assert files
    assert all(map(hidden_in, files.values()))
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


def killed_below(folder: Path) -> list[psutil.Process]:
    """Kill the git processes whose home is below a folder; return those that there were."""
    found = processes_below(folder)
    for process in found:
        # One may end by itself when another does.
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return found
