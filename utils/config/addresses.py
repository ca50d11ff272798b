"""Validates addresses and hosts in settings. Error messages do not repeat the value."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?")


def web_address(url: str) -> str:
    """Return an address without its last slash. Raises `ValueError` for what can be none.

    It holds no name and no password: addresses are shown to users, and stand in logs.
    """
    if "@" in url:
        raise ValueError("must hold no name and no password, and so no @")
    # urlsplit itself drops line ends.
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("must hold no blank, no line end and nothing invisible")
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL that begins with https:// and a host")
    if not _has_possible_port(parts):
        raise ValueError("must have a port from 1 to 65535, or none")
    return url.rstrip("/")


def safe_address(url: str) -> str:
    """Return an address to send secrets to, as `web_address` does; mostly only https will do."""
    address = web_address(url)
    parts = urlsplit(address)
    host = parts.hostname or ""
    # A name without a dot is one of a network of containers, like `kong` in self-hosted Supabase.
    is_near = host in LOOPBACK_HOSTS or not set(host) & {".", ":"}
    if parts.scheme == "http" and not is_near:
        raise ValueError(
            "must begin with https://; http:// is for this machine and for container networks only"
        )
    return address


def host_name(text: str) -> str:
    """Return the name of a host, maybe with a port. Raises `ValueError` for anything else."""
    if not _HOST.fullmatch(text):
        raise ValueError("must name hosts only, such as git.example or git.example:8443")
    return text


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:  # it quotes what it does not understand
        return None


def _has_possible_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:  # it quotes the port
        return False
