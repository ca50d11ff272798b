"""Turns what git prints when a fetch or a push fails into errors with a code and a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import structlog

from utils.error_rules import first_match
from utils.errors import (
    AppError,
    BranchChanged,
    Forbidden,
    InvalidInput,
    PushRefused,
    Unavailable,
)
from utils.git.failures import CREDENTIALS_REFUSED
from utils.github.refusal import busy
from utils.models.runs import CommandResult
from utils.push.refusal_rules import FAILURES, GITHUB_HOOK_RULES, PERMISSION_HINT, REJECTED

log = structlog.get_logger(__name__)

MAX_REASON_CHARACTERS = 300

_REASON = re.compile(
    r"remote(?: error)?: (?:error: )?\W*(?P<remote>\w.*)|!\t[^\t]*\t(?P<status>.*)"
)
# The line with a branch's status is git's own; what a hook prints has "remote: " before it.
_DECLINED = re.compile(rb"^!\t[^\t]*\t\[remote rejected\] \(.*hook declined\)$", re.MULTILINE)
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
    is_declined = _DECLINED.search(result.stdout) is not None
    if not is_declined and re.search(CREDENTIALS_REFUSED, text):
        return _no_access(has_token=has_token)
    reason = redact(_reason(said))
    # A hook of the repository may print any words, also those that mean something elsewhere.
    rules = (*GITHUB_HOOK_RULES, *((REJECTED,) if is_declined else FAILURES))
    template = first_match(rules, result, text=text)
    if template is not None:
        return template.fill(reason=reason)
    log.warning(
        "git failed for a reason that has no code",
        action="push.failed",
        said=_shortened(redact(said)),
    )
    return PushRefused(
        "git could not push the changes. Try again; if it fails again, this server's log has what "
        f"git said. {reason}".strip(),
        "push_failed",
    )


def timed_out() -> AppError:
    """Return the error for a repository that took too long."""
    return Unavailable(
        "Talking to the repository took longer than it may. The host or the network is slow; try "
        "again. What was pushed until then counts.",
        "git_timeout",
    )


def worked_too_long() -> AppError:
    """Return the error for a push whose time was over while it worked on this machine."""
    return Unavailable(
        "Preparing the push took longer than it may: this server is busy, or the changes are "
        "large. Nothing was pushed; try again.",
        "git_timeout",
    )


def no_turn() -> AppError:
    """Return the error for a push whose time was over while others were prepared."""
    return busy(
        "This server prepares as many other pushes as it can, so that this one had no turn. "
        "Nothing was pushed"
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


def unpacks_too_large(lacking: str) -> PushRefused:
    """Return the error for changes that need more than git may take, say of `memory`."""
    return PushRefused(
        f"The files that the task changed are too large or too many: git needs more {lacking} for "
        "them than a push may take. Have the task change fewer of them, or store large ones "
        "elsewhere.",
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
            "new one and send it as github_token. " + PERMISSION_HINT,
            "github_token_refused",
        )
    return InvalidInput(
        "The repository host wants a token for this. Send one as github_token. " + PERMISSION_HINT,
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
