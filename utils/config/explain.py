"""Explains invalid settings to the person who set them."""

from __future__ import annotations

from pydantic import ValidationError

from utils.config.settings import Settings


def explain_settings(error: ValidationError) -> list[str]:
    """Say for each wrong setting what is wrong with it and what it is for."""
    lines = ["These settings do not work:"]
    for problem in error.errors(include_url=False, include_input=False):
        text = problem["msg"].removeprefix("Value error, ")
        name = str(problem["loc"][0]) if problem["loc"] else ""
        field = Settings.model_fields.get(name)
        lines.append(f"  {name.upper()}: {text}" if name else f"  {text}")
        if field is not None and field.description:
            lines.append(f"    {field.description}")
    lines.append("Settings come from the environment and from .env; .env.example lists them.")
    return lines
