"""Builds the commands that users run in their sandboxes, and collects what they print.

What the user typed is data: arguments of a constant script. Variables travel in a file of the
sandbox and on standard input, because those of a command also reach the programs around it, which
run outside of the sandbox.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from utils.models.runs import CommandResult
from utils.models.tasks import Json

MAX_OUTPUT_BYTES = 1_000_000
"""Sandboxes drop what a command prints beyond about so much, of each stream."""

MAX_LOGGED_CHARACTERS = 2_000
"""Length to which a command is cut in the log of operations."""

# The command itself reads nothing. A folder that is missing is told as shells do.
_SCRIPT = (
    'if [ -f "$1" ]; then . "$1"; fi; eval "$(cat)"; cd -- "$2" && cd -- "$3" && shift 3 && '
    'exec "$@" </dev/null'
)


@dataclass(frozen=True, slots=True)
class UserCommand:
    """A command of a user: its arguments, its folder below the home, and further variables."""

    arguments: Sequence[str]
    timeout_seconds: float
    directory: str = "."
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def text(self) -> str:
        """The command for people to read."""
        return shlex.join(self.arguments)


def call_of(command: UserCommand, home: str, variables_path: str) -> list[str]:
    """Return the arguments that run a command with the variables of its sandbox."""
    return ["sh", "-c", _SCRIPT, "sh", variables_path, home, command.directory, *command.arguments]


def variables_text(variables: Mapping[str, str]) -> str:
    """Return shell text that sets variables, whose names were checked."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


@dataclass(frozen=True, slots=True)
class Executed:
    """A command that has ended, with its output as text."""

    stdout: str
    stderr: str
    exit_code: int
    duration_ms: int
    truncated: bool
    timed_out: bool = False

    @property
    def fields(self) -> Json:
        """The fields of an answer."""
        return {
            "stdout": self.stdout,
            "stderr": self.stderr,
            "exit_code": self.exit_code,
            "duration_ms": self.duration_ms,
            "truncated": self.truncated,
        }


def executed(result: CommandResult, duration_ms: int) -> Executed:
    """Return the result of a command as users get it."""
    return Executed(
        stdout=result.stdout.decode("utf-8", "replace"),
        stderr=result.stderr.decode("utf-8", "replace"),
        exit_code=result.exit_code,
        duration_ms=duration_ms,
        truncated=max(len(result.stdout), len(result.stderr)) >= MAX_OUTPUT_BYTES,
        timed_out=result.timed_out,
    )
