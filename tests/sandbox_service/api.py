"""Sends the requests of a user of sandboxes."""

from __future__ import annotations

from typing import Any, NamedTuple

from flask import Flask

from tests.support.backends import USER, Backend
from utils.config.groups.identity import FILE_NAME

Json = dict[str, Any]


class Reply(NamedTuple):
    """An answer: its status, its JSON or else an empty object, and its bytes."""

    status: int
    json: Json
    content: bytes
    retry_after: str | None


class Sandboxes:
    """The endpoints of sandboxes, for one user."""

    def __init__(self, app: Flask, user: str = USER) -> None:
        self._client = app.test_client()
        self._headers = {"X-User-ID": user}

    def send(self, method: str, path: str = "", **options: Any) -> Reply:
        """Send a request to a path below /api/v1/sandboxes."""
        answer = self._client.open(
            f"/api/v1/sandboxes{path}", method=method, headers=self._headers, **options
        )
        found = answer.get_json(silent=True)
        return Reply(
            answer.status_code,
            found if isinstance(found, dict) else {},
            answer.get_data(),
            answer.headers.get("Retry-After"),
        )

    def create(self, **body: Any) -> int:
        """Open a sandbox; return its number."""
        reply = self.send("POST", json=body)
        assert reply.status == 201, reply
        return int(reply.json["sandbox"]["id"])

    def row(self, sandbox_id: int) -> Json:
        """Return the row of a sandbox."""
        reply = self.send("GET", f"/{sandbox_id}")
        assert reply.status == 200, reply
        row: Json = reply.json["sandbox"]
        return row

    def execute(self, sandbox_id: int, command: Any, **body: Any) -> Reply:
        """Run a command."""
        return self.send("POST", f"/{sandbox_id}/execute", json={"command": command, **body})

    def output(self, sandbox_id: int, command: Any, **body: Any) -> str:
        """Run a command that must succeed; return what it printed."""
        reply = self.execute(sandbox_id, command, **body)
        assert (reply.status, reply.json.get("exit_code")) == (200, 0), reply
        return str(reply.json["stdout"])

    def end(self, sandbox_id: int) -> None:
        """End a sandbox."""
        assert self.send("DELETE", f"/{sandbox_id}").status == 204


def existing(backend: Backend) -> set[str]:
    """Return the sandboxes of users that exist at the provider of a backend."""
    cloud = backend.place.cloud
    if cloud is None:
        return {path.name for path in (backend.folder / "sandboxes").glob("sandbox-*")}
    deployment = (backend.folder / FILE_NAME).read_text()
    return {
        one["sandboxID"]
        for one in cloud.sandboxes()
        if one["metadata"]["deployment"] == deployment and "record_id" in one["metadata"]
    }
