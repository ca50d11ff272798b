"""Reads the command line and the settings of a process, and says why it cannot start."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from utils.config.settings import Settings
from utils.config.startup import read_settings, setting_warnings
from utils.errors import ConfigurationError
from utils.server.group.parent_link import ParentLink
from utils.server.preconditions import check_preconditions
from utils.server.web_server import EXIT_CONFIGURATION, print_line
from utils.server.worker import check_worker
from utils.siblings.member import member_of, own_settings

MEMBER = "member"
"""The argument with which a process of a server is started by its parent."""


def checked_settings(name: str) -> Settings:
    """Return the settings; print why the process cannot start with them, and end it."""
    settings = _settings()
    is_worker = name == "worker"
    try:
        if is_worker:
            check_worker(settings)
        check_preconditions(settings, listens=not is_worker)
    except ConfigurationError as error:
        print_line(f"The {name} cannot start: {error.message}", error=True)
        sys.exit(EXIT_CONFIGURATION)
    for warning in setting_warnings():
        print_line(f"Warning: {warning}", error=True)
    return settings


def enter_group(arguments: Sequence[str]) -> tuple[Settings, ParentLink]:
    """Return what a process of a server works with, whose parent has checked the settings."""
    parser = ArgumentParser(MEMBER, description="Run a process of a server, which starts it.")
    parser.add_argument("name")
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--listener", type=int)
    given = parser.parse_args(arguments)
    settings = _settings()
    member = member_of(settings, given.name)
    link = ParentLink(member, given.control, given.listener)
    try:
        own = own_settings(settings, member)
    except ConfigurationError as error:
        link.report_failure(f"The server cannot start: {error.message}")
        sys.exit(EXIT_CONFIGURATION)
    return own, link


def _settings() -> Settings:
    try:
        return read_settings()
    except ConfigurationError as error:
        print_line(error.message, error=True)
        sys.exit(EXIT_CONFIGURATION)
