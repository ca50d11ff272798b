"""Schemas of templates."""

from __future__ import annotations

from typing import Literal, cast

from typing_extensions import TypedDict

from utils.api.responses import Time
from utils.sandboxes.protocol import Template


class TemplateRow(TypedDict):
    """A template that sandboxes start from. What is not known is null or empty."""

    name: str
    id: str | None
    origin: Literal["project", "account", "provider", "machine"]
    status: Literal["ready", "building", "failed", "not_built"]
    description: str
    is_default: bool
    cpu_count: int | None
    memory_mb: int | None
    disk_mb: int | None
    tags: list[str]
    programs: list[str]
    updated_at: Time | None


def template_row(template: Template) -> TemplateRow:
    """Return the row of a template."""
    names = TemplateRow.__annotations__
    return cast("TemplateRow", {name: getattr(template, name) for name in names})
