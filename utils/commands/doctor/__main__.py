"""Says what works here, what does not, and what to do about it: `./run.sh doctor`.

Ends with exit code 0 when no problem was found; warnings do not count.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import structlog
from pydantic import ValidationError

from utils.commands.doctor.cloud import check_cloud
from utils.commands.doctor.findings import Finding, ok, problem
from utils.commands.doctor.github import check_github
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
from utils.commands.doctor.supabase import check_sign_in
from utils.commands.doctor.webhook import check_webhook
from utils.config.settings import Settings, explain_settings
from utils.sandboxes.e2b.advice import exit_immediately
from utils.sandboxes.e2b.kind import E2B_SANDBOX

HIDDEN = "[hidden]"

Tell = Callable[[Finding], None]

_SANDBOX_CHECKS = {E2B_SANDBOX.name: check_cloud}


def examine(settings: Settings, tell: Tell) -> None:
    """Make every check that goes with the settings, the quick ones first."""
    tell(check_data_folder(settings))
    tell(check_database(settings))
    for finding in check_sign_in(settings):
        tell(finding)
    tell(check_mode(settings))
    groups = (
        check_keys(settings),
        check_webhook(settings),
        check_agents(settings),
        check_proxies(),
        check_github(settings),
        check_hosts(settings),
    )
    for finding in chain.from_iterable(groups):
        tell(finding)
    if check_sandbox := _SANDBOX_CHECKS.get(settings.sandbox_kind):
        asyncio.run(check_sandbox(settings, tell))


class Report:
    """Prints findings as they come, and counts them."""

    def __init__(self) -> None:
        self.secrets: Sequence[str] = ()
        self._levels: Counter[str] = Counter()

    def tell(self, finding: Finding) -> None:
        """Print a finding. No secret of the settings is in it, whoever worded it."""
        text = finding.text
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        self._levels[finding.level] += 1
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def close(self) -> int:
        """Print the sum and return the exit code."""
        problems, warnings = self._levels["problem"], self._levels["warning"]
        sys.stdout.write(f"\n{_count(problems, 'problem')}, {_count(warnings, 'warning')}\n")
        return 1 if problems else 0


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _settings(tell: Tell) -> Settings | None:
    try:
        settings = Settings()
    except ValidationError as error:
        tell(problem("\n".join(explain_settings(error))))
        return None
    tell(ok(f"settings: {'from .env and ' if Path('.env').exists() else ''}from the environment"))
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine this installation; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="./run.sh doctor",
        description="Say what works here, and what to do about what does not. With E2B_API_KEY a "
        "sandbox is started for some seconds.",
    )
    parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    # What fails is told by a finding, and not once more by the log of what was asked.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    report = Report()
    report.tell(check_python())
    report.tell(check_git())
    settings = _settings(report.tell)
    if settings is not None:
        report.secrets = settings.secrets
        examine(settings, report.tell)
    return report.close()


if __name__ == "__main__":
    exit_immediately(main())
