"""Answers E2B's control plane: creates, lists, extends, pauses and kills sandboxes.

See docs/e2b.md section 3. Templates are in `templates`. Not modelled: fork, volumes, secrets and
auto-resume.
The network rules of a create or update are checked and kept as they came, for tests to look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.fakes.e2b.faults import quota_message
from tests.fakes.e2b.http import Reply, Request
from tests.fakes.e2b.processes import Process, open_group
from tests.fakes.e2b.reaper import Reaper, signal_marked
from tests.fakes.e2b.snapshots import Snapshots
from tests.fakes.e2b.watching import Watcher

DEFAULT_TIMEOUT_SECONDS = 300
ENVD_VERSION = "0.6.13"
PAGE = 100
RULE_HOSTS = 10
RULE_VALUE_CHARACTERS = 2048

_DNS_NAME = re.compile(r"[a-zA-Z0-9_][\w-]{0,62}(?:\.[a-zA-Z0-9_][\w-]{0,62})*[._]?", re.ASCII)


@dataclass(slots=True)
class Settings:
    """Settings of the fake cloud; None means no restriction."""

    api_keys: list[str] | None = None
    """The keys that are accepted."""
    teams: dict[str, str] = field(default_factory=dict)
    """The team of a key, which sees only its own sandboxes; other keys have one each."""
    templates: list[str] | None = None
    failing_step: int | None = None
    """The step at which template builds fail."""
    max_concurrent: int | None = None
    max_timeout_seconds: int = 3600
    """The longest life of a sandbox in one piece: the limit of the plan."""
    pause_renews: bool = True
    """False when a resumed sandbox does not live as long as a new one."""
    transform_rules: bool = True
    """False for a team whose plan has no network rules."""
    exit_kept_seconds: float = 30.0
    page: int = PAGE
    """The number of sandboxes and templates in one page of a list."""
    tools: str = ""
    """Folders put before the PATH of every login shell, as a template's /usr/local/bin."""
    niceness: int = 0
    """That of commands. With 19 they leave the cores to a server that is measured."""


