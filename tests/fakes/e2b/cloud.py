"""Routes each request of the fake cloud through faults to the control plane or envd."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import tempfile
import traceback
from collections.abc import AsyncGenerator
from pathlib import Path

from tests.fakes.e2b.control_plane import ControlPlane, Sandbox, Settings
from tests.fakes.e2b.envd import Envd, signed_for, unreachable
from tests.fakes.e2b.faults import LOGGED_BODY_BYTES, Fault, Faults, Journal, Kind, LoggedRequest
from tests.fakes.e2b.http import Aborted, Connection, HttpServer, Pace, Reply, Request, Stream
from tests.fakes.e2b.processes import UserNamespace
from tests.fakes.e2b.reaper import end_marked
from tests.fakes.e2b.templates import Templates

_CONTROL_PLANE = (
    ("create", "POST", r"/v2/sandboxes"),
    ("list", "GET", r"/v2/sandboxes"),
    ("connect", "POST", r"/v2/sandboxes/([^/]+)/connect"),
    ("get_info", "GET", r"/sandboxes/([^/]+)"),
    ("kill", "DELETE", r"/sandboxes/([^/]+)"),
    ("set_timeout", "POST", r"/sandboxes/([^/]+)/timeout"),
    ("pause", "POST", r"/sandboxes/([^/]+)/pause"),
    ("metrics", "GET", r"/sandboxes/([^/]+)/metrics"),
    ("update_network", "PUT", r"/sandboxes/([^/]+)/network"),
    ("template.list", "GET", r"/v2/templates"),
    ("snapshot.save", "POST", r"/sandboxes/([^/]+)/snapshots"),
    ("snapshot.list", "GET", r"/snapshots"),
    ("snapshot.delete", "DELETE", r"/templates/([^/]+)"),
    ("template.create", "POST", r"/v3/templates"),
    ("template.start", "POST", r"/v2/templates/[^/]+/builds/[^/]+"),
    ("template.status", "GET", r"/templates/[^/]+/builds/[^/]+/status"),
)
_FILES = {"GET": "files.read", "POST": "files.write"}


def route_of(request: Request) -> tuple[str, str, bool]:
    """Return the name of a request's route, its sandbox, and True when envd answers it."""
    sandbox = request.headers.get("e2b-sandbox-id", "")
    if request.path == "/health":
        return "health", sandbox, True
    if request.path == "/files":
        return _FILES.get(request.method, "unknown"), sandbox, True
    if match := re.fullmatch(r"/(process|filesystem)\.\w+/(\w+)", request.path):
        return f"{match[1]}.{match[2]}", sandbox, True
    for name, method, pattern in _CONTROL_PLANE:
        if request.method == method and (match := re.fullmatch(pattern, request.path)):
            return name, "".join(match.groups()), False
    return "unknown", sandbox, False


