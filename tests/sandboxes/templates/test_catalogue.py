"""GET /templates lists what sandboxes can start from, and projects choose from it by name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import Backend, Repository, Row
from tests.support.e2b.tasks import cloud_backend
from utils.api.endpoint import Services
from utils.commands.build_template import build
from utils.commands.command_line import run_async
from utils.errors import ConfigurationError, InvalidInput
from utils.sandboxes.local.processors import Processors
from utils.sandboxes.templates import catalogue
from utils.sandboxes.templates.definitions import read_definitions
from utils.sandboxes.templates.machine import describe_machine


@pytest.fixture
def backend(failing_cloud: E2BServerProcess, tmp_path: Path) -> Iterator[Backend]:
    """Provide a backend in whose account two of the project's templates are built."""
    failing_cloud.configure(templates=["base"], page=2)
    with cloud_backend(failing_cloud, tmp_path, sweep_grace_seconds=60) as opened:
        definitions = read_definitions()
        for name in ("base", "go"):
            run_async(build(services_of(opened).settings, definitions[name], lambda _line: None))
        yield opened


def services_of(backend: Backend) -> Services:
    services: Services = backend.app.extensions["services"]
    return services


def listed(backend: Backend) -> dict[str, Row]:
    return {row["name"]: row for row in backend.get("/templates")["templates"]}


def test_the_catalogue_has_the_projects_templates_and_those_of_the_account(
    backend: Backend, failing_cloud: E2BServerProcess
) -> None:
    rows = listed(backend)
    assert list(rows) == [*read_definitions(), "e2b/base"]
    go, java = rows["go"], rows["java"]
    assert (go["status"], go["origin"], go["is_default"]) == ("ready", "project", False)
    assert (go["memory_mb"], go["programs"][-1], go["tags"][0]) == (8192, "go", "default")
    assert (java["status"], java["id"], java["cpu_count"]) == ("not_built", None, 4)
    assert rows["base"]["is_default"] is True
    # The name `base` means the project's own template, so the provider's has its longer one.
    assert (rows["e2b/base"]["origin"], rows["e2b/base"]["disk_mb"]) == ("provider", 1024)
    pages = len(failing_cloud.requests("template.list"))
    assert pages == 2
    listed(backend)
    assert len(failing_cloud.requests("template.list")) == pages, "the list is kept for a while"


def test_a_template_that_was_never_ready_has_the_size_of_its_definition(
    backend: Backend, failing_cloud: E2BServerProcess
) -> None:
    failing_cloud.configure(failing_step=12)
    rust = read_definitions()["rust"]
    with pytest.raises(ConfigurationError, match="failed at step 12"):
        run_async(build(services_of(backend).settings, rust, lambda _line: None))
    row = listed(backend)["rust"]
    assert (row["status"], row["cpu_count"], row["memory_mb"]) == ("failed", 4, 8192)


def test_a_project_chooses_a_template_by_its_name(
    backend: Backend, failing_cloud: E2BServerProcess, small: Repository
) -> None:
    url = "https://github.com/octo/go"
    answers = [
        backend.post(
            "/projects", name="go", repo_url=url, settings={"environment": {"template": name}}
        )
        for name in ("cobol", "java", "go")
    ]
    assert [(one["http_status"], one.get("code")) for one in answers] == [
        (400, "unknown_template"),
        (400, "unknown_template"),
        (200, None),
    ]
    assert "base, go, java" in answers[0]["error"]
    assert "build-template java" in answers[1]["error"]
    refused = backend.post("/v1/sandboxes", template="cobol")
    assert (refused["http_status"], refused["code"]) == (400, "unknown_template")
    backend.complete("Say hello", small, project_id=answers[2]["project"]["id"])
    (request,) = failing_cloud.requests("create")
    assert json.loads(request["body"])["templateID"] == "async-code-go"


def test_a_name_becomes_an_id_or_is_refused_with_those_that_there_are(backend: Backend) -> None:
    templates = services_of(backend).templates
    go = listed(backend)["go"]["id"]
    assert templates.resolve("go") == templates.resolve(go) == go
    with pytest.raises(InvalidInput, match=r"one of these: base, go, java, .*e2b/base") as bad:
        templates.resolve("cobol")
    assert bad.value.code == "unknown_template"
    with pytest.raises(InvalidInput, match=r"not built yet.*build-template java"):
        templates.resolve("java")


def test_a_provider_that_does_not_answer_is_asked_again_after_a_while(
    backend: Backend, failing_cloud: E2BServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = backend.app.test_client()
    headers = {"X-User-ID": "00000000-0000-4000-8000-00000000000a"}
    failing_cloud.add_fault("status", route="template.list", status=500)
    for _ in range(3):
        answer = client.get("/templates", headers=headers)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "templates_unavailable")
    assert len(failing_cloud.requests("template.list")) == 1
    failing_cloud.remove_faults()
    monkeypatch.setattr(catalogue, "FAILURE_SECONDS", 0.0)
    services_of(backend).templates._ask_at = 0.0
    assert "go" in listed(backend)


def test_a_system_that_keeps_no_program_on_some_processors_counts_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert describe_machine(tmp_path, {}).cpu_count == 12
    assert Processors().take(2) == ()


def test_without_the_cloud_the_machine_is_the_only_template(client: FlaskClient) -> None:
    headers = {"X-User-ID": "00000000-0000-4000-8000-00000000000a"}
    (machine,) = client.get("/templates", headers=headers).get_json()["templates"]
    assert (machine["name"], machine["origin"], machine["is_default"]) == (
        "machine",
        "machine",
        True,
    )
    assert machine["cpu_count"] == len(os.sched_getaffinity(0))
    assert {"git", "python3"} <= set(machine["programs"])
    templates = client.application.extensions["services"].templates
    assert templates.resolve("machine") == "machine"
    with pytest.raises(InvalidInput, match="one of these: machine"):
        templates.resolve("go")
