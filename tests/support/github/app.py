"""Sends requests and webhook deliveries to an application that uses the fake GitHub."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import sign_in
from tests.fakes.github.service import FakeGitHub
from tests.support.github.names import NAME
from utils.api.endpoint import Services
from utils.models.tasks import Task

SERVER_TOKEN = "ghp_deployment4711"
SECRET = "what-only-github-knows"
PAGE = "https://web.example"
BOT_USER = "00000000-0000-4000-8000-00000000b07a"
STARTS_TASKS: dict[str, Any] = {
    "github_token": SERVER_TOKEN,
    "github_webhook_secret": SECRET,
    "webhook_tasks": True,
    "webhook_user_id": BOT_USER,
}
"""Settings that let comments start tasks."""


def services_of(app: Flask) -> Services:
    """Return the services of an application."""
    services: Services = app.extensions["services"]
    return services


class Caller:
    """A signed-in user of the API; `token` is the GitHub token they send, if any."""

    def __init__(self, app: Flask, user: str, token: str | None = None) -> None:
        self.app = app
        self.user = user
        self.client: FlaskClient = app.test_client()
        self.headers = sign_in(self.client, user)
        if token is not None:
            self.headers["X-GitHub-Token"] = token

    def ask(self, method: str, path: str, body: Any = None) -> TestResponse:
        """Send a request to `/api/github`; return the response."""
        return self.client.open(
            f"/api/github{path}", method=method, json=body, headers=self.headers
        )

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that must succeed; return its body."""
        answer = self.ask(method, path, body)
        assert answer.status_code == 200, answer.get_data()
        return answer.get_json()

    def refusal(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Send a request that must be refused; return the status and the code."""
        answer = self.ask(method, path, body)
        assert set(answer.get_json()) == {"error", "code"}
        return answer.status_code, answer.get_json()["code"]

    def task(self, github: FakeGitHub, **pull_request: Any) -> int:
        """Start a task in the repository on GitHub and store its pull request."""
        task = {"prompt": "Hello", "repo_url": f"{github.url}/{NAME}"}
        answer = self.client.post("/start-task", json=task, headers=self.headers)
        task_id = int(answer.get_json()["task_id"])
        if pull_request:
            services_of(self.app).database.set_pull_request(self.user, task_id, pull_request)
        return task_id

    def project(self, github: FakeGitHub, full_name: str = NAME) -> None:
        """Create a project for the repository on GitHub."""
        body = {"name": full_name, "repo_url": f"{github.url}/{full_name}.git"}
        answer = self.client.post("/projects", json=body, headers=self.headers)
        assert answer.status_code == 200, answer.get_data()

    def state(self, task_id: int) -> str | None:
        """Return the stored state of a task's pull request."""
        return services_of(self.app).database.get_task(self.user, task_id).pr_state


class WebhookSender:
    """Sends webhook deliveries as GitHub does."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client: FlaskClient = app.test_client()

    def send(
        self, event: str, payload: Any, delivery: str = "one", **headers: str | None
    ) -> TestResponse:
        """Deliver an event, or raw bytes; headers with the value None are omitted."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        given = {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": signature(body),
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return self.client.post(
            "/api/webhooks/github",
            data=body,
            headers={name: value for name, value in given.items() if value is not None},
        )

    def message(self, event: str, payload: Any, delivery: str = "one") -> str:
        """Deliver an event that must be accepted; return the message of the response."""
        answer = self.send(event, payload, delivery)
        assert answer.status_code == 200, answer.get_data()
        return str(answer.get_json()["message"])

    def refusal(
        self, event: str, payload: Any, delivery: str = "one", **headers: str | None
    ) -> tuple[int, str]:
        """Deliver an event that must be refused; return the status and the code."""
        answer = self.send(event, payload, delivery, **headers)
        assert SECRET not in answer.get_data(as_text=True)
        return answer.status_code, answer.get_json()["code"]

    @property
    def tasks(self) -> list[Task]:
        """The tasks that comments started, newest first."""
        database = services_of(self.app).database
        page = database.list_tasks(BOT_USER)
        return [database.get_task(BOT_USER, task.id) for task in page.tasks]


def signature(body: bytes, secret: str = SECRET) -> str:
    """Return GitHub's signature of a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
