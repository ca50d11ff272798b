"""Runs a command of run.sh: `python -m utils.commands NAME ...`; one place ends it on a signal.

A signal may arrive at once, before the command is imported. So everything else is imported when
signals are expected, and whatever takes time only where it is needed.
"""

from __future__ import annotations

import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

# Ctrl-C, the end of a service or a container, and a terminal that is closed.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_SIGNAL = 128
AGAIN_SECONDS = 0.01
CHILDREN_SECONDS = 10.0

COMMANDS = {
    "serve": "main",
    "worker": "main worker",
    "demo": "demo",
    "bench": "benchmarks",
    "supabase-local": "tests.support.supabase.local",
    "doctor": "utils.commands.doctor",
    "add-user": "utils.commands.add_user",
    "install-agents": "utils.commands.install_agents",
    "archive": "utils.commands.maintenance.archive",
    "backup": "utils.commands.maintenance.backup",
    "cleanup": "utils.commands.maintenance.cleanup",
    "restore": "utils.commands.maintenance.restore",
    "migrate": "utils.commands.migrate",
    "supabase-sql": "utils.commands.supabase_sql",
    "rotate-keys": "utils.commands.rotate_keys",
    "build-template": "utils.commands.build_template",
}


class Ending:
    """Raises `KeyboardInterrupt` once, on the first signal that asks this process to end.

    Later ones are ignored, because they would interrupt what the first one lets happen.
    """

    def __init__(self) -> None:
        self.number = 0

    def expect(self) -> None:
        """Raise on signals from now on, also on SIGINT that a shell ignores in the background."""
        sys.unraisablehook = self._raise_again
        signal.signal(signal.SIGALRM, self._raise)
        for number in ENDING_SIGNALS:
            # Only `nohup` ignores the end of a terminal, and means it.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._receive)

    def forget(self) -> None:
        """Let signals end the process from now on: it has nothing to tidy up any more."""
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    def _receive(self, number: int, _frame: object) -> None:
        if self.number:
            return
        self.number = number
        if threading := sys.modules.get("threading"):
            # Threads may miss what the main thread takes away from them; nobody has to know.
            threading.excepthook = lambda _: None  # type: ignore[attr-defined]
        self._raise()

    def _raise(self, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) != self._receive:
            # An event loop cancels its work on SIGINT, which is kinder to it than an exception.
            signal.raise_signal(signal.SIGINT)
            return
        raise KeyboardInterrupt

    def _raise_again(self, missed: sys.UnraisableHookArgs) -> None:
        """Repeat an exception that was lost in code that cannot raise, as in `__del__`."""
        if isinstance(missed.exc_value, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        elif not self.number:
            sys.__unraisablehook__(missed)


def run(name: str, *arguments: str) -> None:
    """Run the command of this name with the arguments."""
    # First: a library in Rust that imports it panics, with a text of its own, when a signal ends
    # that import.
    import datetime as dt  # noqa: F401
    import runpy

    module, *first = COMMANDS[name].split()
    sys.argv = [name, *first, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def end(number: int, message: str) -> NoReturn:
    """End the process as a shell expects after a signal, and all that it has started."""
    import os

    _end_children()
    sys.stderr.write(f"\n{message or 'Stopped.'}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: threads may wait for answers that nobody needs any more.
    os._exit(EXIT_SIGNAL + number)


def _end_children() -> None:
    """End the processes that were started and that nobody has ended, and wait for them."""
    import psutil

    children = psutil.Process().children(recursive=True)
    for send in (psutil.Process.terminate, psutil.Process.kill):
        for child in children:
            try:
                send(child)
            except psutil.Error:
                continue
        _, children = psutil.wait_procs(children, CHILDREN_SECONDS)


def main(arguments: Sequence[str]) -> None:
    """Run a command; a signal ends it with the code of that signal."""
    ending = Ending()
    ending.expect()
    try:
        run(*arguments)
    except BaseException as error:
        # What fails while a command tidies up is no news either.
        if not ending.number and not isinstance(error, KeyboardInterrupt):
            raise
        end(ending.number or signal.SIGINT, str(error) if type(error) is KeyboardInterrupt else "")
    finally:
        ending.forget()


if __name__ == "__main__":
    main(sys.argv[1:])
