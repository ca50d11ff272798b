"""A pytest plugin of `./run.sh test`: fails on skips in CI, names failed checks at the end."""

from __future__ import annotations

import os

import pytest


def _counts_as_failure(reporter: pytest.TerminalReporter) -> bool:
    return os.environ.get("CI") == "true" and bool(reporter.stats.get("skipped"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and exitstatus == 0 and _counts_as_failure(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _counts_as_failure(terminalreporter):
        terminalreporter.write_line("A skipped test counts as a failure in CI.", red=True)
    if earlier := os.environ.get("FAILED_CHECKS"):
        terminalreporter.write_line(f"Checks that failed before the tests: {earlier}", red=True)
