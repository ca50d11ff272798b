"""Secrets of a project: store, list by name, delete."""

from __future__ import annotations

import structlog
from flask import Blueprint

from utils.api.endpoint import Services, endpoint
from utils.api.schemas.project_secrets import (
    NewSecret,
    SecretRow,
    check_secret_name,
    known_secret_name,
    secret_row,
)
from utils.credentials.project_secrets import seal_secret
from utils.models.tasks import Json
from utils.models.users import Scope

blueprint = Blueprint("project_secrets", __name__, url_prefix="/projects/<id:project_id>/secrets")

log = structlog.get_logger(__name__)


@blueprint.get("")
@endpoint({"secrets": list[SecretRow]})
def list_secrets(services: Services, user_id: str, project_id: int) -> Json:
    """List the secrets of a project by name, without their values."""
    stored = services.database.list_project_secrets(user_id, project_id)
    return {"secrets": [secret_row(secret) for secret in stored]}


@blueprint.put("/<variable:secret_name>")
@endpoint({"secret": SecretRow}, body=NewSecret, scope=Scope.ADMIN, errors=("too_many_secrets",))
def store_secret(
    services: Services, user_id: str, project_id: int, secret_name: str, body: NewSecret
) -> Json:
    """Store a secret of a project: a variable for its setup, and for its agent if you say so."""
    # First of all: to others the project does not exist, whatever they send.
    services.database.get_project(user_id, project_id)
    secret = seal_secret(
        services.vault,
        user_id,
        project_id,
        check_secret_name(secret_name),
        body.value,
        for_agent=body.for_agent,
    )
    services.database.put_project_secret(user_id, secret)
    log.info("secret stored", action="project_secret.stored", project_id=project_id)
    return {"secret": secret_row(secret)}


@blueprint.delete("/<variable:secret_name>")
@endpoint({"message": str}, scope=Scope.ADMIN)
def delete_secret(services: Services, user_id: str, project_id: int, secret_name: str) -> Json:
    """Delete a secret of a project. Tasks that run keep it until they end."""
    services.database.delete_project_secret(user_id, project_id, known_secret_name(secret_name))
    log.info("secret deleted", action="project_secret.deleted", project_id=project_id)
    return {"message": "The secret was deleted."}
