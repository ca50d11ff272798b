"""Tests that sign-ins, refreshes and imports are limited for each address or user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import MakeApp
from utils.auth.rate_limits import IMPORTS_PER_USER

MOST = 5
pytestmark = pytest.mark.usefixtures("begun_minute")
PROXY = "10.0.0.9"

Ask = Callable[..., TestResponse]


@pytest.fixture
def begun_minute() -> Iterator[None]:
    """Set the clock to the beginning of a minute, because the counts end with it."""
    with time_machine.travel(datetime.now(UTC).replace(second=1)):
        yield


def asker(app: Flask, path: str) -> Ask:
    """Return a function that posts from an address, with an X-Forwarded-For header if given."""
    client = app.test_client()

    def ask(body: Any, address: str = "127.0.0.1", forwarded: str | None = None) -> TestResponse:
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        environ = {"REMOTE_ADDR": address}
        return client.post(path, json=body, headers=headers, environ_overrides=environ)

    return ask


def sign_in(ask: Ask, **where: Any) -> int:
    return ask({"user_id": str(uuid4())}, **where).status_code


def test_one_address_signs_in_so_often_only(make_app: MakeApp) -> None:
    app = make_app(sign_ins_per_address=MOST)
    ask = asker(app, "/api/auth/token")
    assert [sign_in(ask) for _ in range(MOST)] == [200] * MOST
    refused = ask({"user_id": str(uuid4())})
    assert (refused.status_code, refused.get_json()["code"]) == (429, "rate_limited")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    # All of these views share the limit, whatever they are sent.
    for path in ("/auth/refresh", "/auth/logout"):
        assert asker(app, path)({"refresh_token": "x"}).status_code == 429
    assert sign_in(ask, address="127.0.0.2") == 200


def test_one_user_signs_in_and_refreshes_so_often_only(make_app: MakeApp) -> None:
    app = make_app(sign_ins_per_user=MOST)
    ask, refresh = asker(app, "/auth/token"), asker(app, "/auth/refresh")
    user = {"user_id": str(uuid4())}
    pair = ask(user, "127.0.0.1").get_json()
    for number in range(MOST - 1):
        answer = refresh({"refresh_token": pair["refresh_token"]}, f"127.0.1.{number}")
        assert answer.status_code == 200
        pair = answer.get_json()
    for refused in (
        ask(user, "127.0.0.3"),
        refresh({"refresh_token": pair["refresh_token"]}, "127.0.0.4"),
    ):
        assert (refused.status_code, refused.get_json()["code"]) == (429, "rate_limited")
        assert int(refused.headers["Retry-After"]) > 0
    assert sign_in(ask) == 200


@pytest.mark.parametrize(
    ("trusted", "others"),
    [((), 429), (("10.0.0.0/8",), 200), ((PROXY,), 200), (("192.168.0.0/16", "::1"), 429)],
)
def test_only_a_trusted_proxy_names_the_client(
    make_app: MakeApp, trusted: tuple[str, ...], others: int
) -> None:
    ask = asker(make_app(sign_ins_per_address=MOST, trusted_proxies=trusted), "/auth/token")
    for _ in range(MOST):
        assert sign_in(ask, address=PROXY, forwarded="203.0.113.7") == 200
    assert sign_in(ask, address=PROXY, forwarded="203.0.113.8") == others


def test_a_client_cannot_choose_its_address_behind_a_proxy(make_app: MakeApp) -> None:
    ask = asker(make_app(sign_ins_per_address=MOST, trusted_proxies=(PROXY,)), "/auth/token")
    spoofed = [f"198.51.100.{number}, 203.0.113.7" for number in range(MOST + 1)]
    codes = [sign_in(ask, address=PROXY, forwarded=text) for text in spoofed]
    assert codes == [200] * MOST + [429]


def test_the_addresses_of_one_ipv6_network_count_together(make_app: MakeApp) -> None:
    ask = asker(make_app(sign_ins_per_address=MOST), "/auth/token")
    codes = [sign_in(ask, address=f"2001:db8::{number}") for number in range(1, MOST + 2)]
    assert codes == [200] * MOST + [429]
    assert sign_in(ask, address="2001:db8:0:1::1") == 200
    assert sign_in(ask, address="not an address") == 200


def test_one_user_imports_so_often_only(make_app: MakeApp, user: str) -> None:
    client = make_app().test_client()
    codes = [
        client.post("/migrate-legacy-tasks", json=[], headers={"X-User-ID": user}).status_code
        for _ in range(IMPORTS_PER_USER + 1)
    ]
    assert codes == [200] * IMPORTS_PER_USER + [429]


def test_status_polls_are_never_limited(make_app: MakeApp, user: str) -> None:
    client = make_app(sign_ins_per_address=1, sign_ins_per_user=1).test_client()
    codes = {client.get("/projects", headers={"X-User-ID": user}).status_code for _ in range(30)}
    assert codes == {200}
