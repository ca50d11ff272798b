"""The codes that many endpoints answer with."""

from __future__ import annotations

from utils.api.error_codes.github import GITHUB_ERRORS
from utils.api.error_codes.pull_requests import PULL_REQUEST_ERRORS

ALWAYS = (
    "bad_request",
    "host_not_allowed",
    "invalid_request",
    "method_not_allowed",
    "internal_error",
    "database_unavailable",
    "unavailable",
)
TOKENS = (
    "anonymous_not_allowed",
    "session_ended",
    "token_expired",
    "token_invalid",
    "token_missing",
    "unauthenticated",
    "user_banned",
    "user_expired",
    "user_unknown",
    "sign_in_unavailable",
)
"""The codes of endpoints that exchange tokens."""

CALLER = (*TOKENS, "api_key_expired", "api_key_invalid", "user_id_invalid", "row_unreadable")
"""The codes of endpoints that need a signed-in caller."""

SCOPE = ("scope_insufficient",)
BODY = ("invalid_json", "body_too_large", "unsupported_media_type")
UPLOAD = ("invalid_json", "body_too_large")
REPEATABLE = ("idempotency_key_in_use", "idempotency_key_reused")
GITHUB = (
    *(entry.code for entry in GITHUB_ERRORS),
    "repository_not_allowed",
    "repository_not_on_github",
)
PULL_REQUEST = tuple(entry.code for entry in PULL_REQUEST_ERRORS)
"""The codes of endpoints that push a result."""
