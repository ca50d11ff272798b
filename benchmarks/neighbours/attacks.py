"""Attacks of one user, each of which goes on until it is told to end."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from benchmarks.connection import Connection, encode_request
from benchmarks.server import Server

POLL_SECONDS = 0.05
WAIT_SECONDS = 120
PAUSE_SECONDS = 0.2
ENDED = {"completed", "failed", "cancelled"}

RESULT = r"""printf '{"type":"result","subtype":"success","result":"Done."}\n'"""

# 12 MB of names, which the server reads from the result.
_MANY_NAMES = f"""
name=$(printf %0200d 0)
folder=$name/$name/$name/$name/$name/$name/$name/$name/$name/$name
mkdir -p "$folder"
cd "$folder"
for number in $(seq COUNT); do : >"$number-$name"; done
{RESULT}
"""
# More than MAX_OUTPUT_BYTES, in lines that resemble the variables.
_FLOOD = f"head -c COUNT /dev/zero | tr '\\0' a | fold -w 400\n{RESULT}"
_VARIABLES = 48
_IMPORTED = 1_000_000


class User:
    """A user of a server, with a connection of its own."""

    def __init__(self, server: Server) -> None:
        self._connection = Connection(server.address)
        signed_in = self._send("POST", "/auth/token", {"user_id": str(uuid4())}, None)
        self._token = str(signed_in["access_token"])

    def perform(self, prompt: str, repo_url: str) -> None:
        """Run a task to its end, whatever that is."""
        body = {"prompt": prompt, "repo_url": repo_url, "branch": "main"}
        task_id = self.call("POST", "/start-task", body)["task_id"]
        over_at = time.monotonic() + WAIT_SECONDS
        while self.call("GET", f"/task-status/{task_id}")["task"]["status"] not in ENDED:
            if time.monotonic() > over_at:
                raise TimeoutError("a task of the attack does not end")
            time.sleep(POLL_SECONDS)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the JSON of its answer."""
        return self._send(method, path, body, self._token)

    def send_refused(self, path: str, body: object) -> None:
        """Send a request that may be refused."""
        self._connection.send(encode_request("POST", f"/api{path}", body=body, token=self._token))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send(self, method: str, path: str, body: object, token: str | None) -> Any:
        request = encode_request(method, f"/api{path}", body=body, token=token)
        return self._connection.send(request).json()


@dataclass(frozen=True, slots=True)
class Scene:
    """The place of an attack: a server, a repository, and the host that prints too much."""

    server: Server
    repository: str
    chatty_host: str
    is_small: bool


Attack = Callable[[User, Scene], None]


def large_result(user: User, scene: Scene) -> None:
    """Leave a result with long names of many files."""
    count = 100 if scene.is_small else 5_000
    user.perform(_MANY_NAMES.replace("COUNT", str(count)), scene.repository)


def chatty_host(user: User, scene: Scene) -> None:
    """Clone from a host whose refusal has 200 KB of lines that look like errors."""
    user.perform("none", scene.chatty_host)


def flood_and_imports(user: User, scene: Scene) -> None:
    """Print what resembles 48 stored variables, and upload many empty tasks."""
    count = 100_000 if scene.is_small else 20_000_000
    variables = {f"VALUE_{number}": "a" * (300 + number) for number in range(_VARIABLES)}
    user.call("PUT", "/users/me", {"preferences": {"claudeCode": {"env": variables}}})
    # Refused after a few: imports are limited by user.
    user.send_refused("/migrate-legacy-tasks", [{}] * (1_000 if scene.is_small else _IMPORTED))
    user.perform(_FLOOD.replace("COUNT", str(count)), scene.repository)


@contextmanager
def under(attack: Attack, scene: Scene) -> Iterator[None]:
    """Repeat an attack in the block, one time after the other, as a user of its own."""
    over, failures = threading.Event(), list[BaseException]()

    def repeat() -> None:
        user = User(scene.server)
        try:
            while not over.is_set():
                attack(user, scene)
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            user.close()

    thread = threading.Thread(target=repeat)
    thread.start()
    time.sleep(PAUSE_SECONDS)
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise RuntimeError("the attack failed") from failures[0]


class _Refusing(http.server.BaseHTTPRequestHandler):
    body = b"error: GH013: Repository rule violations found for refs\n" * 3_600

    def do_GET(self) -> None:
        """Refuse with a long text, which git prints."""
        self.send_response(403)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serve_refusals() -> Iterator[str]:
    """Provide the address of a repository on a host that refuses everything at length."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/owner/name"
        finally:
            server.shutdown()
            thread.join()
