"""The way from an isolated sandbox into the network: a proxy for HTTP and HTTPS.

It runs in the server, on the event loop of the tasks, and accepts the connections of one sandbox
through a socket in the sandbox's own network. A client asks it to connect (CONNECT) or, for plain
HTTP, sends it the request with the whole address.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
import structlog
from anyio import to_thread

from utils.errors import RepositoryNotAllowed
from utils.git.hosts import DEFAULT_PORTS, Address, Place, canonical_host, resolve
from utils.sandboxes.isolated.network import NetworkRules

MAX_CONNECTIONS = 128
"""Most open connections of one sandbox; further ones are closed."""

MAX_RESOLVING = 4
"""Most names that are resolved at once: each takes a thread for as long as its name server."""

MAX_HEAD_BYTES = 16_384
MAX_REPORTED_HOSTS = 20
HEAD_SECONDS = 10.0
CONNECT_SECONDS = 20.0

IDLE_SECONDS = 900.0
"""A model may think for minutes before it answers."""

PIECE_BYTES = 65_536

_REQUEST = re.compile(rb"([A-Z]{1,20}) (\S{1,4096}) (HTTP/1\.[01])\r\n")
_DROPPED = re.compile(rb"(?im)^(?:proxy-[^:\r\n]*|connection|host)[ \t]*:[^\r\n]*\r\n")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

log = structlog.get_logger(__name__)


class _RefusedError(Exception):
    """The connection is refused; holds the status line's end and the words for the client."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.answer = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            f"Content-Length: {len(text.encode()) + 1}\r\n\r\n{text}\n"
        ).encode()


@dataclass(frozen=True, slots=True)
class _Request:
    """The host that a client wants to be connected to, and what it sends there first."""

    place: Place
    first: bytes
    is_tunnel: bool


class Proxy:
    """The proxy of one sandbox. For use on one event loop."""

    def __init__(self, rules: NetworkRules) -> None:
        self._rules = rules
        self._server: asyncio.Server | None = None
        self._resolving: anyio.CapacityLimiter | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._refused: dict[str, str] = {}
        self._report: Callable[[str], None] | None = None

    async def serve(self, listening: socket.socket) -> None:
        """Serve the connections to a socket, instead of those to an earlier one."""
        await self.close()
        self._resolving = anyio.CapacityLimiter(MAX_RESOLVING)
        self._server = await asyncio.start_server(
            self._accept, sock=listening, limit=MAX_HEAD_BYTES
        )

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._connections:
            task.cancel()
        if self._connections:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(self._connections)

    async def report_refusals(self, report: Callable[[str], None]) -> None:
        """Report each refused host once, until cancelled."""
        for text in self._refused.values():
            report(text)
        self._report = report
        try:
            await anyio.sleep_forever()
        finally:
            self._report = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the server starts a task for each connection
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await self._serve_client(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            request = await _read_request(reader)
            upstream = await self._connect(request.place)
        except _RefusedError as error:
            writer.write(error.answer)
            await writer.drain()
            return
        try:
            if request.is_tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            upstream[1].write(request.first)
            await _relay((reader, writer), upstream)
        finally:
            upstream[1].transport.abort()

    async def _connect(self, place: Place) -> Streams:
        """Connect to a host that the rules allow. Raises `_RefusedError`."""
        if not self._rules.allows_name(place):
            raise self._refusal(place, "it is not in the list of hosts that it may use")
        found: Sequence[Address] = ()
        with anyio.move_on_after(CONNECT_SECONDS):
            with contextlib.suppress(OSError):
                found = await to_thread.run_sync(
                    resolve, place, abandon_on_cancel=True, limiter=self._resolving
                )
            allowed = self._rules.allowed_addresses(place, found)
            if found and not allowed:
                raise self._refusal(place, "its address is in a private or local network")
            for address in allowed:
                with contextlib.suppress(OSError):
                    return await asyncio.open_connection(
                        str(address), place.connected_port, limit=PIECE_BYTES
                    )
        raise _RefusedError("502 Bad Gateway", f"{place.authority} cannot be reached.")

    def _refusal(self, place: Place, reason: str) -> _RefusedError:
        text = (
            f"The sandbox was not connected to {place.host}:{place.connected_port}: {reason}. An "
            "administrator can name it in ISOLATED_ALLOWED_HOSTS."
        )
        if place.authority not in self._refused and len(self._refused) < MAX_REPORTED_HOSTS:
            self._refused[place.authority] = text
            log.info(
                "connection refused", action="sandbox.connection_refused", host=place.authority
            )
            if self._report:
                self._report(text)
        return _RefusedError("403 Forbidden", text)


async def _read_request(reader: asyncio.StreamReader) -> _Request:
    """Read the head of a request. Raises `_RefusedError`."""
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _RefusedError(
            "431 Request Header Fields Too Large", "The head is too large."
        ) from None
    match = _REQUEST.match(head)
    place = _place(match[1], match[2]) if match else None
    if match is None or place is None:
        raise _RefusedError(
            "400 Bad Request", "This is a proxy for http:// and https:// addresses."
        )
    if match[1] == b"CONNECT":
        return _Request(place, b"", is_tunnel=True)
    parts = urlsplit(match[2].decode("ascii"))
    path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    # One request for each connection, because the next one may be for another host.
    first = b"%b %b %b\r\nHost: %b\r\nConnection: close\r\n%b" % (
        *(match[1], path.encode(), match[3], place.authority.encode()),
        _DROPPED.sub(b"", head[match.end() :]),
    )
    return _Request(place, first, is_tunnel=False)


def _place(method: bytes, target: bytes) -> Place | None:
    """Return the host that a request names, None when it names none."""
    try:
        text = target.decode("ascii")
        parts = urlsplit(f"https://{text}" if method == b"CONNECT" else text)
        port = parts.port
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.username:
            return None
        name = parts.hostname
        host = canonical_host(f"[{name}]" if ":" in name else name)
    except (ValueError, RepositoryNotAllowed):
        return None
    # A tunnel to port 80 is for plain HTTP, whose usual port it is.
    scheme = "http" if port == DEFAULT_PORTS["http"] else parts.scheme
    return Place(scheme, host, None if port == DEFAULT_PORTS[scheme] else port)


async def _relay(client: Streams, upstream: Streams) -> None:
    """Pass bytes on in both directions until the host has sent all, or nobody sends anything."""
    async with asyncio.timeout(IDLE_SECONDS) as idle, anyio.create_task_group() as tasks:
        tasks.start_soon(_pass_on, client[0], upstream[1], idle)
        await _pass_on(upstream[0], client[1], idle)
        # Nobody reads what the client might still send.
        tasks.cancel_scope.cancel()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: asyncio.Timeout
) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE_BYTES):
            idle.reschedule(asyncio.get_running_loop().time() + IDLE_SECONDS)
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
