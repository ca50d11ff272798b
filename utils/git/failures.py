"""Phrases that git and git hosts print when a command fails, and the errors of failed clones.

A host may print any amount of any text, so only the end is read, and repetitions are bounded: a
pattern such as `a .*b` takes quadratic time on a text of many `a `.
"""

from __future__ import annotations

from utils.error_rules import ErrorTemplate, Rule, first_match
from utils.errors import CloneError
from utils.git.output import last_line, tail
from utils.models.runs import CommandResult

CREDENTIALS_REFUSED = (
    r"could not read (Username|Password)|terminal prompts disabled|Authentication failed"
    r"|Access denied|returned error: 401|Invalid username or (password|token)"
    r"|[Pp]assword authentication was removed"
)
"""Output of a host that accepts no token of the request, or requires one."""

PERMISSION_MISSING = (
    r"Write access to repository not granted|Permission .{0,300}denied to|returned error: 403"
    r"|insufficient permission(?! for adding)|not authorized"
)
"""Output of a host that accepts the token, but does not allow the operation."""

REPOSITORY_MISSING = (
    r"[Rr]epository .{0,500}not found|not found: did you run|returned error: 404"
    r"|does not appear to be a git repository|No such file or directory|not a git repository"
)
BRANCH_MISSING = (
    r"Remote branch .{0,300} not found|couldn't find remote ref|no such remote ref"
    r"|Could not find remote branch"
)
HOST_UNREACHABLE = (
    r"Could not resolve|Failed to connect|Connection (refused|reset|timed out)"
    r"|unable to access|SSL|Network is unreachable|early EOF|hung up|returned error: 5"
)
FOREIGN_OWNER = r"dubious ownership"
DISK_FULL = r"No space left on device"

_CLONE_RULES: tuple[Rule[CommandResult, ErrorTemplate[CloneError]], ...] = (
    Rule(
        ErrorTemplate(
            CloneError,
            "branch_not_found",
            "The branch {branch} does not exist in this repository, or the repository has no "
            "commits yet. Check the name, or push the branch first.",
        ),
        pattern=BRANCH_MISSING,
    ),
    Rule(
        ErrorTemplate(
            CloneError,
            "clone_auth_failed",
            "The repository host refused access. Either the repository does not exist, or it "
            "needs a github_token that can read it (for GitHub: permission Contents, read).",
        ),
        pattern=f"{CREDENTIALS_REFUSED}|{PERMISSION_MISSING}",
    ),
    Rule(
        ErrorTemplate(
            CloneError,
            "repo_not_found",
            "The repository was not found. Check the URL. If the repository is private, check "
            "that the github_token can read it.",
        ),
        pattern=f"{REPOSITORY_MISSING}|does not exist",
    ),
    Rule(
        ErrorTemplate(
            CloneError,
            "repo_unreachable",
            "The repository host could not be reached. Check the URL and the network, then start "
            "the task again.",
        ),
        pattern=HOST_UNREACHABLE,
    ),
    Rule(
        ErrorTemplate(
            CloneError,
            "repo_not_readable",
            "The local repository belongs to another user of this machine. Run the server as its "
            "owner, or change the owner to the user that runs the server (chown).",
        ),
        pattern=FOREIGN_OWNER,
    ),
    Rule(
        ErrorTemplate(
            CloneError,
            "disk_full",
            "The disk of the sandbox is full. Free some space and start the task again.",
        ),
        pattern=DISK_FULL,
    ),
)


def clone_error(result: CommandResult, branch: str) -> CloneError:
    """Translate what a failed clone printed into an error with a code and a remedy."""
    text = tail(result.stderr)
    template = first_match(_CLONE_RULES, result, text=text)
    if template is not None:
        return template.fill(branch=branch)
    reason = last_line(result.stderr) or "no message"
    return CloneError(f"git could not clone the repository: {reason}", "clone_failed")
