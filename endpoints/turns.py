"""Conversation endpoints: messages to a task, and the turns of its agent that they make."""

from __future__ import annotations

from typing import NotRequired

from flask import Blueprint

from utils.api.endpoint import Services, answer_once, endpoint
from utils.api.error_codes.shared import GITHUB
from utils.api.github_access import comment_task_token
from utils.api.requests import ChatMessage
from utils.api.responses import FullTaskRow, TurnRow
from utils.api.serializers import turn_row
from utils.api.task_repositories import full_row_of
from utils.credentials.profiles import open_request_token
from utils.errors import InvalidInput
from utils.models.tasks import Json, Mode
from utils.models.turns import NewTurn

blueprint = Blueprint("turns", __name__, url_prefix="/tasks/<id:task_id>")

CHAT_ERRORS = (
    *GITHUB,
    "budget_exceeded",
    "conversation_full",
    "queue_full",
    "stored_secret_unreadable",
)


@blueprint.post("/chat")
@endpoint(
    {"task": FullTaskRow, "turn": NotRequired[TurnRow]},
    body=ChatMessage,
    errors=CHAT_ERRORS,
    idempotent=True,
)
def add_chat_message(services: Services, user_id: str, task_id: int, body: ChatMessage) -> Json:
    """Add a message to the conversation of a task; with `run` the agent goes on with it.

    Without `run` the agent does not receive it. With `run` it becomes the next turn: a task that
    has ended is queued again, a running one begins the turn when the present one has ended.
    """
    _check(body)
    number = answer_once(
        services.database, user_id, lambda: _carry_out(services, user_id, task_id, body)
    ).get("number")
    answer: Json = {"task": full_row_of(services.database, user_id, task_id)}
    if number is not None:
        turns = services.database.list_turns(user_id, task_id)
        answer["turn"] = next(turn_row(turn) for turn in turns if turn.number == number)
    return answer


@blueprint.get("/turns")
@endpoint({"turns": list[TurnRow]}, polled=True)
def list_turns(services: Services, user_id: str, task_id: int) -> Json:
    """List the turns of a task, oldest first. The first one is that of its prompt."""
    turns = services.database.list_turns(user_id, task_id)
    return {"turns": [turn_row(turn) for turn in turns]}


@blueprint.get("/turns/<id:turn_number>/diff")
@endpoint({"git_diff": str})
def get_turn_diff(services: Services, user_id: str, task_id: int, turn_number: int) -> Json:
    """Return the diff of what this turn alone has changed, or an empty string."""
    return {"git_diff": services.database.get_turn_diff(user_id, task_id, turn_number)}


@blueprint.delete("/turns/<id:turn_number>")
@endpoint({"task": FullTaskRow}, errors=("turn_started",))
def take_back_turn(services: Services, user_id: str, task_id: int, turn_number: int) -> Json:
    """Take back a turn that still waits, with its message."""
    services.dispatcher.take_back_turn(user_id, task_id, turn_number)
    return {"task": full_row_of(services.database, user_id, task_id)}


def _check(body: ChatMessage) -> None:
    if body.run and body.role != "user":
        raise InvalidInput("run: only a message of the user makes a turn. Send role: user.")
    if not body.run and (body.interrupt or body.mode is not None or body.github_token):
        raise InvalidInput("run: must be true for interrupt, mode and github_token to count.")


def _carry_out(services: Services, user_id: str, task_id: int, body: ChatMessage) -> Json:
    """Store the message; return the number of the turn that it makes, if any."""
    if not body.run:
        services.database.append_chat_message(user_id, task_id, body.role, body.content)
        return {}
    token = open_request_token(services.vault, user_id, body.github_token)
    if token is None:
        task = services.database.get_task_status(user_id, task_id)
        token = comment_task_token(services, task)
    new = NewTurn(
        prompt=body.content,
        mode=Mode(body.mode or Mode.RUN),
        interrupts=body.interrupt,
        encrypted_token=services.vault.encrypt(token) if token else None,
    )
    added = services.dispatcher.add_turn(user_id, task_id, new)
    return {"number": added.turn.number}
