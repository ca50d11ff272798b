"""A task runs with a marked token, which must not appear anywhere in plain text."""

from __future__ import annotations

import base64
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psutil

from tests.support.git.repositories import serve_repository
from tests.support.live_server import ServerFactory
from tests.support.waiting import eventually

TOKEN = "ghp_Marked+Token/3f9a1c=7"
INPUT = b"ASYNC_CODE_INPUT="
FORMS = (TOKEN, quote(TOKEN, safe=""), base64.b64encode(TOKEN.encode()).decode())


def found_in(text: str | bytes) -> bool:
    data = text.encode() if isinstance(text, str) else text
    return any(form.encode() in data for form in FORMS)


def shown_by_processes() -> Iterator[tuple[str, bytes]]:
    """Yield the arguments and the environment of each process except this one."""
    # The numbers are enough: a process object asks the kernel for more, and this runs all the time.
    for number in {*psutil.pids()} - {os.getpid()}:
        for name in ("cmdline", "environ"):
            try:
                shown = Path(f"/proc/{number}/{name}").read_bytes()
            except OSError:
                continue
            entries = shown.split(b"\0")
            # The clone in a cloud sandbox receives its input this way; nothing else runs there.
            others = (one for one in entries if name == "cmdline" or not one.startswith(INPUT))
            yield f"{name} of {number}", b"\0".join(others)


@contextmanager
def watched_processes() -> Iterator[set[str]]:
    """Search all processes repeatedly; add the places of the token to the returned set."""
    places: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            places.update(where for where, shown in shown_by_processes() if found_in(shown))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield places
    finally:
        over.set()
        thread.join()


def test_a_token_is_nowhere_but_encrypted(
    new_server: ServerFactory, small_repository: str, tmp_path: Path
) -> None:
    server = new_server(LOG_LEVEL="DEBUG")
    server.start()
    client = server.client()
    prompts = ("Quick", "script:\nenvironment\nprint begun\nsleep 0.3", "script:\nfail 2")
    with serve_repository(Path(small_repository), tmp_path / "served") as git_server:
        git_server.token = TOKEN
        git_server.gate.set()
        with watched_processes() as places:
            urls = (small_repository, git_server.url, git_server.url.replace("team", "gone"))
            ids = [client.start(p, url, github_token=TOKEN) for url in urls for p in prompts]
            while client.get("/health/ready").body["running"]:
                in_files(server.data_dir, places)
                for sandbox in server.place.sandboxes(server.data_dir):
                    in_files(sandbox.repository.parent, places)
            for task_id in ids:
                client.wait_for(task_id)
    assert places == set()
    paths = [f"/tasks/{one}{more}" for one in ids for more in ("", "/events")]
    assert not any(found_in(str(client.get(path).body)) for path in (*paths, "/tasks", "/metrics"))
    ends = [client.status(one)["status"] for one in ids]
    assert ends == ["completed", "completed", "failed"] * 2 + ["failed"] * 3
    eventually(lambda: server.sandboxes() == [])
    assert server.terminate() == 0
    in_files(server.data_dir, places)
    in_files(server.temporary, places)
    assert places == set()
    assert server.place.project is None or not found_in(server.place.project.dump())
    assert not found_in(server.output.read_bytes())


def in_files(folder: Path, places: set[str]) -> None:
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            # Ignore files that disappear during the search. A FIFO holds nothing, and reading it
            # would wait for a writer, or take what was meant for another reader.
            with suppress(OSError):
                if stat.S_ISFIFO(path.stat().st_mode):
                    continue
                if found_in(path.read_bytes()):
                    places.add(str(path))
