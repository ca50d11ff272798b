"""Tables that translate what git and a host print when a push fails.

The first rule that matches decides. The codes are the same as in `utils/github/refusal_rules.py`
where both know the cause. A refused token is 403, not 401, because web pages end the user's session
after a 401.
"""

from __future__ import annotations

from utils.error_rules import ErrorTemplate, Rule
from utils.errors import AppError, Forbidden, NotFound, PushRefused, Unavailable
from utils.git.failures import (
    DISK_FULL,
    FOREIGN_OWNER,
    HOST_UNREACHABLE,
    PERMISSION_MISSING,
    REPOSITORY_MISSING,
)
from utils.github.refusal import LIMITED_SECONDS
from utils.models.runs import CommandResult

PERMISSION_HINT = (
    "For GitHub it needs the permission Contents, read and write (classic: scope repo)."
)

GitRule = Rule[CommandResult, ErrorTemplate[AppError]]

_SECRET_FOUND: ErrorTemplate[AppError] = ErrorTemplate(
    PushRefused,
    "secret_detected",
    "The repository host found a secret in the changes and refused the push. Ask the agent to "
    "remove the secret, or allow it at the host. {reason}",
)

GITHUB_HOOK_RULES: tuple[GitRule, ...] = (
    Rule(
        ErrorTemplate(
            PushRefused,
            "file_too_large",
            "A changed file is larger than the repository host accepts (GitHub: 100 "
            "MB). Ask the agent to leave the file out, or store it elsewhere.",
        ),
        pattern=r"^remote: error: GH001\b",
    ),
    Rule(
        _SECRET_FOUND,
        pattern=r"^remote: error: GH009\b",
    ),
    Rule(
        _SECRET_FOUND,
        pattern=r"^remote: error: GH013\b",
        also="Push cannot contain secrets",
    ),
    Rule(
        ErrorTemplate(
            PushRefused,
            "branch_protected",
            "A rule of the repository forbids this push. Exempt the branch from the rule, or "
            "change PULL_REQUEST_BRANCH. {reason}",
        ),
        pattern=(
            r"^remote: error: GH0(?:06|13)\b|\[remote rejected\] \(protected branch hook"
            r"|\[remote rejected\] \(push declined due to repository rule"
        ),
    ),
)
"""Refusals by GitHub's own hooks. They are matched by number: other hooks may print any words."""

REJECTED: GitRule = Rule(
    ErrorTemplate(
        PushRefused,
        "push_rejected",
        "The repository refused the push. {reason}",
    ),
    pattern=r"\[remote rejected\]|\[rejected\]|unpacker error",
)
"""For refusals by hooks without a number of GitHub's; the message quotes the hook."""

FAILURES: tuple[GitRule, ...] = (
    Rule(
        ErrorTemplate(
            Forbidden,
            "github_sso_required",
            "The organization requires single sign-on for this token. Authorize the token for the "
            "organization (GitHub: Settings, Developer settings, Configure SSO) and try again.",
        ),
        pattern=r"SAML SSO|enforced SAML",
    ),
    Rule(
        ErrorTemplate(
            Forbidden,
            "github_token_scope",
            "The token may not change files under .github/workflows. Give it the permission "
            "Workflows, read and write (classic: scope workflow).",
        ),
        pattern=r"without `?workflows?`? (scope|permission)|create or update workflow",
    ),
    Rule(
        ErrorTemplate(
            PushRefused,
            "repository_archived",
            "The repository is archived and cannot be changed. Unarchive it and try again.",
        ),
        pattern=r"archived so it is read-only|repository (was|has been|is) archived",
    ),
    Rule(
        ErrorTemplate(
            Unavailable,
            "github_rate_limited",
            "The repository host limits the rate of requests; try again in "
            f"{LIMITED_SECONDS} seconds.",
            LIMITED_SECONDS,
        ),
        pattern=r"rate limit|returned error: 429|Too Many Requests",
    ),
    Rule(
        ErrorTemplate(
            PushRefused,
            "repository_moved",
            "The repository has moved. Use its new address. The token was not sent there, because "
            "tokens do not follow redirects.",
        ),
        pattern=r"returned error: 30\d|unable to update url base from redirection",
    ),
    Rule(
        ErrorTemplate(
            Forbidden,
            "repository_no_permission",
            "The token may not push to this repository. " + PERMISSION_HINT,
        ),
        pattern=PERMISSION_MISSING,
    ),
    Rule(
        ErrorTemplate(
            NotFound,
            "repository_not_found",
            "The repository was not found. It may be deleted or renamed, or it is private and the "
            "token cannot see it.",
        ),
        pattern=REPOSITORY_MISSING,
    ),
    Rule(
        ErrorTemplate(
            PushRefused,
            "repo_not_writable",
            "The user that runs the server may not write to the local repository.",
        ),
        pattern=rf"{FOREIGN_OWNER}|insufficient permission for adding|Permission denied",
    ),
    Rule(
        ErrorTemplate(
            PushRefused,
            "push_too_large",
            "The changes are larger than the repository host accepts in one push.",
        ),
        pattern=r"returned error: 413|exceeds maximum allowed size|pack exceeds",
    ),
    Rule(
        ErrorTemplate(
            Unavailable,
            "disk_full",
            "A disk is full, on this server or at the repository host. Free some space and try "
            "again.",
        ),
        pattern=DISK_FULL,
    ),
    Rule(
        ErrorTemplate(
            PushRefused,
            "branch_name_taken",
            "The name of another branch is the beginning or the continuation of this one's, so git "
            "cannot store both. Delete that branch, or change PULL_REQUEST_BRANCH.",
        ),
        pattern=r"' exists; cannot create|directory/file conflict",
    ),
    REJECTED,
    Rule(
        ErrorTemplate(
            Unavailable,
            "repo_unreachable",
            "The server at the repository's address does not speak git. Check the address, and "
            "whether a proxy or a sign-in page answers in its place; then try again.",
        ),
        pattern=(
            r"git-http-push failed|protocol error|invalid server response|dumb http transport"
            r"|not valid: is this a git repository|Could not read from remote repository"
            r"|failed to report status"
        ),
    ),
    Rule(
        ErrorTemplate(
            Unavailable,
            "repo_unreachable",
            "The repository host could not be reached, or its answer was incomplete. Try again; if "
            "that does not help, check the address and this server's network.",
        ),
        pattern=(
            rf"{HOST_UNREACHABLE}|Couldn't connect|RPC failed|unexpected disconnect|expected flush"
        ),
    ),
)
"""All other failures. Rules for a host's own words stand before the rules for an HTTP status."""
