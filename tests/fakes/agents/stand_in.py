"""Holds the parts that all stand-ins for agent programs share. The prompt is their script.

    say TEXT         write FILE TEXT    commit MESSAGE    environment    sleep SECONDS
    lines NUMBER     long CHARACTERS    unknown           error TEXT     retry NUMBER
    denied           (tool calls are denied from here on)
    fail [MESSAGE]   auth               overloaded        crash [CODE]
    hang             (says that it is done, and stays)    silent         (never says anything more)

Every other line of the prompt is ignored. FILE is relative to the working directory; `\\n` in TEXT
starts a new line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

RETRY_SECONDS = 0.01
"""Far shorter than the real programs wait."""

UNKNOWN_LINES = (
    b'{"type":"of_the_next_version","info":{"status":"allowed"}}\n',
    b'{"type":["a","list"]}\n',
    b'{"no":"type"}\n',
    b'["not","an","object"]\n',
    b"{not json at all\n",
    b"\n",
    b"plain text\n",
    b"broken \xff\xfe text\n",
)


class StandIn(ABC):
    """One run of a program; a subclass prints its output format."""

    def __init__(self) -> None:
        self.denied = False
        self.calls = 0

    def carry_out(self, prompt: str) -> None:
        """Carry out the prompt, then print the end of the run."""
        for line in prompt.splitlines():
            command, _, rest = line.partition(" ")
            if action := ACTIONS.get(command):
                action(self, rest)
        self.finish(f"Done, with {self.calls} tool calls.")

    @abstractmethod
    def say(self, text: str) -> None:
        """Print a message."""

    @abstractmethod
    def call(self, tool: str, command: str, work: Callable[[], str]) -> None:
        """Print a call of the tool `write` or `shell`, and its result."""

    @abstractmethod
    def retry(self, reason: str, status: int, tries: int) -> None:
        """Print that a request is tried again."""

    @abstractmethod
    def fail(self, message: str, status: int) -> NoReturn:
        """Print that the provider answered with an error, and exit."""

    @abstractmethod
    def finish(self, text: str) -> None:
        """Print the end of a successful run."""


def emit(entry: dict[str, Any]) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(entry, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def stop(message: str, code: int = 1) -> NoReturn:
    """Exit with a line on standard error."""
    sys.stderr.write(f"{message}\n")
    raise SystemExit(code)


def stay() -> NoReturn:
    """Never return."""
    while True:
        time.sleep(3600)


def write_file(rest: str) -> str:
    """Write a file; return the text to print."""
    name, _, text = rest.partition(" ")
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("\\n", "\n") + "\n")
    return f"File created successfully at: {path}"


def commit(message: str) -> str:
    """Commit everything; return the output of git."""
    printed = ""
    for command in (["add", "--all"], ["commit", "--quiet", "--allow-empty", "-m", message]):
        ended = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
        printed += ended.stdout + ended.stderr
    return printed


def environment() -> str:
    """Return the environment in the format of `env`."""
    return "".join(f"{name}={value}\n" for name, value in sorted(os.environ.items()))


def _print_unknown(_run: StandIn, _rest: str) -> None:
    for line in UNKNOWN_LINES:
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _print_error(_run: StandIn, rest: str) -> None:
    sys.stderr.write(f"{rest}\n")
    sys.stderr.flush()


def _print_lines(run: StandIn, rest: str) -> None:
    for number in range(int(rest)):
        run.say(f"line {number}")


def _deny(run: StandIn, _rest: str) -> None:
    run.denied = True


def _hang(run: StandIn, _rest: str) -> None:
    run.finish("Done, and staying.")
    stay()


def _retry(run: StandIn, rest: str) -> None:
    for tries in range(int(rest)):
        run.retry("overloaded", 529, tries + 1)


def _overloaded(run: StandIn, _rest: str) -> None:
    run.fail("API Error: 529 Overloaded", 529)


def _auth(run: StandIn, _rest: str) -> None:
    run.fail("API Error: 401 invalid x-api-key", 401)


ACTIONS: dict[str, Callable[[StandIn, str], None]] = {
    "say": lambda run, rest: run.say(rest),
    "write": lambda run, rest: run.call("write", rest, lambda: write_file(rest)),
    "commit": lambda run, rest: run.call("shell", f"git commit {rest}", lambda: commit(rest)),
    "environment": lambda run, _rest: run.call("shell", "env", environment),
    "long": lambda run, rest: run.call("shell", "long", lambda: "0123456789" * (int(rest) // 10)),
    "sleep": lambda _run, rest: time.sleep(float(rest)),
    "lines": _print_lines,
    "unknown": _print_unknown,
    "error": _print_error,
    "retry": _retry,
    "denied": _deny,
    "fail": lambda run, rest: run.fail(rest or "API Error: 400 the request was refused", 400),
    "auth": _auth,
    "overloaded": _overloaded,
    "crash": lambda _run, rest: stop("Segmentation fault", int(rest or 3)),
    "hang": _hang,
    "silent": lambda _run, _rest: stay(),
}
