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
"""The largest file that a recorded command prints behind its output.

As much of a larger one is printed for nothing.
"""

_VARIABLE = "ASYNC_CODE_"
_MARKER = f"{_VARIABLE}AGENT"
# The variables of these texts begin with async_code_: users cannot set such a one for their
# commands, and all others keep their values.

# The agent may have written anything there; 1 would mean every process.
_GROUP = f"{PATHS.work}/agent/group"
_END_GROUP = (
    f'[ -f "{_GROUP}" ] && read -r -n 10 async_code_group <"{_GROUP}" 2>/dev/null && '
    "[[ $async_code_group =~ ^[0-9]+$ && $async_code_group -gt 1 ]] && "
    'kill -9 -- "-$async_code_group" 2>/dev/null; '
)
# The agent may have removed, replaced or locked the folders.
_RESTORE = (
    f'for async_code_folder in "{HOME}" "{PATHS.work}" "{PATHS.repository}"; do '
    '[ -w "$async_code_folder" ] && [ -x "$async_code_folder" ] || '
    'chmod u+rwx -- "$async_code_folder" 2>/dev/null; done; '
    f'{{ [ -d "{PATHS.work}" ] && [ ! -L "{PATHS.work}" ]; }} || '
    f'{{ rm -rf -- "{PATHS.work}"; mkdir -m 700 -- "{PATHS.work}"; }}; '
)
# Repeat, because a process may fork during the search.
_END_MARKED = (
    "for async_code_round in 1 2 3 4 5; do "
    "async_code_marked=$(grep -szlxF -- {entry} /proc/[0-9]*/environ | tr -dc '0-9\\n'); "
    '[ -n "$async_code_marked" ] || break; kill -9 $async_code_marked 2>/dev/null; done; '
)
_LOCK = f"{PATHS.work}/alone"
# Files are written beside the first command, and their folder may not be ours for a moment.
_ALONE = (
    f'[ -d "{PATHS.work}" ] || mkdir -p -- "{PATHS.work}"; '
    f'if [ -L "{_LOCK}" ] || {{ [ -e "{_LOCK}" ] && [ ! -f "{_LOCK}" ]; }}; then '
    f'rm -rf -- "{_LOCK}"; fi; async_code_tries=0; '
    f'until {{ exec 8>>"{_LOCK}"; }} 2>/dev/null || [ $((async_code_tries += 1)) -gt 20 ]; do '
    "sleep 0.05; done; flock 8; "
)
# Waits until the processes of other recorded commands have ended, this one's earlier attempt among
# them. What an attempt has recorded is printed again; a killed one has recorded no exit code.
_RECORD = (
    f"{_ALONE}async_code_name=${_VARIABLE}RUN async_code_file=${_VARIABLE}FILE; "
    f"unset {_VARIABLE}RUN {_VARIABLE}FILE; "
    f'async_code_run="{PATHS.work}/run.$async_code_name"; '
    'if [ ! -s "$async_code_run.code" ]; then '
    '{ : >"$async_code_run.out"; } 2>/dev/null || exec "$@"; '
    '"$@" >"$async_code_run.out" 2>"$async_code_run.err"; '
    'async_code_code=$?; echo "$async_code_code" >"$async_code_run.code"; '
    'else read -r -n 3 async_code_code <"$async_code_run.code"; fi; '
    '[ ! -s "$async_code_run.out" ] || cat "$async_code_run.out"; '
    '[ ! -s "$async_code_run.err" ] || cat "$async_code_run.err" >&2; '
    # Opened for both directions: a FIFO that takes its place now would wait for a writer.
    'if [ -f "$async_code_file" ] && { exec 7<>"$async_code_file"; } 2>/dev/null && '
    '[ -f /dev/fd/7 ]; then printf "\\n%s\\n" "$async_code_name"; '
    f"head -c {CARRIED_BYTES + 1} <&7 | base64; "
    '[ "${PIPESTATUS[*]}" != "0 0" ] || echo .; fi 2>/dev/null; '
    'exit "$async_code_code"'
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
    """Return the variables of a recorded command: the name of its record, and the file to print."""
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
