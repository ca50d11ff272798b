"""Dispatches webhook deliveries to their handlers."""

from __future__ import annotations

from utils.api.endpoint import Services
from utils.webhooks.comments import handle_comment
from utils.webhooks.delivery import Delivery
from utils.webhooks.pulls import handle_pull_request
from utils.webhooks.pushes import handle_push

HANDLED = frozenset({"pull_request", "issue_comment", "ping", "push"})
IGNORED = "This event was ignored."


def handle_delivery(services: Services, delivery: Delivery) -> str:
    """Handle a delivery; return the result, which GitHub shows in its list of deliveries."""
    services.metrics.webhook_delivered(delivery.event if delivery.event in HANDLED else "other")
    done = None
    if delivery.event == "pull_request":
        done = handle_pull_request(services, delivery)
    elif delivery.event == "issue_comment":
        done = handle_comment(services, delivery)
    elif delivery.event == "push":
        done = handle_push(services, delivery)
    elif delivery.event == "ping":
        done = "The webhook works."
    return done or IGNORED
