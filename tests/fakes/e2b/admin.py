"""Serves the fake's second port: tests set faults and read counters there. No fault affects it.

| request | effect |
|---------|--------|
| GET /stats | counters of requests, sandboxes, processes, streams and threads |
| GET /requests, DELETE /requests | the record of requests; forget it |
| GET /sandboxes | the sandboxes that exist, with their folders and create requests |
| POST /sandboxes/ID/crash, expire, envd_up, envd_down | what it says |
| GET /faults, POST /faults, DELETE /faults, DELETE /faults/N | see `e2b_faults` |
| POST /refuse `{"seconds", "streams"}`, POST /accept | close the listener, for a while |
| POST /cut | drop every connection at once, as when all share one over HTTP/2 |
| POST /settings | change fields of `e2b_control_plane.Settings` |
"""

from __future__ import annotations

import asyncio
import re
import threading
from dataclasses import asdict
from typing import Any

from tests.fakes.e2b.cloud import Cloud
from tests.fakes.e2b.control_plane import Sandbox
from tests.fakes.e2b.faults import Fault
from tests.fakes.e2b.http import Connection, HttpServer, Reply, Request


class Admin:
    """Answers requests at the second port."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._server = HttpServer(self._handle)
        self._reopening: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.port

    async def open(self) -> None:
        """Listen."""
        await self._server.open()

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()
        if self._reopening:
            self._reopening.cancel()

    async def _handle(self, request: Request, connection: Connection) -> None:
        request.content = await request.body.read()
        try:
            reply = Reply.of(200, await self._answer(request))
        except (KeyError, TypeError, ValueError) as error:
            reply = Reply.error(400, f"{type(error).__name__}: {error}")
        await connection.send(reply)

    async def _answer(self, request: Request) -> Any:
        cloud = self._cloud
        if match := re.fullmatch(r"/sandboxes/(\w+)/(\w+)", request.path):
            return await self._change(cloud.control_plane.sandboxes[match[1]], match[2])
        if request.path.startswith("/faults"):
            return self._faults(request)
        if request.method == "GET":
            return self._read(request.path)
        match (request.method, request.path):
            case ("DELETE", "/requests"):
                cloud.journal.clear()
            case ("POST", "/refuse"):
                await self._refuse(**request.json())
            case ("POST", "/accept"):
                await self._accept()
            case ("POST", "/cut"):
                self._drop_connections()
            case ("POST", "/settings"):
                self._set(request.json())
            case _:
                raise KeyError(request.path)
        return None

    def _read(self, path: str) -> Any:
        match path:
            case "/stats":
                return self._stats()
            case "/requests":
                return [asdict(entry) for entry in self._cloud.journal.requests]
            case "/sandboxes":
                return [_describe(item) for item in self._cloud.control_plane.sandboxes.values()]
        raise KeyError(path)

    def _faults(self, request: Request) -> Any:
        faults = self._cloud.faults
        if request.method == "POST":
            return faults.add(Fault(**request.json()))
        if request.method == "DELETE":
            number = request.path.removeprefix("/faults").removeprefix("/")
            return faults.remove(int(number) if number else None)
        return faults.describe()

    async def _change(self, sandbox: Sandbox, what: str) -> None:
        match what:
            case "crash":
                await self._cloud.control_plane.end(sandbox, "crashed")
            case "expire":
                await self._cloud.control_plane.end(sandbox, "expired")
            case "envd_up" | "envd_down":
                sandbox.envd_up = what == "envd_up"
            case _:
                raise KeyError(what)

    async def _refuse(self, *, seconds: float | None = None, streams: bool = False) -> None:
        wire = self._cloud.wire
        wire.close_listener()
        if streams:
            self._drop_connections()
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._reopening = loop.call_later(seconds, self._reopen)

    def _drop_connections(self) -> None:
        for connection in tuple(self._cloud.wire.connections):
            connection.abort()

    def _reopen(self) -> None:
        task = asyncio.get_running_loop().create_task(self._accept())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        if self._reopening:
            self._reopening.cancel()
            self._reopening = None
        await self._cloud.wire.open()

    def _set(self, changes: dict[str, Any]) -> None:
        settings = self._cloud.control_plane.settings
        unknown = changes.keys() - asdict(settings).keys()
        if unknown:
            raise KeyError(", ".join(unknown))
        for name, value in changes.items():
            setattr(settings, name, value)

    def _stats(self) -> dict[str, Any]:
        cloud = self._cloud
        sandboxes = cloud.control_plane.sandboxes.values()
        counts = cloud.control_plane.counts
        names = ("created", "killed", "expired", "crashed", "peak")
        return {
            "requests": dict(cloud.journal.routes),
            "sandbox_requests": {name: dict(n) for name, n in cloud.journal.sandboxes.items()},
            "sandboxes": {
                **{name: counts[name] for name in names},
                "alive": len(sandboxes),
                "running": sum(item.state == "running" for item in sandboxes),
                "paused": sum(item.state == "paused" for item in sandboxes),
            },
            "processes": sum(len(item.processes) for item in sandboxes),
            "open_streams": cloud.journal.open_streams,
            "connections": len(cloud.wire.connections),
            "fault_hits": cloud.faults.hits,
            "threads": threading.active_count(),
        }


def _describe(sandbox: Sandbox) -> dict[str, Any]:
    return {
        **sandbox.detail(),
        "root": str(sandbox.root),
        "home": str(sandbox.home),
        "request": sandbox.request,
        "pids": list(sandbox.processes),
    }
