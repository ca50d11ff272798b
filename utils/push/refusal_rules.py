"""What git and a host print when they refuse, as tables: pattern, class, code and text.

Tables are read from the top. The codes are those of GitHub's REST side where it knows the same
cause; 403 instead of 401, since pages answer 401 by ending the user's session.
"""

from __future__ import annotations

from typing import NamedTuple

from utils.errors import AppError, Forbidden, NotFound, PushRefused, Unavailable
from utils.git.failures import NO_PERMISSION_WORDS
from utils.github.refusal import LIMITED_SECONDS

PERMISSION_HINT = (
    "For GitHub it needs the permission Contents, read and write (classic: scope repo)."
)


class Row(NamedTuple):
    """What is searched for in what git printed, and the error that it becomes.

    `message` may hold `{reason}`, for what the host said.
    """

    pattern: str
    kind: type[AppError]
    code: str
    message: str
    retry_after_seconds: int | None = None


RULES: tuple[Row, ...] = (
    Row(
        r"^remote: error: GH001\b",
        PushRefused,
        "file_too_large",
        "A changed file is larger than the repository host takes (GitHub: 100 MB). Have the task "
        "leave it out, or store it elsewhere.",
    ),
    Row(
        r"^remote: error: GH013\b[\s\S]*Push cannot contain secrets|^remote: error: GH009\b",
        PushRefused,
        "secret_detected",
        "The repository host found a secret in the changes and refused them. Have the task take "
        "it out, or allow it at the host. {reason}",
    ),
    Row(
        r"^remote: error: GH0(?:06|13)\b|\[remote rejected\] \(protected branch hook"
        r"|\[remote rejected\] \(push declined due to repository rule",
        PushRefused,
        "branch_protected",
        "A rule of the repository forbids this push. Exempt the branch from the rule, or change "
        "the pattern of branch names. {reason}",
    ),
)
"""GitHub's own refusals by a hook. They have numbers, as any words may be those of another hook."""

REJECTED = Row(
    r"\[remote rejected\]|\[rejected\]|unpacker error",
    PushRefused,
    "push_rejected",
    "The repository refused the push. {reason}",
)
"""Of a refusal by a hook that has no number nothing else is known."""

FAILURES: tuple[Row, ...] = (
    Row(
        r"SAML SSO|enforced SAML",
        Forbidden,
        "github_sso_required",
        "The organisation wants single sign-on for this token. Authorise the token for the "
        "organisation (GitHub: Settings, Developer settings, Configure SSO) and try again.",
    ),
    Row(
        r"without `?workflows?`? (scope|permission)|create or update workflow",
        Forbidden,
        "github_token_scope",
        "The token may not change files under .github/workflows. Give it the permission Workflows, "
        "read and write (classic: scope workflow).",
    ),
    Row(
        r"archived so it is read-only|repository (was|has been|is) archived",
        PushRefused,
        "repository_archived",
        "The repository is archived and takes no changes. Unarchive it and try again.",
    ),
    Row(
        r"rate limit|returned error: 429|Too Many Requests",
        Unavailable,
        "github_rate_limited",
        "The repository host limits how often it is asked; try again in "
        f"{LIMITED_SECONDS} seconds.",
        LIMITED_SECONDS,
    ),
    Row(
        r"returned error: 30\d|unable to update url base from redirection",
        PushRefused,
        "repository_moved",
        "The repository has moved. Use its new address; the token is sent to no other one.",
    ),
    Row(
        NO_PERMISSION_WORDS,
        Forbidden,
        "repository_no_permission",
        "The token may not push to this repository. " + PERMISSION_HINT,
    ),
    Row(
        r"[Rr]epository .*not found|not found: did you run|returned error: 404"
        r"|does not appear to be a git repository|No such file or directory|not a git repository",
        NotFound,
        "repository_not_found",
        "The repository was not found. It may be deleted or renamed; a private one also looks "
        "like this to a token that may not see it.",
    ),
    Row(
        r"dubious ownership|insufficient permission for adding|Permission denied",
        PushRefused,
        "repo_not_writable",
        "The local repository cannot be written by the user the server runs as.",
    ),
    Row(
        r"returned error: 413|exceeds maximum allowed size|pack exceeds",
        PushRefused,
        "push_too_large",
        "The changes are larger than the repository host takes in one push.",
    ),
    Row(
        r"No space left on device",
        Unavailable,
        "disk_full",
        "A disk is full, here or at the repository's host. Free some space and try again.",
    ),
    Row(
        r"' exists; cannot create|directory/file conflict",
        PushRefused,
        "branch_name_taken",
        "The repository has a branch whose name is the beginning or the continuation of this "
        "one's. Delete it, or change the pattern of branch names.",
    ),
    REJECTED,
    Row(
        r"git-http-push failed|protocol error|invalid server response|dumb http transport"
        r"|not valid: is this a git repository|Could not read from remote repository"
        r"|failed to report status",
        Unavailable,
        "repo_unreachable",
        "What answers at the repository's address does not speak git as it should. Check the "
        "address, and whether a proxy or a sign-in page is in between; then try again.",
    ),
    Row(
        r"Could not resolve|Failed to connect|Couldn't connect|Connection (refused|reset|timed out)"
        r"|unable to access|SSL|Network is unreachable|early EOF|hung up|RPC failed"
        r"|returned error: 5|unexpected disconnect|expected flush",
        Unavailable,
        "repo_unreachable",
        "The repository host could not be reached or did not answer properly. Try again; if that "
        "does not help, check the address and this server's network.",
    ),
)
"""All others. What a host says about a refusal stands before the bare HTTP status."""
