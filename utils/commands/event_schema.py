"""Writes `docs/events.schema.json`: `python -m utils.commands.event_schema`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from utils.commands.command_line import CommandParser, ends_with_message
from utils.models.events import EVENT_DATA
from utils.models.tasks import Json

SCHEMA_FILE = Path(__file__).resolve().parents[2] / "docs" / "events.schema.json"


def event_schema() -> Json:
    """Return the JSON schema of an event, as GET /tasks/<id>/events returns it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of a task",
        "type": "object",
        "required": ["sequence", "at", "kind", "data"],
        "additionalProperties": False,
        "properties": {
            "sequence": {"type": "integer", "minimum": 1},
            "at": {"type": "string", "format": "date-time"},
            "kind": {"enum": list(EVENT_DATA)},
            "data": {"type": "object"},
        },
        "oneOf": [
            {"properties": {"kind": {"const": kind}, "data": TypeAdapter(form).json_schema()}}
            for kind, form in EVENT_DATA.items()
        ],
    }


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Write the file."""
    CommandParser("utils.commands.event_schema", "Write docs/events.schema.json.").parse_args(
        arguments
    )
    SCHEMA_FILE.write_text(json.dumps(event_schema(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
