"""What follows from a delivery of GitHub's.

A delivery is remembered right before something is done because of it, and only then: until there
all is read, so that one which failed may be sent again, and from there on it is not done twice.
"""

from __future__ import annotations

from utils.api import Services
from utils.repository_service import note_state
from utils.webhook_comments import SEEN, follow_comment
from utils.webhook_delivery import Delivery, PullRequestEvent, read_event

IGNORED = "Nothing follows from this event."


def follow(services: Services, delivery: Delivery) -> str:
    """Do what follows from a delivery; return what that was, for GitHub's list of deliveries."""
    if delivery.event == "pull_request":
        return _follow_pull(services, delivery)
    if delivery.event == "issue_comment":
        return follow_comment(services, delivery) or IGNORED
    return "The webhook works." if delivery.event == "ping" else IGNORED


def _follow_pull(services: Services, delivery: Delivery) -> str:
    event = read_event(PullRequestEvent, delivery)
    pull = event.pull_request
    if event.action not in {"closed", "reopened"}:
        return IGNORED
    tasks = services.database.tasks_of_pull_request(pull.html_url)
    if not tasks:
        return "It is no task's pull request."
    if not services.database.take_delivery(delivery.id):
        return SEEN
    state = "merged" if pull.merged else pull.state
    note_state(services.database, pull.html_url, state, tasks)
    return f"The pull request is {state}; tasks of it: {len(tasks)}."
