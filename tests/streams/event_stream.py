"""Reads server-sent events from a running server, as a client does."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

WAIT_SECONDS = 60.0


class Sent(NamedTuple):
    """One event of a stream. `number` is None for an event without `id`."""

    name: str
    data: Any
    number: int | None


class EventStream:
    """An open stream; use it as a context manager and iterate over its events.

    `comments` counts the comments that have come.
    """

    def __init__(self, port: int, path: str, headers: dict[str, str] | None = None) -> None:
        self.comments = 0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        accept = {"Accept": "text/event-stream", **(headers or {})}
        self._connection.request("GET", f"/api{path}", headers=accept)
        self.answer = self._connection.getresponse()

    def __enter__(self) -> EventStream:
        assert self.answer.status == http.HTTPStatus.OK, self.answer.read()
        assert self.answer.headers["Content-Type"].partition(";")[0] == "text/event-stream"
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut the connection."""
        self.answer.close()
        self._connection.close()

    def __iter__(self) -> Iterator[Sent]:
        fields: dict[str, str] = {}
        for raw in self.answer:
            line = raw.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                number = int(fields["id"]) if "id" in fields else None
                yield Sent(fields["event"], json.loads(fields["data"]), number)
                fields = {}
            else:
                fields = {}

    def until(self, name: str, **wanted: Any) -> Sent:
        """Read on to an event with this name and these values in its data; return it."""
        for sent in self:
            if sent.name == name and all(sent.data.get(k) == v for k, v in wanted.items()):
                return sent
        raise AssertionError(f"the stream ended without {name} {wanted}")


def refusal(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Ask for a stream; return the status and the body of the answer that comes instead."""
    asked = EventStream(port, path, headers)
    try:
        assert asked.answer.status != http.HTTPStatus.OK
        return asked.answer.status, asked.answer.read()
    finally:
        asked.close()
