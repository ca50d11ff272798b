"""Formats a token as the credentials that git and git hosts expect."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit


def credential_url(repo_url: str) -> str:
    """Return scheme, host and port of a URL; git sends the token to no other address."""
    parts = urlsplit(repo_url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "none://"


def credential_helper_output(repo_url: str, token: str | None) -> str:
    """Return the output of a git credential helper for a token; empty without a token.

    Uses the user name that the host documents for tokens. Hosts without a rule ignore the name.
    """
    if not token:
        return ""
    host = urlsplit(repo_url).hostname or ""
    if host == "bitbucket.org":
        user = "x-token-auth"
    elif host.startswith("gitlab."):
        user = "oauth2"
    else:
        user = "x-access-token"
    return f"username={user}\npassword={token}\n"


def authorization_header(repo_url: str, token: str) -> str:
    """Return the same credentials as the value of an HTTP Authorization header (Basic)."""
    lines = credential_helper_output(repo_url, token).splitlines()
    user, password = (line.partition("=")[2] for line in lines)
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
