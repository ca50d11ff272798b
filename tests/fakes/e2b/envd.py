"""Answers envd, the daemon in each sandbox: commands and files over Connect in JSON.

Not modelled: terminals (`pty`), and users other than `user` and `root`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import os
import secrets
import shlex
import signal
import time
from collections.abc import AsyncGenerator
from typing import Any

from tests.fakes.e2b.connect import (
    STREAM_TYPE,
    RpcError,
    cut,
    envelope,
    envelopes,
    failed,
    last,
    replay,
)
from tests.fakes.e2b.control_plane import Sandbox, Settings
from tests.fakes.e2b.files import Paths, filesystem, read_file, write_files
from tests.fakes.e2b.http import Aborted, Reply, Request, Stream
from tests.fakes.e2b.processes import Command, Listener, Lost, Process, UserNamespace
from tests.fakes.e2b.reaper import MARKER
from tests.fakes.e2b.watching import Watcher, follow_watcher

KEEPALIVE_SECONDS = 90
ENVD_PORT = 49983
USERS = ("user", "root")

_SIGNALS = {"SIGNAL_SIGKILL": signal.SIGKILL, "SIGNAL_SIGTERM": signal.SIGTERM}


def unreachable(sandbox_id: str, sandbox: Sandbox | None) -> Reply | None:
    """Answer for a sandbox that the proxy in front of envd cannot reach (docs/e2b.md section 4)."""
    if sandbox is None or sandbox.state != "running":
        body = {"sandboxId": sandbox_id, "message": "The sandbox was not found", "code": 502}
        return Reply.of(502, body)
    if not sandbox.envd_up:
        message = "The sandbox is running but port is not open"
        body = {"sandboxId": sandbox_id, "message": message, "port": ENVD_PORT, "code": 502}
        return Reply.of(502, body)
    return None


def signed_for(sandbox: Sandbox, request: Request) -> bool:
    """Return True for a signed link of download_url or upload_url to this sandbox."""
    operation = "read" if request.method == "GET" else "write"
    query = request.query
    fields = [query.get("path", ""), operation, query.get("username", ""), sandbox.token]
    if "signature_expiration" in query:
        fields.append(query["signature_expiration"])
    digest = hashlib.sha256(":".join(fields).encode()).digest()
    expected = "v1_" + base64.b64encode(digest).rstrip(b"=").decode()
    return query.get("signature") == expected


def has_expired(request: Request) -> bool:
    """Return True for a signed link whose time is over."""
    return float(request.query.get("signature_expiration", "inf")) < time.time()


class Envd:
    """Carries out the requests of one sandbox."""

    def __init__(
        self, sandbox: Sandbox, server: str, settings: Settings, users: UserNamespace
    ) -> None:
        self._sandbox = sandbox
        self._users = users
        self._tools = settings.tools
        self._niceness = settings.niceness
        self._paths = Paths(sandbox.root)
        self._server = server
        self._exit_kept_seconds = settings.exit_kept_seconds

    async def answer(self, route: str, request: Request, piece_bytes: int) -> Reply | Stream:
        """Carry out a request; split output events into `piece_bytes` unless that is 0."""
        if route == "health":
            return Reply(204)
        if refusal := self._refusal(route, request):
            return refusal
        try:
            return await self._carry_out(route, request, piece_bytes)
        except RpcError as error:
            return error.reply()

    async def _carry_out(self, route: str, request: Request, piece_bytes: int) -> Reply | Stream:
        user = _user_of(request)
        match route:
            case "process.Start" | "process.Connect":
                return self._stream(route, request, piece_bytes, user)
            case "filesystem.WatchDir":
                return self._watch(request)
            case "files.read":
                return await read_file(self._paths, request, self._sandbox.gone)
            case "files.write":
                return await write_files(self._paths, request, self._sandbox.gone)
        return Reply.of(200, await self._unary(route, request))

    def _refusal(self, route: str, request: Request) -> Reply | None:
        refusal = self._unauthorized(request)
        if refusal and route.startswith("files.") and signed_for(self._sandbox, request):
            expired = Reply.error(401, "signature is already expired")
            return expired if has_expired(request) else None
        return refusal

    def _unauthorized(self, request: Request) -> Reply | None:
        if request.headers.get("x-access-token") == self._sandbox.token:
            return None
        return Reply.error(401, "unauthorized access, please provide a valid access token")

    async def _unary(self, route: str, request: Request) -> dict[str, Any]:
        service, _, method = route.partition(".")
        if service == "filesystem":
            if method in {"CreateWatcher", "GetWatcherEvents", "RemoveWatcher"}:
                return self._poll(method, request.json())
            return filesystem(self._paths, method, request.json())
        match method:
            case "List":
                return {"processes": [_info(item) for item in self._sandbox.processes.values()]}
            case "SendSignal":
                number = _SIGNALS.get(request.json().get("signal", ""))
                if number is None:
                    raise RpcError("unimplemented", "invalid signal")
                self._select(request.json()["process"]).signal(number)
                return {}
            case "SendInput":
                await _feed(self._select(request.json()["process"]), request.json()["input"])
                return {}
            case "CloseStdin":
                self._select(request.json()["process"]).close_stdin()
                return {}
        raise RpcError("unimplemented", f"the fake has no {route}")

    async def stream_input(self, request: Request) -> Reply:
        """Carry out StreamInput: one client stream of start, data and keepalive messages."""
        if refusal := self._unauthorized(request):
            return refusal
        process: Process | None = None
        try:
            async for message in envelopes(request):
                if start := message.get("start"):
                    process = self._select(start["process"])
                elif (data := message.get("data")) and process:
                    await _feed(process, data["input"])
        except RpcError as error:
            return Reply(200, last(error.code, str(error)), {"Content-Type": STREAM_TYPE})
        return Reply(200, envelope(b"{}") + last(), {"Content-Type": STREAM_TYPE})

    def _watch(self, request: Request) -> Stream:
        message = json.loads(request.content[5:] or b"{}")
        seconds = int(request.headers.get("connect-timeout-ms") or 0) / 1000
        try:
            name = self._open_watcher(message)
        except RpcError as error:
            return Stream(failed(error), STREAM_TYPE)
        return Stream(follow_watcher(self._sandbox.watchers[name], seconds), STREAM_TYPE)

    def _open_watcher(self, message: dict[str, Any]) -> str:
        name = secrets.token_hex(8)
        self._sandbox.watchers[name] = Watcher(self._paths, message)
        return name

    def _poll(self, method: str, message: dict[str, Any]) -> dict[str, Any]:
        watchers = self._sandbox.watchers
        if method == "CreateWatcher":
            return {"watcherId": self._open_watcher(message)}
        watcher = watchers.get(message["watcherId"])
        if watcher is None:
            raise RpcError("not_found", f"watcher with id {message['watcherId']} not found")
        if method == "GetWatcherEvents":
            return {"events": watcher.pop_events()}
        watcher.close()
        del watchers[message["watcherId"]]
        return {}

    def _stream(self, route: str, request: Request, piece_bytes: int, user: str) -> Stream:
        message = json.loads(request.content[5:] or b"{}")
        seconds = int(request.headers.get("connect-timeout-ms") or 0) / 1000
        keepalive = int(request.headers.get("keepalive-ping-interval") or KEEPALIVE_SECONDS)
        try:
            if route == "process.Start":
                process = self._start(message, seconds, user)
                follower = _follow(process.listen(), keepalive, seconds)
            elif event := self._ended(message["process"]):
                follower = replay(event)
            else:
                follower = _follow(self._select(message["process"]).listen(), keepalive, seconds)
        except RpcError as error:
            follower = failed(error)
        return Stream(cut(follower, piece_bytes) if piece_bytes else follower, STREAM_TYPE)

    def _start(self, message: dict[str, Any], seconds: float, user: str) -> Process:
        if message.get("pty"):
            raise RpcError("unimplemented", "the fake has no terminals")
        config = message["process"]
        directory = self._paths.real(self._paths.in_text(config.get("cwd") or ""))
        if not directory.is_dir():
            raise RpcError("invalid_argument", f"cwd '{config['cwd']}' does not exist")
        named = [self._paths.in_text(item) for item in [config["cmd"], *config.get("args", [])]]
        arguments = self._users.command(_with_tools(named, self._tools), user)
        environment = self._environment(config.get("envs") or {})
        stdin = message.get("stdin", True)
        tag = message.get("tag")
        command = Command(config, tag, arguments, environment, directory, stdin)
        try:
            group = self._sandbox.group.pid
            process = Process(command, group, self._niceness, self._keep_exit)
        except (OSError, ValueError) as error:
            # A ValueError is a NUL in an argument or in a variable.
            raise RpcError("invalid_argument", f"error starting process: {error}") from error
        self._sandbox.processes[process.pid] = process
        self._sandbox.ended.pop(process.pid, None)
        if seconds:
            loop = asyncio.get_running_loop()
            # The stream ends at the deadline, before the end of the killed command is known.
            process.deadline = loop.call_later(seconds + 0.05, process.signal, signal.SIGKILL)
        return process

    def _environment(self, envs: dict[str, str]) -> dict[str, str]:
        given = {**(self._sandbox.request.get("envVars") or {}), **envs}
        return {
            MARKER: f"{self._server}/{self._sandbox.id}",
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._paths.home),
            "USER": "user",
            "LOGNAME": "user",
            "TMPDIR": str(self._sandbox.root / "tmp"),
            "E2B_SANDBOX": "true",
            "E2B_SANDBOX_ID": self._sandbox.id,
            **{name: self._paths.in_text(value) for name, value in given.items()},
        }

    def _keep_exit(self, process: Process) -> None:
        # Known for a while to those who come late, without its output (docs/e2b.md section 5.8).
        self._sandbox.processes.pop(process.pid, None)
        assert process.end_event is not None
        event = self._sandbox.ended[process.pid] = process.end_event
        loop = asyncio.get_running_loop()
        loop.call_later(self._exit_kept_seconds, self._forget, process.pid, event)

    def _forget(self, pid: int, event: bytes) -> None:
        if self._sandbox.ended.get(pid) is event:
            del self._sandbox.ended[pid]

    def _ended(self, selector: dict[str, Any]) -> tuple[int, bytes] | None:
        pid = selector.get("pid", 0)
        return (pid, self._sandbox.ended[pid]) if pid in self._sandbox.ended else None

    def _select(self, selector: dict[str, Any]) -> Process:
        for process in self._sandbox.processes.values():
            if selector.get("pid") == process.pid:
                return process
            if "tag" in selector and selector["tag"] == process.command.tag:
                return process
        name = " ".join(f"{key} {value}" for key, value in selector.items())
        raise RpcError("not_found", f"process with {name} not found")


def _user_of(request: Request) -> str:
    """Return the user of a request. Raise `RpcError` for an unknown one."""
    user = request.query.get("username")
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind == "Basic":
        user = base64.b64decode(value).decode().partition(":")[0]
    if user and user not in USERS:
        raise RpcError("unauthenticated", f"invalid username: '{user}'")
    return user or USERS[0]


def _with_tools(arguments: list[str], tools: str) -> list[str]:
    """Return the arguments of a login shell that finds the programs of its template.

    Its /etc/profile has set PATH anew, and may not name the programs of this machine either.
    """
    *first, text = arguments
    if first[-1:] != ["-c"]:
        return arguments
    path = ":".join(filter(None, (tools, os.environ.get("PATH"))))
    return [*first, f"PATH={shlex.quote(path)}; {text}"]


def _info(process: Process) -> dict[str, Any]:
    tag = {"tag": process.command.tag} if process.command.tag else {}
    return {"config": process.command.config, "pid": process.pid, **tag}


async def _feed(process: Process, message: dict[str, str]) -> None:
    try:
        await process.write(base64.b64decode(message["stdin"]))
    except (BrokenPipeError, KeyError, binascii.Error) as error:
        raise RpcError("internal", f"error writing to stdin: {error}") from error


async def _follow(listener: Listener, keepalive: float, seconds: float) -> AsyncGenerator[bytes]:
    """Yield a command's events until its end, the deadline or the loss of the sandbox."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds if seconds else float("inf")
    try:
        while True:
            try:
                async with asyncio.timeout_at(min(deadline, loop.time() + keepalive)):
                    event = await listener.get()
            except TimeoutError:
                if loop.time() >= deadline:
                    yield last("deadline_exceeded", "context deadline exceeded")
                    return
                event = b'{"event":{"keepalive":{}}}'
            if event is None:
                yield last()
                return
            if isinstance(event, Lost):
                if event.message is None:
                    raise Aborted
                yield last("unavailable", event.message)
                return
            yield envelope(event)
    finally:
        listener.detach()
