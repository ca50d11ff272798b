"""Finds the repository in the address of one of its pages on a common git host.

People copy addresses from the browser: `/tree/main`, `/pull/12`, `/-/issues`. A page of the whole
repository is understood. Where a page belongs to a branch that its address does not name clearly,
the error tells what to send.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from utils.errors import RepositoryNotAllowed

SSH_HOSTS = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
}
"""Hosts that speak SSH only, with the host that speaks https for the same repositories."""

_BRANCH_ADVICE = (
    "This is the address of a page, not of the repository. Send the part up to the repository's "
    "name as repo_url, such as https://github.com/owner/name, and the branch as branch."
)
_PULL_REQUEST_ADVICE = (
    "This is the address of a pull request. Send the part up to the repository's name as repo_url, "
    "such as https://github.com/owner/name, and the branch of the pull request as branch."
)
_AZURE_SSH_VERSION = "v3"
_REPOSITORY_PAGE = re.compile(
    "actions|activity|archive|branches|commits|contributors|deployments|discussions|downloads|find|"
    "forks|graphs|insights|issues|labels|merge_requests|milestones?|network|packages|pipelines|"
    "projects|pull-requests|pulls|pulse|releases|search|security|settings|src|stargazers|tags|tree|"
    "watchers|wiki"
)


@dataclass(frozen=True, slots=True)
class _Site:
    """The pages of a git host whose repositories have two segments, `owner/name`.

    `branches` are the words before the name of a branch, `revisions` those before a branch together
    with a path, or before a commit.
    """

    branches: Collection[str]
    revisions: Collection[str]
    pulls: Collection[str]


_GITEA = _Site(("src/branch",), ("raw", "src", "commit", "commits", "compare"), ("pulls",))
_SITES = {
    "github.com": _Site(
        ("tree",),
        ("blob", "blame", "edit", "raw", "commit", "commits", "compare"),
        ("pull",),
    ),
    "bitbucket.org": _Site(
        ("branch", "src"), ("commits", "raw", "annotate", "diff"), ("pull-requests",)
    ),
    "codeberg.org": _GITEA,
    "gitea.com": _GITEA,
}
_GITLAB = _Site(
    ("tree",), ("blob", "blame", "raw", "commit", "commits", "compare"), ("merge_requests",)
)


def has_site_rules(host: str) -> bool:
    """Tell whether all repositories on a host have exactly an owner and a name."""
    return host in _SITES


def repository_of_page(host: str, segments: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Return the segments of the repository, and the branch if the page names it alone.

    Raises `RepositoryNotAllowed` for a page of a branch that is not named alone.
    """
    if host == "dev.azure.com":
        return _azure(segments), None
    site = _SITES.get(host)
    if site is not None:
        return segments[:2], _branch(site, segments[2:])
    # GitLab separates the pages of a repository from its path, which may be of any length.
    if "-" in segments:
        end = segments.index("-")
        return segments[:end], _branch(_GITLAB, segments[end + 1 :])
    return segments, None


def _branch(site: _Site, page: Sequence[str]) -> str | None:
    """Return the branch of a page, or None for a page of the whole repository."""
    if page and page[0] in site.pulls and page[1:]:
        raise RepositoryNotAllowed(_PULL_REQUEST_ADVICE)
    for words in (words.split("/") for words in site.branches):
        rest = page[len(words) :]
        if list(page[: len(words)]) == words and rest:
            # `tree/a/b` is the branch a/b, or the folder b of the branch a.
            if len(rest) > 1:
                raise RepositoryNotAllowed(_BRANCH_ADVICE)
            return rest[0]
    shows_revision = page[1:] and page[0] in site.revisions
    if shows_revision or (page and not _REPOSITORY_PAGE.fullmatch(page[0])):
        raise RepositoryNotAllowed(_BRANCH_ADVICE)
    return None


def _azure(segments: Sequence[str]) -> Sequence[str]:
    """Return the segments of a repository of Azure DevOps: organization/project/_git/name."""
    if len(segments) == 4 and segments[0] == _AZURE_SSH_VERSION:  # noqa: PLR2004 - SSH addresses
        return [*segments[1:3], "_git", segments[3]]
    if "_git" in segments:
        return segments[: segments.index("_git") + 2]
    return segments