@dataclass(slots=True)
class Sandbox:
    """One sandbox: a folder, a process group and its description in the API."""

    id: str
    team: str
    request: dict[str, Any]
    """The body of the create request, unchanged."""
    root: Path
    group: subprocess.Popen[bytes]
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    state: str = "running"
    envd_up: bool = True
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    end: datetime = field(default_factory=lambda: datetime.now(UTC))
    timer: asyncio.TimerHandle | None = None
    processes: dict[int, Process] = field(default_factory=dict)
    ended: dict[int, bytes] = field(default_factory=dict)
    """End events of commands that have ended, kept for a while."""
    watchers: dict[str, Watcher] = field(default_factory=dict)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the sandbox has ended."""

    @property
    def home(self) -> Path:
        """The real folder behind /home/user."""
        return self.root / "home" / "user"

    def summary(self) -> dict[str, Any]:
        """Return the sandbox as create and connect answer it."""
        return {
            "templateID": self.request["templateID"],
            "sandboxID": self.id,
            "clientID": "fake",
            "envdVersion": ENVD_VERSION,
            "envdAccessToken": self.token,
            "domain": None,
        }

    def detail(self) -> dict[str, Any]:
        """Return the sandbox as get_info and list answer it."""
        paused = bool(self.request.get("autoPause"))
        return {
            **self.summary(),
            "startedAt": self.started.isoformat(),
            "endAt": self.end.isoformat(),
            "state": self.state,
            "cpuCount": 2,
            "memoryMB": 512,
            "diskSizeMB": 1024,
            "metadata": self.request.get("metadata") or {},
            "lifecycle": {"autoResume": False, "onTimeout": "pause" if paused else "kill"},
        }


class ControlPlane:
    """All sandboxes of the server."""

    def __init__(self, settings: Settings, root: Path, server: str) -> None:
        self.settings = settings
        self.sandboxes: dict[str, Sandbox] = {}
        self.counts: Counter[str] = Counter()
        self.server = server
        self._root = root
        self.snapshots = Snapshots(
            root.with_name("snapshots"), self.unauthorized, self.team_of, self.folder_of
        )
        self._reaper = Reaper(server)
        self._by_key: dict[tuple[str, str], Sandbox] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def answer(self, route: str, request: Request, sandbox_id: str) -> Reply:
        """Carry out a request."""
        if refusal := self.unauthorized(request):
            return refusal
        team = self.team_of(request)
        if route in {"create", "list"}:
            return self._create(request, team) if route == "create" else self._list(request, team)
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None or sandbox.team != team:
            return Reply.error(404, f"sandbox {sandbox_id} not found")
        if route == "kill":
            await self.end(sandbox, "killed")
            return Reply(204)
        if route == "pause":
            return await self._pause(sandbox, request.json())
        return self._other(route, sandbox, request)

    def folder_of(self, team: str, sandbox_id: str) -> Path | None:
        """Return the folder of a team's sandbox, None for another one."""
        sandbox = self.sandboxes.get(sandbox_id)
        return sandbox.root if sandbox and sandbox.team == team else None

    def team_of(self, request: Request) -> str:
        """Return the team of a request's key."""
        key = request.headers.get("x-api-key", "")
        return self.settings.teams.get(key, key)

    def unauthorized(self, request: Request) -> Reply | None:
        """Return the answer to an unknown key."""
        key = request.headers.get("x-api-key", "")
        if not key.startswith("e2b_"):
            return Reply.error(401, "Invalid API key format")
        if self.settings.api_keys is not None and key not in self.settings.api_keys:
            return Reply.error(401, "Cannot get the team for the given API key")
        return None

    def _other(self, route: str, sandbox: Sandbox, request: Request) -> Reply:
        match route:
            case "connect":
                return self._connect(sandbox, request.json())
            case "get_info":
                return Reply.of(200, sandbox.detail())
            case "set_timeout":
                return self._set_timeout(sandbox, request.json()["timeout"])
            case "update_network":
                return self._update_network(sandbox, request.json())
            case "metrics":
                return Reply.of(200, [_metrics()])
        return Reply.error(404, f"the fake has no {request.method} {request.path}")

    def _update_network(self, sandbox: Sandbox, network: dict[str, Any]) -> Reply:
        refusal = self._rules_refusal(network)
        if refusal is None:
            sandbox.request["network"] = network
        return refusal or Reply(204)

    def _create(self, request: Request, team: str) -> Reply:
        key = request.headers.get("idempotency-key")
        if key and (known := self._by_key.get((team, key))):
            if known.id in self.sandboxes:
                return Reply.of(201, known.summary())
            # What E2B answers is not known, so that nothing may depend on it.
            return Reply.error(409, "the sandbox of this idempotency key has ended")
        body = request.json()
        seconds = body.get("timeout", DEFAULT_TIMEOUT_SECONDS)
        if refusal := self._refusal(body, seconds, team):
            return refusal
        sandbox_id = secrets.token_hex(10)
        root = self._root / sandbox_id
        sandbox = Sandbox(sandbox_id, team, body, root, open_group())
        if snapshot := self.snapshots.find(team, body["templateID"]):
            shutil.copytree(snapshot.root, root, symlinks=True)
        sandbox.home.mkdir(parents=True, exist_ok=True)
        (root / "tmp").mkdir(exist_ok=True)
        # Login shells of the agent read it; those of our own commands read no profile of the home.
        path = ":".join(filter(None, (self.settings.tools, os.environ.get("PATH"))))
        (sandbox.home / ".profile").write_text(f"export PATH='{path}'\n", encoding="utf-8")
        self._live_until(sandbox, seconds)
        self.sandboxes[sandbox.id] = sandbox
        self.counts["created"] += 1
        self.counts["peak"] = max(self.counts["peak"], len(self.sandboxes))
        if key:
            self._by_key[team, key] = sandbox
        return Reply.of(201, sandbox.summary())

    def _refusal(self, body: dict[str, Any], seconds: int, team: str) -> Reply | None:
        template = body["templateID"]
        limit = self.settings.max_concurrent
        running = [item for item in self.sandboxes.values() if item.state == "running"]
        is_known = self.snapshots.find(team, template) or self._is_template(template)
        if not is_known:
            return Reply.error(404, f"template '{template}' not found")
        if limit is not None and len([item for item in running if item.team == team]) >= limit:
            return Reply.error(429, quota_message(limit))
        return self._timeout_refusal(seconds) or self._rules_refusal(body.get("network") or {})

    def _is_template(self, name: str) -> bool:
        # Ids of snapshots have the name of a version.
        known = self.settings.templates
        return name in known if known is not None else not name.endswith(":default")

    def _rules_refusal(self, network: dict[str, Any]) -> Reply | None:
        rules = network.get("rules")
        if not rules:
            return None
        if not self.settings.transform_rules:
            message = "Network transform rules are not available for your team."
        elif len(rules) > RULE_HOSTS:
            message = f"Network rules can have at most {RULE_HOSTS} domains."
        else:
            message = next(filter(None, map(_rule_error, rules, rules.values())), "")
        return Reply.error(400, message) if message else None

    def _timeout_refusal(self, seconds: int) -> Reply | None:
        if seconds <= self.settings.max_timeout_seconds:
            return None
        hours = self.settings.max_timeout_seconds // 3600
        return Reply.error(400, f"Timeout cannot be greater than {hours} hours")

    def _left_seconds(self, sandbox: Sandbox) -> float:
        """Return the time until the plan ends a sandbox, however often it is prolonged."""
        age = datetime.now(UTC) - sandbox.started
        return self.settings.max_timeout_seconds - age.total_seconds()

    def _live_until(self, sandbox: Sandbox, seconds: float) -> None:
        if sandbox.timer:
            sandbox.timer.cancel()
        seconds = max(min(seconds, self._left_seconds(sandbox)), 0)
        sandbox.end = datetime.now(UTC) + timedelta(seconds=seconds)
        loop = asyncio.get_running_loop()
        sandbox.timer = loop.call_later(seconds, self.end_soon, sandbox, "expired")

    def _set_timeout(self, sandbox: Sandbox, seconds: int) -> Reply:
        if self._left_seconds(sandbox) < 0:
            return Reply.error(400, "Max instance length exceeded")
        if sandbox.state == "paused":
            return Reply.error(404, f"sandbox {sandbox.id} is not running")
        self._live_until(sandbox, seconds)
        return Reply(204)

    def _connect(self, sandbox: Sandbox, body: dict[str, Any]) -> Reply:
        seconds = body.get("timeout", DEFAULT_TIMEOUT_SECONDS)
        if refusal := self._timeout_refusal(seconds):
            return refusal
        if sandbox.state == "running":
            if datetime.now(UTC) + timedelta(seconds=seconds) > sandbox.end:
                self._live_until(sandbox, seconds)
            return Reply.of(200, sandbox.summary())
        sandbox.state = "running"
        if self.settings.pause_renews:
            sandbox.started = datetime.now(UTC)
        self._live_until(sandbox, seconds)
        self._signal(sandbox, signal.SIGCONT)
        return Reply.of(201, sandbox.summary())

    async def _pause(self, sandbox: Sandbox, body: dict[str, Any]) -> Reply:
        if sandbox.state == "paused":
            return Reply.error(409, f"sandbox {sandbox.id} is already paused")
        sandbox.state = "paused"
        if sandbox.timer:
            sandbox.timer.cancel()
        if body.get("memory", True):
            self._signal(sandbox, signal.SIGSTOP)
            for process in sandbox.processes.values():
                process.drop_listeners(None)
        else:
            await self._end_processes(sandbox, None)
        return Reply(204)

    def _signal(self, sandbox: Sandbox, number: int) -> None:
        signal_marked(self.server, frozenset([sandbox.id]), number)

    def _list(self, request: Request, team: str) -> Reply:
        query = request.query
        wanted = {unquote(k): unquote(v) for k, v in parse_qsl(query.get("metadata", ""))}
        states = [state for state in query.get("state", "running,paused").split(",") if state]
        after = query.get("startedAfter")
        found = [
            item
            for item in sorted(self.sandboxes.values(), key=lambda item: (item.started, item.id))
            if item.team == team
            and item.state in states
            and wanted.items() <= (item.request.get("metadata") or {}).items()
            and query.get("template", item.request["templateID"]) == item.request["templateID"]
            and (not after or item.started >= datetime.fromisoformat(after))
        ]
        if query.get("order") != "asc":
            found.reverse()
        start = int(query.get("nextToken", 0))
        size = min(int(query.get("limit", PAGE)), self.settings.page)
        more = {"x-next-token": str(start + size)} if start + size < len(found) else {}
        return Reply.of(200, [item.detail() for item in found[start : start + size]], more)

    def end_soon(self, sandbox: Sandbox, reason: str) -> None:
        """End a sandbox from a timer."""
        task = asyncio.get_running_loop().create_task(self.end(sandbox, reason))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def end(self, sandbox: Sandbox, reason: str) -> None:
        """End a sandbox as `killed`, `expired` or `crashed`: with all its processes and files."""
        if self.sandboxes.get(sandbox.id) is not sandbox:
            return
        if reason == "expired" and sandbox.request.get("autoPause"):
            await self._pause(sandbox, {"memory": sandbox.request.get("autoPauseMemory", True)})
            return
        del self.sandboxes[sandbox.id]
        self.counts[reason] += 1
        if sandbox.timer:
            sandbox.timer.cancel()
        sandbox.state = reason
        sandbox.gone.set()
        gone = f"the connection to sandbox {sandbox.id} ended before the stream completed"
        await self._end_processes(sandbox, None if reason == "crashed" else gone)
        self._reaper.executor.submit(shutil.rmtree, sandbox.root, ignore_errors=True)

    async def _end_processes(self, sandbox: Sandbox, message: str | None) -> None:
        for watcher in sandbox.watchers.values():
            watcher.close()
        sandbox.watchers.clear()
        children = [process.lose(message) for process in sandbox.processes.values()]
        sandbox.processes.clear()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(sandbox.group.pid, signal.SIGKILL)
        last = [sandbox.group] if sandbox.id not in self.sandboxes else []
        await self._reaper.end(sandbox.id, [*children, *last])

    async def close(self) -> None:
        """End every sandbox."""
        await asyncio.gather(*(self.end(item, "killed") for item in [*self.sandboxes.values()]))
        await asyncio.gather(*self._ending)
        self._reaper.executor.shutdown()


def _rule_error(host: str, transforms: list[dict[str, Any]]) -> str:
    """Return what is wrong with the network rule of a host; empty when nothing is."""
    if not _DNS_NAME.fullmatch(host) or _is_address(host):
        return f'Rule domain "{host}" is not a valid domain name.'
    if len(transforms) > 1:
        return f'Domain "{host}" can have at most 1 transform rule.'
    headers = transforms[0]["transform"]["headers"] if transforms else {}
    for name, value in headers.items():
        if len(value) > RULE_VALUE_CHARACTERS:
            limit = f"exceeds maximum length of {RULE_VALUE_CHARACTERS} characters"
            return f'Value for header "{name}" in rule for domain "{host}" {limit}.'
    return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _metrics() -> dict[str, Any]:
    now = datetime.now(UTC)
    used = {"cpuUsedPct": 1.0, "memUsed": 1 << 27, "memCache": 0, "diskUsed": 1 << 28}
    total = {"cpuCount": 2, "memTotal": 1 << 29, "diskTotal": 1 << 30}
    return {"timestamp": now.isoformat(), "timestampUnix": int(now.timestamp()), **used, **total}
