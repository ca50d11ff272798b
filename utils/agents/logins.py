"""Reads a login file back from a sandbox, where the program may have renewed its tokens.

A refresh token can be used once: without the renewed one the next task cannot sign in. The file
comes from a sandbox and is not trusted. Only new values of the fields that a program renews are
taken, into the document that was sent; everything else stays as it was.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from utils.models.tasks import Json

MAX_RENEWED_LOGIN_BYTES = 65_536
"""Programs add sections of their own to the file, which are not taken."""

MAX_TOKEN_CHARACTERS = 16_384
MAX_TIME_CHARACTERS = 40

_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class LoginFormat:
    """Names fields of a login file, with dots between the levels.

    `tokens` and `times` are what the program renews. `identity` tells whose login it is: a file
    with another one is not taken.
    """

    tokens: Sequence[str]
    times: Sequence[str]
    identity: Sequence[str] = ()


def renewed_login(login_format: LoginFormat, sent: Json, content: bytes) -> Json | None:
    """Return the login with the renewed tokens of a file; None when there is nothing to take.

    A file is taken when it has a new value of a token and a later time, no token of the sent login
    is missing, and it belongs to the same account. Never raises.
    """
    found = _parsed(content)
    if found is None:
        return None
    if not _is_same_account(login_format, sent, found):
        return None
    login = copy.deepcopy(sent)
    for name in login_format.tokens:
        token = _value(found, name)
        if _value(sent, name) is not None and not _is_token(token):
            return None
        if _is_token(token):
            _set(login, name, token)
    if login == sent or not _copy_times(login_format, found, login):
        return None
    return login


def _is_same_account(login_format: LoginFormat, sent: Json, found: Json) -> bool:
    for name in login_format.identity:
        expected = _value(sent, name)
        if expected is not None and _value(found, name) != expected:
            return False
    for name in login_format.tokens:
        expected = _subject(_value(sent, name))
        if expected is not None and _subject(_value(found, name)) != expected:
            return False
    return True


def _subject(token: Any) -> str | None:
    """Return whom a signed token is about; None for another kind of token.

    Its signature is not verified: the provider does so when the token is used.
    """
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, TypeError, ValueError, AttributeError):
        return None
    subject = claims.get("sub")
    return subject if isinstance(subject, str) else None


def _copy_times(login_format: LoginFormat, found: Json, login: Json) -> bool:
    """Copy the times; return False when one of them is of another kind or earlier than before."""
    for name in login_format.times:
        before, now = _value(login, name), _value(found, name)
        if now is None or now == before:
            continue
        if before is not None and (type(now) is not type(before) or now < before):
            return False
        if not _is_time(now):
            return False
        _set(login, name, now)
    return True


def _parsed(content: bytes) -> Json | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_token(value: Any) -> bool:
    is_text = isinstance(value, str) and len(value) <= MAX_TOKEN_CHARACTERS
    return is_text and _TOKEN.fullmatch(value) is not None


def _is_time(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TIME_CHARACTERS and value.isascii() and value.isprintable()
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**14


def _value(login: Json, name: str) -> Any:
    value: Any = login
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _set(login: Json, name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for key in parents:
        login = login.setdefault(key, {})
    login[last] = value
