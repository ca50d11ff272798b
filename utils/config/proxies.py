"""Brings the proxy variables of the environment to the form that libraries take.

httpx, requests and git read these variables themselves and fail each in its own way, long after the
start, for forms that people and desktops write.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from ipaddress import IPv6Address
from urllib.parse import quote, unquote

from utils.config.values import is_placeholder, unquoted
from utils.errors import ConfigurationError

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
BYPASS_VARIABLE = "NO_PROXY"

_PROXY = re.compile(
    r"(?:(?P<scheme>[A-Za-z0-9+.-]+):/{1,2})?(?:(?P<user>.*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?/?"
)
_SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})
_NONE = frozenset({"", "none", "direct", "direct://", "http://", "https://"})


def prepare_proxies(environment: MutableMapping[str, str]) -> None:
    """Bring the proxy variables to the form `http://host:port`, and the exceptions to plain names.

    Raises `ConfigurationError` for a proxy that cannot be used; the message does not repeat it.
    """
    for name in PROXY_VARIABLES:
        for spelled in (name, name.lower()):
            if spelled in environment:
                url = _proxy(spelled, unquoted(environment[spelled]))
                if url:
                    environment[spelled] = url
                else:
                    del environment[spelled]
    for spelled in (BYPASS_VARIABLE, BYPASS_VARIABLE.lower()):
        if spelled in environment:
            entries = map(_exception, re.split(r"[,;\s]+", unquoted(environment[spelled])))
            environment[spelled] = ",".join(filter(None, entries))


def _proxy(name: str, text: str) -> str:
    if text.lower() in _NONE:
        return ""
    match = _PROXY.fullmatch(text)
    scheme = ((match and match["scheme"]) or "http").lower()
    port = int(match["port"]) if match and match["port"] else None
    if match is None or is_placeholder(text) or port == 0 or (port or 0) > 65_535:  # noqa: PLR2004
        raise ConfigurationError(
            f"{name} must be the URL of a proxy, such as http://proxy.example:3128. Correct it, or "
            "unset it."
        )
    if scheme not in _SCHEMES:
        raise ConfigurationError(
            f"{name} names a kind of proxy that is not supported. Use an http:// or socks5:// "
            "proxy, or unset it."
        )
    userinfo = ""
    if match["user"]:
        user, colon, password = match["user"].partition(":")
        userinfo = f"{_quoted(user)}{colon}{_quoted(password)}@"
    return f"{scheme}://{userinfo}{match['host']}{'' if port is None else f':{port}'}"


def _quoted(text: str) -> str:
    return quote(unquote(text), safe="")


def _exception(entry: str) -> str:
    """Return a host or network that is reached without a proxy, in the form that httpx reads."""
    name = unquoted(entry)
    address = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?", name)
    if address:
        return address[1]
    if name.count(":") > 1:
        try:
            return str(IPv6Address(name))
        except ValueError:  # a network, which httpx cannot read
            return ""
    return name
