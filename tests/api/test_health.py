"""Health, metrics and the API's own documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from main import declare_routes
from tests.conftest import Headers, MakeApp
from tests.support.source_files import ROOT
from utils.api.openapi.document import build_openapi, format_openapi
from utils.errors import DatabaseUnavailable


def test_ping_answers(client: FlaskClient) -> None:
    answer = client.get("/ping").get_json()
    assert (answer["status"], answer["message"]) == ("success", "pong")
    assert answer["timestamp"].endswith("Z")


def test_the_first_page_lists_every_endpoint(client: FlaskClient) -> None:
    listed = {(row["method"], row["path"]) for row in client.get("/").get_json()["endpoints"]}
    paths = build_openapi(declare_routes())["paths"]
    documented = {
        (method.upper(), re.sub(r"{(\w+)}", "*", path))
        for path, operations in paths.items()
        for method in operations
    }
    assert {(method, re.sub(r"<[^>]+>", "*", path)) for method, path in listed} == documented


def test_a_ready_server_says_with_what(client: FlaskClient) -> None:
    answer = client.get("/health/ready").get_json()
    assert (answer["status"], answer["mode"]) == ("success", "local")
    assert answer["database"] == {"kind": "sqlite", "available": True}
    assert [agent["name"] for agent in answer["agents"]] == ["claude", "codex", "scripted"]
    assert {"queued", "running"} <= set(answer)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, []),
        ({"trust_user_id": True, "host": "0.0.0.0"}, ["TRUST_USER_ID"]),
        ({"enable_test_users": True, "host": "192.0.2.1"}, ["ENABLE_TEST_USERS"]),
        (
            {"trust_user_id": True, "environment": "production", "sandbox": "local"},
            ["TRUST_USER_ID"],
        ),
    ],
)
def test_a_ready_server_names_settings_that_let_strangers_in(
    make_app: MakeApp,
    capfd: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    named: list[str],
) -> None:
    client = make_app(**changes).test_client()
    warnings = client.get("/health/ready").get_json()["warnings"]
    assert [warning.partition(" ")[0] for warning in warnings] == named
    started = capfd.readouterr().err
    assert all(warning in started for warning in warnings)


def test_a_server_without_its_database_lives_and_is_not_ready(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()

    def away() -> None:
        raise DatabaseUnavailable("The database does not answer.")

    monkeypatch.setattr(app.extensions["services"].database, "ping", away)
    client = app.test_client()
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.get_json()["code"]) == (503, "database_unavailable")
    assert ready.get_json()["database"] == {"kind": "sqlite", "available": False}
    assert client.get("/health/live").status_code == 200


def test_metrics_count_requests_by_route_not_by_path(client: FlaskClient, headers: Headers) -> None:
    client.get("/task-status/123456", headers=headers)
    client.open("/ping", method="STRANGE")
    answer = client.get("/metrics")
    text = answer.get_data(as_text=True)
    assert answer.content_type.startswith("text/plain")
    assert 'route="/task-status/<id:task_id>",status="404"' in text
    # Search the labels only: timings may contain the same digits.
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    labels = {value for sample in samples for value in sample.labels.values()}
    assert not [label for label in labels if "123456" in label or "STRANGE" in label]
    for name in ("tasks_ended_total", "stage_seconds", "tasks_queued", "tasks_running"):
        assert f"async_code_{name}" in text


def test_metrics_count_the_stored_tasks_by_status_and_agent(
    make_app: MakeApp, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    database, client = app.extensions["services"].database, app.test_client()
    ended = [{"id": number, "status": "completed", "model": "codex"} for number in range(3)]
    client.post("/migrate-legacy-tasks", json=ended, headers={"X-User-ID": user})
    line = 'async_code_tasks{agent="codex",status="completed"} 3.0'
    assert line in client.get("/metrics").get_data(as_text=True)

    def away() -> None:
        raise DatabaseUnavailable("The database does not answer.")

    monkeypatch.setattr(database, "count_tasks", away)
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert "async_code_tasks_queued" in answer.get_data(as_text=True)
    assert "async_code_tasks{" not in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("environ", "headers", "status"),
    [
        ({"REMOTE_ADDR": "127.0.0.1"}, {}, 200),
        ({"REMOTE_ADDR": "::1"}, {}, 200),
        ({"REMOTE_ADDR": "10.0.0.9"}, {}, 403),
        ({"REMOTE_ADDR": "127.0.0.1"}, {"X-Forwarded-For": "127.0.0.1"}, 403),
        ({"REMOTE_ADDR": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, 403),
        ({"REMOTE_ADDR": ""}, {}, 403),
    ],
)
def test_metrics_without_a_token_are_for_the_machine_of_the_server(
    client: FlaskClient, environ: dict[str, str], headers: Headers, status: int
) -> None:
    for path in ("/metrics", "/api/metrics"):
        answer = client.get(path, headers=headers, environ_overrides=environ)
        assert answer.status_code == status
    assert status == 200 or answer.get_json()["code"] == "metrics_protected"


def test_metrics_with_a_token_require_it_from_everywhere(make_app: MakeApp) -> None:
    client = make_app(metrics_token="count-me-in").test_client()
    for given, status in (
        (None, 401),
        ("Bearer wrong", 401),
        ("count-me-in", 401),
        ("Bearer h\xe9", 401),
        ("Bearer count-me-in", 200),
    ):
        for address in ("127.0.0.1", "10.0.0.9"):
            answer = client.get(
                "/metrics",
                headers={} if given is None else {"Authorization": given},
                environ_overrides={"REMOTE_ADDR": address},
            )
            assert answer.status_code == status


@pytest.mark.parametrize("path", ["/ping", "/docs", "/docs/start.js", "/nothing", "/projects"])
def test_browsers_are_told_to_be_careful(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"


def test_files_of_the_documentation_may_be_stored(client: FlaskClient) -> None:
    with client.get("/docs/swagger-ui.css") as answer:
        assert "max-age" in answer.headers["Cache-Control"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_committed_document_is_up_to_date() -> None:
    committed = (ROOT / "openapi.json").read_text(encoding="utf-8")
    generated = format_openapi(build_openapi(declare_routes())) + "\n"
    assert committed == generated, "run: python main.py openapi > openapi.json"


def test_the_document_is_served(client: FlaskClient) -> None:
    served = client.get("/api/openapi.json").get_json()
    assert served == json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
    assert [server["url"] for server in served["servers"]] == ["/api", "/"]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_page_needs_nothing_from_elsewhere(client: FlaskClient, prefix: str) -> None:
    page = client.get(f"{prefix}/docs").get_data(as_text=True)
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(addresses) == 4
    for address in addresses:
        assert not re.match(r"\w+:|//|/", address)
        with client.get(f"{prefix}/{address}") as answer:
            assert answer.status_code == 200
    assert "default-src 'self'" in client.get("/docs").headers["Content-Security-Policy"]
    assert client.get("/docs/nothing.js").status_code == 404


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_page_is_found_with_a_slash_behind_its_name(client: FlaskClient, prefix: str) -> None:
    answer = client.get(f"{prefix}/docs/")
    assert answer.status_code == 308
    assert urljoin(f"{prefix}/docs/", answer.headers["Location"]) == f"{prefix}/docs"


def test_the_page_gets_the_document_in_the_version_it_reads(client: FlaskClient) -> None:
    text = client.get("/docs/openapi.json").get_data(as_text=True)
    assert json.loads(text)["openapi"] == "3.0.3"
    assert '"const"' not in text
    assert '{"type":"null"}' not in text


def test_files_of_the_server_are_not_served(client: FlaskClient, app_folder: Path) -> None:
    assert (app_folder / "secret_key").exists()
    for path in ("/docs/../main.py", "/docs/%2e%2e/main.py", "/static/main.py", "/data/secret_key"):
        assert client.get(path).status_code == 404
