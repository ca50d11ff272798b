"""Answers /metrics and /health of a worker, on loopback and nothing else."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from utils.api.endpoint import Services
from utils.config.settings import Settings
from utils.errors import ConfigurationError
from utils.telemetry import METRICS_CONTENT_TYPE, may_read_metrics

HOST = "127.0.0.1"
READ_SECONDS = 10.0


class WorkerMetrics(ThreadingHTTPServer):
    """Listens on `METRICS_PORT`. `serve` begins to answer, for the services of a worker."""

    daemon_threads = True
    services: Services

    def serve(self, services: Services) -> None:
        """Answer until the process ends."""
        self.services = services
        Thread(target=self.serve_forever, name="worker metrics", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that is gone."""


def open_metrics_port(settings: Settings) -> WorkerMetrics | None:
    """Return the open port of a worker's metrics, None without `METRICS_PORT`.

    Raises `ConfigurationError` when the port cannot be used.
    """
    if settings.metrics_port is None:
        return None
    try:
        return WorkerMetrics((HOST, settings.metrics_port), _Handler)
    except OSError as error:
        raise ConfigurationError(
            f"METRICS_PORT {settings.metrics_port} cannot be used: {error.strerror}. Choose "
            "another port, or stop the program that listens on it."
        ) from None


class _Handler(BaseHTTPRequestHandler):
    server: WorkerMetrics
    timeout = READ_SECONDS

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._send_metrics()
        elif self.path == "/health":
            self._send_health()
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"Ask for /metrics or /health.\n")

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Write no line: others ask every few seconds."""

    def version_string(self) -> str:
        return "async-code"

    def _send_metrics(self) -> None:
        token = self.server.services.settings.metrics_token
        given = self.headers.get("Authorization", "")
        if token is not None and not may_read_metrics(token, given):
            text = b"Send the METRICS_TOKEN of the worker as Authorization: Bearer <token>.\n"
            self._send(HTTPStatus.UNAUTHORIZED, "text/plain", text)
            return
        # The tasks in the database are a metric of the servers.
        self._send(HTTPStatus.OK, METRICS_CONTENT_TYPE, self.server.services.metrics.render({}))

    def _send_health(self) -> None:
        dispatcher = self.server.services.dispatcher
        status = HTTPStatus.OK if dispatcher.is_working else HTTPStatus.SERVICE_UNAVAILABLE
        state = {"worker": self.server.services.database.server, "running": dispatcher.running}
        self._send(status, "application/json", json.dumps(state).encode())

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
