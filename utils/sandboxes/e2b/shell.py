"""Builds the shell text for commands in E2B's sandboxes.

`commands.run` takes shell text (docs/e2b.md section 5), and user input must never be part of it:
the text is constant, and arguments travel in environment variables.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from utils.sandboxes.protocol import SandboxPaths

HOME = "/home/user"
PATHS = SandboxPaths(HOME, f"{HOME}/repository", f"{HOME}/.async-code")

_VARIABLE = "ASYNC_CODE_"
_MARKER = f"{_VARIABLE}AGENT"
_END_GROUP = (
    f'read -r group <"{PATHS.work}/agent/group" 2>/dev/null && kill -9 -- "-$group" 2>/dev/null; '
)
# Repeat, because a process may fork during the search.
_END_MARKED = (
    "for round in 1 2 3 4 5; do "
    "marked=$(grep -szlxF -- {entry} /proc/[0-9]*/environ | tr -dc '0-9\\n'); "
    '[ -n "$marked" ] || break; kill -9 $marked 2>/dev/null; done; '
)
_ALONE = f'exec 8>>"{PATHS.work}/alone"; flock 8; '


def agent_mark(sandbox_id: str) -> dict[str, str]:
    """Return the variable that marks the processes of an agent; other commands do not have it."""
    return {_MARKER: sandbox_id}


def ending_of_agent(sandbox_id: str) -> str:
    """Return the text that kills the agent: its group, and marked processes outside of it."""
    return _END_GROUP + _END_MARKED.format(entry=shlex.quote(f"{_MARKER}={sandbox_id}"))


def command_variables(arguments: Sequence[str], stdin: str) -> dict[str, str]:
    """Return the variables that carry the arguments and the standard input of a command."""
    variables = {f"{_VARIABLE}{number}": text for number, text in enumerate(arguments, start=1)}
    return {**variables, f"{_VARIABLE}INPUT": stdin} if stdin else variables


def command_text(count: int, *, has_input: bool, alone: bool) -> str:
    """Return the text that runs a command with `count` arguments in a session of its own.

    Commands with `alone` run one at a time: each waits until the processes of the other have ended.
    """
    names = [f"{_VARIABLE}{number}" for number in range(1, count + 1)]
    quoted = " ".join(f'"${name}"' for name in names)
    text = f'set -- {quoted}; unset {" ".join(names)}; exec setsid -w "$@"'
    if has_input:
        text = f'exec < <(printf %s "${_VARIABLE}INPUT"); unset {_VARIABLE}INPUT; {text}'
    return f"{_ALONE}{text}" if alone else text
