"""The OpenAPI document explains everything, and its examples run as they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema_rs
import pytest
from flask.testing import FlaskClient

from demo.server import Server
from tests.fakes.github.service import FakeGitHub
from tests.support.github.names import NAME, TOKEN
from tests.support.source_files import ROOT
from tests.support.waiting import PATIENCE_SECONDS, eventually
from utils.api.openapi.document import TAGS
from utils.api.openapi.fields import FIELDS, PARAMETERS
from utils.api.requests import EXAMPLE_REPOSITORY, EXAMPLE_USER_ID

Json = dict[str, Any]

DOCUMENT: Json = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Json] = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]

# Its body is GitHub's, signed with a secret.
NOT_SENT = frozenset({"receive_delivery"})

# The example's task has ended when the example of cancelling it is sent, and nothing has changed in
# the example's repository. A server with SQLite has no workers.
ENDED = ("cancel_any_task", "cancel_task", "take_back_turn")
NO_CHANGES = ("commit_changes", "push_changes", "open_pull_request")
NO_WORKERS = ("drain_worker", "resume_worker")
REFUSED = dict.fromkeys((*ENDED, *NO_CHANGES), "409") | dict.fromkeys(NO_WORKERS, "404")


def resolved(value: Json) -> Json:
    """Return what a reference of the document stands for."""
    if "$ref" not in value:
        return value
    found: Json = DOCUMENT
    for name in value["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


@cache
def validator(schema: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({**json.loads(schema), "components": DOCUMENT["components"]})


def is_valid(value: Any, schema: Json) -> bool:
    """Tell whether a value has the form that a schema of the document demands."""
    # Most operations share the schemas of their errors, and a validator takes long to make.
    return validator(json.dumps(schema, sort_keys=True)).is_valid(value)


def test_a_new_user_reads_of_tasks_first() -> None:
    groups = list(dict.fromkeys(operation["tags"][0] for _, _, operation in OPERATIONS))
    assert groups == list(TAGS) == [tag["name"] for tag in DOCUMENT["tags"]]
    paths = [path for _, path, _ in OPERATIONS]
    assert paths[:3] == ["/start-task", "/task-status/{task_id}", "/tasks/{task_id}"]


def test_each_field_and_each_parameter_is_described() -> None:
    fields = [
        f"{model}.{name}"
        for model, schema in SCHEMAS.items()
        for name, described in schema.get("properties", {}).items()
        if not described.get("description")
    ]
    parameters = [
        f"{method} {path}: {parameter['name']}"
        for method, path, operation in OPERATIONS
        for parameter in operation["parameters"]
        if not parameter.get("description")
    ]
    assert fields + parameters == []


def test_each_description_belongs_to_a_field() -> None:
    names = {name for schema in SCHEMAS.values() for name in schema.get("properties", {})}
    full = {
        f"{model}.{name}"
        for model, schema in SCHEMAS.items()
        for name in schema.get("properties", {})
    }
    assert FIELDS.keys() - names - full == set()
    used = {
        parameter["name"] for _, _, operation in OPERATIONS for parameter in operation["parameters"]
    }
    assert PARAMETERS.keys() - used == set()


def test_each_error_code_leads_to_its_explanation(client: FlaskClient) -> None:
    responses = DOCUMENT["components"]["responses"]
    page, file = client.get("/docs/errors.md").text, (ROOT / "docs/errors.md").read_text()
    for name, response in responses.items():
        content = response["content"]["application/json"]
        codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
        links = re.findall(r"\(docs/errors\.md#(\w+)\)", response["description"])
        assert links == codes == sorted(codes), name
        assert content["example"]["code"] in codes
        for code in codes:
            assert f'<tr id="{code}">' in page
            assert f'<a id="{code}"></a>`{code}` |' in file


def test_examples_of_answers_have_the_form_of_answers() -> None:
    for method, path, operation in OPERATIONS:
        for status, response in operation["responses"].items():
            if status == "304":
                assert "content" not in response
                continue
            content = resolved(response)["content"].get("application/json")
            others = {"text/plain", "application/octet-stream"}
            assert content or others & resolved(response)["content"].keys()
            if content:
                assert is_valid(content["example"], content["schema"]), f"{method} {path} {status}"


def test_the_page_keeps_what_was_entered_for_its_tab_only(client: FlaskClient) -> None:
    script = client.get("/docs/start.js").text
    assert "sessionStorage" in script
    assert "localStorage" not in script
    assert "persistAuthorization" not in script


def test_browsers_find_an_icon_beside_every_answer(client: FlaskClient) -> None:
    with client.get("/favicon.ico") as answer:
        assert (answer.status_code, answer.content_type) == (200, "image/png")


@pytest.fixture
def server(tmp_path: Path, public_github: FakeGitHub) -> Iterator[Server]:
    """Provide a server that knows a GitHub on this machine."""
    environment = {**os.environ, "GITHUB_API_URL": public_github.api_url}
    settings = {"ENABLE_TEST_USERS": "true", "ADMIN_USER_IDS": EXAMPLE_USER_ID}
    with Server(tmp_path / "data", environment, settings) as running:
        running.wait_ready()
        yield running


class Reader:
    """Sends the examples of the document, with the secrets and the repository of this machine."""

    def __init__(self, server: Server, github: FakeGitHub) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
        self._places = {
            EXAMPLE_REPOSITORY: f"{github.url}/{NAME}",
            "{owner}": NAME.partition("/")[0],
            "{repository}": NAME.partition("/")[2],
            "<github_token>": TOKEN,
            "<refresh_token>": "",
        }

    def close(self) -> None:
        self._connection.close()

    def start_group(self) -> None:
        """Start the group that the examples of groups are about."""
        body = example_of(OPERATIONS[0][2]["requestBody"]["content"]["application/json"])
        headers = {"X-User-ID": EXAMPLE_USER_ID, "Content-Type": "application/json"}
        group = json.dumps({**body, "attempts": 2})
        self._connection.request("POST", "/start-task", self._filled(group), headers)
        assert json.loads(self._connection.getresponse().read())["group_id"] == 1

    def send(self, method: str, path: str, operation: Json) -> tuple[int, Any]:
        """Send the example of an operation; return status and answer."""
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                self._places.setdefault(f"{{{parameter['name']}}}", str(parameter["example"]))
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        body = None if content is None else json.dumps(example_of(content))
        needed = {
            parameter["name"]: self._filled(parameter["example"])
            for parameter in operation["parameters"]
            if parameter["in"] == "query" and parameter["required"]
        }
        address = f"{self._filled(path)}?{urlencode(needed)}" if needed else self._filled(path)
        names = [parameter["name"] for parameter in operation["parameters"]]
        headers = {
            "X-User-ID": EXAMPLE_USER_ID,
            **({"X-GitHub-Token": TOKEN} if "X-GitHub-Token" in names else {}),
            **({"Content-Type": "application/json"} if body else {}),
        }
        self._connection.request(method.upper(), address, self._filled(body), headers)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        value: Any = (
            json.loads(text) if answer.headers["Content-Type"] == "application/json" else text
        )
        if answer.status < 400 and "refresh_token" in value:
            self._places["<refresh_token>"] = value["refresh_token"]
        if operation["operationId"] == "create_sandbox":
            self._places["{sandbox_id}"] = str(value["sandbox"]["id"])
        if path.endswith("/pulls/{number}/comments") and "comment" in value:
            self._places["{comment_id}"] = str(value["comment"]["id"])
        return answer.status, value

    def _filled(self, text: Any) -> Any:
        for example, real in self._places.items():
            text = text and text.replace(example, real)
        return text


def example_of(content: Json) -> Any:
    """Return the example of a request body."""
    return (
        content["example"] if "example" in content else resolved(content["schema"])["examples"][0]
    )


def test_the_examples_run_as_they_are(server: Server, public_github: FakeGitHub) -> None:
    sent = [one for one in OPERATIONS if one[2]["operationId"] not in NOT_SENT]
    # What the other examples use is deleted at the end: turns before their task, and the tasks
    # before their project.
    sent.sort(key=lambda one: one[1].count("/") if one[0] == "delete" else 99, reverse=True)
    start = OPERATIONS[0]
    poll = OPERATIONS[1]
    with closing(Reader(server, public_github)) as reader:
        for method, path, operation in sent:
            name = operation["operationId"]
            if name == "list_task_groups":
                reader.start_group()
            status, answer = reader.send(method, path, operation)
            expected = REFUSED.get(name) or min(operation["responses"])
            assert str(status) == expected, (method, path, answer)
            content = resolved(operation["responses"][expected])["content"]
            if described := content.get("application/json"):
                assert is_valid(answer, described["schema"]), (method, path, answer)
                assert described["example"].keys() <= answer.keys(), (method, path, answer)
            if operation is start[2] or name == "add_chat_message":
                eventually(lambda: reader.send(*poll)[1]["task"].get("completed_at"))
