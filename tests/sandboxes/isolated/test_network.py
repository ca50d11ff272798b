"""The proxy of isolated sandboxes: whom it connects, and what it does with odd clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import ip_address

import pytest

from utils.git.hosts import Place
from utils.sandboxes.isolated import proxy as proxies
from utils.sandboxes.isolated.network import NetworkRules
from utils.sandboxes.isolated.proxy import MAX_HEAD_BYTES, Proxy

NAMED = NetworkRules(("git.example", "git.example:8443", "*.wide.example", "127.0.0.1:5000"))
PUBLIC = NetworkRules((), ("api.example",))
OPEN = NetworkRules((), is_open=True)


def place(text: str, scheme: str = "https") -> Place:
    host, _, port = text.partition("|")
    return Place(scheme, host, int(port) if port else None)


@pytest.mark.parametrize(
    ("rules", "host", "is_allowed"),
    [
        (NAMED, "git.example", True),
        (NAMED, "git.example|8443", True),
        (NAMED, "git.example|22", False),
        (NAMED, "other.example", False),
        (NAMED, "agit.example", False),
        (NAMED, "a.wide.example", True),
        (NAMED, "wide.example", False),
        (NAMED, "a.wide.example|22", False),
        (NAMED, "notwide.example", False),
        (PUBLIC, "api.example", True),
        (PUBLIC, "git.example", False),
        (OPEN, "any.example", True),
    ],
)
def test_a_name_is_allowed_that_an_entry_names(
    rules: NetworkRules, host: str, is_allowed: bool
) -> None:
    assert rules.allows_name(place(host)) is is_allowed


@pytest.mark.parametrize(
    ("rules", "host", "address", "is_allowed"),
    [
        (NAMED, "git.example", "93.184.215.14", True),
        (NAMED, "git.example", "10.0.0.1", True),
        (NAMED, "git.example", "127.0.0.1", False),
        (NAMED, "git.example", "169.254.169.254", False),
        (NAMED, "127.0.0.1|5000", "127.0.0.1", True),
        (NAMED, "a.wide.example", "93.184.215.14", True),
        (NAMED, "a.wide.example", "10.0.0.1", False),
        (PUBLIC, "api.example", "93.184.215.14", True),
        (PUBLIC, "api.example", "10.0.0.1", False),
        (OPEN, "any.example", "::ffff:127.0.0.1", False),
        (OPEN, "any.example", "64:ff9b::7f00:1", False),
        (OPEN, "any.example", "0.0.0.0", False),
        (OPEN, "any.example", "192.168.1.1", False),
        (OPEN, "any.example", "fe80::1", False),
        (OPEN, "127.0.0.1|5000", "127.0.0.1", False),
        (OPEN, "localhost", "::1", False),
    ],
)
def test_an_address_is_checked_after_the_name(
    rules: NetworkRules, host: str, address: str, is_allowed: bool
) -> None:
    addresses = [ip_address(address)]
    assert rules.allowed_addresses(place(host), addresses) == (addresses if is_allowed else [])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """Provide the port of a server that returns what it gets and then closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])


@pytest.fixture
async def address(echo: int) -> AsyncIterator[tuple[str, int]]:
    """Provide the address of a proxy that connects to that server only."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0)
    where: tuple[str, int] = listening.getsockname()
    proxy = Proxy(NetworkRules((f"127.0.0.1:{echo}",)))
    await proxy.serve(listening)
    yield where
    await proxy.close()


async def send(address: tuple[str, int], request: bytes) -> bytes:
    """Send bytes and then the end; return everything that comes back."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.anyio
async def test_a_tunnel_passes_everything_on(address: tuple[str, int], echo: int) -> None:
    sent = bytes(range(256)) * 10_000
    answer = await send(address, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n%b" % (echo, sent))
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n" + sent


@pytest.mark.anyio
async def test_a_plain_request_is_for_its_host_alone(address: tuple[str, int], echo: int) -> None:
    head = b"Host: other.example\r\nProxy-Authorization: x\r\nConnection: keep-alive\r\nA: b\r\n"
    answer = await send(
        address, b"GET http://127.0.0.1:%d/path?query HTTP/1.1\r\n%b\r\nbody" % (echo, head)
    )
    assert answer == (
        b"GET /path?query HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\nA: b\r\n\r\nbody"
        % echo
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET ftp://127.0.0.1/ HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT 127.0.0.1:PORT@evil.example:443 HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT 0x7f000001:PORT HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT [::ffff:127.0.0.1]:PORT HTTP/1.1\r\n\r\n", b"403"),
        (b"CONNECT localhost:PORT HTTP/1.1\r\n\r\n", b"403"),
        (b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n", b"403"),
        (b"GET http://127.0.0.1/ HTTP/1.1\r\n" + b"A: b\r\n" * MAX_HEAD_BYTES, b"431"),
    ],
)
async def test_an_odd_request_is_refused(
    address: tuple[str, int], echo: int, request_text: bytes, status: bytes
) -> None:
    answer = await send(address, request_text.replace(b"PORT", str(echo).encode()))
    assert answer.split(b" ")[1] == status


@pytest.mark.anyio
async def test_connections_above_the_limit_are_closed_and_slow_ones_end(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxies, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(proxies, "HEAD_SECONDS", 1.0)
    slow = [await asyncio.open_connection(*address) for _ in range(2)]
    slow.append(await asyncio.open_connection(*address))
    for reader, writer in reversed(slow):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
