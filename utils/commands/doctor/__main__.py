"""Checks your setup and tells you how to fix what fails: `./run.sh doctor`.

The exit code is 0 when no problem was found; warnings do not count.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import structlog

from utils.commands.command_line import CommandParser, run_async
from utils.commands.doctor.cloud import check_cloud
from utils.commands.doctor.findings import Finding, ok, problem, warning
from utils.commands.doctor.github import check_github
from utils.commands.doctor.isolation import check_isolation
from utils.commands.doctor.local import (
    check_agents,
    check_data_folder,
    check_database,
    check_git,
    check_hosts,
    check_keys,
    check_mode,
    check_proxies,
    check_python,
)
from utils.commands.doctor.sign_in import check_users
from utils.commands.doctor.snapshots import check_snapshots
from utils.commands.doctor.supabase import check_sign_in
from utils.commands.doctor.task_engine import check_task_engine
from utils.commands.doctor.webhook import check_webhook
from utils.config.settings import Settings
from utils.config.startup import read_settings, setting_warnings
from utils.errors import ConfigurationError
from utils.sandboxes.e2b.advice import exit_immediately
from utils.sandboxes.e2b.kind import E2B_SANDBOX
from utils.sandboxes.isolated.kind import ISOLATED_SANDBOX

HIDDEN = "[hidden]"

Report = Callable[[Finding], None]

_SANDBOX_CHECKS = {E2B_SANDBOX.name: check_cloud, ISOLATED_SANDBOX.name: check_isolation}


def run_checks(settings: Settings, report: Report) -> None:
    """Run every check that the settings call for, the quick ones first."""
    report(check_data_folder(settings))
    report(check_database(settings))
    for finding in chain(
        check_task_engine(settings), check_sign_in(settings), check_users(settings)
    ):
        report(finding)
    report(check_mode(settings))
    groups = (
        check_keys(settings),
        check_webhook(settings),
        check_agents(settings),
        check_snapshots(settings),
        check_proxies(),
        check_github(settings),
        check_hosts(settings),
    )
    for finding in chain.from_iterable(groups):
        report(finding)
    if check_sandbox := _SANDBOX_CHECKS.get(settings.sandbox_kind):
        run_async(check_sandbox(settings, report))


class Printer:
    """Prints findings as they come and counts them."""

    def __init__(self) -> None:
        self.secrets: Sequence[str] = ()
        self._levels: Counter[str] = Counter()

    def print(self, finding: Finding) -> None:
        """Print a finding, with the secrets of the settings replaced."""
        text = finding.text
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        self._levels[finding.level] += 1
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def close(self) -> int:
        """Print the numbers of problems and warnings; return the exit code."""
        problems, warnings = self._levels["problem"], self._levels["warning"]
        sys.stdout.write(f"\n{_count(problems, 'problem')}, {_count(warnings, 'warning')}\n")
        return 1 if problems else 0


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _settings(report: Report) -> Settings | None:
    try:
        settings = read_settings()
    except ConfigurationError as error:
        report(problem(error.message))
        return None
    report(ok(f"settings: read from {'.env and ' if Path('.env').exists() else ''}the environment"))
    for text in setting_warnings():
        report(warning(f"settings: {text}"))
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Check this installation; return the exit code."""
    parser = CommandParser(
        "doctor",
        "Check your setup and tell you how to fix what fails. With E2B_API_KEY a sandbox runs for "
        "some seconds.",
    )
    parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    # Findings report the failures; the log of the requests would repeat them.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    printer = Printer()
    printer.print(check_python())
    printer.print(check_git())
    settings = _settings(printer.print)
    if settings is not None:
        printer.secrets = settings.secrets
        run_checks(settings, printer.print)
    return printer.close()


if __name__ == "__main__":
    exit_immediately(main())
