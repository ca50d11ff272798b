"""Translates failed fetches and pushes into errors with a code and a remedy."""

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
from utils.git.output import tail
from utils.github.refusal import busy
from utils.models.runs import CommandResult
from utils.push.refusal_rules import FAILURES, GITHUB_HOOK_RULES, PERMISSION_HINT, REJECTED

log = structlog.get_logger(__name__)

DOES_NOT_APPLY = "patch_does_not_apply"

MAX_REASON_CHARACTERS = 300

# All of these are matched with one line. The host may print any amount of any text.
_REMOTE_LINE = re.compile(r"remote(?: error)?: (?:error: )?\W{0,100}(\w.*)")
# git prints the line with a branch's status; lines of hooks begin with "remote: ".
_DECLINED = re.compile(r"!\t[^\t]*\t\[remote rejected\] \(.*hook declined\)")
_PORCELAIN_STATUS = re.compile(r"\[(?:remote )?rejected\] \((.{0,300})\)")


def failure(
    result: CommandResult, *, url: str, has_token: bool, redact: Callable[[str], str]
) -> AppError:
    """Translate a failed command.

    `url` is removed from the output, because words in a repository's name are no reason. `redact`
    removes the token from the quoted output.
    """
    if result.timed_out:
        return timed_out()
    output = output_text(result)
    text = _without_address(output, url)
    is_declined = any(map(_DECLINED.fullmatch, tail(result.stdout).split("\n")))
    if not is_declined and re.search(CREDENTIALS_REFUSED, text):
        return _no_access(has_token=has_token)
    reason = _reason(redact(output))
    # A hook of the repository may print any words, also those that mean something elsewhere.
    rules = (*GITHUB_HOOK_RULES, *((REJECTED,) if is_declined else FAILURES))
    template = first_match(rules, result, text=text)
    if template is not None:
        return template.fill(reason=reason)
    log.warning(
        "git failed for a reason that has no code",
        action="push.failed",
        output=_shortened(redact(output)),
    )
    return PushRefused(
        "git could not push the changes. Try again; if it fails again, see this server's log for "
        f"git's output. {reason}".strip(),
        "push_failed",
    )


def timed_out() -> AppError:
    """Return the error for a timeout of the repository host."""
    return Unavailable(
        "The repository host did not answer in time. The host or the network is slow. Try again; "
        "finished steps are not repeated.",
        "git_timeout",
    )


def worked_too_long() -> AppError:
    """Return the error for a push whose time ended during its work on this server."""
    return Unavailable(
        "Preparing the push took too long: this server is busy, or the changes are large. "
        "Nothing was pushed; try again.",
        "git_timeout",
    )


def queue_timed_out() -> AppError:
    """Return the error for a push whose time ended while it waited for others."""
    return busy("This server is preparing too many other pushes. Nothing was pushed")


def cannot_work(error: OSError) -> AppError:
    """Return the error for a folder that cannot be written, or a git that cannot be started."""
    return Unavailable(
        f"The push could not be prepared: {error.strerror}. Check the free space, the permissions "
        "of DATA_DIR, and that git is installed.",
        "push_not_possible",
    )


def branch_changed(branch: str, remote_commit: str) -> BranchChanged:
    """Return the error for a branch with commits that this server did not push."""
    return BranchChanged(
        f"Someone else pushed to the branch {branch}. It is at {remote_commit} now and was not "
        "changed. Save or merge these commits, then rename or delete the branch and try again.",
        remote_commit,
    )


def base_missing() -> PushRefused:
    """Return the error for a base commit that is no longer in the repository."""
    return PushRefused(
        "The repository no longer has the commit that the task started from, because its history "
        "was rewritten. Start the task again.",
        "base_commit_gone",
    )


def does_not_apply(result: CommandResult) -> PushRefused:
    """Return the error for a patch that does not fit its base commit."""
    lines = [line for line in output_text(result).splitlines() if line.startswith("error: ")]
    reason = _shortened(lines[0].removeprefix("error: ")) if lines else ""
    return PushRefused(
        "The stored patch does not fit the commit that the task started from. Start the task "
        f"again. {reason}".strip(),
        DOES_NOT_APPLY,
    )


def unpacks_too_large(lacking: str) -> PushRefused:
    """Return the error for changes beyond a resource limit of git, such as `memory`."""
    return PushRefused(
        f"The changed files are too large or too many: git needs more {lacking} for them than "
        "this server allows. Ask the agent to change fewer files, or store large ones elsewhere.",
        "file_too_large",
    )


def tree_mismatch() -> PushRefused:
    """Return the error for a patch whose result differs from the files in the sandbox."""
    return PushRefused(
        "Applying the stored patch gives other files than those in the sandbox, so nothing was "
        "pushed. Start the task again.",
        "tree_mismatch",
    )


def diff_mismatch() -> PushRefused:
    """Return the error for a diff whose result differs from what the patch pushes."""
    return PushRefused(
        "The diff that was shown for review gives other files than the patch, so nothing was "
        "pushed. Start the task again.",
        "tree_mismatch",
    )


def output_text(result: CommandResult) -> str:
    """Return the end of the output and of the errors of a command as text."""
    return f"{tail(result.stdout)}\n{tail(result.stderr)}"


def _no_access(*, has_token: bool) -> AppError:
    if has_token:
        return Forbidden(
            "The repository host does not accept this token: it is wrong, expired or revoked. "
            "Create a new one and send it as github_token. " + PERMISSION_HINT,
            "github_token_refused",
        )
    return InvalidInput(
        "The repository host requires a token. Send one as github_token. " + PERMISSION_HINT,
        "github_token_needed",
    )


def _without_address(text: str, url: str) -> str:
    # Hosts print the path of a repository, sometimes in another case.
    path = urlsplit(url).path.strip("/").removesuffix(".git")
    names = (url, path) if "/" in path else (url,)
    return re.sub("|".join(map(re.escape, names)), "", text, flags=re.IGNORECASE)


def _reason(text: str) -> str:
    """Return the remote's reason for a refusal, in one line."""
    statuses: list[str] = []
    remote_lines: list[str] = []
    for line in text.splitlines():
        statuses += _PORCELAIN_STATUS.findall(line)
        if not line.startswith("!\t") and (found := _REMOTE_LINE.search(line)):
            remote_lines.append(found[1])
    return _shortened(" ".join([*statuses, *remote_lines]))


def _shortened(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:MAX_REASON_CHARACTERS]
