"""Serves the URL of a local Supabase: routes to PostgREST, sign-in and public keys.

It runs in its own process. It reads commands as lines of JSON from its standard input and answers
each with a line on its standard output. It ends when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import h11
import jwt
import psycopg

from tests.support.supabase.accounts import Accounts, Refused
from tests.support.supabase.http import Reply, Request, UpstreamPool, Wire, json_reply
from tests.support.supabase.keys import Json, SigningKey

REST = b"/rest/v1"
AUTH = b"/auth/v1"
KEY_SET = b"/auth/v1/.well-known/jwks.json"


class Gateway:
    """Answers requests; commands change its behaviour at run time."""

    def __init__(self, order: Json) -> None:
        self._rest = UpstreamPool(Path(order["rest_socket"]))
        self._api_keys = {key.encode() for key in order["api_keys"]}
        self._database_url = order["database_url"]
        self._accounts = Accounts(self._database_url, "")
        self._published: Json = {}
        self._delay_seconds = 0.0
        self._counts: Counter[str] = Counter()
        self.orders: dict[str, Callable[[Any], Any]] = {
            "keys": self._set_keys,
            "delay": self._set_delay,
            "requests": lambda _: self._counts,
            "reset_requests": lambda _: self._counts.clear(),
        }

    def set_address(self, port: int) -> None:
        """Set the address that clients use for this gateway."""
        self._accounts = Accounts(self._database_url, f"http://127.0.0.1:{port}/auth/v1")

    def _set_keys(self, keys: Json) -> None:
        self._published = keys["published"]
        self._accounts.key = SigningKey(**keys["signing"])
        self._accounts.accepted = jwt.PyJWKSet.from_dict(keys["accepted"]).keys

    def _set_delay(self, seconds: float) -> None:
        self._delay_seconds = seconds

    async def answer(self, request: Request) -> Reply:
        """Answer one request, with half of the delay before the work and half after it."""
        method, target = request.method, request.target
        path, _, query = target.partition(b"?")
        self._counts[f"{method.decode()} {path.decode(errors='replace')}"] += 1
        await asyncio.sleep(self._delay_seconds / 2)
        if method == b"OPTIONS":
            answer = _preflight(request)
        elif path == KEY_SET:
            answer = json_reply(200, self._published)
        elif request.header(b"apikey") not in self._api_keys:
            hint = "Send the project's anon or service_role key in the header apikey."
            answer = json_reply(401, {"message": "Invalid API key", "hint": hint})
        elif path.startswith(REST + b"/"):
            answer = await self._forward(request, target[len(REST) :])
        elif path.startswith(AUTH + b"/"):
            route = f"{method.decode()} {path[len(AUTH) :].decode(errors='replace')}"
            answer = await self._sign_in(route, query.decode(errors="replace"), request)
        else:
            answer = json_reply(404, {"message": "no Route matched with those values"})
        await asyncio.sleep(self._delay_seconds / 2)
        return answer

    async def _forward(self, request: Request, target: bytes) -> Reply:
        headers = request.headers
        if not request.header(b"authorization"):
            headers = [*headers, (b"authorization", b"Bearer " + request.header(b"apikey"))]
        try:
            return await self._rest.exchange(Request(request.method, target, headers, request.body))
        except ConnectionResetError:
            return json_reply(502, {"message": "An invalid response was received from PostgREST"})
        except OSError:
            return json_reply(503, {"message": "PostgREST is not available"})

    async def _sign_in(self, route: str, query: str, request: Request) -> Reply:
        options = parse_qs(query)
        scope = options.get("scope", ["global"])[0]
        if route == "POST /token":
            route += f" {options.get('grant_type', [''])[0]}"
        works: dict[str, Callable[[Json], Json]] = {
            "POST /signup": self._accounts.sign_up,
            "POST /token password": self._accounts.sign_in,
            "POST /token refresh_token": self._accounts.refresh,
            "GET /user": lambda _: self._accounts.show(_bearer(request)),
            "PUT /user": lambda body: self._accounts.change(_bearer(request), body),
            "POST /logout": lambda _: self._accounts.sign_out(_bearer(request), scope),
            "GET /health": lambda _: {"name": "GoTrue"},
        }
        if route not in works:
            return json_reply(404, {"message": "no Route matched with those values"})
        try:
            body = json.loads(request.body or b"{}")
            if not isinstance(body, dict):
                return json_reply(400, {"code": 400, "error_code": "bad_json", "msg": "no object"})
            return json_reply(200, await asyncio.to_thread(works[route], body))
        except Refused as error:
            return json_reply(error.status, error.body)
        except ValueError:
            return json_reply(400, {"code": 400, "error_code": "bad_json", "msg": "not JSON"})
        except psycopg.Error:
            return json_reply(
                500, {"code": 500, "error_code": "unexpected_failure", "msg": "no database"}
            )


def _bearer(request: Request) -> str:
    return request.header(b"authorization").removeprefix(b"Bearer ").decode(errors="replace")


def _preflight(request: Request) -> Reply:
    wanted = request.header(b"access-control-request-headers").decode("latin-1")
    methods = "GET, HEAD, POST, PATCH, PUT, DELETE"
    return json_reply(
        200,
        headers={
            "access-control-allow-methods": methods,
            "access-control-allow-headers": wanted or "*",
        },
    )


class ClientConnection(asyncio.Protocol):
    """A keep-alive connection of a client, whose requests are answered in order."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._wire = Wire(h11.SERVER)
        self._transport: asyncio.Transport | None = None
        self._work: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport that asyncio created."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Start the response if a complete request has arrived and none is in progress."""
        self._wire.receive(data)
        if self._work is None:
            self._begin()

    def _begin(self) -> None:
        request = self._wire.next_request()
        if request is not None:
            self._work = asyncio.create_task(self._serve(request))
        elif self._wire.awaits_continue and self._transport is not None:
            self._transport.write(self._wire.encode_continue())

    async def _serve(self, request: Request) -> None:
        answer = await self._gateway.answer(request)
        self._work = None
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(self._wire.encode_reply(answer))
        if self._wire.start_next_cycle():
            self._begin()
        else:
            self._transport.close()


async def serve() -> None:
    """Serve until standard input ends; read the configuration first, then print the address."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    first = json.loads(await orders.readline())
    gateway = Gateway(first)
    server = await loop.create_server(
        lambda: ClientConnection(gateway), "127.0.0.1", first["port"], backlog=512
    )
    port = server.sockets[0].getsockname()[1]
    gateway.set_address(port)
    _say(port)
    while line := await orders.readline():
        order, value = json.loads(line)
        _say(gateway.orders[order](value))


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve())
