"""Checks that each event that an application returns has the form of `docs/events.md`."""

from __future__ import annotations

from functools import cache
from typing import Any

from flask import Flask, Response, request
from pydantic import TypeAdapter

from utils.models.events import EVENT_DATA


def refuse_odd_events(app: Flask) -> None:
    """Fail a request that returns an event whose form is not that of its kind."""

    def check(response: Response) -> Response:
        if request.endpoint == "tasks.list_events" and response.status_code == 200:
            for event in response.get_json()["events"]:
                check_event(event["kind"], event["data"])
        return response

    app.after_request(check)


def check_event(kind: str, data: Any) -> None:
    """Raise `AssertionError` for an unknown kind, or data of another form."""
    assert kind in EVENT_DATA, f"the kind {kind} is not in utils/models/events.py"
    assert _form(kind).validate_python(data, strict=True) == data


@cache
def _form(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter({str(name): form for name, form in EVENT_DATA.items()}[kind])
