"""The catalogue of the templates that sandboxes start from."""

from __future__ import annotations

from flask import Blueprint

from utils.api.endpoint import Services, endpoint
from utils.api.schemas.templates import TemplateRow, template_row
from utils.models.tasks import Json

blueprint = Blueprint("templates", __name__, url_prefix="/templates")


@blueprint.get("")
@endpoint({"templates": list[TemplateRow]}, errors=("templates_unavailable",))
def list_templates(services: Services, user_id: str) -> Json:  # noqa: ARG001 - the same for all
    """List the templates that a project may name, the ones of this server's project first.

    With cloud sandboxes these are the templates in `templates/` and all others of the account at
    E2B; without, the machine of the server.
    """
    return {"templates": [template_row(one) for one in services.templates.read()]}
