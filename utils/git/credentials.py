"""Formats a token as the credentials that git and git hosts expect.

git hosts take a token as the password of HTTP Basic authentication. They differ in the user name.
`_RULES` is the only place that knows it; docs/github.md shows the table to users.
"""

from __future__ import annotations

import base64
from typing import NamedTuple
from urllib.parse import urlsplit


class _Rule(NamedTuple):
    """The user name for the tokens of a host that begin with `prefix`, and where it is documented.

    An empty host stands for every host, an empty prefix for every token.
    """

    host: str
    prefix: str
    user: str
    source: str


_BITBUCKET = "https://support.atlassian.com/bitbucket-cloud/docs/"
_GITLAB = "https://docs.gitlab.com/"

# The first rule that fits decides. Tokens whose user name is a person's or a machine's own, such as
# app passwords of Bitbucket and deploy tokens of GitLab, are sent as `name:token` and need no rule.
_RULES = (
    _Rule("bitbucket.org", "ATATT", "x-bitbucket-api-token-auth", f"{_BITBUCKET}using-api-tokens/"),
    _Rule("bitbucket.org", "", "x-token-auth", f"{_BITBUCKET}using-access-tokens/"),
    # Access tokens of projects and repositories in Bitbucket Data Center.
    _Rule(
        "",
        "BBDC-",
        "x-token-auth",
        "https://confluence.atlassian.com/bitbucketserver/http-access-tokens-939515499.html",
    ),
    _Rule("", "glcbt-", "gitlab-ci-token", f"{_GITLAB}ci/jobs/ci_job_token/"),
    # Personal, project, group and OAuth tokens: OAuth tokens need this name, the others any.
    _Rule("", "gl", "oauth2", f"{_GITLAB}api/oauth2/"),
    _Rule("gitlab.com", "", "oauth2", f"{_GITLAB}api/oauth2/"),
    # Tokens of a GitHub App need this name. GitHub's other tokens, Gitea, Forgejo and Azure DevOps
    # take any name.
    _Rule(
        "",
        "",
        "x-access-token",
        "https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/"
        "authenticating-as-a-github-app-installation",
    ),
)


def credential_url(repo_url: str) -> str:
    """Return scheme, host and port of a URL; git sends the token to no other address."""
    parts = urlsplit(repo_url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "none://"


def user_and_password(repo_url: str, token: str) -> tuple[str, str]:
    """Return the credentials for a token, or those that `name:token` names itself."""
    name, separator, password = token.partition(":")
    if separator and name and password:
        return name, password
    host = urlsplit(repo_url).hostname or ""
    is_gitlab = host.startswith("gitlab.")
    for rule in _RULES:
        is_here = rule.host in {"", host} or (rule.host == "gitlab.com" and is_gitlab)
        if is_here and token.startswith(rule.prefix):
            return rule.user, token
    raise AssertionError("the last rule fits every token")


def credential_helper_output(repo_url: str, token: str | None) -> str:
    """Return the output of a git credential helper for a token; empty without a token."""
    if not token:
        return ""
    user, password = user_and_password(repo_url, token)
    return f"username={user}\npassword={password}\n"


def authorization_header(repo_url: str, token: str) -> str:
    """Return the same credentials as the value of an HTTP Authorization header (Basic)."""
    user, password = user_and_password(repo_url, token)
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def secret_parts(token: str | None) -> tuple[str, ...]:
    """Return the texts that must be hidden: a token, and the password in `name:token`."""
    if not token:
        return ()
    return token, user_and_password("", token)[1]
