"""Writes the Content-Security-Policy of the page: its own files, and no other host but Supabase."""

from __future__ import annotations

from urllib.parse import urlsplit


def content_policy(supabase_url: str | None) -> str:
    """Return the policy. Scripts and styles come from files only, never from the page's text."""
    connect = ["'self'"]
    if supabase_url:
        parts = urlsplit(supabase_url)
        connect.append(f"{parts.scheme}://{parts.netloc}")
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        # Images of a diff are made of its text.
        "img-src": "'self' blob:",
        "connect-src": " ".join(connect),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
