"""Holds the faults to inject and the record of every request.

A fault says which requests it is for (`route`, `sandbox`), which of those it hits (`skip`, `every`,
`times`, counted for each sandbox alone with `per_sandbox`) and what happens (`kind`):

| kind   | effect |
|--------|--------|
| delay  | waits `seconds` before the request is handled |
| status | answers with `status`, `message` and `headers`; with `when="after"` it is handled first |
| drop   | drops the connection, before or after the request is handled |
| cut    | drops a stream after `after_events` events, `after_bytes` bytes or `seconds` |
| crash  | all processes of the sandbox die, 502 from then on; `seconds` after the request came |
| expire | the sandbox reaches the end of its time, `seconds` after the request came |
| slow   | writes the answer in pieces of `piece_bytes` with `seconds` between them |
| split  | cuts output events into `piece_bytes`, through characters and JSON lines |

Route names are those of `e2b_server.route_of`, with `*` as a wildcard: `create`, `kill`,
`process.Start`, `process.*`, `files.read`, `health`, `*`.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

Kind = Literal["delay", "status", "drop", "cut", "crash", "expire", "slow", "split"]

LOGGED_REQUESTS = 100_000
LOGGED_BODY_BYTES = 100_000

# What E2B answers (docs/e2b.md section 3); the numbers are the status.
DEFAULT_MESSAGES = {
    400: "Bad request",
    401: "Invalid API key format",
    403: "Your team is blocked",
    404: "Not found",
    429: "Rate limit exceeded, please try again later",
    500: "Internal server error",
    502: "Bad gateway",
    503: "No capacity to place the sandbox right now",
    504: "Gateway timeout",
}


def quota_message(limit: int) -> str:
    """Return the text that tells a quota's 429 from a rate limit (docs/e2b.md section 3)."""
    return f"you have reached the maximum number of concurrent E2B sandboxes ({limit})"


@dataclass(slots=True)
class Fault:
    """One fault to inject; see the table at the top of this module."""

    kind: Kind
    route: str = "*"
    sandbox: str = "*"
    every: int = 1
    skip: int = 0
    times: int | None = None
    per_sandbox: bool = False
    when: Literal["before", "after"] = "before"
    seconds: float = 0.0
    status: int = 500
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    after_events: int | None = None
    after_bytes: int | None = None
    piece_bytes: int = 0
    id: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind of fault: {self.kind}")
        self.message = self.message or DEFAULT_MESSAGES.get(self.status, "Error")


class Faults:
    """The active faults."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._seen: Counter[tuple[int, str]] = Counter()
        self._last = 0
        self.hits = 0

    def add(self, fault: Fault) -> int:
        """Add a fault and return its number."""
        self._last += 1
        fault.id = self._last
        self._faults[fault.id] = fault
        return fault.id

    def remove(self, number: int | None = None) -> None:
        """Remove one fault, or all."""
        if number is None:
            self._faults.clear()
        else:
            self._faults.pop(number, None)

    def hitting(self, route: str, sandbox: str) -> dict[Kind, Fault]:
        """Return the faults that hit this request, the first one of each kind."""
        hitting: dict[Kind, Fault] = {}
        for fault in self._faults.values():
            if self._hits(fault, route, sandbox) and fault.kind not in hitting:
                hitting[fault.kind] = fault
                fault.hits += 1
                self.hits += 1
        return hitting

    def _hits(self, fault: Fault, route: str, sandbox: str) -> bool:
        if not (fnmatchcase(route, fault.route) and fnmatchcase(sandbox, fault.sandbox)):
            return False
        key = (fault.id, sandbox if fault.per_sandbox else "")
        self._seen[key] += 1
        turn = self._seen[key] - fault.skip
        if turn <= 0 or turn % fault.every:
            return False
        return fault.times is None or turn // fault.every <= fault.times

    def describe(self) -> list[dict[str, Any]]:
        """Return the active faults with their numbers of hits."""
        return [asdict(fault) for fault in self._faults.values()]


@dataclass(slots=True)
class LoggedRequest:
    """A request with its secrets, so that a test can search it for leaks."""

    method: str
    target: str
    route: str
    sandbox: str
    headers: dict[str, str]
    body: str
    status: int = 0
    """The status of the answer; 0 when the connection was dropped or is still open."""


class Journal:
    """Counts and records requests."""

    def __init__(self) -> None:
        self.routes: Counter[str] = Counter()
        self.sandboxes: dict[str, Counter[str]] = {}
        self.requests: deque[LoggedRequest] = deque(maxlen=LOGGED_REQUESTS)
        self.open_streams = 0

    def add(self, request: LoggedRequest) -> LoggedRequest:
        """Record a request."""
        self.routes[request.route] += 1
        self.requests.append(request)
        if request.sandbox:
            self.sandboxes.setdefault(request.sandbox, Counter())[request.route] += 1
        return request

    def clear(self) -> None:
        """Clear all requests and counts."""
        self.routes.clear()
        self.sandboxes.clear()
        self.requests.clear()
