"""Renders the objects of the fake as the JSON of GitHub's answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tests.fakes.github.state import (
    ROLES,
    Comment,
    Issue,
    Json,
    LineComment,
    Pull,
    Repository,
    Review,
    Token,
)


def moment(value: datetime | None) -> str | None:
    """Return a time in GitHub's format."""
    return None if value is None else value.strftime("%Y-%m-%dT%H:%M:%SZ")


def page(api: str) -> str:
    """Return the address of the web page for an address of the API."""
    return api.partition("/api/")[0]


def node_id(found: Repository, it: Issue) -> str:
    """Return the GraphQL id of an issue or a pull request."""
    return f"{'PR' if isinstance(it, Pull) else 'I'}_{found.id * 1000 + it.number}"


def user(api: str, login: str) -> Json:
    """Return a user."""
    return {
        "login": login,
        "id": abs(hash(login)) % 10**6,
        "type": "User",
        "url": f"{api}/users/{login}",
        "html_url": f"{page(api)}/{login}",
        "avatar_url": f"https://avatars.example/{login}",
    }


def repository(api: str, found: Repository, caller: Token | None) -> Json:
    """Return a repository. Users see their permissions; an App sees False for all of them."""
    owner, _, name = found.full_name.partition("/")
    described = {
        "id": found.id,
        "name": name,
        "full_name": found.full_name,
        "private": found.private,
        "archived": found.archived,
        "has_issues": found.has_issues,
        "default_branch": found.default_branch,
        "owner": user(api, owner),
        "html_url": f"{page(api)}/{found.full_name}",
        "url": f"{api}/repos/{found.full_name}",
    }
    if caller is None:
        return described
    # Of installations GitHub does not tell what they may.
    rank = ROLES.index(found.role("" if caller.installation else caller.login))
    names = ("pull", "push", "admin")
    return {**described, "permissions": {name: rank > i for i, name in enumerate(names)}}


def issue(api: str, found: Repository, it: Issue) -> Json:
    """Return an issue, or a pull request as one."""
    is_pull = isinstance(it, Pull)
    kind = "pull" if is_pull else "issues"
    described = {
        "id": found.id * 1000 + it.number,
        "node_id": node_id(found, it),
        "number": it.number,
        "title": it.title,
        "body": it.body or None,
        "state": it.state,
        "user": user(api, it.author),
        "labels": [{"name": name, "url": f"{api}/labels/{name}"} for name in it.labels],
        "comments": len(it.comments),
        "html_url": f"{page(api)}/{found.full_name}/{kind}/{it.number}",
        "url": f"{api}/repos/{found.full_name}/issues/{it.number}",
        "created_at": moment(it.created_at),
        "updated_at": moment(it.updated_at),
    }
    return {**described, "pull_request": {"url": described["url"]}} if is_pull else described


def pull(api: str, found: Repository, it: Pull, base_sha: str | None) -> Json:
    """Return a pull request as lists contain it."""
    described = issue(api, found, it)
    del described["comments"], described["pull_request"]
    url = f"{api}/repos/{found.full_name}/pulls/{it.number}"
    source = replace(found, full_name=it.head_repository) if it.head_repository else found
    return {
        **described,
        "url": url,
        "issue_url": f"{api}/repos/{found.full_name}/issues/{it.number}",
        "draft": it.draft,
        "merged_at": moment(it.merged_at),
        "merge_commit_sha": it.merge_sha,
        "requested_reviewers": [user(api, name) for name in it.reviewers],
        "requested_teams": [{"slug": name, "name": name} for name in it.teams],
        "head": _end(api, source, it.head, it.head_sha),
        "base": _end(api, found, it.base, base_sha),
    }


def whole_pull(api: str, found: Repository, it: Pull, base_sha: str | None, can: bool) -> Json:
    """Return a pull request with the fields that only a request for one contains."""
    return {
        **pull(api, found, it, base_sha),
        "merged": it.merged_at is not None,
        "mergeable": can if it.state == "open" else None,
        "comments": len(it.comments),
        "commits": 1,
    }


def _end(api: str, found: Repository, branch: str, sha: str | None) -> Json:
    owner = found.full_name.partition("/")[0]
    return {
        "ref": branch,
        "sha": sha,
        "label": f"{owner}:{branch}",
        "user": user(api, owner),
        "repo": repository(api, found, None),
    }


def listed_commit(sha: str, tree: str, parents: list[str]) -> Json:
    """Return a commit as lists contain it, with git's fields in an object of their own."""
    return {
        "sha": sha,
        "commit": {"tree": {"sha": tree}},
        "parents": [{"sha": parent} for parent in parents],
    }


def line_comment(api: str, found: Repository, it: Pull, one: LineComment) -> Json:
    """Return a comment on lines of a pull request."""
    address = f"{page(api)}/{found.full_name}/pull/{it.number}"
    described = {
        "id": one.id,
        "body": one.body,
        "user": user(api, one.author),
        "path": one.path,
        "line": one.line,
        "start_line": one.start_line,
        "side": one.side,
        "commit_id": one.commit,
        "html_url": f"{address}#discussion_r{one.id}",
        "url": f"{api}/repos/{found.full_name}/pulls/comments/{one.id}",
        "created_at": moment(one.created_at),
        "updated_at": moment(one.created_at),
    }
    return described if one.reply_to is None else {**described, "in_reply_to_id": one.reply_to}


def review(api: str, found: Repository, it: Pull, one: Review) -> Json:
    """Return a review of a pull request."""
    address = f"{page(api)}/{found.full_name}/pull/{it.number}"
    return {
        "id": one.id,
        "body": one.body,
        "user": user(api, one.author),
        "state": one.state,
        "commit_id": one.commit,
        "html_url": f"{address}#pullrequestreview-{one.id}",
        "submitted_at": moment(one.created_at),
    }


def comment(api: str, found: Repository, it: Issue, one: Comment) -> Json:
    """Return a comment."""
    kind = "pull" if isinstance(it, Pull) else "issues"
    address = f"{page(api)}/{found.full_name}/{kind}/{it.number}"
    return {
        "id": one.id,
        "body": one.body,
        "user": user(api, one.author),
        "html_url": f"{address}#issuecomment-{one.id}",
        "url": f"{api}/repos/{found.full_name}/issues/comments/{one.id}",
        "created_at": moment(one.created_at),
        "updated_at": moment(one.created_at),
    }
