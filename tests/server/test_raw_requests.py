"""Tests of requests as they arrive on the wire: cut up, in chunks, pipelined, malformed."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.live_server import LiveServer
from tests.support.raw_http import ask, connect, read_response
from utils.server.request_reader import RequestReader

pytestmark = pytest.mark.local_only("no task runs")

ORIGIN = "http://localhost:3000"
START = b"POST /auth/token HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n"
JSON_TYPE = b"Content-Type: application/json\r\n"
CHUNKED = START + JSON_TYPE + b"Transfer-Encoding: chunked\r\n"
USER = b'{"user_id": "123e4567-e89b-12d3-a456-426614174000"}'
IN_CHUNKS = b"".join(b"%X;a=b\r\n%c\r\n" % (1, byte) for byte in USER) + b"0\r\nX-A: b\r\n\r\n"
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"

MIB = 1024 * 1024
# More than the largest body: a chunk announces its size, and is refused when it has exceeded it.
MANY = b"x" * 26 * MIB

REFUSALS = {
    "a long URL": (b"GET /%b HTTP/1.1\r\n" % (b"a" * 9_000), 414, "url_too_long"),
    "a long URL without end": (b"GET /" + b"a" * 70_000, 414, "url_too_long"),
    "a large field": (START + b"A: %b\r\n\r\n" % (b"a" * 50_000), 431, "headers_too_large"),
    "a large header": (START + b"A: %b\r\n" % (b"a" * 20_000) * 4, 431, "headers_too_large"),
    "many fields": (START + b"A: b\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
    "no HTTP": (b"hello\r\n\r\n", 400, "bad_request"),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: localhost\n\n", 400, "bad_request"),
    "a field without a colon": (START + b"nothing\r\n\r\n", 400, "bad_request"),
    "another version": (b"GET / HTTP/9.9\r\n\r\n", 400, "bad_request"),
    "two lengths": (START + b"Content-Length: 1\r\n" * 2 + b"\r\n1", 400, "bad_request"),
    "a negative length": (START + b"Content-Length: -1\r\n\r\n", 400, "bad_request"),
    "a length of many digits": (
        START + b"Content-Length: %b\r\n\r\n" % (b"9" * 5_000), 400, "bad_request",
    ),
    "a huge length": (START + b"Content-Length: 99999999999\r\n\r\n", 413, "body_too_large"),
    "length and chunks": (CHUNKED + b"Content-Length: 1\r\n\r\n0\r\n\r\n", 400, "bad_request"),
    "another coding": (START + b"Transfer-Encoding: gzip\r\n\r\n", 501, "not_implemented"),
    "a chunk without a size": (CHUNKED + b"\r\nxyz\r\n", 400, "bad_request"),
    "a chunk with a sign": (CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n", 400, "bad_request"),
    "a chunk longer than it says": (CHUNKED + b"\r\n2\r\n{}{}\r\n0\r\n\r\n", 400, "bad_request"),
    "a huge chunk": (CHUNKED + b"\r\n%X\r\n%b" % (26 * MIB, MANY), 413, "body_too_large"),
    "a chunk size without end": (CHUNKED + b"\r\n" + b"0" * 70_000, 400, "bad_request"),
    "chunks of a byte": (CHUNKED + b"\r\n" + b"1\r\nx\r\n" * 20_000, 400, "bad_request"),
    "an extension without end": (CHUNKED + b"\r\n1;" + b"a" * 70_000, 400, "bad_request"),
    "a trailer without end": (CHUNKED + b"\r\n0\r\n" + b"A: b\r\n" * 20_000, 400, "bad_request"),
    "length and another coding": (
        START + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "not_implemented",
    ),
    "another protocol": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
    "a folded field": (START + b"A: b\r\n c\r\n\r\n", 400, "bad_request"),
    "an expectation": (START + b"Expect: miracles\r\n\r\n", 417, "expectation_failed"),
}  # fmt: skip


@pytest.mark.parametrize(("request_bytes", "status", "code"), REFUSALS.values(), ids=REFUSALS)
def test_the_web_server_refuses_in_json_with_cors(
    server: LiveServer, request_bytes: bytes, status: int, code: str
) -> None:
    answer = ask(server, request_bytes)
    body = json.loads(answer.body)
    assert (answer.status, body["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in answer.headers


def test_a_refusal_is_read_while_the_client_still_sends(server: LiveServer) -> None:
    with connect(server) as connection:
        connection.sendall(START + b"Content-Length: 50000000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x" * 10_000)
        assert read_response(connection).status == 413


def test_a_body_in_chunks_is_read(server: LiveServer) -> None:
    assert ask(server, CHUNKED + b"\r\n" + IN_CHUNKS).status == 200


def test_an_empty_body_in_chunks_is_a_missing_body(server: LiveServer) -> None:
    answer = ask(server, CHUNKED + b"\r\n0\r\n\r\n")
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "invalid_json")


def test_requests_that_arrive_together_are_answered_in_turn(server: LiveServer) -> None:
    with connect(server) as connection:
        connection.sendall(PING + b"\r\n" + CHUNKED + b"\r\n" + IN_CHUNKS + PING * 3)
        bodies = [json.loads(read_response(connection).body) for _ in range(5)]
    assert [body.get("message") for body in bodies] == ["pong", None, "pong", "pong", "pong"]


def test_a_request_byte_by_byte_is_answered(server: LiveServer) -> None:
    with connect(server) as connection:
        for byte in CHUNKED + b"\r\n" + IN_CHUNKS:
            connection.sendall(bytes([byte]))
        assert read_response(connection).status == 200


def test_a_client_that_asks_before_it_sends_the_body_is_told_to_go_on(server: LiveServer) -> None:
    with connect(server) as connection:
        length = b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(USER)
        connection.sendall(START + JSON_TYPE + length)
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(USER)
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_an_access_token_of_32_kilobytes_reaches_the_views(server: LiveServer) -> None:
    token = b"Authorization: Bearer %b\r\n\r\n" % (b"a" * 32_768)
    answer = ask(server, PING.replace(b"ping", b"auth/verify")[:-2] + token)
    assert (answer.status, json.loads(answer.body)["code"]) == (401, "token_invalid")


def test_a_client_that_closes_its_side_after_the_request_is_answered(server: LiveServer) -> None:
    with connect(server) as connection:
        connection.sendall(PING)
        connection.shutdown(1)
        assert read_response(connection).status == 200


def test_a_client_that_asks_for_another_protocol_is_answered_in_this_one(
    server: LiveServer,
) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(PING[:-2] + upgrade + PING)
        assert [read_response(connection).status for _ in range(2)] == [200, 200]


def test_a_client_of_the_old_version_is_answered(server: LiveServer) -> None:
    old = PING.replace(b"1.1", b"1.0")
    with connect(server) as connection:
        connection.sendall(old[:-2] + b"Connection: keep-alive\r\n\r\n" + old)
        kept, closed = (read_response(connection).headers["connection"] for _ in range(2))
    assert (kept, closed) == ("keep-alive", "close")


def test_an_answer_to_head_has_no_body(server: LiveServer) -> None:
    with connect(server) as connection:
        connection.sendall(PING.replace(b"GET", b"HEAD") + PING)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 200")
        assert read_response(connection).status == 200


def test_a_header_with_an_underscore_does_not_pass_for_another(server: LiveServer) -> None:
    answer = ask(server, PING[:-2] + b"X_Request_ID: marked\r\n\r\n")
    assert answer.headers["x-request-id"] != "marked"


@given(st.lists(st.integers(0, 2 * len(PING + CHUNKED + IN_CHUNKS + PING)), max_size=30))
def test_a_cut_request_is_found_as_a_whole_one(cuts: list[int]) -> None:
    sent = (PING + CHUNKED + b"\r\n" + IN_CHUNKS + PING) * 2
    reader, found = RequestReader(1_000), []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(sent)]):
        reader.add(sent[start:end])
        while (request := reader.take_request()) is not None:
            found.append((request.target, request.body, dict(request.headers)[b"Host"]))
    ping, token = (b"/ping", b"", b"localhost"), (b"/auth/token", USER, b"localhost")
    assert found == [ping, token, ping] * 2
    assert reader.is_idle
    assert reader.size == 0
