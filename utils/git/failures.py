"""Translates what a failed git command printed."""

from __future__ import annotations

import re

from utils.errors import CloneError
from utils.models.runs import CommandResult

NO_ACCESS_WORDS = (
    r"could not read (Username|Password)|terminal prompts disabled|Authentication failed"
    r"|Access denied|returned error: 401|Invalid username or (password|token)"
    r"|[Pp]assword authentication was removed"
)
"""What git and hosts print when there is no token, or one that the host does not know."""

NO_PERMISSION_WORDS = (
    r"Write access to repository not granted|Permission .*denied to|returned error: 403"
    r"|insufficient permission(?! for adding)|not authorized"
)
"""What they print when whoever has the token may not do this."""

_CLONE_FAILURES: tuple[tuple[str, str, str], ...] = (
    (
        r"Remote branch .* not found|couldn't find remote ref|Could not find remote branch",
        "branch_not_found",
        "The branch {branch} does not exist in this repository, or the repository has no commits "
        "yet. Check the name, or push the branch first.",
    ),
    (
        f"{NO_ACCESS_WORDS}|{NO_PERMISSION_WORDS}",
        "clone_auth_failed",
        "The repository host refused access. Either the repository does not exist, or it needs a "
        "github_token that can read it (for GitHub: permission Contents, read).",
    ),
    (
        r"[Rr]epository .*not found|does not appear to be a git repository|not found: did you run"
        r"|returned error: 404|No such file or directory|does not exist|not a git repository",
        "repo_not_found",
        "The repository was not found. Check the URL; a private repository also looks like this "
        "to a github_token that may not see it.",
    ),
    (
        r"Could not resolve host|Failed to connect|Connection (refused|reset|timed out)"
        r"|unable to access|SSL|Network is unreachable|early EOF|remote end hung up"
        r"|returned error: 5",
        "repo_unreachable",
        "The repository host could not be reached. Check the URL and the network, then start the "
        "task again.",
    ),
    (
        r"dubious ownership",
        "repo_not_readable",
        "The local repository belongs to another user of this machine. Run the server as its "
        "owner, or give it to the user the server runs as (chown).",
    ),
    (
        r"No space left on device",
        "disk_full",
        "The disk of the sandbox is full. Free some space and start the task again.",
    ),
)


def clone_error(result: CommandResult, branch: str) -> CloneError:
    """Translate what a failed clone printed into an error with a code and a remedy."""
    text = result.stderr.decode("utf-8", "replace")
    for pattern, code, message in _CLONE_FAILURES:
        if re.search(pattern, text):
            return CloneError(message.format(branch=branch), code)
    last = [line for line in text.splitlines() if line.strip()][-1:] or ["no message"]
    return CloneError(f"git could not clone the repository: {last[0].strip()}", "clone_failed")
