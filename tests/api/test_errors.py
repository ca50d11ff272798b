"""Errors have one shape, say what to do, and repeat no part of the request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_cors import CORS
from werkzeug.test import TestResponse

from tests.conftest import Headers, MakeApp
from utils.api.middleware import EXPOSED_HEADERS
from utils.errors import DatabaseUnavailable, Unavailable

SECRET = "ghp-hidden0123456789"
JSON = "application/json"
UPDATE_ME = ("PUT", "/users/me")
UPDATE_SCHEDULE = ("PATCH", "/schedules/1")


def post_raw(
    client: FlaskClient, headers: Headers, body: bytes, content_type: str | None = JSON
) -> tuple[int, dict[str, Any]]:
    answer = client.post("/projects", data=body, content_type=content_type, headers=headers)
    assert answer.content_type == JSON
    return answer.status_code, answer.get_json()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/nowhere", 404, "not_found"),
        ("GET", "/api/api/ping", 404, "not_found"),
        ("GET", "/apiping", 404, "not_found"),
        ("GET", "/tasks/one", 404, "not_found"),
        ("GET", "/tasks//1", 404, "not_found"),
        ("POST", "/ping", 405, "method_not_allowed"),
        ("PATCH", "/projects", 405, "method_not_allowed"),
    ],
)
def test_unknown_routes_answer_in_the_same_shape(
    client: FlaskClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.get_json()["code"] == code
    assert set(answer.get_json()) == {"error", "code"}
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/ping", "/ping/", "/api/ping", "/api/ping/", "/api", "/api/"])
def test_every_path_exists_with_and_without_its_prefix(client: FlaskClient, path: str) -> None:
    assert client.get(path).get_json()["status"] == "success"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_sent_as_json_is_refused(
    client: FlaskClient, headers: Headers, content_type: str
) -> None:
    status, answer = post_raw(client, headers, b'{"name": "x"}', content_type)
    assert (status, answer["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"name": NaN}',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b"[" * 100_000,
        b'{"settings":' * 50_000,
    ],
)
def test_malformed_json_is_refused(client: FlaskClient, headers: Headers, body: bytes) -> None:
    status, answer = post_raw(client, headers, body)
    assert (status, answer["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"text"', b"true"])
def test_json_that_is_no_object_is_refused(
    client: FlaskClient, headers: Headers, body: bytes
) -> None:
    status, answer = post_raw(client, headers, body)
    assert (status, answer["code"]) == (400, "invalid_request")


def test_a_missing_body_is_refused(client: FlaskClient, headers: Headers) -> None:
    assert post_raw(client, headers, b"", None)[0] == 400


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({"name": None}, "name:"),
        ({"name": 5}, "name:"),
        ({"name": ""}, "name:"),
        ({"name": " \t\n"}, "name: must not be blank"),
        ({"name": "x" * 201}, "name:"),
        ({"name": f"{SECRET}\0"}, "name: must not contain a NUL"),
        ({"description": {"a": SECRET}}, "description:"),
        ({"settings": [SECRET]}, "settings:"),
        ({"settings": {SECRET: "\0"}}, "settings: must not contain a NUL"),
        ({"settings": {"\0": 1}}, "settings: must not contain a NUL"),
        ({"settings": {"a": "x" * 64_000}}, "settings: must not have more than 64 kB"),
        ({"settings": {"a": [{"b": 10**30}]}}, "settings: must not contain an integer"),
        ({"repo_url": f"https://{SECRET}@github.com/o/n"}, "The repository address contains"),
        ({"repo_url": f"https://{SECRET}.example/o/n"}, "This server does not clone"),
        ({SECRET: SECRET}, "The request has an unknown field."),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not_repeated(
    client: FlaskClient, headers: Headers, fields: dict[str, Any], start: str
) -> None:
    body = {"name": "Mine", "repo_url": "https://github.com/o/n", **fields}
    answer = client.post("/projects", json=body, headers=headers)
    assert answer.status_code == 400
    assert answer.get_json()["error"].startswith(start)
    assert SECRET not in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("field", "meant"),
    [("nme", "name"), ("repoUrl", "repo_url"), ("REPO-URL", "repo_url"), ("setting", "settings")],
)
def test_an_unknown_field_is_named_with_the_nearest_right_one(
    client: FlaskClient, headers: Headers, field: str, meant: str
) -> None:
    # The unknown field explains the missing ones.
    answer = client.post("/projects", json={field: "x"}, headers=headers)
    expected = f"The request has an unknown field {field}. Did you mean {meant}? Allowed fields: "
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")
    assert answer.get_json()["error"].startswith(expected)


@pytest.mark.parametrize(
    ("method", "path", "body", "start"),
    [
        (
            *UPDATE_ME,
            {"preferences": {"claudecode": {}}},
            "preferences has an unknown field claudecode. Did you mean claudeCode?",
        ),
        (
            *UPDATE_ME,
            {"preferences": {"codex": {"envs": {SECRET: "x"}}}},
            "preferences.codex has an unknown field envs. Did you mean env? Allowed fields: ",
        ),
        (
            *UPDATE_ME,
            {"preferences": {"codex": {SECRET: "x"}}},
            "preferences.codex has an unknown field. Allowed fields: ",
        ),
        (
            *UPDATE_SCHEDULE,
            {"task": {"promt": "x"}},
            "task has an unknown field promt. Did you mean prompt?",
        ),
        (
            *UPDATE_SCHEDULE,
            {"task": {"repositories": [{"repo_ulr": SECRET}]}},
            "task.repositories.0 has an unknown field repo_ulr. Did you mean repo_url?",
        ),
    ],
)
def test_an_unknown_field_is_named_with_the_object_that_it_stands_in(
    client: FlaskClient, headers: Headers, method: str, path: str, body: object, start: str
) -> None:
    answer = client.open(path, method=method, json=body, headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")
    assert answer.get_json()["error"].startswith(start)
    assert SECRET not in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("field", "meant"), [("agent", "model"), ("task", "prompt"), ("repo", "repo_url")]
)
def test_a_field_is_found_by_other_names_for_it(
    client: FlaskClient, headers: Headers, field: str, meant: str
) -> None:
    answer = client.post("/start-task", json={field: "x"}, headers=headers)
    assert f"unknown field {field}. Did you mean {meant}?" in answer.get_json()["error"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/tasks?statu=failed", "unknown query parameter statu. Did you mean status?"),
        (f"/tasks?{SECRET}=1", "unknown query parameter. Allowed query parameters: agent, "),
        ("/tasks?limit=1&x=2", "unknown query parameter. Allowed"),
        ("/task-status/1?after=1", "unknown query parameter. Allowed"),
        ("/projects?limit=1", "takes no query parameters"),
    ],
)
def test_unknown_query_parameters_are_refused(
    client: FlaskClient, headers: Headers, path: str, text: str
) -> None:
    answer = client.get(path, headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_request")
    assert text in answer.get_json()["error"]
    assert SECRET not in answer.get_data(as_text=True)


def test_a_parameter_that_gets_around_caches_is_ignored(
    client: FlaskClient, headers: Headers
) -> None:
    for path in ("/tasks?_=1700000000", "/projects?_=1", "/tasks?limit=1&_="):
        assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=1_0", "limit=%201", "limit=x"])
def test_a_wrong_query_parameter_is_named(
    client: FlaskClient, headers: Headers, query: str
) -> None:
    answer = client.get(f"/tasks?{query}", headers=headers)
    assert answer.status_code == 400
    assert answer.get_json()["error"].startswith("limit:")


def test_a_body_that_is_too_large_is_refused(make_app: MakeApp, user: str) -> None:
    client = make_app(max_body_bytes=1_000).test_client()
    body = {"name": "x" * 1_000, "repo_url": "https://github.com/o/n"}
    answer = client.post("/projects", json=body, headers={"X-User-ID": user})
    assert (answer.status_code, answer.get_json()["code"]) == (413, "body_too_large")


def test_a_request_id_is_given_or_kept(client: FlaskClient) -> None:
    given = client.get("/ping", headers={"X-Request-ID": "abc-123"})
    assert given.headers["X-Request-ID"] == "abc-123"
    for strange in ("a b", "x" * 65, "é", "a_b"):
        made = client.get("/nowhere", headers={"X-Request-ID": strange}).headers["X-Request-ID"]
        assert len(made) == 32


AskFailing = Callable[[Exception], TestResponse]


@pytest.fixture
def ask_failing(make_app: MakeApp, user: str, monkeypatch: pytest.MonkeyPatch) -> AskFailing:
    """Return a function that sends a request for which the database raises an error."""

    def ask(error: Exception) -> TestResponse:
        app = make_app(log_format="json")

        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(app.extensions["services"].database, "list_projects", fail)
        return app.test_client().get("/projects", headers={"X-User-ID": user})

    return ask


def test_an_unexpected_error_shows_its_request_id_only(
    ask_failing: AskFailing, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ask_failing(RuntimeError(SECRET))
    assert answer.status_code == 500
    assert answer.get_json()["code"] == "internal_error"
    assert answer.headers["X-Request-ID"] in answer.get_json()["error"]
    assert SECRET not in answer.get_data(as_text=True)
    assert "RuntimeError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "seconds"),
    [
        (Unavailable("There is too much to do.", retry_after_seconds=7), "unavailable", "7"),
        (DatabaseUnavailable("The database is away."), "database_unavailable", "3"),
    ],
)
def test_errors_that_pass_say_so(
    ask_failing: AskFailing, error: Exception, code: str, seconds: str
) -> None:
    answer = ask_failing(error)
    assert (answer.status_code, answer.get_json()["code"]) == (503, code)
    assert answer.headers["Retry-After"] == seconds


def test_a_database_that_is_away_takes_one_line_of_the_log_for_each_request(
    ask_failing: AskFailing, capsys: pytest.CaptureFixture[str]
) -> None:
    error = DatabaseUnavailable("The database is away.")
    error.__cause__ = OSError("no route")
    assert ask_failing(error).status_code == 503
    output = capsys.readouterr().err
    assert "The database is away." in output
    assert "Traceback" not in output


def test_the_older_page_may_call_from_its_origin(client: FlaskClient) -> None:
    answer = client.options(
        "/tasks",
        headers={
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "content-type,x-user-id,last-event-id,if-none-match",
        },
    )
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert {"x-user-id", "last-event-id", "if-none-match"} <= set(allowed.split(", "))
    assert "Access-Control-Allow-Credentials" not in answer.headers
    methods = {
        method for rule in client.application.url_map.iter_rules() for method in rule.methods or ()
    }
    assert methods - {"HEAD"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))


def test_errors_carry_the_headers_that_let_the_page_read_them(client: FlaskClient) -> None:
    answer = client.get("/tasks", headers={"Origin": "http://localhost:3000"})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"ETag", "Retry-After", "X-Request-ID"} <= set(exposed)


def test_other_origins_are_not_let_in(make_app: MakeApp) -> None:
    client = make_app(cors_origins=("https://a.example", "https://b.example")).test_client()
    foreign = client.get("/ping", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in foreign.headers
    listed = client.get("/ping", headers={"Origin": "https://b.example"})
    assert listed.headers["Access-Control-Allow-Origin"] == "https://b.example"


def test_a_star_in_an_origin_stands_for_subdomains_and_is_no_regular_expression(
    make_app: MakeApp,
) -> None:
    client = make_app(cors_origins="https://*.example.com, http://[::1]:3000/").test_client()
    allowed = {
        origin
        for origin in (
            "https://a.example.com",
            "https://A.b-c.Example.com",
            "http://[::1]:3000",
            "https://example.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://a.example.com.evil.example",
            "https://evil.example/.example.com",
            "https://evil-example.com",
            "https://aXexample.com",
            "https://a.exampleXcom",
            "https://.example.com",
            "https:////x",
            "http://[::1]:3000.evil.example",
            "null",
        )
        if "Access-Control-Allow-Origin" in client.get("/ping", headers={"Origin": origin}).headers
    }
    assert allowed == {
        "https://a.example.com",
        "https://A.b-c.Example.com",
        "http://[::1]:3000",
    }


@pytest.mark.parametrize(
    "origins", [("https://a.example",), ("https://a.example", "https://b.example"), ("*",)]
)
def test_what_is_said_about_origins_is_what_flask_cors_says(
    make_app: MakeApp, origins: tuple[str, ...]
) -> None:
    client = make_app(cors_origins=origins).test_client()
    asked_anew = Flask("asked-anew")
    CORS(asked_anew, origins=list(origins), expose_headers=EXPOSED_HEADERS, max_age=600)
    asked_anew.add_url_rule("/ping", view_func=dict)
    anew = asked_anew.test_client()
    asked: list[Headers] = [{}, {"Origin": "https://a.example"}, {"Origin": "https://c.example"}]
    asked.append({"Access-Control-Request-Private-Network": "true"})
    for headers in [*asked, *asked]:
        for path in ("/ping", "/nowhere"):
            answers = client.get(path, headers=headers), anew.get(path, headers=headers)
            said, expected = (_about_origins(answer) for answer in answers)
            assert said == expected


def _about_origins(answer: TestResponse) -> list[tuple[str, str]]:
    return sorted(
        (name, value)
        for name, value in answer.headers
        if name.startswith(("Access-Control", "Vary"))
    )
