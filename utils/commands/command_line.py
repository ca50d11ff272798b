"""Parses the command lines of all commands: `--help` and `--version` do nothing else."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, NoReturn, TypeVar

from utils.config.version import VERSION
from utils.errors import AppError

Result = TypeVar("Result")


class CommandParser(argparse.ArgumentParser):
    """Parses the arguments of `./run.sh COMMAND`. Unknown ones end the process with code 2."""

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            # Commands without a name in run.sh are modules.
            prog=f"python -m {command}" if "." in command else f"./run.sh {command}",
            description=description,
            allow_abbrev=False,
            epilog=epilog,
        )
        self.add_argument("--version", action="version", version=VERSION)

    def error(self, message: str) -> NoReturn:
        """Print the fault in one line, with where to find the options."""
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help\n")


def ends_with_message(
    command: Callable[[Sequence[str]], int | None],
) -> Callable[..., int | None]:
    """Decorate a command: an expected error ends the process with its message and code 1."""

    @wraps(command)
    def run(arguments: Sequence[str] = ()) -> int | None:
        try:
            return command(arguments)
        except AppError as error:
            raise SystemExit(error.message) from None

    return run


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine. A signal that ends the command cancels it, so that it can tidy up."""
    previous = signal.getsignal(signal.SIGINT)
    # The one handler that `asyncio.run` replaces by its own.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return asyncio.run(work)
    finally:
        signal.signal(signal.SIGINT, previous)
