"""Starts the servers whose processor times are compared."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from benchmarks.cost.samples import BEFORE, NOW
from benchmarks.figures import Bench
from benchmarks.server import Server


def start_servers(
    bench: Bench, running: ExitStack, settings: Mapping[str, str], place: str = "server"
) -> dict[str, Server]:
    """Start the present server, and one of the revision to compare with if there is one."""
    folder = bench.folder / place
    servers = {NOW: running.enter_context(Server(folder / NOW, settings))}
    if bench.against is not None:
        older = {**settings, "PYTHONPATH": str(bench.against)}
        program = (str(bench.against / "main.py"),)
        servers[BEFORE] = running.enter_context(Server(folder / BEFORE, older, program))
    return servers
