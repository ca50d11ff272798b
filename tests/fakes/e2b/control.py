"""Controls a fake from a test through its second port, in this process or in another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support.waiting import PATIENCE_SECONDS

API_KEY = "e2b_fake"

_REPOSITORY = Path(__file__).resolve().parents[3]
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class E2BControl:
    """Controls a running fake. Every call blocks for a round trip on loopback."""

    def __init__(self, url: str, control_url: str) -> None:
        self.url = url
        self.control_url = control_url

    @property
    def environment(self) -> dict[str, str]:
        """The variables that direct the SDK to this fake (docs/e2b.md section 2).

        Plain http is HTTP/1.1, where each open stream takes a connection, and more than the SDK's
        200 would wait for each other. It reads that limit when it is imported.
        """
        return {
            "E2B_API_KEY": API_KEY,
            "E2B_API_URL": self.url,
            "E2B_SANDBOX_URL": self.url,
            "E2B_MAX_CONNECTIONS": "5000",
            # These sandboxes, unlike E2B's, see the files of this machine.
            "ALLOW_LOCAL_REPOS": "true",
        }

    def start(self) -> None:
        """Start the server unless it runs already."""

    def stop(self) -> None:
        """Stop the server if this object started it."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stats(self) -> dict[str, Any]:
        """Return the counters."""
        found: dict[str, Any] = self._call("GET", "/stats")
        return found

    def requests(self, route: str | None = None) -> list[dict[str, Any]]:
        """Return the recorded requests, secrets included."""
        found: list[dict[str, Any]] = self._call("GET", "/requests")
        return [entry for entry in found if route in {None, entry["route"]}]

    def forget_requests(self) -> None:
        """Clear the record and the counts of requests."""
        self._call("DELETE", "/requests")

    def sandboxes(self) -> list[dict[str, Any]]:
        """Return the sandboxes that exist, running and paused."""
        found: list[dict[str, Any]] = self._call("GET", "/sandboxes")
        return found

    def add_fault(self, kind: str, **fields: Any) -> int:
        """Add a fault and return its number; the fields are those of `Fault`."""
        number: int = self._call("POST", "/faults", {"kind": kind, **fields})
        return number

    def remove_faults(self, number: int | None = None) -> None:
        """Remove one fault, or all."""
        self._call("DELETE", "/faults" if number is None else f"/faults/{number}")

    def crash(self, sandbox_id: str) -> None:
        """Kill all processes of a sandbox; its streams drop and it answers 502."""
        self._call("POST", f"/sandboxes/{sandbox_id}/crash")

    def expire(self, sandbox_id: str) -> None:
        """Expire a sandbox now."""
        self._call("POST", f"/sandboxes/{sandbox_id}/expire")

    def set_envd(self, sandbox_id: str, *, up: bool) -> None:
        """Make envd of a running sandbox unreachable, or reachable again."""
        self._call("POST", f"/sandboxes/{sandbox_id}/{'envd_up' if up else 'envd_down'}")

    def refuse(self, seconds: float | None = None, *, streams: bool = False) -> None:
        """Refuse connections until `accept` or for a while; with `streams` drop open ones too.

        A process that uses the SDK meanwhile may abort when it exits (docs/e2b.md section 1): let
        it be a child whose exit code does not matter.
        """
        self._call("POST", "/refuse", {"seconds": seconds, "streams": streams})

    def cut(self) -> None:
        """Drop every connection at once, as when all commands share one over HTTP/2."""
        self._call("POST", "/cut")

    def accept(self) -> None:
        """Accept connections again."""
        self._call("POST", "/accept")

    def configure(self, **settings: Any) -> None:
        """Change fields of `e2b_control_plane.Settings`."""
        self._call("POST", "/settings", settings)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control_url + path, data, method=method)
        with _DIRECT.open(request, timeout=PATIENCE_SECONDS) as response:
            return json.load(response)


class E2BServerProcess(E2BControl):
    """Runs the server in a separate process, which ends with this process in any case.

    Its sandboxes are in `folder`, otherwise where temporary files are.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__("", "")
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the server; return when it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.e2b.server", "--until-stdin-closes"],
            cwd=_REPOSITORY,
            env={**os.environ, "TMPDIR": str(self._folder)} if self._folder else None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.url = self._process.stdout.readline().strip()
        self.control_url = self._process.stdout.readline().strip()

    @property
    def pid(self) -> int:
        """The process id of the server, to measure it."""
        assert self._process
        return self._process.pid

    def stop(self) -> None:
        """Stop the server and remove every sandbox, process and file."""
        if self._process:
            self._process.communicate(timeout=PATIENCE_SECONDS)
