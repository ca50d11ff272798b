"""Event endpoints: stream the changes of all tasks, get tickets for streams."""

from __future__ import annotations

from flask import Blueprint, Response

from utils.api.endpoint import Services, endpoint
from utils.api.responses import TaskChangeRow
from utils.api.serializers import task_change_row
from utils.models.tasks import Json, Task, TaskSummary
from utils.streams.responses import stream_response, wants_stream
from utils.streams.tickets import TICKET_SECONDS
from utils.streams.user_stream import UserStream

blueprint = Blueprint("events", __name__, url_prefix="/events")


@blueprint.get("")
@endpoint(
    {"tasks": list[TaskChangeRow], "queue_positions": dict[str, int]},
    polled=True,
    stream=True,
    errors=("ticket_invalid", "too_many_streams"),
)
def follow_tasks(services: Services, user_id: str) -> Json | Response:
    """Stream the changes of all your tasks, or list the active ones.

    Send `Accept: text/event-stream`: the answer begins with an event `task` for each waiting or
    running task and an event `ready`. Then it has an event `task` for each task that changes, and
    an event `queue` when the places of your waiting tasks change.
    """
    dispatcher = services.dispatcher

    def row(task: Task | TaskSummary) -> TaskChangeRow:
        return task_change_row(task, dispatcher.stage(task.id))

    stream = UserStream(services.streams, user_id, dispatcher, row)
    if wants_stream():
        services.streams.check_room()
        return stream_response(stream.chunks)
    return {
        "tasks": [row(task) for task in stream.active_tasks()],
        "queue_positions": {
            str(task_id): place for task_id, place in dispatcher.queue_positions(user_id).items()
        },
    }


@blueprint.post("/ticket")
@endpoint({"ticket": str, "expires_in": int})
def get_ticket(services: Services, user_id: str) -> Json:
    """Get a ticket that opens one stream within a minute.

    For clients that cannot send a header, such as a browser's EventSource: add it to the URL as
    the parameter `ticket`.
    """
    return {"ticket": services.stream_tickets.issue(user_id), "expires_in": TICKET_SECONDS}