class Cloud:
    """The fake cloud in one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="e2b-fake-")).resolve()
        self._token = secrets.token_hex(8)
        self.control_plane = ControlPlane(settings, self.root / "sandboxes", self._token)
        self.templates = Templates(self.control_plane)
        self.users = UserNamespace()
        self._starts = asyncio.Lock()
        self.faults = Faults()
        self.journal = Journal()
        self.wire = HttpServer(self._handle)

    async def close(self) -> None:
        """End all sandboxes, processes and files."""
        await self.wire.close()
        await self.control_plane.close()
        self.users.close()
        end_marked(self._token, None)
        shutil.rmtree(self.root, ignore_errors=True)

    async def _handle(self, request: Request, connection: Connection) -> None:
        route, sandbox_id, envd = route_of(request)
        if route == "process.StreamInput":
            body = ""
        else:
            request.content = await request.body.read()
            body = request.content[:LOGGED_BODY_BYTES].decode("utf-8", "replace")
        entry = LoggedRequest(
            request.method, request.target, route, sandbox_id, request.headers, body
        )
        self.journal.add(entry)
        hitting = self.faults.hitting(route, sandbox_id)
        try:
            reply = await self._answer(entry, request, hitting, envd=envd)
        except Aborted:
            raise
        except Exception as error:  # noqa: BLE001 - a mistake of the fake must be seen as one
            traceback.print_exc()
            reply = Reply.error(500, f"the fake failed: {error!r}")
        await self._send(entry, connection, reply, hitting)

    async def _answer(
        self, entry: LoggedRequest, request: Request, hitting: dict[Kind, Fault], *, envd: bool
    ) -> Reply | Stream:
        if delay := hitting.get("delay"):
            await asyncio.sleep(delay.seconds)
        if entry.route == "process.Start":
            # A start blocks the loop for a while. Many in one turn would hold the events of all
            # other commands, which would then come at once.
            async with self._starts:
                await asyncio.sleep(0)
        refusal = hitting.get("drop") or hitting.get("status")
        if refusal and refusal.when == "before":
            return _refuse(refusal)
        await self._end_sandbox(entry.sandbox, hitting)
        if envd:
            reply = await self._ask_envd(entry.route, entry.sandbox, request, hitting)
        elif entry.route.startswith("template."):
            reply = self.templates.answer(entry.route, request)
        elif entry.route.startswith("snapshot."):
            reply = self.control_plane.snapshots.answer(entry.route, request, entry.sandbox)
        else:
            reply = await self.control_plane.answer(entry.route, request, entry.sandbox)
        if not refusal:
            return reply
        if isinstance(reply, Stream):
            await reply.discard()
        return _refuse(refusal)

    async def _end_sandbox(self, sandbox_id: str, hitting: dict[Kind, Fault]) -> None:
        sandbox = self.control_plane.sandboxes.get(sandbox_id)
        kinds: tuple[tuple[Kind, str], ...] = (("crash", "crashed"), ("expire", "expired"))
        for kind, reason in kinds:
            fault = hitting.get(kind)
            if not fault or not sandbox:
                continue
            if fault.seconds:
                loop = asyncio.get_running_loop()
                loop.call_later(fault.seconds, self.control_plane.end_soon, sandbox, reason)
            else:
                await self.control_plane.end(sandbox, reason)

    async def _ask_envd(
        self, route: str, sandbox_id: str, request: Request, hitting: dict[Kind, Fault]
    ) -> Reply | Stream:
        sandbox = self._find(sandbox_id, request)
        if refusal := unreachable(sandbox_id, sandbox):
            return refusal
        assert sandbox
        envd = Envd(sandbox, self._token, self.control_plane.settings, self.users)
        if route == "process.StreamInput":
            return await envd.stream_input(request)
        split = hitting.get("split")
        return await envd.answer(route, request, split.piece_bytes if split else 0)

    def _find(self, sandbox_id: str, request: Request) -> Sandbox | None:
        sandboxes = self.control_plane.sandboxes
        if sandbox_id or "signature" not in request.query:
            return sandboxes.get(sandbox_id)
        # Signed links carry no id when one address serves all sandboxes (docs/e2b.md section 2).
        return next((item for item in sandboxes.values() if signed_for(item, request)), None)

    async def _send(
        self,
        entry: LoggedRequest,
        connection: Connection,
        reply: Reply | Stream,
        hitting: dict[Kind, Fault],
    ) -> None:
        slow = hitting.get("slow")
        pace = Pace(slow.piece_bytes, slow.seconds) if slow else None
        if isinstance(reply, Reply):
            entry.status = reply.status
            await connection.send(reply, pace)
            return
        timer = None
        if cut := hitting.get("cut"):
            reply = Stream(_cut_after(reply.pieces, cut), reply.content_type)
            if cut.seconds:
                timer = asyncio.get_running_loop().call_later(cut.seconds, connection.abort)
        self.journal.open_streams += 1
        try:
            await connection.send_stream(reply, pace)
            entry.status = 200
        finally:
            self.journal.open_streams -= 1
            if timer:
                timer.cancel()


def _refuse(fault: Fault) -> Reply:
    if fault.kind == "drop":
        raise Aborted
    return Reply.error(fault.status, fault.message, fault.headers)


async def _cut_after(pieces: AsyncGenerator[bytes], fault: Fault) -> AsyncGenerator[bytes]:
    """Yield the fault's number of events or bytes, then drop the connection."""
    events, left = 0, fault.after_bytes
    try:
        async for piece in pieces:
            if left is not None and len(piece) >= left:
                if left:
                    yield piece[:left]
                raise Aborted
            yield piece
            events += 1
            if events == fault.after_events:
                raise Aborted
            left = None if left is None else left - len(piece)
    finally:
        await pieces.aclose()
