"""The text about a field of answers or requests."""

from __future__ import annotations

from typing import Any, NamedTuple


class FieldText(NamedTuple):
    """The description of a field and its example; `...` is composed from the field's type."""

    description: str
    example: Any = ...
