"""Builds the shell text for commands in E2B's sandboxes.

`commands.run` takes shell text (docs/e2b.md section 5), and user input must never be part of it:
the text is constant, and arguments travel in environment variables.
"""

from __future__ import annotations

import shlex
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

from utils.sandboxes.protocol import SandboxPaths

HOME = "/home/user"
PATHS = SandboxPaths(HOME, f"{HOME}/repository", f"{HOME}/.async-code")

NO_HOME = "/nonexistent"
"""HOME of the login shell that the SDK starts: it reads no profile that the agent has changed."""

FIRST_FOLDER = "/"
"""The folder in which commands start, because the agent may have removed the home."""

_AGENT_SCRIPT, _FOLLOW_SCRIPT = (
    Path(__file__).with_name(name).read_text() for name in ("agent.sh", "follow.sh")
)

CARRIED_BYTES = 65_536
"""The largest file that a recorded command prints behind its output."""

_VARIABLE = "ASYNC_CODE_"
_MARKER = f"{_VARIABLE}AGENT"
# The agent may have written anything there; 1 would mean every process.
_GROUP = f"{PATHS.work}/agent/group"
_END_GROUP = (
    f'[ -f "{_GROUP}" ] && read -r -n 10 group <"{_GROUP}" 2>/dev/null && '
    '[[ $group =~ ^[0-9]+$ && $group -gt 1 ]] && kill -9 -- "-$group" 2>/dev/null; '
)
# The agent may have removed, replaced or locked the folders.
_RESTORE = (
    f'for folder in "{HOME}" "{PATHS.work}" "{PATHS.repository}"; do '
    '[ -w "$folder" ] && [ -x "$folder" ] || chmod u+rwx -- "$folder" 2>/dev/null; done; '
    f'{{ [ -d "{PATHS.work}" ] && [ ! -L "{PATHS.work}" ]; }} || '
    f'{{ rm -rf -- "{PATHS.work}"; mkdir -m 700 -- "{PATHS.work}"; }}; '
)
# Repeat, because a process may fork during the search.
_END_MARKED = (
    "for round in 1 2 3 4 5; do "
    "marked=$(grep -szlxF -- {entry} /proc/[0-9]*/environ | tr -dc '0-9\\n'); "
    '[ -n "$marked" ] || break; kill -9 $marked 2>/dev/null; done; '
)
_LOCK = f"{PATHS.work}/alone"
_ALONE = (
    f'if [ -L "{_LOCK}" ] || {{ [ -e "{_LOCK}" ] && [ ! -f "{_LOCK}" ]; }}; then '
    f'rm -rf -- "{_LOCK}"; fi; exec 8>>"{_LOCK}"; flock 8; '
)
# Waits until the processes of other recorded commands have ended, this one's earlier attempt among
# them. What an attempt has recorded is printed again; a killed one has recorded no exit code.
_RECORD = (
    f'[ -d "{PATHS.work}" ] || mkdir -p -- "{PATHS.work}"; '
    f"{_ALONE}name=${_VARIABLE}RUN file=${_VARIABLE}FILE; unset {_VARIABLE}RUN {_VARIABLE}FILE; "
    f'run="{PATHS.work}/run.$name"; '
    'if [ ! -s "$run.code" ]; then { : >"$run.out"; } 2>/dev/null || exec "$@"; '
    '"$@" >"$run.out" 2>"$run.err"; code=$?; echo "$code" >"$run.code"; '
    'else read -r -n 3 code <"$run.code"; fi; '
    '[ ! -s "$run.out" ] || cat "$run.out"; [ ! -s "$run.err" ] || cat "$run.err" >&2; '
    '[ ! -f "$file" ] || { printf "\\n%s\\n" "$name"; '
    f'head -c {CARRIED_BYTES + 1} -- "$file" | base64; '
    '[ "${PIPESTATUS[*]}" != "0 0" ] || echo .; } 2>/dev/null; '
    'exit "$code"'
)


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


def agent_arguments(
    work: str, directory: str, stdin_path: str, lines: Sequence[str], command: Sequence[str]
) -> list[str]:
    """Return the command that starts the agent, or follows the one that was started.

    It does not depend on files that the agent could change: the scripts are passed as text.
    """
    script = ["sh", "-c", _AGENT_SCRIPT, "agent.sh"]
    return [*script, work, directory, stdin_path, *lines, _FOLLOW_SCRIPT, *command]


def agent_traces(work: str) -> tuple[str, ...]:
    """Return the paths by which agent.sh knows that the agent was started."""
    return f"{work}/agent", f"{work}.started"


def restoring() -> str:
    """Return the text that makes the folders of the sandbox usable again after an agent."""
    return _RESTORE


def run_variables(name: str, result_file: str) -> dict[str, str]:
    """Return the variables of a recorded command: the name of its record, and the file to print.

    Nobody can guess a random name.
    """
    return {f"{_VARIABLE}RUN": name, f"{_VARIABLE}FILE": result_file}


def split_output(name: str, output: bytes) -> tuple[bytes, bytes | None]:
    """Return the output of a recorded command, and the file behind it if all of it was printed."""
    before, _, encoded = output.partition(f"\n{name}\n".encode())
    if not encoded.endswith(b"\n.\n"):
        return before, None
    try:
        content = b64decode(encoded)
    except ValueError:
        return before, None
    return before, content if len(content) <= CARRIED_BYTES else None


def command_text(count: int, *, has_input: bool) -> str:
    """Return the text that runs a command with `count` arguments in a session of its own."""
    return f'{_unpacking(count, has_input=has_input)}exec setsid -w "$@"'


def recorded_text(count: int, *, has_input: bool) -> str:
    """Return the text that runs a command once and records what it printed and its exit code.

    The same text runs again when the connection breaks. It then waits for the first attempt and
    prints what that has recorded; only if the first attempt was killed, it runs the command again.
    A file that was asked for follows; see `split_output`.
    """
    text = _unpacking(count, has_input=has_input)
    return f'{text}exec setsid -w bash -c {shlex.quote(_RECORD)} recorded "$@"'


def _unpacking(count: int, *, has_input: bool) -> str:
    """Return the text that reads the arguments and the standard input from the variables."""
    names = [f"{_VARIABLE}{number}" for number in range(1, count + 1)]
    quoted = " ".join(f'"${name}"' for name in names)
    text = f"set -- {quoted}; unset {' '.join(names)}; "
    if has_input:
        text = f'exec < <(printf %s "${_VARIABLE}INPUT"); unset {_VARIABLE}INPUT; {text}'
    return text
