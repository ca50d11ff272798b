"""Checks this machine for `./run.sh doctor`: programs, folders, database, settings, network."""

from __future__ import annotations

import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from tempfile import TemporaryFile

from sqlalchemy import false, update

from utils.agents.registry import KEY_SETTINGS, Agents, find_agent
from utils.commands.doctor.findings import Finding, ok, problem, warning
from utils.commands.doctor.gateway import open_gateway
from utils.config.private_folder import FULL_BYTES
from utils.config.proxies import BYPASS_VARIABLE
from utils.config.settings import Settings, proxies
from utils.credentials.key_check import KEY_DIFFERS, KEY_REMEDY, reads_no_secret
from utils.credentials.vault import Vault
from utils.database.migrations import head_revision, stored_revision
from utils.database.schema import servers
from utils.database.sql.engine import SQLITE_FILE, open_engines
from utils.database.sql.reasons import explain
from utils.errors import AppError, ConfigurationError, DatabaseUnavailable
from utils.sandboxes.registry import choose_sandbox

OLDEST_PYTHON = (3, 11)
OLDEST_GIT = (2, 30)
PINNING_GIT = (2, 37)
# A database that is read-only refuses it all the same.
_NO_CHANGE = update(servers).where(false()).values(beats=servers.c.beats)

LEAST_FREE_BYTES = 1_000_000_000
COMMAND_SECONDS = 10
CONNECT_SECONDS = 5
HTTPS_PORT = 443
HOSTS_TRIED = 5


def check_python() -> Finding:
    """Check that this Python is new enough."""
    found = f"Python {platform.python_version()}"
    if sys.version_info < OLDEST_PYTHON:
        return problem(found, "Install Python 3.11 or newer.")
    return ok(found)


