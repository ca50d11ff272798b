"""API key endpoints: make, list and revoke the caller's API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog
from flask import Blueprint

from auth import current_caller
from utils.api.endpoint import Services, endpoint
from utils.api.schemas.keys import ApiKeyRow, NewKey, api_key_row
from utils.auth.api_keys import earlier
from utils.errors import Forbidden, InvalidInput
from utils.models.tasks import Json
from utils.models.users import Scope

blueprint = Blueprint("keys", __name__, url_prefix="/keys")

MAKE_ERRORS = ("forbidden", "not_found", "too_many_keys")

log = structlog.get_logger(__name__)


@blueprint.post("")
@endpoint({"key": str, "api_key": ApiKeyRow}, body=NewKey, scope=Scope.ADMIN, errors=MAKE_ERRORS)
def create_key(services: Services, user_id: str, body: NewKey) -> Json:
    """Make an API key. The answer is the only place that shows it.

    An API key cannot make a key that may do more or lives longer than itself.
    """
    caller, scope = current_caller(), Scope(body.scope)
    if not caller.scope.includes(scope):
        raise Forbidden(f"An API key with the scope {caller.scope} cannot make such a key.")
    end = earlier(_end(body), caller.expires_at)
    key, stored = services.api_keys.create(user_id, body.name, scope, end)
    log.info("API key made", action="api_key.made", user_id=user_id, prefix=stored.prefix)
    return {"key": key, "api_key": api_key_row(stored)}


@blueprint.get("")
@endpoint({"api_keys": list[ApiKeyRow]})
def list_keys(services: Services, user_id: str) -> Json:
    """List your API keys, newest first, with their last use."""
    return {"api_keys": [api_key_row(key) for key in services.database.list_api_keys(user_id)]}


@blueprint.delete("/<id:key_id>")
@endpoint({"message": str}, scope=Scope.ADMIN)
def revoke_key(services: Services, user_id: str, key_id: int) -> Json:
    """Revoke an API key. All servers refuse it from now on."""
    revoked = services.database.delete_api_key(user_id, key_id)
    log.info("API key revoked", action="api_key.revoked", user_id=user_id, prefix=revoked.prefix)
    return {"message": "The API key was revoked."}


def _end(body: NewKey) -> datetime | None:
    if body.expires_in_days is None:
        return body.expires_at
    if body.expires_at is not None:
        raise InvalidInput("expires_at: send either expires_at or expires_in_days.")
    return datetime.now(UTC) + timedelta(days=body.expires_in_days)
