"""Test user endpoints: sign in for development and tests. They are disabled in production."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Blueprint, current_app

from utils.api.endpoint import Services, endpoint
from utils.api.requests import NewTestUser
from utils.api.responses import TestUserRow, TokenPair
from utils.api.serializers import test_user_row
from utils.errors import Forbidden, NotFound
from utils.models.tasks import Json
from utils.models.users import User

blueprint = Blueprint("test_users", __name__, url_prefix="/test-users")

DISABLED = ("test_users_disabled",)

_SIGNED_IN = {"user": TestUserRow, "tokens": TokenPair}


@blueprint.before_request
def refuse_when_disabled() -> None:
    """Refuse all requests to this file's endpoints if test users are disabled."""
    services: Services = current_app.extensions["services"]
    if not services.settings.test_users_enabled:
        raise Forbidden(
            "Test users are disabled on this server. In development, set ENABLE_TEST_USERS=true "
            "and restart it.",
            "test_users_disabled",
        )


@blueprint.post("")
@endpoint(
    _SIGNED_IN,
    body=NewTestUser,
    needs_body=True,
    status=201,
    public=True,
    errors=(*DISABLED, "conflict"),
)
def create_test_user(services: Services, body: NewTestUser) -> Json:
    """Create a test user and sign it in. It expires after 24 hours by default."""
    user = services.database.create_test_user(
        body.user_id,
        body.email or f"{body.user_id}@test-users.invalid",
        body.metadata or {},
        datetime.now(UTC) + timedelta(hours=body.expires_in_hours),
    )
    return {"user": test_user_row(user), "tokens": services.tokens.issue(user)}


@blueprint.get("")
@endpoint({"users": list[TestUserRow]}, public=True, errors=DISABLED)
def list_test_users(services: Services) -> Json:
    """List the test users, newest first."""
    return {"users": [test_user_row(user) for user in services.database.list_test_users()]}


@blueprint.delete("/<uuid:test_user_id>")
@endpoint({"message": str}, public=True, errors=DISABLED)
def delete_test_user(services: Services, test_user_id: UUID) -> Json:
    """Delete a test user and all its data. Queued and running tasks are cancelled first."""
    _delete(services, [_test_user(services, test_user_id)])
    return {"message": "The test user was deleted."}


@blueprint.post("/<uuid:test_user_id>/token")
@endpoint(_SIGNED_IN, public=True, errors=(*DISABLED, "user_expired"))
def sign_in_test_user(services: Services, test_user_id: UUID) -> Json:
    """Sign a test user in again. Returns 404 for other users."""
    user = _test_user(services, test_user_id)
    return {"user": test_user_row(user), "tokens": services.tokens.issue(user)}


@blueprint.post("/cleanup")
@endpoint({"deleted": int}, public=True, errors=DISABLED)
def delete_expired_test_users(services: Services) -> Json:
    """Delete all expired test users and their data. Their tasks are cancelled first."""
    now = datetime.now(UTC)
    users = services.database.list_test_users()
    expired = [user for user in users if user.expires_at and user.expires_at <= now]
    return {"deleted": _delete(services, expired)}


@blueprint.get("/health")
@endpoint({"message": str, "count": int}, public=True, errors=DISABLED)
def test_users_health(services: Services) -> Json:
    """Check that test users are enabled, and return their number."""
    return {
        "message": "Test users are enabled.",
        "count": len(services.database.list_test_users()),
    }


def _delete(services: Services, users: Iterable[User]) -> int:
    deleted = 0
    for user in users:
        services.dispatcher.cancel_active_tasks(user.id)
        deleted += services.database.delete_test_user(user.id)
    services.clear_user_cache()
    return deleted


def _test_user(services: Services, user_id: UUID) -> User:
    user = services.database.get_user(str(user_id))
    if not user.is_test_user:
        raise NotFound("This test user does not exist.")
    return user
