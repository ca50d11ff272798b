"""Checks before the start of the server what it cannot do without: its address, and programs."""

from __future__ import annotations

import errno
import shutil
import socket

import psutil
import structlog

from database import Database
from utils.auth.sign_in import sign_in_warnings
from utils.config.settings import Settings
from utils.errors import ConfigurationError
from utils.sandboxes.isolated.kind import ISOLATED_SANDBOX
from utils.sandboxes.isolated.requirements import missing_requirements
from utils.sandboxes.registry import choose_sandbox
from utils.usage.prices import price_warnings

_FIRST_FREE_PORT = 1024

log = structlog.get_logger(__name__)


def check_preconditions(settings: Settings, *, listens: bool = True) -> None:
    """Raise `ConfigurationError` with the remedy if the server cannot work, or not listen."""
    if shutil.which("git") is None:
        raise ConfigurationError(
            "git was not found on PATH. Install version 2.30 or newer, or correct PATH."
        )
    if choose_sandbox(settings) is ISOLATED_SANDBOX and (missing := missing_requirements()):
        fault, remedy = missing[0]
        raise ConfigurationError(f"SANDBOX=isolated cannot work: {fault}. {remedy}")
    if listens:
        _check_address(settings)


def log_warnings(settings: Settings, database: Database) -> None:
    """Log what the operator should know although the server can work."""
    for warning in choose_sandbox(settings).version_warnings():
        log.warning(warning, action="versions.untested")
    for warning in sign_in_warnings(settings, database):
        log.warning(warning, action="auth.sign_in")
    for warning in price_warnings(settings):
        log.warning(warning, action="usage.unpriced")


def _check_address(settings: Settings) -> None:
    host, port = settings.listen_host, settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise ConfigurationError(_no_such_address()) from None
    family, kind, protocol, _, address = found[0]
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise ConfigurationError(_explain(error, port)) from error


def _explain(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} is in use{_used_by(port)}. Stop that program, or choose another port: "
            f"PORT={port + 1 if port < 65_535 else 8000} ./run.sh"  # noqa: PLR2004
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return (
            f"This user may not listen on port {port}. Choose a port from {_FIRST_FREE_PORT} on: "
            "PORT=8000 ./run.sh"
        )
    if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        return _no_such_address()
    return f"The server cannot listen on HOST and PORT: {error.strerror}. Change one of them."


def _no_such_address() -> str:
    return (
        "HOST is no address of this machine. Use 127.0.0.1 for this machine only, or 0.0.0.0 for "
        "all networks."
    )


def _used_by(port: int) -> str:
    """Return the program that listens on a port, as far as this user may see it."""
    try:
        listeners = [
            connection
            for connection in psutil.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        ]
        if listeners:
            process = psutil.Process(listeners[0].pid)
            return f" by {process.name()} (process {process.pid})"
    except (psutil.Error, OSError):
        pass
    return ""
