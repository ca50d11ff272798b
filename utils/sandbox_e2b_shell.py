"""The shell text that E2B's sandboxes run: always ours, with what varies in variables.

`commands.run` takes shell text (E2B.md section 5), and what a user typed must never be part of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from utils.sandbox import SandboxPaths

HOME = "/home/user"
PATHS = SandboxPaths(HOME, f"{HOME}/repository", f"{HOME}/.async-code")

_VARIABLE = "ASYNC_CODE_"
END_AGENT = (
    f'read -r group <"{PATHS.work}/agent/group" 2>/dev/null && kill -9 -- "-$group" 2>/dev/null; '
)
_ALONE = f'exec 8>>"{PATHS.work}/alone"; flock 8; '


def command_variables(arguments: Sequence[str], stdin: str) -> dict[str, str]:
    """Return the variables that carry the arguments and the standard input of a command."""
    variables = {f"{_VARIABLE}{number}": text for number, text in enumerate(arguments, start=1)}
    return {**variables, f"{_VARIABLE}INPUT": stdin} if stdin else variables


def command_text(count: int, *, has_input: bool, alone: bool) -> str:
    """Return the text that runs the command of so many arguments, in a session of its own.

    With `alone`, whoever comes second waits until the first has ended, its children included.
    """
    names = [f"{_VARIABLE}{number}" for number in range(1, count + 1)]
    quoted = " ".join(f'"${name}"' for name in names)
    text = f'set -- {quoted}; unset {" ".join(names)}; exec setsid -w "$@"'
    if has_input:
        text = f'exec < <(printf %s "${_VARIABLE}INPUT"); unset {_VARIABLE}INPUT; {text}'
    return f"{_ALONE}{text}" if alone else text
