"""Answers the part of GraphQL that REST lacks: two mutations of pull requests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tests.fakes.github import access, render
from tests.fakes.github.state import (
    GraphQLRefused,
    Json,
    Pull,
    Refused,
    Repository,
    Request,
    Token,
)

PATH = "/api/graphql"
"""The path of an Enterprise host: beside the REST API, not below."""

_NEEDS = ("pull_requests", "write")
_DRAFTS = {"markPullRequestReadyForReview": False, "convertPullRequestToDraft": True}
_MUTATION = re.compile(
    r"mutation \w+\(\$input: (\w)(\w+)Input!\) \{ "
    r"(\w)\2\(input: \$input\) \{ clientMutationId pullRequest \{ isDraft \} \} \}"
)


def answer(
    request: Request, caller: Token | None, repositories: Iterable[Repository]
) -> tuple[int, Any, dict[str, str]]:
    """Carry out a mutation; return status, body and headers. Raise `Refused`."""
    if caller is None:
        raise Refused(403, "API rate limit exceeded for 192.0.2.1.", X_RateLimit_Remaining="0")
    headers: dict[str, str] = {}
    if caller.scopes is not None:
        headers = {"X-OAuth-Scopes": ", ".join(caller.scopes), "X-Accepted-OAuth-Scopes": "repo"}
    try:
        name = _mutation(request.body["query"])
        repository, pull = _found(request.body["variables"]["input"], repositories)
        _check(name, repository, pull, caller)
    except Refused as refused:
        refused.headers |= headers
        raise
    pull.draft = _DRAFTS[name]
    done: Json = {"clientMutationId": None, "pullRequest": {"isDraft": pull.draft}}
    return 200, {"data": {name: done}}, headers


def _mutation(query: str) -> str:
    match = _MUTATION.fullmatch(" ".join(query.split()))
    name = match[3] + match[2] if match else ""
    if match is None or name not in _DRAFTS or match[1] != match[3].upper():
        raise GraphQLRefused(None, "Parse error on the query")
    return name


def _found(wanted: Json, repositories: Iterable[Repository]) -> tuple[Repository, Pull]:
    node = wanted["pullRequestId"]
    for repository in repositories:
        for pull in repository.pulls:
            if render.node_id(repository, pull) == node:
                return repository, pull
    raise _unknown(node)


def _unknown(node: str) -> GraphQLRefused:
    return GraphQLRefused(
        "NOT_FOUND", f"Could not resolve to a node with the global id of '{node}'."
    )


def _check(name: str, repository: Repository, pull: Pull, caller: Token) -> None:
    node = render.node_id(repository, pull)
    accepted = access.accepted_scopes(repository, _NEEDS).split(", ")
    if caller.scopes is not None and not repository.private and not {*accepted} & {*caller.scopes}:
        raise GraphQLRefused(
            "INSUFFICIENT_SCOPES",
            "Your token has not been granted the required scopes to execute this query. The "
            f"'{name}' field requires one of the following scopes: ['public_repo'], but your "
            f"token has only been granted the: {[*caller.scopes]} scopes. Please modify your "
            "token's scopes at: https://github.com/settings/tokens.",
        )
    try:
        access.check_access(repository, caller, _NEEDS)
        if caller.installation:
            access.check_access(repository, caller, ("contents", "write"))
    except Refused as refused:
        raise _as_graphql(refused, name, node, caller.login) from None
    if _DRAFTS[name] and not repository.allows_drafts:
        raise GraphQLRefused(
            "UNPROCESSABLE",
            f"{caller.login} does not have permission to convert the pull request {node} to draft.",
        )


def _as_graphql(refused: Refused, name: str, node: str, login: str) -> GraphQLRefused:
    """Return the GraphQL error for an error of the REST API."""
    message = str(refused.body["message"])
    if refused.status == 404:
        return _unknown(node)
    if message.startswith("Must have push access"):
        mutation = name[0].upper() + name[1:]
        message = f"{login} does not have the correct permissions to execute `{mutation}`"
    return GraphQLRefused("FORBIDDEN", message)
