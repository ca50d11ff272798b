"""Stores the access of a user to agents, and runs a shell that gets it as an agent does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from database import Database
from tests.support.backends import SHELL_AGENT, USER, Backend, Row
from utils.agents.claude import CLAUDE_CODE
from utils.agents.registry import AGENT_NAMES
from utils.agents.spec import Program


def put(backend: Backend, **body: Any) -> Row:
    """Change the user's profile."""
    client = backend.app.test_client()
    answer = client.put("/users/me", json=body, headers={"X-User-ID": USER})
    assert answer.status_code == 200, answer.get_data()
    profile: Row = answer.get_json()["user"]
    return profile


def store(backend: Backend, **columns: Any) -> None:
    """Write to the user's row directly, as front ends do."""
    backend.get("/users/me")
    database: Database = backend.app.extensions["services"].database
    database.update_profile(USER, columns)


@contextmanager
def agent_with_access(program: Program = CLAUDE_CODE) -> Iterator[None]:
    """Make the shell act as every agent, with the credentials of a program."""
    shell = replace(SHELL_AGENT, program=program, simulated=False)
    with pytest.MonkeyPatch.context() as patch:
        agents = tuple(replace(shell, name=name) for name in AGENT_NAMES)
        patch.setattr("utils.agents.registry.AGENTS", agents)
        yield
