"""Answers requests for users, repositories, commits and issues: all but pull requests."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

from tests.fakes.github import refs, render
from tests.fakes.github.state import ROLES, Call, Comment, Issue, Refused

Answer = tuple[int, Any]

_comment_ids = count(1000)


def get_repository(call: Call) -> Answer:
    return 200, render.repository(call.api, call.repository, call.caller)


def list_branches(call: Call) -> Answer:
    found = refs.branches(call.repository.bare)
    return 200, [{"name": name, "commit": {"sha": sha}} for name, sha in found.items()]


def get_branch(call: Call) -> Answer:
    name = call.names["branch"]
    sha = refs.branch_sha(call.repository.bare, name)
    if sha is None:
        raise Refused(404, "Branch not found")
    url = f"{call.api}/repos/{call.repository.full_name}/commits/{sha}"
    contexts = call.repository.required_checks.get(name, [])
    return 200, {
        "name": name,
        "commit": {"sha": sha, "url": url},
        "protected": bool(contexts),
        "protection": {
            "enabled": bool(contexts),
            "required_status_checks": {"enforcement_level": "everyone", "contexts": contexts},
        },
    }


def list_check_runs(call: Call) -> Answer:
    runs = call.repository.check_runs.get(call.names["sha"], [])
    return 200, {"total_count": len(runs), "check_runs": runs}


def get_combined_status(call: Call) -> Answer:
    sha = call.names["sha"]
    latest = {status["context"]: status for status in call.repository.statuses.get(sha, [])}
    statuses = [{"id": 1, "target_url": None, **status} for status in latest.values()]
    return 200, {"sha": sha, "state": "pending", "statuses": statuses}


def list_rules(call: Call) -> Answer:
    return 200, call.repository.rules.get(call.names["branch"], [])


def get_commit(call: Call) -> Answer:
    sha = call.names["sha"]
    if not refs.has_commit(call.repository.bare, sha):
        raise Refused(404, "Not Found")
    tree, parents = refs.tree_and_parents(call.repository.bare, sha)
    return 200, {
        "sha": sha,
        "tree": {"sha": tree},
        "parents": [{"sha": parent} for parent in parents],
    }


def get_permission(call: Call) -> Answer:
    login = call.names["login"]
    role = call.repository.role(login)
    if role not in ROLES:
        role = {"maintain": "write", "triage": "read"}[role]
    return 200, {
        "permission": role,
        "role_name": call.repository.role(login),
        "user": render.user(call.api, login),
    }


def create_status(call: Call) -> Answer:
    sha = call.names["sha"]
    if not refs.has_commit(call.repository.bare, sha):
        raise Refused(422, f"No commit found for SHA: {sha}")
    call.repository.statuses.setdefault(sha, []).append(call.request.body)
    return 201, {"id": 1, **call.request.body}


def create_issue(call: Call) -> Answer:
    _check_issues(call)
    body = call.request.body
    number = next(call.repository.numbers)
    issue = Issue(number, body["title"], body.get("body") or "", call.login)
    issue.labels = list(body.get("labels", ()))
    call.repository.issues[number] = issue
    return 201, render.issue(call.api, call.repository, issue)


def get_issue(call: Call) -> Answer:
    _check_issues(call)
    return 200, render.issue(call.api, call.repository, call.issue())


def list_comments(call: Call) -> Answer:
    issue = call.issue()
    since = datetime.fromisoformat(call.request.query.get("since", "1970-01-01T00:00:00Z"))
    found = [one for one in issue.comments if one.created_at >= since]
    return 200, [render.comment(call.api, call.repository, issue, one) for one in found]


def create_comment(call: Call) -> Answer:
    issue = call.issue()
    text = call.request.body["body"]
    comment = Comment(next(_comment_ids), call.login, text, datetime.now(UTC))
    issue.comments.append(comment)
    return 201, render.comment(call.api, call.repository, issue, comment)


def add_labels(call: Call) -> Answer:
    issue = call.issue()
    issue.labels += [name for name in call.request.body if name not in issue.labels]
    return 200, [{"name": name} for name in issue.labels]


def _check_issues(call: Call) -> None:
    if not call.repository.has_issues:
        raise Refused(410, "Issues are disabled for this repo")
