"""The query of a poll, and the part of a conversation that its client does not have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import to_json

from utils.api.requests import Number, Query
from utils.models.tasks import Json
from utils.streams.waiting import MAX_WAIT_SECONDS

_FORM = re.compile(r"0|([1-9][0-9]{0,8})-([0-9a-f]{12})")


def _since(text: str | None) -> str | None:
    if text is not None and not _FORM.fullmatch(text):
        raise ValueError("must be 0, or next_since of an answer")
    return text


class PollQuery(Query):
    """Lets the answer wait, and leaves out messages that the client has."""

    wait: Annotated[int, Field(ge=0, le=MAX_WAIT_SECONDS), Number] = Field(
        0,
        description="Seconds for which the answer waits until the task changes. With "
        "`If-None-Match` it comes as soon as it differs from the one that you have, without it "
        "also at once if the task has ended.",
    )
    since: Annotated[str | None, Field(max_length=30), AfterValidator(_since)] = Field(
        None,
        description="Leaves out of `chat_messages` those that you have: `next_since` of the last "
        "answer, at first 0.",
    )


def with_newer_messages(
    row: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], since: str
) -> Json:
    """Return the fields of an answer: the row with the messages after those that `since` names.

    All messages are newer when the last one that it names is not there any more: a turn that waits
    can be taken back.
    """
    found = _FORM.fullmatch(since)
    count = int(found[1] or 0) if found else 0
    known = count if count and _cursor(messages[:count]) == since else 0
    return {
        "task": {**row, "chat_messages": messages[known:]},
        "messages_from": known,
        "next_since": _cursor(messages),
    }


def _cursor(messages: Sequence[Mapping[str, Any]]) -> str:
    if not messages:
        return "0"
    return f"{len(messages)}-{hashlib.sha256(to_json(messages[-1])).hexdigest()[:12]}"
