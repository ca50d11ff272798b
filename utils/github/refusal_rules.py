"""The table that translates GitHub's refusals into our errors.

GitHub distinguishes failures by status, headers and the words of a message, so the table tests all
three. A token that GitHub refuses is 403 here, not 401: web pages end the user's session after a
401.
"""

from __future__ import annotations

import re

from utils.error_rules import Rule, first_match
from utils.errors import AppError, Conflict, Forbidden, InvalidInput, NotFound
from utils.github.refusal import (
    ErrorFactory,
    Refusal,
    error_factory,
    not_found,
    permission_missing,
    rate_limited,
    scope_missing,
    sso_required,
    unavailable,
    validation_failed,
)

BRANCH_NOT_FOUND = "branch_not_found"
APP_PERMISSION = "github_app_permission"

_LIMIT_WORDS = r"rate limit|abuse detection|submitted too quickly|retry your request again later"
_PROTECTED = (
    r"protected branch|required status check|approving review|verified signatures|rule violations"
    r"|merge queue|requires? (?:signed|linear)|changes must be made|code owner|must be resolved"
    r"|deployments? must"
)


# The first rule that matches decides. Patterns ignore case.
REFUSAL_RULES: tuple[Rule[Refusal, ErrorFactory], ...] = (
    Rule(rate_limited, pattern=_LIMIT_WORDS),
    Rule(rate_limited, statuses=(429,)),
    Rule(
        rate_limited,
        statuses=(403,),
        when=lambda it: it.headers.get("x-ratelimit-remaining") == "0",
    ),
    Rule(rate_limited, statuses=(403,), when=lambda it: "retry-after" in it.headers),
    Rule(
        sso_required,
        statuses=(403,),
        when=lambda it: "required" in it.headers.get("x-github-sso", ""),
    ),
    Rule(
        error_factory(
            InvalidInput,
            "github_token_needed",
            "GitHub requires a token for this. Send github_token, or store one in the profile.",
        ),
        statuses=(401,),
        pattern="requires authentication",
    ),
    Rule(
        error_factory(
            Forbidden,
            "github_token_refused",
            "GitHub does not accept the token. It may be expired or revoked. Create a new one at "
            "https://github.com/settings/tokens",
        ),
        statuses=(401,),
    ),
    Rule(
        error_factory(
            Conflict, "repository_archived", "The repository is archived and cannot be changed."
        ),
        statuses=(403,),
        pattern="archived",
    ),
    Rule(
        error_factory(
            Forbidden,
            "github_ip_refused",
            "The organization's IP allow list does not contain this server's address.",
        ),
        statuses=(403,),
        pattern="ip allow list",
    ),
    Rule(
        error_factory(
            Forbidden, "repository_blocked", "GitHub has blocked access to this repository."
        ),
        statuses=(403, 451),
        pattern="access blocked|unavailable for legal|repository .{0,300}disabled",
    ),
    Rule(
        permission_missing,
        statuses=(403, 404),
        pattern="resource not accessible|fine-grained|forbids access via a personal access token",
    ),
    Rule(scope_missing, statuses=(403, 404), when=lambda it: bool(it.missing_scopes)),
    Rule(
        error_factory(Conflict, "branch_protected", "The branch is protected: {reason}."),
        statuses=(403, 405, 409, 422),
        pattern=_PROTECTED,
    ),
    Rule(
        # GraphQL gives the same answer for a plan without drafts and for a user without the right.
        error_factory(
            InvalidInput,
            "drafts_not_supported",
            "The repository does not support drafts, or the token's user may not create one here.",
        ),
        statuses=(403, 422),
        pattern="draft pull requests are not supported|permission to convert the pull request",
    ),
    Rule(
        error_factory(
            Forbidden,
            "repository_no_permission",
            "The token's user may not do this in the repository. Ask for write access.",
        ),
        statuses=(403,),
        pattern=(
            "must have .{0,300}(?:rights|access|permission)|must be a collaborator"
            "|permission to .{0,300} denied|not authorized|does not have the correct permissions"
        ),
    ),
    Rule(
        error_factory(Forbidden, "github_refused", "GitHub does not allow this: {reason}."),
        statuses=(403, 451),
    ),
    Rule(
        error_factory(
            Conflict, "base_branch_missing", "The base branch does not exist, or was deleted."
        ),
        statuses=(404, 422),
        pattern="base does not exist|pullrequest base invalid",
    ),
    Rule(
        error_factory(
            NotFound,
            BRANCH_NOT_FOUND,
            "The branch does not exist, or was deleted.",
        ),
        statuses=(404,),
        pattern="branch not found",
    ),
    Rule(not_found, statuses=(404,)),
    Rule(
        error_factory(
            Conflict,
            "issues_disabled",
            "Issues are turned off in this repository.",
        ),
        statuses=(410,),
        pattern="issues",
    ),
    Rule(not_found, statuses=(410,)),
    Rule(
        error_factory(
            Conflict,
            "merge_method_not_allowed",
            "The repository does not allow this merge method; send another one.",
        ),
        statuses=(405, 422),
        pattern="(?:commits|merges) are not allowed|merging is not allowed",
    ),
    Rule(
        error_factory(
            Conflict,
            "pull_request_is_draft",
            "The pull request is a draft. Mark it ready for review.",
        ),
        statuses=(405,),
        pattern="draft",
    ),
    Rule(
        error_factory(
            Conflict,
            "head_moved",
            "A branch has changed since. Review the pull request, then merge again.",
        ),
        statuses=(405, 409),
        pattern="branch was modified|head.{0,300}sha",
    ),
    Rule(
        error_factory(
            Conflict,
            "not_mergeable",
            "GitHub cannot merge the pull request: {reason}.",
        ),
        statuses=(405, 409),
    ),
    Rule(
        error_factory(
            Conflict,
            "pull_request_exists",
            "The branch already has an open pull request for this base.",
        ),
        statuses=(422,),
        pattern="already exists",
    ),
    Rule(
        error_factory(
            Conflict, "no_commits", "The branch has no commits that are not in the base."
        ),
        statuses=(422,),
        pattern="no commits between",
    ),
    Rule(
        error_factory(
            Conflict, "no_common_history", "The branch and the base have no common history."
        ),
        statuses=(422,),
        pattern="no history in common|unrelated histories",
    ),
    Rule(
        error_factory(
            Conflict, "head_branch_missing", "The branch with the changes does not exist on GitHub."
        ),
        statuses=(422,),
        pattern="pullrequest head invalid",
    ),
    Rule(
        error_factory(
            InvalidInput,
            "reviewers_invalid",
            "A reviewer must be a collaborator of the repository and not the author.",
        ),
        statuses=(422,),
        pattern="review(?:s may only| cannot) be requested|could not resolve to a node",
    ),
    Rule(
        error_factory(
            InvalidInput,
            "line_not_in_diff",
            "The line is not among those that the pull request shows. Send a path, side and line "
            "of its diff.",
        ),
        statuses=(422,),
        pattern="must be part of the diff|pull_request_review_thread|diff_hunk",
    ),
    Rule(
        error_factory(Conflict, "review_refused", "GitHub does not take the review: {reason}."),
        statuses=(422,),
        pattern="can ?not (?:approve|request changes)|review cannot|unprocessable.{0,100}review",
    ),
    Rule(
        error_factory(
            NotFound, "commit_not_found", "GitHub does not have this commit, or no longer has it."
        ),
        statuses=(422,),
        pattern="no commit found",
    ),
    Rule(
        error_factory(
            Forbidden,
            APP_PERMISSION,
            "The GitHub App was not granted the permissions that this needs.",
        ),
        statuses=(422,),
        pattern="permissions requested are not granted",
    ),
    Rule(validation_failed, statuses=(400, 413, 422)),
    Rule(unavailable, statuses=range(500, 600)),
)


def translate_refusal(refusal: Refusal) -> AppError:
    """Return our error for a refusal; one without a rule counts as an outage of GitHub."""
    text = "\n".join((refusal.message, *sorted(refusal.fields)))
    create = first_match(
        REFUSAL_RULES, refusal, status=refusal.status, text=text, flags=re.IGNORECASE
    )
    return (create or unavailable)(refusal)