def check_git() -> Finding:
    """Check that git is installed and new enough."""
    advice = "Install git 2.30 or newer. On Debian and Ubuntu: sudo apt install git"
    try:
        result = subprocess.run(
            ["git", "--version"],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return problem(f"git does not run ({type(error).__name__})", advice)
    match = re.search(r"\b(\d{1,6})\.(\d{1,6})\S{0,50}", result.stdout)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_GIT:
        return problem(result.stdout.strip(), advice)
    if (int(match[1]), int(match[2])) < PINNING_GIT:
        return warning(
            f"git {match[0]} cannot be bound to the addresses of a host that were checked",
            "Install git 2.37 or newer, above all when ALLOWED_GIT_HOSTS is *.",
        )
    return ok(f"git {match[0]}")


def check_data_folder(settings: Settings) -> Finding:
    """Check that the data folder is writable, or can be created, and has free space."""
    folder = settings.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        advice = "Make it writable for this user, or set DATA_DIR to another folder."
        return problem(f"data folder {folder}: {error.strerror}", advice)
    if free < LEAST_FREE_BYTES:
        report = problem if free < FULL_BYTES else warning
        return report(
            f"data folder {folder}: only {free // 1_000_000} MB are free", "Free some disk space."
        )
    later = "" if existing == folder else ", created at the first start"
    return ok(f"data folder {folder}{later}")


def check_database(settings: Settings) -> Finding:
    """Check that the database answers and has the tables of this version."""
    return _check_supabase(settings) if settings.uses_supabase else _check_sql(settings)


def _check_sql(settings: Settings) -> Finding:
    if settings.database_url is None and not (settings.data_dir / SQLITE_FILE).exists():
        return ok("database: SQLite, created at the first start")
    name = "SQLite" if settings.database_url is None else "PostgreSQL"
    head = head_revision()
    try:
        engines = open_engines(settings)
        try:
            stored = engines.read(stored_revision)
            if stored == head:
                engines.write(lambda connection: connection.execute(_NO_CHANGE))
        finally:
            engines.close()
    except AppError as error:
        reason = explain(error) if isinstance(error, DatabaseUnavailable) else error.message
        return problem(f"database: {name}: {reason}", "Check DATABASE_URL and DATA_DIR.")
    if stored == head:
        return ok(f"database: {name} at revision {head}")
    summary = f"database: {name} at revision {stored or 'none'}, this version needs {head}"
    if stored is not None and stored > head:
        return problem(summary, "A newer version of the server created it: start that version.")
    if settings.database_url is None:
        return ok(summary, "The next start updates it.")
    return problem(summary, "Run ./run.sh migrate")


def _check_supabase(settings: Settings) -> Finding:
    # Its client takes long to import.
    from utils.database.supabase.database import connect_current

    try:
        connect_current(settings).close()
    except ConfigurationError as error:
        return problem(f"database: Supabase: {error.message}")
    except AppError as error:
        return problem(f"database: Supabase: {error.message}", "Check SUPABASE_URL.")
    return ok(f"database: Supabase at revision {head_revision()}")


def check_keys(settings: Settings) -> Iterator[Finding]:
    """Check that the secrets of users are readable, and stay so without this data folder."""
    if settings.shares_rows and settings.secret_key is None:
        yield warning(
            "the secrets of users are encrypted with a key that only DATA_DIR holds",
            "Set SECRET_KEY, to the text of DATA_DIR/secret_key if that file exists: a server with "
            "another key cannot read the stored secrets.",
        )
    if not settings.shares_rows or settings.secret_key is None:
        return
    try:
        with closing(open_gateway(settings)) as database:
            if reads_no_secret(database, Vault.open(settings)):
                yield problem(KEY_DIFFERS, KEY_REMEDY)
    except AppError:  # the check of the database reports it
        return


def check_mode(settings: Settings) -> Finding:
    """Report where tasks run and which agents work on them."""
    sandbox = choose_sandbox(settings)
    if not Agents(settings).are_simulated:
        return ok(f"tasks run in {sandbox.place}, with the real agents")
    if not sandbox.sees_this_machine:
        return ok(f"tasks run in {sandbox.place}, with a script instead of an AI")
    summary = f"{sandbox.name} mode, simulated: tasks run in {sandbox.place}, without an AI"
    if settings.e2b_api_key is not None:
        return ok(summary, "SANDBOX=local turns off the cloud, although E2B_API_KEY is set.")
    return ok(
        summary,
        f"To use real agents, set E2B_API_KEY and {' or '.join(KEY_SETTINGS)} in .env, then run\n"
        "./run.sh build-template",
    )


def check_agents(settings: Settings) -> Iterator[Finding]:
    """Check that each real agent has a key, and in local folders its program."""
    is_local = choose_sandbox(settings).sees_this_machine
    for status in Agents(settings).statuses():
        program = find_agent(status.name).program
        if status.simulated or program is None:
            continue
        if not status.usable:
            yield warning(f"agent {status.name}: {status.reason}")
        elif is_local and shutil.which(program.command) is None:
            advice = "Install it, or remove SIMULATE_WITH_REAL_AGENT."
            yield problem(f"agent {status.name}: the program is not on PATH", advice)
        else:
            yield ok(f"agent {status.name}: its key is set")


def check_proxies() -> Iterator[Finding]:
    """Report the proxies in use."""
    for name, url in _proxies().items():
        # The part before the last @ is a user and a password.
        yield ok(f"{name}: {url.rpartition('@')[2]}")


def check_hosts(settings: Settings) -> Iterator[Finding]:
    """Check that the hosts of repositories can be reached."""
    proxied = any(name.upper() in {"HTTPS_PROXY", "ALL_PROXY"} for name in _proxies())
    for host in hosts_to_try(settings):
        if proxied:
            yield ok(f"{host}: not tested, because a proxy is in use")
        else:
            yield _check_host(host)


def hosts_to_try(settings: Settings) -> Sequence[str]:
    """Return the first few hosts that tasks may clone from."""
    named = [host for host in settings.allowed_git_hosts if host != "*"]
    return named[:HOSTS_TRIED] or ["github.com"]


def _check_host(host: str) -> Finding:
    name, _, port = host.partition(":")
    address = (name, int(port) if port.isdecimal() else HTTPS_PORT)
    shown = f"{address[0]}:{address[1]}"
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        advice = "Check the network, the firewall and HTTPS_PROXY."
        return warning(f"{shown} cannot be reached: {error.strerror or error}", advice)
    return ok(f"{shown} can be reached")


def _proxies() -> dict[str, str]:
    return {name: url for name, url in proxies().items() if name.upper() != BYPASS_VARIABLE and url}
