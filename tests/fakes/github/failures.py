"""Failures of GitHub that no state of a repository causes, by name."""

from __future__ import annotations

import time

from tests.fakes.github.state import GraphQLRefused, Refused

SSO_URL = "https://github.com/orgs/team/sso?authorization_request=A1B2"

DOWN = ("hang", "reset", "cut", "html", "nonsense", "empty")
"""Failures that are no answer of GitHub's at all; the server produces them itself."""

LOST = "lost"
"""The failure of an answer that gets lost although the request was carried out."""

BODIES = {"html": b"<html>Welcome</html>", "nonsense": b"{", "empty": b"{}"}
"""Bodies of status 200 that do not come from GitHub's API, by the name of the failure."""


def refusal(name: str) -> Refused:
    """Return the answer of GitHub for a failure that is not in `DOWN`."""
    return {**_of_tokens(), **_of_limits(), **_of_places(), **_of_graphql()}[name]


def _of_tokens() -> dict[str, Refused]:
    return {
        "bad_credentials": Refused(401, "Bad credentials"),
        "one_time_password": Refused(
            401, "Must specify two-factor authentication OTP code.", X_GitHub_OTP="required; app"
        ),
        "sso": Refused(
            403,
            "Resource protected by organization SAML enforcement. You must grant your Personal "
            "Access token access to this organization.",
            X_GitHub_SSO=f"required; url={SSO_URL}",
        ),
    }


def _of_limits() -> dict[str, Refused]:
    return {
        "secondary_limit": Refused(
            403,
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try "
            "again.",
            Retry_After="7",
        ),
        "primary_limit": Refused(
            403,
            "API rate limit exceeded for user ID 1.",
            X_RateLimit_Remaining="0",
            X_RateLimit_Reset=str(int(time.time()) + 90),
        ),
        "too_many_requests": Refused(429, "Too many requests", Retry_After="3"),
        "app_permissions": Refused(
            422, "The permissions requested are not granted to this installation."
        ),
        "too_quick": Refused(422, "Validation Failed", "was submitted too quickly"),
    }


def _of_places() -> dict[str, Refused]:
    return {
        "ip_allow_list": Refused(
            403,
            "Although you appear to have the correct authorization credentials, the `team` "
            "organization has an IP allow list enabled, and your IP address is not permitted.",
        ),
        "blocked": Refused(403, "Repository access blocked"),
        "legal": Refused(451, "Repository access blocked"),
        "classic_forbidden": Refused(
            403,
            "`team` forbids access via a personal access token (classic). Please use a GitHub "
            "App, OAuth App, or a personal access token with fine-grained permissions.",
        ),
        "rule_violations": Refused(
            422, "Repository rule violations found\n\nAt least 1 approving review is required."
        ),
        "other_403": Refused(403, "This is not the day for that"),
        "server_error": Refused(500, "Server Error"),
        "bad_gateway": Refused(502, "Server Error"),
        "unavailable": Refused(503, "No server is currently available to service your request."),
    }


def _of_graphql() -> dict[str, Refused]:
    return {
        "graphql_limit": GraphQLRefused(
            "RATE_LIMITED",
            "API rate limit exceeded for user ID 1.",
            X_RateLimit_Remaining="0",
            X_RateLimit_Reset=str(int(time.time()) + 90),
        ),
        "graphql_other_limit": GraphQLRefused("RATE_LIMIT", "Too much"),
        "graphql_sso": GraphQLRefused(
            "FORBIDDEN",
            "Resource protected by organization SAML enforcement. You must grant your Personal "
            "Access token access to this organization.",
            X_GitHub_SSO=f"required; url={SSO_URL}",
        ),
        "graphql_draft_words": GraphQLRefused(
            "UNPROCESSABLE", "Draft pull requests are not supported in this repository."
        ),
        "graphql_closed": GraphQLRefused("UNPROCESSABLE", "The pull request must be open."),
        "graphql_gone": GraphQLRefused("NOT_FOUND", "Could not resolve to a node."),
        "graphql_failed": GraphQLRefused(
            None, "Something went wrong while executing your query. Please include F00D."
        ),
    }
