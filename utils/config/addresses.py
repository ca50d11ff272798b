"""Validates URLs and host names of the settings. Error messages never repeat the value."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from utils.config.values import is_placeholder

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?")


def web_address(url: str) -> str:
    """Return a URL without trailing slashes. Raises `ValueError` for an invalid one.

    A user name or password is not allowed, because URLs are shown to users and logged.
    """
    if "@" in url:
        raise ValueError("must not contain a user name or password, and so no @")
    if is_placeholder(url):
        raise ValueError("must be a real address; this is a placeholder")
    # urlsplit silently removes line ends.
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("must not contain spaces, line ends or invisible characters")
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL that starts with https:// and a host")
    if not _has_possible_port(parts):
        raise ValueError("must have a port from 1 to 65535, or none")
    return url.rstrip("/")


def safe_address(url: str) -> str:
    """Check a URL that secrets are sent to, as `web_address` does, and require https.

    http is allowed for this machine and for host names without a dot.
    """
    address = web_address(url)
    parts = urlsplit(address)
    host = parts.hostname or ""
    # Container networks have host names without a dot, such as `kong` in self-hosted Supabase.
    is_near = host in LOOPBACK_HOSTS or not set(host) & {".", ":"}
    if parts.scheme == "http" and not is_near:
        raise ValueError(
            "must start with https://; http:// is allowed only for this machine and container "
            "networks"
        )
    return address


def host_name(text: str) -> str:
    """Check a host name with an optional port and return it. Raises `ValueError`."""
    if not _HOST.fullmatch(text):
        raise ValueError("must be host names only, such as git.example or git.example:8443")
    return text


def listening_address(text: str) -> str:
    """Return an address to listen on: an IP address or a host name. Raises `ValueError`."""
    address = {"*": "0.0.0.0", "::": "::"}.get(text, text)  # noqa: S104
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if ":" in address:
        try:
            return str(IPv6Address(address))
        except AddressValueError:
            pass
    elif _HOST.fullmatch(address):
        return address
    raise ValueError(
        "must be an address of this machine without https:// and port, such as 127.0.0.1 or "
        "0.0.0.0; set the port as PORT"
    )


def expanded(path: Path) -> Path:
    """Return a path with `~` replaced by the home folder. Raises `ValueError`."""
    if "://" in str(path) or str(path).startswith("file:"):
        raise ValueError("must be a path, not a URL")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("begins with ~ and the name of a user who has no home folder") from None


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:  # its message quotes the URL
        return None


def _has_possible_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:  # its message quotes the port
        return False
