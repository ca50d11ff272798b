"""Validates web origins, and turns `https://*.example.com` into a pattern for its subdomains."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

ALL = "*"

_LABELS = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+"
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_FORM = "must be origins such as https://app.example.com or https://*.example.com, or *"


def web_origin(text: str) -> str:
    """Return an origin as browsers send it. Raises `ValueError` for another text."""
    if text == ALL:
        return ALL
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:  # its message quotes the text
        raise ValueError(_FORM) from None
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc.rstrip(":")
    is_origin = (
        parts.scheme in _DEFAULT_PORTS
        and _HOST.fullmatch(host)
        and parts.path in {"", "/"}
        and not parts.query
        and not parts.fragment
    )
    if not is_origin:
        raise ValueError(_FORM)
    if port in {None, _DEFAULT_PORTS[parts.scheme]}:
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{port}"


def origin_pattern(origin: str) -> str | re.Pattern[str]:
    """Return what flask-cors compares with the origin of a request.

    A plain text only where flask-cors does not take it for a regular expression.
    """
    if origin == ALL or not set(origin) & set("*["):
        return origin
    scheme, _, place = origin.partition("://")
    subdomains = _LABELS if place.startswith("*.") else ""
    rest = re.escape(place.removeprefix("*."))
    return re.compile(rf"{scheme}://{subdomains}{rest}\Z", re.IGNORECASE)
