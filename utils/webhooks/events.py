"""Processes webhook deliveries of GitHub."""

from __future__ import annotations

from utils.api.endpoint import Services
from utils.webhooks.comments import follow_comment
from utils.webhooks.delivery import Delivery
from utils.webhooks.pulls import follow_pull

IGNORED = "Nothing follows from this event."


def follow(services: Services, delivery: Delivery) -> str:
    """Do what follows from a delivery; return what that was, for GitHub's list of deliveries."""
    done = None
    if delivery.event == "pull_request":
        done = follow_pull(services, delivery)
    elif delivery.event == "issue_comment":
        done = follow_comment(services, delivery)
    elif delivery.event == "ping":
        done = "The webhook works."
    return done or IGNORED
