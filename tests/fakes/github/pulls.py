"""Creates, changes and merges pull requests as far as the real branches allow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.fakes.github import refs, render
from tests.fakes.github.state import Call, Json, Pull, Refused

MAX_TITLE, MAX_BODY, MAX_COMMITS = 256, 65_536, 250

Answer = tuple[int, Any]


def _invalid(**error: str) -> Refused:
    return Refused(422, "Validation Failed", {"resource": "PullRequest", **error})


def _custom(message: str) -> Refused:
    return _invalid(code="custom", message=message)


def refresh(call: Call, pull: Pull) -> None:
    """Update a pull request from its branches; close it when one of them is gone."""
    if pull.state != "open":
        return
    head = refs.branch_sha(call.repository.bare, pull.head)
    if head is None or refs.branch_sha(call.repository.bare, pull.base) is None:
        pull.state = "closed"
    else:
        pull.head_sha = head


def _whole(call: Call, pull: Pull) -> Json:
    refresh(call, pull)
    bare = call.repository.bare
    base = refs.branch_sha(bare, pull.base)
    can = pull.state == "open" and bool(base and refs.merged_tree(bare, base, pull.head_sha))
    return render.whole_pull(call.api, call.repository, pull, base, can)


def list_pulls(call: Call) -> Answer:
    wanted = call.request.query
    for pull in call.repository.pulls:
        refresh(call, pull)
    owner = call.repository.full_name.partition("/")[0]
    found = [
        pull
        for pull in call.repository.pulls
        if wanted.get("state", "open") in {pull.state, "all"}
        and wanted.get("base", pull.base) == pull.base
        and wanted.get("head", f"{owner}:{pull.head}") == f"{owner}:{pull.head}"
    ]
    bare = call.repository.bare
    return 200, [
        render.pull(call.api, call.repository, pull, refs.branch_sha(bare, pull.base))
        for pull in found
    ]


def get_pull(call: Call) -> Answer:
    return 200, _whole(call, call.pull())


def list_commits(call: Call) -> Answer:
    pull, bare = call.pull(), call.repository.bare
    base = pull.merged_onto or refs.branch_sha(bare, pull.base)
    assert base
    return 200, [
        render.listed_commit(sha, *refs.tree_and_parents(bare, sha))
        for sha in refs.commits(bare, base, pull.head_sha)[:MAX_COMMITS]
    ]


def create_pull(call: Call) -> Answer:
    body = call.request.body
    head, base = body["head"].rpartition(":")[2], body["base"]
    _check_text(body)
    sha = _check_branches(call, head, base)
    if body.get("draft") and not call.repository.allows_drafts:
        raise Refused(422, "Draft pull requests are not supported in this repository.")
    number = next(call.repository.numbers)
    pull = Pull(
        number,
        body["title"],
        body.get("body") or "",
        call.login,
        head=head,
        base=base,
        head_sha=sha,
        draft=bool(body.get("draft")),
    )
    call.repository.issues[number] = pull
    return 201, _whole(call, pull)


def _check_text(body: Json) -> None:
    if not str(body.get("title", "x")).strip():
        raise _invalid(field="title", code="missing_field")
    if len(body.get("title") or "") > MAX_TITLE:
        raise _custom(f"title is too long (maximum is {MAX_TITLE} characters)")
    if len((body.get("body") or "").encode()) > MAX_BODY:
        raise _custom(f"body is too long (maximum is {MAX_BODY} characters)")


def _check_branches(call: Call, head: str, base: str) -> str:
    bare = call.repository.bare
    base_sha, head_sha = refs.branch_sha(bare, base), refs.branch_sha(bare, head)
    if base_sha is None:
        raise _invalid(field="base", code="invalid")
    if head_sha is None:
        raise _invalid(field="head", code="invalid")
    owner = call.repository.full_name.partition("/")[0]
    for pull in call.repository.pulls:
        refresh(call, pull)
        if pull.state == "open" and (pull.head, pull.base) == (head, base):
            raise _custom(f"A pull request already exists for {owner}:{head}.")
    if not refs.have_common_history(bare, base_sha, head_sha):
        raise _custom(f"The {head} branch has no history in common with {base}")
    if refs.count_commits(bare, base_sha, head_sha) == 0:
        raise _custom(f"No commits between {base} and {head}")
    return head_sha


def update_pull(call: Call) -> Answer:
    pull, changes = call.pull(), call.request.body
    _check_text(changes)
    if "base" in changes and refs.branch_sha(call.repository.bare, changes["base"]) is None:
        raise _invalid(field="base", code="invalid")
    for name in ("title", "body", "base", "state"):
        setattr(pull, name, changes.get(name, getattr(pull, name)))
    pull.updated_at = datetime.now(UTC)
    return 200, _whole(call, pull)


def request_reviews(call: Call) -> Answer:
    pull, body = call.pull(), call.request.body
    if pull.author in body["reviewers"]:
        raise Refused(422, "Review cannot be requested from pull request author.")
    if not set(body["reviewers"]) <= set(call.repository.roles):
        raise Refused(
            422,
            "Reviews may only be requested from collaborators. One or more of the users or teams "
            f"you specified is not a collaborator of the {call.repository.full_name} repository.",
        )
    pull.reviewers += [name for name in body["reviewers"] if name not in pull.reviewers]
    pull.teams += [name for name in body["team_reviewers"] if name not in pull.teams]
    return 201, _whole(call, pull)


def merge_pull(call: Call) -> Answer:
    pull, body = call.pull(), call.request.body
    method = body.get("merge_method", "merge")
    refresh(call, pull)
    if pull.state != "open":
        raise Refused(405, "Pull Request is not mergeable")
    if pull.draft:
        raise Refused(405, "Pull Request is still a draft")
    if reason := call.repository.protected.get(pull.base):
        raise Refused(405, reason)
    if method not in call.repository.merge_methods:
        name = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}
        raise Refused(405, f"{name[method]} are not allowed on this repository.")
    if body.get("sha", pull.head_sha) != pull.head_sha:
        raise Refused(409, "Head branch was modified. Review and try the merge again.")
    title = f"{pull.title} (#{pull.number})"
    pull.merged_onto = refs.branch_sha(call.repository.bare, pull.base)
    made = refs.merge(call.repository.bare, pull.base, pull.head_sha, method, title)
    if made is None:
        raise Refused(405, "Pull Request is not mergeable")
    pull.state, pull.merged_at, pull.merge_sha = "closed", datetime.now(UTC), made
    return 200, {"sha": made, "merged": True, "message": "Pull Request successfully merged"}
