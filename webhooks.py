"""The webhook endpoint: GitHub reports closed pull requests and comments that start tasks."""

from __future__ import annotations

from flask import Blueprint

from utils.api.endpoint import Services, endpoint
from utils.api.error_codes.shared import BODY, GITHUB
from utils.models.tasks import Json
from utils.webhooks.delivery import read_delivery
from utils.webhooks.events import handle_delivery

blueprint = Blueprint("webhooks", __name__, url_prefix="/webhooks")

DELIVERY_ERRORS = (
    *(*BODY, *GITHUB),
    "signature_invalid",
    "webhook_secret_missing",
    "not_found",
    "conflict",
)


@blueprint.post("/github")
@endpoint({"message": str}, public=True, errors=DELIVERY_ERRORS)
def receive_delivery(services: Services) -> Json:
    """Receive a webhook delivery from GitHub.

    GitHub signs each delivery with `GITHUB_WEBHOOK_SECRET`; others are refused.
    """
    delivery = read_delivery(services.settings.github_webhook_secret)
    return {"message": handle_delivery(services, delivery)}
