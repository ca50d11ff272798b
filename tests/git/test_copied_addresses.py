"""Addresses of repositories as people copy them from the pages of git hosts."""

from __future__ import annotations

import pytest

from tests.git.test_repository_url import parse
from utils.errors import RepositoryNotAllowed
from utils.git.repository_url import github_full_name


@pytest.mark.parametrize(
    ("text", "branch"),
    [
        ("https://github.com/o/n/tree/main", "main"),
        ("https://github.com/o/n.git/tree/v1.2/", "v1.2"),
        ("https://gitlab.example.com/g/n/-/tree/main", "main"),
        ("https://bitbucket.org/o/n/src/main/", "main"),
        ("https://bitbucket.org/o/n/branch/main", "main"),
        ("https://codeberg.org/o/n/src/branch/main", "main"),
        ("https://github.com/o/n/issues/7", None),
    ],
)
def test_the_page_of_a_branch_names_it(text: str, branch: str | None) -> None:
    parsed = parse(text, hosts=("*",))
    assert (parsed.branch, parsed.name) == (branch, "n")


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com/o/n/tree/feature/x",
        "https://github.com/o/n/blob/main/README.md",
        "https://github.com/o/n/pull/12",
        "https://github.com/o/n/pull/12/files",
        "https://github.com/o/n/commit/0123abc",
        "https://github.com/o/n/compare/main...x",
        "https://gitlab.example.com/g/n/-/merge_requests/3",
        "https://gitlab.example.com/g/n/-/blob/main/README.md",
        "https://bitbucket.org/o/n/pull-requests/3",
        "https://bitbucket.org/o/n/src/main/a/b",
        "https://codeberg.org/o/n/pulls/3",
        "https://codeberg.org/o/n/src/branch/main/a",
        "https://codeberg.org/o/n/commit/0123abc",
    ],
)
def test_the_page_of_an_unclear_branch_is_refused_with_what_to_send(text: str) -> None:
    with pytest.raises(RepositoryNotAllowed, match=r"as repo_url.* as branch"):
        parse(text, hosts=("*",))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("https://org@dev.azure.com/org/project/_git/n", "org/project/_git/n"),
        ("https://dev.azure.com/org/My%20Project/_git/n", "org/My%20Project/_git/n"),
        ("https://dev.azure.com/org/_git/n", "org/_git/n"),
        ("https://dev.azure.com/org/project/_git/n/pullrequests", "org/project/_git/n"),
        ("git@ssh.dev.azure.com:v3/org/project/n", "org/project/_git/n"),
    ],
)
def test_addresses_of_azure_devops_are_understood(text: str, path: str) -> None:
    assert parse(text, hosts=("dev.azure.com",)).url == f"https://dev.azure.com/{path}"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://github.com/o/n.x", "github.com"),
        ("https://github.com:443/o/n.x.git/", "github.com"),
        ("git@github.com:o/n.x.git", "github.com"),
        ("ssh://git@github.com:22/o/n.x/", "github.com"),
        ("https://ghe.example.com/o/n.x.git", "ghe.example.com"),
        ("git@GHE.example.com:o/n.x.git/", "ghe.example.com"),
        ("ssh://git@ghe.example.com:7999/o/n.x.git", "ghe.example.com"),
        ("https://ghe.example.com:8443/o/n.x", "ghe.example.com:8443"),
        ("http://127.0.0.1:8443/o/n.x.git", "127.0.0.1:8443"),
    ],
)
def test_every_spelling_of_a_repository_on_github_has_one_name(text: str, host: str) -> None:
    assert github_full_name(text, host) == "o/n.x"


@pytest.mark.parametrize(
    "text",
    [
        "https://gitlab.example.com/o/n",
        "https://github.com:8443/o/n",
        "https://github.com/group/o/n",
        "https://github.com.evil.example/o/n",
        "http://127.0.0.1/o/n",
        "file:///srv/github.com/o/n",
        "no address",
    ],
)
def test_what_is_elsewhere_is_not_on_github(text: str) -> None:
    with pytest.raises(RepositoryNotAllowed, match=r"github\.com only") as refused:
        github_full_name(text, "github.com")
    assert refused.value.code == "repository_not_on_github"
