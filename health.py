"""Health and metrics endpoints, and the list of all endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, NotRequired

from flask import Blueprint, Response, current_app, request
from typing_extensions import TypedDict

from utils.api.endpoint import Services, declaration_of, endpoint, json_response, success
from utils.auth.sign_in import trust_warnings
from utils.config.private_folder import is_disk_full
from utils.config.settings import Settings
from utils.config.version import VERSION
from utils.errors import DatabaseUnavailable, Forbidden, Unauthenticated, Unavailable
from utils.models.tasks import Json
from utils.sandboxes.protocol import KeyState
from utils.telemetry import METRICS_CONTENT_TYPE, may_read_metrics

blueprint = Blueprint("health", __name__)


class DatabaseHealth(TypedDict):
    """The kind of database, and its availability."""

    kind: str
    available: bool


class KeyHealth(TypedDict):
    """The state of one key of the sandboxes' provider, by its position in the settings."""

    position: int
    in_use: bool
    refused_at: datetime | None


class SandboxHealth(TypedDict):
    """Availability of sandboxes. `reason` says why queued tasks are held back, if they are."""

    available: bool
    reason: str | None
    keys: list[KeyHealth]


class AgentHealth(TypedDict):
    """An agent and its availability. With `simulated` a script does the agent's work."""

    name: str
    usable: bool
    simulated: bool
    reason: str | None


class EndpointRow(TypedDict):
    """An endpoint of this server."""

    method: str
    path: str
    description: NotRequired[str]


_PING = {"message": str, "timestamp": datetime}
_INDEX = {**_PING, "version": str, "documentation": str, "endpoints": list[EndpointRow]}
_READY = {
    "version": str,
    "mode": str,
    "database": DatabaseHealth,
    "sandboxes": SandboxHealth,
    "agents": list[AgentHealth],
    "warnings": list[str],
    "queued": int,
    "running": int,
    "workers": int,
}


@blueprint.get("/")
@endpoint(_INDEX, public=True)
def index(_services: Services) -> Json:
    """List the endpoints. Every path exists with and without the prefix /api."""
    return {
        "message": "Coding agents over HTTP.",
        "version": VERSION,
        "timestamp": datetime.now(UTC),
        "documentation": "/docs",
        "endpoints": _endpoints(),
    }


@blueprint.get("/ping")
@endpoint(_PING, public=True, polled=True)
def ping(_services: Services) -> Json:
    """Check that the server responds."""
    return {"message": "pong", "timestamp": datetime.now(UTC)}


@blueprint.get("/health/live")
@endpoint({}, public=True, polled=True)
def live(_services: Services) -> Json:
    """Check that the server process is alive.

    It checks nothing else; use /health/ready to check the database and the dispatcher.
    """
    return {}


@blueprint.get("/health/ready")
@endpoint(_READY, public=True, polled=True)
def ready(services: Services) -> Response:
    """Check that the server can run tasks, and list its sandboxes and agents.

    `warnings` names settings that let strangers act as users, and keys that E2B refuses.
    Returns 503 if the database is unavailable, the disk of the server is full or the dispatcher
    has stopped.
    """
    database_failure = _database_failure(services)
    failure = database_failure or _disk_failure(services) or _dispatcher_failure(services)
    state = {
        "version": VERSION,
        "mode": services.dispatcher.sandbox_kind,
        "database": {"kind": services.database.kind, "available": database_failure is None},
        "sandboxes": {
            "available": not services.dispatcher.admission.is_tripped,
            "reason": services.dispatcher.waiting_reason,
            "keys": [asdict(key) for key in services.provider.key_states()],
        },
        "agents": [asdict(agent) for agent in services.dispatcher.agent_statuses()],
        "warnings": [
            *trust_warnings(services.settings),
            *_key_warnings(services.provider.key_states()),
        ],
        "queued": services.dispatcher.queued,
        "running": services.dispatcher.running,
        "workers": len(services.dispatcher.workers()),
    }
    if failure is None:
        return success(state)
    return json_response({"error": failure.message, "code": failure.code, **state}, 503)


def _key_warnings(states: Sequence[KeyState]) -> Iterator[str]:
    names = ("E2B_API_KEY", "E2B_API_KEY_NEXT")
    for state, name in zip(states, names, strict=False):
        if state.refused_at is not None:
            yield f"{name} is refused by E2B. Set it to a key of the dashboard, and restart."


@blueprint.get("/metrics")
@endpoint(
    public=True, polled=True, media_type="text/plain", errors=("token_invalid", "metrics_protected")
)
def metrics(services: Services) -> Response:
    """Return metrics in the Prometheus text format.

    Send `METRICS_TOKEN` as Bearer token. On a server without this setting only requests from its
    own machine are answered.
    """
    _check_metrics_access(services.settings)
    text = services.metrics.render(_stored_tasks(services))
    return Response(text, content_type=METRICS_CONTENT_TYPE)


def _check_metrics_access(settings: Settings) -> None:
    if settings.metrics_token is None:
        forwarded = {"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"} & request.environ.keys()
        if forwarded or not _is_loopback(request.remote_addr or ""):
            raise Forbidden(
                "Set METRICS_TOKEN on the server and send it as Authorization: Bearer <token>, or "
                "read /metrics on the machine of the server.",
                "metrics_protected",
            )
        return
    if not may_read_metrics(settings.metrics_token, request.headers.get("Authorization", "")):
        raise Unauthenticated(
            "Send the METRICS_TOKEN of the server as Authorization: Bearer <token>.",
            "token_invalid",
        )


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _stored_tasks(services: Services) -> dict[tuple[str, str], int]:
    try:
        return services.database.count_tasks()
    except DatabaseUnavailable:  # the other metrics matter most during an outage
        return {}


def _database_failure(services: Services) -> DatabaseUnavailable | None:
    try:
        services.database.ping()
    except DatabaseUnavailable as error:
        return error
    if services.database.write_failure:
        return DatabaseUnavailable(
            "The last write to the database failed. The log of the server has the reason."
        )
    return None


def _disk_failure(services: Services) -> Unavailable | None:
    with suppress(OSError):
        if is_disk_full(services.settings.data_dir):
            return Unavailable(
                "The disk of the server is full. Free some space in DATA_DIR.", "disk_full"
            )
    return None


def _dispatcher_failure(services: Services) -> Unavailable | None:
    if services.dispatcher.is_working:
        return None
    return Unavailable(
        "The dispatcher has stopped, so the server runs no tasks. Read its log and restart it."
    )


def _endpoints() -> list[dict[str, Any]]:
    rows = []
    for rule in sorted(current_app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = current_app.view_functions[rule.endpoint]
        if declaration_of(view) is None:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            summary = (view.__doc__ or "").partition("\n")[0]
            rows.append({"method": method, "path": rule.rule, "description": summary})
    return rows
