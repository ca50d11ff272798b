"""Marks the snapshots of prepared sandboxes as outdated by a push to the default branch."""

from __future__ import annotations

from utils.api.endpoint import Services
from utils.git.repository_url import github_addresses
from utils.webhooks.delivery import ALREADY_PROCESSED, Delivery, PushEvent, read_event


def handle_push(services: Services, delivery: Delivery) -> str | None:
    """Store the pushed commit with the projects of the repository; return None if ignored.

    Their next tasks find no snapshot for this commit, and so run the setup and save a new one.
    The delivery is marked as processed last: after a failure it is safe to store the commit again.
    """
    event = read_event(PushEvent, delivery)
    if event.deleted or event.ref != f"refs/heads/{event.repository.default_branch}":
        return None
    if services.database.has_delivery(delivery.id):
        return ALREADY_PROCESSED
    addresses = github_addresses(event.repository.full_name, services.settings.github_host)
    projects = services.database.record_push(addresses, event.after)
    if not projects:
        return "This repository belongs to no project."
    if not services.database.record_delivery(delivery.id):
        return ALREADY_PROCESSED
    return f"The next task runs the setup again; projects of the repository: {projects}."
