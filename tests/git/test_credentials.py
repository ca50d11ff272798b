"""Tests the user name that a git host expects beside each kind of its tokens."""

from __future__ import annotations

import base64

import pytest

from utils.git.credentials import (
    authorization_header,
    credential_helper_output,
    secret_parts,
    user_and_password,
)


@pytest.mark.parametrize(
    ("host", "token", "user"),
    [
        ("github.com", "ghp_abc", "x-access-token"),
        ("github.com", "ghs_abc", "x-access-token"),
        ("github.com", "github_pat_abc", "x-access-token"),
        ("gitlab.com", "glpat-abc", "oauth2"),
        ("gitlab.com", "an-oauth-token", "oauth2"),
        ("gitlab.example.com:8443", "old-token", "oauth2"),
        ("git.example.com", "glpat-abc", "oauth2"),
        ("git.example.com", "glcbt-abc", "gitlab-ci-token"),
        ("gitlab.com", "glcbt-abc", "gitlab-ci-token"),
        ("bitbucket.org", "ATATT3abc", "x-bitbucket-api-token-auth"),
        ("bitbucket.org", "ATCTT3abc", "x-token-auth"),
        ("bitbucket.org", "an-oauth-token", "x-token-auth"),
        ("bitbucket.example.com", "BBDC-abc", "x-token-auth"),
        ("codeberg.org", "0123abcd", "x-access-token"),
        ("dev.azure.com", "abc", "x-access-token"),
    ],
)
def test_each_kind_of_token_has_the_user_name_of_its_host(host: str, token: str, user: str) -> None:
    url = f"https://{host}/owner/name"
    assert credential_helper_output(url, token) == f"username={user}\npassword={token}\n"
    encoded = authorization_header(url, token).removeprefix("Basic ")
    assert base64.b64decode(encoded).decode() == f"{user}:{token}"


@pytest.mark.parametrize("token", ["gitlab+deploy-token-7:gldt-abc", "someone:ATBBabc"])
def test_a_token_may_name_its_own_user(token: str) -> None:
    assert ":".join(user_and_password("https://gitlab.com/o/n", token)) == token
    assert secret_parts(token) == (token, token.partition(":")[2])
    assert secret_parts(None) == ()
