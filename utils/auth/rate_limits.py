"""Limits how often one address and one user may sign in, and how often one user may import tasks.

The counts are in the memory of this server: each of several servers counts for itself, and a
sign-in costs no additional write to the database.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from ipaddress import IPv6Address, IPv6Network, ip_address
from threading import Lock
from typing import Any

from flask import Flask, request

from utils.config.settings import Settings
from utils.errors import RateLimited

LIMITED_VIEWS = ("auth.token", "auth.refresh", "auth.logout")
WINDOW_SECONDS = 60
IMPORTS_PER_USER = 20

_IPV6_PREFIX = 64  # the smallest block that one customer gets
_MAX_PROXIES = 20


class RateLimits:
    """Counts the requests of the present minute. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._window = 0
        self._counts: Counter[tuple[str, str]] = Counter()

    def protect(self, app: Flask) -> None:
        """Limit the requests of each address to the views that issue and revoke tokens."""
        for name in LIMITED_VIEWS:
            app.view_functions[name] = self._limited(app.view_functions[name])

    def check_sign_in(self, user_id: str) -> None:
        """Count a sign-in or refresh of a user. Raises `RateLimited`."""
        self._count("sign-ins", user_id, self._settings.sign_ins_per_user)

    def check_import(self, user_id: str) -> None:
        """Count an import of tasks of a user. Raises `RateLimited`."""
        self._count("imports", user_id, IMPORTS_PER_USER)

    def _limited(self, view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def run(**arguments: Any) -> Any:
            block = address_block(client_address(self._settings))
            self._count("sign-ins", block, self._settings.sign_ins_per_address)
            return view(**arguments)

        return run

    def _count(self, requests: str, sender: str, most: int) -> None:
        key = requests, sender
        now = int(time.time())
        window = now // WINDOW_SECONDS
        with self._lock:
            if window != self._window:
                self._window = window
                self._counts.clear()
            self._counts[key] += 1
            if self._counts[key] <= most:
                return
        seconds = WINDOW_SECONDS - now % WINDOW_SECONDS
        raise RateLimited(
            f"Too many {requests} in a short time. Try again in {seconds} seconds.",
            retry_after_seconds=seconds,
        )


def client_address(settings: Settings) -> str:
    """Return the address of the current request's client.

    X-Forwarded-For counts only as far as `TRUSTED_PROXIES` have written it.
    """
    address = request.remote_addr or ""
    given = request.headers.get("X-Forwarded-For", "").rsplit(",", _MAX_PROXIES)
    forwarded = [part.strip() for part in given if part.strip()]
    while forwarded and settings.is_trusted_proxy(address):
        address = forwarded.pop()
    return address


def address_block(address: str) -> str:
    """Return the address, or for IPv6 its network: one client has many addresses there."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, _IPV6_PREFIX), strict=False))
