"""Composes the example of an answer from the examples of its fields."""

from __future__ import annotations

from typing import Any

from utils.api.openapi.field_text import FieldText
from utils.api.openapi.fields import FIELDS
from utils.models.tasks import Json

_NOT_KNOWN = FieldText("")
_VALUES = {
    "string": "text",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "object": {},
    "array": [],
    "null": None,
}


def field_text(model: str, name: str) -> FieldText | None:
    """Return the description and example of a field, None for a field without an entry."""
    return FIELDS.get(f"{model}.{name}", FIELDS.get(name))


def compose_example(schema: Json, components: Json, model: str = "") -> Any:
    """Return a value that a schema allows. `model` is the schema's name among the components."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return compose_example(components[name], components, name)
    if "properties" in schema:
        return _object_example(schema, components, model)
    if "anyOf" in schema:
        return compose_example(schema["anyOf"][0], components)
    if schema.get("type") == "array" and "items" in schema:
        return [compose_example(schema["items"], components)]
    if isinstance(entries := schema.get("additionalProperties"), dict) and entries:
        return {"1": compose_example(entries, components)}
    return _plain_example(schema)


def _plain_example(schema: Json) -> Any:
    if "const" in schema:
        return schema["const"]
    return schema["enum"][0] if "enum" in schema else _VALUES[schema["type"]]


def _object_example(schema: Json, components: Json, model: str) -> Json:
    found = {}
    for name, described in schema["properties"].items():
        text = field_text(model, name) or _NOT_KNOWN
        is_given = text.example is not ... and "const" not in described
        value = text.example if is_given else compose_example(described, components)
        # Fields without a value are left out where the schema allows it.
        if value is not None or name in schema.get("required", ()):
            found[name] = value
    return found
