"""The checks of `./run.sh doctor` that need no account: this machine, its settings, its network."""

from __future__ import annotations

import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile

from utils.agents.registry import PROGRAMS, Agents, find_agent
from utils.commands.doctor.findings import Finding, ok, problem, warning
from utils.config.settings import Settings, inherited_environment, proxies_with_password
from utils.database.migrations import head_revision, stored_revision
from utils.database.sql.engine import SQLITE_FILE, open_engines
from utils.errors import AppError, ConfigurationError
from utils.sandboxes.registry import choose_sandbox

OLDEST_PYTHON = (3, 11)
OLDEST_GIT = (2, 30)
LEAST_FREE_BYTES = 1_000_000_000
COMMAND_SECONDS = 10
CONNECT_SECONDS = 5
HTTPS_PORT = 443
HOSTS_TRIED = 5


def check_python() -> Finding:
    """Is this Python new enough?"""
    what = f"Python {platform.python_version()}"
    if sys.version_info < OLDEST_PYTHON:
        return problem(what, "Python 3.11 or newer is needed.")
    return ok(what)


def check_git() -> Finding:
    """Is git there, and new enough?"""
    advice = "git 2.30 or newer is needed. Debian, Ubuntu: sudo apt install git"
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
    match = re.search(r"(\d+)\.(\d+)\S*", result.stdout)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_GIT:
        return problem(result.stdout.strip(), advice)
    return ok(f"git {match[0]}")


def check_data_folder(settings: Settings) -> Finding:
    """Can the data folder be written, or made?"""
    folder = settings.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        advice = "Make it writable for this user, or set DATA_DIR to another folder."
        return problem(f"data folder {folder}: {error.strerror}", advice)
    if free < LEAST_FREE_BYTES:
        return warning(f"data folder {folder}: {free // 1_000_000} MB are free", "Make room.")
    later = "" if existing == folder else ", made at the first start"
    return ok(f"data folder {folder}{later}")


def check_database(settings: Settings) -> Finding:
    """Check that the database responds and has this version's tables."""
    return _check_supabase(settings) if settings.uses_supabase else _check_sql(settings)


def _check_sql(settings: Settings) -> Finding:
    if settings.database_url is None and not (settings.data_dir / SQLITE_FILE).exists():
        return ok("database: SQLite, made at the first start")
    name = "SQLite" if settings.database_url is None else "PostgreSQL"
    try:
        engines = open_engines(settings)
        try:
            stored = engines.read(stored_revision)
        finally:
            engines.close()
    except AppError as error:
        return problem(f"database: {name}: {error.message}", "Check DATABASE_URL and DATA_DIR.")
    head = head_revision()
    if stored == head:
        return ok(f"database: {name} at revision {head}")
    what = f"database: {name} at revision {stored or 'none'}, this version needs {head}"
    if stored is not None and stored > head:
        return problem(what, "A newer version of the server made it: start that one.")
    if settings.database_url is None:
        return ok(what, "It is brought up to date at the next start.")
    return problem(what, "Run ./run.sh migrate")


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
    """Do the secrets that users store stay readable without this data folder?"""
    shared = settings.uses_supabase or settings.database_url is not None
    if shared and settings.secret_key is None:
        yield warning(
            "what users store is encrypted with a key in DATA_DIR alone, and is in the database",
            "Set SECRET_KEY, to the text of DATA_DIR/secret_key if that exists: a server with "
            "another key cannot read what users have stored.",
        )


def check_mode(settings: Settings) -> Finding:
    """Check the sandboxes and the agents that tasks use."""
    sandbox = choose_sandbox(settings)
    if not Agents(settings).are_simulated:
        return ok(f"tasks run in {sandbox.place}, with the real agents")
    if not sandbox.sees_this_machine:
        return ok(f"tasks run in {sandbox.place}, with a script, without any AI")
    what = f"{sandbox.name} mode, simulated: tasks run in {sandbox.place}, without any AI"
    if settings.e2b_api_key is not None:
        return ok(what, "E2B_API_KEY is set, and SANDBOX=local overrules it.")
    return ok(
        what,
        f"For the real thing set E2B_API_KEY, and {_key_settings()}, in .env; "
        "then run\n./run.sh build-template",
    )


def _key_settings() -> str:
    return " or ".join(program.key_setting.upper() for program in PROGRAMS)


def check_agents(settings: Settings) -> Iterator[Finding]:
    """Is there a key for each real agent, and in local folders the program?"""
    is_local = choose_sandbox(settings).sees_this_machine
    for status in Agents(settings).statuses():
        program = find_agent(status.name).program
        if status.simulated or program is None:
            continue
        if not status.usable:
            yield warning(f"agent {status.name}: {status.reason}")
        elif is_local and shutil.which(program.command) is None:
            advice = "Install it, or leave out SIMULATE_WITH_REAL_AGENT."
            yield problem(f"agent {status.name}: the program is not on PATH", advice)
        else:
            yield ok(f"agent {status.name}: its key is set")


def check_proxies() -> Iterator[Finding]:
    """Report the proxies in use."""
    for name, url in _proxies().items():
        # What comes before the last @ is a user and a password.
        yield ok(f"{name}: {url.rpartition('@')[2]}")


def check_hosts(settings: Settings) -> Iterator[Finding]:
    """Can repositories be reached from here?"""
    proxied = any(name.upper() in {"HTTPS_PROXY", "ALL_PROXY"} for name in _proxies())
    for host in hosts_to_try(settings):
        if proxied:
            yield ok(f"{host}: reached through the proxy, so not tried")
        else:
            yield _check_host(host)


def hosts_to_try(settings: Settings) -> Sequence[str]:
    """Return the first hosts that tasks may clone from."""
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
    seen = inherited_environment() | proxies_with_password()
    return {
        name: url
        for name, url in seen.items()
        if name.upper().endswith("_PROXY") and name.upper() != "NO_PROXY" and url
    }
