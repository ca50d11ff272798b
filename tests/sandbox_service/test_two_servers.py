"""Two servers on one database work with one sandbox of the cloud, and forget nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg

from tests.fakes.e2b.control import E2BControl
from tests.sandbox_service.api import Json, Sandboxes
from tests.support.backends import Repository
from tests.support.database.postgres_server import PostgresServer
from tests.support.e2b.tasks import SCRIPTED, cloud_backend
from tests.support.github.names import TOKEN
from tests.support.pull_requests import Hosted, open_hub
from tests.support.waiting import eventually
from utils.config.settings import Settings
from utils.database.migrations import migrate

HOOK = """#!/bin/sh
while read -r _old _new ref; do touch "{folder}/${{ref##*/}}"; done
until test -e "{folder}/released"; do sleep 0.05; done
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


class Gate:
    """Holds back the answers to pushes, until all that were expected have arrived."""

    def __init__(self, hosted: Hosted, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        hook = hosted.bare / "hooks" / "post-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(HOOK.format(folder=folder))
        hook.chmod(0o755)

    def wait_for(self, *branches: str) -> None:
        eventually(lambda: all((self.folder / name).exists() for name in branches))

    def release(self) -> None:
        (self.folder / "released").touch()


def push(server: Sandboxes, box: int, branch: str) -> Json:
    """Push the changes in a sandbox to a branch."""
    body = {"branch": branch, "message": "Change it", "github_token": TOKEN}
    reply = server.send("POST", f"/{box}/git/mine/push", json=body)
    assert reply.status == 200, reply
    return reply.json


def test_pushes_of_two_servers_at_the_same_moment_are_both_remembered(
    cloud: E2BControl,
    postgres_server: PostgresServer,
    small_origin: Repository,
    tmp_path: Path,
) -> None:
    url = postgres_server.create("two_pushes")
    migrate(Settings.model_validate({"database_url": url}))
    shared = {"database_url": url, "deployment": "pushes"}
    with ExitStack() as stack:
        hub = stack.enter_context(open_hub(tmp_path / "one", None, **SCRIPTED, **shared))
        shared["github_api_url"] = hub.github.api_url
        other = stack.enter_context(cloud_backend(cloud, tmp_path / "two", **shared))
        hosted = hub.host(small_origin)
        servers = {"one": Sandboxes(hub.backend.app), "two": Sandboxes(other.app)}
        first = servers["one"]
        box = first.create(repo_url=hosted.url, name="mine", github_token=TOKEN)
        first.output(box, "echo more >>one.txt", cwd="mine")

        gate = Gate(hosted, tmp_path / "gate")
        threads = stack.enter_context(ThreadPoolExecutor(2))
        pushes = {name: threads.submit(push, one, box, name) for name, one in servers.items()}
        gate.wait_for("one", "two")
        # Both have pushed. Now both read the row before either can write it.
        with psycopg.connect(url) as row, psycopg.connect(url, autocommit=True) as observer:
            row.execute("SELECT FROM sandboxes WHERE id = %s FOR UPDATE", (box,))
            gate.release()
            eventually(partial(_count, observer, 2))
        commits = {name: pushed.result()["commit"] for name, pushed in pushes.items()}
        [repository] = first.row(box)["repositories"]
        database = hub.services.database
        [stored] = [one for one in database.list_live_sandboxes() if one.id == box]
        assert stored.repositories[0]["pushed"] == commits
        assert repository["name"] == "mine"
        # What is remembered lets each server push there again.
        first.output(box, "echo again >>one.txt", cwd="mine")
        assert push(first, box, "two")["commit"] == hosted.rev("two") != commits["two"]
        first.end(box)


def _count(observer: psycopg.Connection[tuple[int]], expected: int) -> bool:
    found = observer.execute(WAITING).fetchone()
    return found is not None and found[0] == expected
