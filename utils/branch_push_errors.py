"""Turns what git prints when a fetch or a push fails into errors with a code and a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from utils.errors import (
    AppError,
    BranchChanged,
    Forbidden,
    InvalidInput,
    NotFound,
    PushRefused,
    Unavailable,
)
from utils.models import CommandResult

MAX_REASON_CHARACTERS = 300

_PERMISSION_HINT = (
    "For GitHub it needs the permission Contents, read and write (classic: scope repo)."
)

# The codes are those of GitHub's REST side where it knows the same cause; 403 instead of 401, since
# pages answer 401 by ending the user's session.
# Read from the top; what a host says about a refusal stands before the bare HTTP status.
_FAILURES: tuple[tuple[str, type[AppError], str, str], ...] = (
    (
        r"SAML SSO|enforced SAML",
        Forbidden,
        "github_sso_required",
        "The organisation wants single sign-on for this token. Authorise the token for the "
        "organisation (GitHub: Settings, Developer settings, Configure SSO) and try again.",
    ),
    (
        r"without `?workflows?`? (scope|permission)|create or update workflow",
        Forbidden,
        "github_token_scope",
        "The token may not change files under .github/workflows. Give it the permission Workflows, "
        "read and write (classic: scope workflow).",
    ),
    (
        r"archived so it is read-only|repository (was|has been|is) archived",
        PushRefused,
        "repository_archived",
        "The repository is archived and takes no changes. Unarchive it and try again.",
    ),
    (
        r"GH001|exceeds .*file size limit|larger than .*maximum file size",
        PushRefused,
        "file_too_large",
        "A changed file is larger than the repository host takes (GitHub: 100 MB). Have the task "
        "leave it out, or store it elsewhere.",
    ),
    (
        r"Push cannot contain secrets|secret.scanning|push protection",
        PushRefused,
        "secret_detected",
        "The repository host found a secret in the changes and refused them. Have the task take "
        "it out, or allow it at the host. {reason}",
    ),
    (
        r"GH006|GH013|[Pp]rotected branch|rule violations|cannot create ref due to creations",
        PushRefused,
        "branch_protected",
        "A rule of the repository forbids this push. Exempt the branch from the rule, or change "
        "the pattern of branch names. {reason}",
    ),
    (
        r"rate limit|returned error: 429|Too Many Requests",
        Unavailable,
        "github_rate_limited",
        "The repository host limits how often it is asked. Try again in a few minutes.",
    ),
    (
        r"returned error: 30\d|unable to update url base from redirection",
        PushRefused,
        "repository_moved",
        "The repository has moved. Use its new address; the token is sent to no other one.",
    ),
    (
        r"Write access to repository not granted|Permission .*denied to|returned error: 403"
        r"|insufficient permission|not authorized",
        Forbidden,
        "repository_no_permission",
        "The token may not push to this repository. " + _PERMISSION_HINT,
    ),
    (
        r"[Rr]epository .*not found|not found: did you run|returned error: 404"
        r"|does not appear to be a git repository|No such file or directory|not a git repository",
        NotFound,
        "repository_not_found",
        "The repository was not found. It may be deleted or renamed; a private one also looks "
        "like this to a token that may not see it.",
    ),
    (
        r"dubious ownership|insufficient permission for adding|Permission denied",
        PushRefused,
        "repo_not_writable",
        "The local repository cannot be written by the user the server runs as.",
    ),
    (
        r"returned error: 413|exceeds maximum allowed size|pack exceeds",
        PushRefused,
        "push_too_large",
        "The changes are larger than the repository host takes in one push.",
    ),
    (
        r"No space left on device",
        Unavailable,
        "disk_full",
        "A disk is full, here or at the repository's host. Free some space and try again.",
    ),
    (
        r"' exists; cannot create|directory/file conflict",
        PushRefused,
        "branch_name_taken",
        "The repository has a branch whose name is the beginning or the continuation of this "
        "one's. Delete it, or change the pattern of branch names.",
    ),
    (
        r"\[remote rejected\]|hook declined|\[rejected\]|unpacker error",
        PushRefused,
        "push_rejected",
        "The repository refused the push. {reason}",
    ),
    (
        r"Could not resolve|Failed to connect|Couldn't connect|Connection (refused|reset|timed out)"
        r"|unable to access|SSL|Network is unreachable|early EOF|hung up|RPC failed"
        r"|returned error: 5|unexpected disconnect|expected flush",
        Unavailable,
        "repo_unreachable",
        "The repository host could not be reached or did not answer properly. Try again.",
    ),
)
_NO_ACCESS = re.compile(
    r"could not read (Username|Password)|terminal prompts disabled|Authentication failed"
    r"|Access denied|returned error: 401|Invalid username or (password|token)"
    r"|[Pp]assword authentication was removed"
)
_REASON = re.compile(r"remote: (?:error: )?\W*(?P<remote>\w.*)|!\t[^\t]*\t(?P<status>.*)")
_PORCELAIN_STATUS = re.compile(r"\[(?:remote )?rejected\] \((.*)\)")


def failure(
    result: CommandResult, *, url: str, has_token: bool, redact: Callable[[str], str]
) -> AppError:
    """Translate a failed command.

    `url` is the repository's, whose name says nothing about what failed. `redact` takes the token
    out of what the host said.
    """
    if result.timed_out:
        return timed_out()
    said = output_text(result)
    text = _without_address(said, url)
    if _NO_ACCESS.search(text):
        return _no_access(has_token=has_token)
    reason = redact(_reason(said))
    for pattern, kind, code, message in _FAILURES:
        if re.search(pattern, text):
            return kind(message.format(reason=reason).strip(), code)
    return PushRefused(f"git could not push the changes. {reason}".strip(), "push_failed")


def timed_out() -> AppError:
    """Return the error for a push that took too long."""
    return Unavailable(
        "Talking to the repository took longer than it may. The host or the network is slow; try "
        "again. What was pushed until then counts.",
        "git_timeout",
    )


def cannot_work(error: OSError) -> AppError:
    """Return the error for a folder that cannot be written, or a git that cannot be started."""
    return Unavailable(
        f"The push could not be prepared: {error.strerror}. Check free space, the permissions of "
        "DATA_DIR, and that git is installed.",
        "push_not_possible",
    )


def branch_changed(branch: str, remote_commit: str) -> BranchChanged:
    """Return the error for a branch that holds what we did not push."""
    return BranchChanged(
        f"Someone else pushed to the branch {branch}: it is at {remote_commit} now, and is left as "
        "it is. Merge it or take over what is there, then rename or delete the branch and try "
        "again.",
        remote_commit,
    )


def base_gone() -> PushRefused:
    """Return the error for a base commit that the repository no longer has."""
    return PushRefused(
        "The repository no longer has the commit that the task started from; its history was "
        "rewritten. Start the task again.",
        "base_commit_gone",
    )


def does_not_apply(result: CommandResult) -> PushRefused:
    """Return the error for a patch that does not fit its base commit."""
    lines = [line for line in output_text(result).splitlines() if line.startswith("error: ")]
    reason = _shortened(lines[0].removeprefix("error: ")) if lines else ""
    return PushRefused(
        "The stored patch does not fit the commit that the task started from. Start the task "
        f"again. {reason}".strip(),
        "patch_does_not_apply",
    )


def unpacks_too_large() -> PushRefused:
    """Return the error for changes that git cannot hold in the memory it may take."""
    return PushRefused(
        "The files that the task changed are too large: git needs more memory for them than a push "
        "may take. Have the task leave them out, or store them elsewhere.",
        "file_too_large",
    )


def tree_mismatch() -> PushRefused:
    """Return the error for a patch that gives other files than the sandbox held."""
    return PushRefused(
        "The stored patch gives other files than the sandbox held, so nothing was pushed. Start "
        "the task again.",
        "tree_mismatch",
    )


def output_text(result: CommandResult) -> str:
    """Return everything that a command printed."""
    return (result.stdout + b"\n" + result.stderr).decode("utf-8", "replace")


def _no_access(*, has_token: bool) -> AppError:
    if has_token:
        return Forbidden(
            "The repository host does not know this token: it is wrong, expired or revoked. Make a "
            "new one and send it as github_token. " + _PERMISSION_HINT,
            "github_token_refused",
        )
    return InvalidInput(
        "The repository host wants a token for this. Send one as github_token. " + _PERMISSION_HINT,
        "github_token_needed",
    )


def _without_address(text: str, url: str) -> str:
    # Hosts name a repository by its path, in their own spelling.
    path = urlsplit(url).path.strip("/").removesuffix(".git")
    names = (url, path) if "/" in path else (url,)
    return re.sub("|".join(map(re.escape, names)), "", text, flags=re.IGNORECASE)


def _reason(text: str) -> str:
    """Return what the remote says about a refusal, in one line."""
    said = [match["remote"] for match in _REASON.finditer(text) if match["remote"]]
    statuses = _PORCELAIN_STATUS.findall(text)
    return _shortened(" ".join([*statuses, *said]))


def _shortened(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:MAX_REASON_CHARACTERS]
