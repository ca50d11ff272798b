"""The fixtures `project`, a fresh one, and `migrated_project`."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.postgres_server import PostgresServer
from tests.schema_projects import Project

pytest_plugins = ("tests.database_fixtures",)


@pytest.fixture
def project(postgres_server: PostgresServer) -> Iterator[Project]:
    """A fresh project."""
    project = Project(postgres_server, "schema_project")
    yield project
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{project.name}"'.encode())


@pytest.fixture(scope="session")
def migrated_project(postgres_server: PostgresServer) -> Project:
    """A project that was migrated; tests share it and leave its schema alone."""
    project = Project(postgres_server, "schema_migrated")
    project.migrate()
    return project
