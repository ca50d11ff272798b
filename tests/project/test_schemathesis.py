"""The server conforms to its OpenAPI document, for input generated from the document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.conftest import Headers, MakeApp
from tests.fakes.github.server import serve_github
from tests.support.source_files import ROOT
from tests.support.suite.generated import generated

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
]

OPERATIONS = [
    (path, method.upper())
    for path, operations in json.loads((ROOT / "openapi.json").read_text())["paths"].items()
    for method in operations
]


Rows = dict[str, int]
Case = schemathesis.Case[Any]


@pytest.fixture(scope="module")
def app(make_app: MakeApp) -> Iterator[Flask]:
    """Provide an application that asks no host but a GitHub without users."""
    with serve_github() as github:
        yield make_app(
            github_api_url=github.api_url,
            allowed_git_hosts=["git.invalid"],
            # More than any generated body has: the check does not take 413 for a refusal.
            max_body_bytes=20_000_000,
        )


@pytest.fixture(scope="module")
def document(app: Flask) -> Any:
    """Provide the server's document, read once: reading it searches all modules for constants."""
    return schemathesis.openapi.from_wsgi("/openapi.json", app)


@pytest.fixture(scope="module")
def read_rows() -> Rows:
    """Provide the rows of the caller who only reads; the first test that needs them adds them."""
    return {}


@pytest.fixture(scope="module")
def reader() -> str:
    """Provide the id of the caller who only reads."""
    return str(uuid4())


@pytest.fixture
def user(method: str, reader: str) -> str:
    """Provide the id of the caller: a new one for each request that may change something."""
    return reader if method == "GET" else str(uuid4())


@pytest.fixture
def rows(
    client: FlaskClient, headers: Headers, repository: Path, method: str, read_rows: Rows
) -> Rows:
    """Provide rows of the caller, so that some responses are not empty."""
    if method != "GET":
        return new_rows(client, headers, repository)
    if not read_rows:
        read_rows.update(new_rows(client, headers, repository))
    return read_rows


def new_rows(client: FlaskClient, headers: Headers, repository: Path) -> Rows:
    """Create a project, a task and a sandbox."""
    address = {"repo_url": str(repository)}
    project = client.post("/projects", json={"name": "Mine", **address}, headers=headers)
    task = client.post("/start-task", json={"prompt": "Hello", **address}, headers=headers)
    sandbox = client.post("/v1/sandboxes", json={}, headers=headers)
    return {
        "sandbox_id": sandbox.get_json()["sandbox"]["id"],
        "project_id": project.get_json()["project"]["id"],
        "task_id": task.get_json()["task_id"],
    }


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_answers_are_as_documented(
    document: Any,
    headers: Headers,
    repository: Path,
    rows: Rows,
    runs_all: bool,
    path: str,
    method: str,
) -> None:
    operation = document[path][method]

    def with_rows(case: Case) -> Case:
        case.path_parameters |= {key: rows[key] for key in case.path_parameters if key in rows}
        if case.query and "repo_url" in case.query:
            case.query["repo_url"] = str(repository)
        if isinstance(case.body, dict) and "repo_url" in case.body:
            case.body["repo_url"] = str(repository)
            if path == "/start-task":
                case.body |= {"branch": "main", "model": "scripted", "project_id": None}
        if isinstance(case.body, dict) and "command" in case.body:
            case.body |= {"command": ["true"], "timeout_seconds": 10}
        return case

    documented = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    undocumented = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @generated(20 if runs_all else 4)
    @given(st.one_of(documented.map(with_rows), documented, undocumented))
    def answers_as_documented(case: Case) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    answers_as_documented()
