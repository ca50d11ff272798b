"""A pytest plugin that has the processes of a run share the work of a first collection.

Every process imports all test files. pytest compiles each file anew to explain its assertions, and
keeps what it made; when several processes begin at once, each would compile all of them. So each
begins with files of its own, and then finds most of the others compiled.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.source_files import ROOT, module_name


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import this process's share of the test files."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None:
        return
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    for path in sorted({*_files(session.config)})[number::count]:
        # The collection meets the same failure, and reports it.
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(module_name(path.relative_to(ROOT)))


def _files(config: pytest.Config) -> Iterator[Path]:
    for argument in config.args:
        path = config.invocation_params.dir / argument.partition("::")[0]
        found = path.rglob("test_*.py") if path.is_dir() else [path]
        yield from (one for one in found if "real_agents" not in one.parts)
