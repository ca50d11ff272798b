"""Writes the settings out for people: `.env.example`, or with `--table` README's table."""

from __future__ import annotations

import sys
import textwrap

from pydantic.fields import FieldInfo

from utils.settings import Settings

_HEADING = """\
# Every setting, with what it does and its default. Copy this file to .env and take the # off the
# lines to change. Written by: python -m utils.env_example > .env.example
"""


def env_example() -> str:
    """Return the text of `.env.example`."""
    return _HEADING + "".join(
        f"\n{_comment(field)}\n# {name.upper()}={_default(field)}\n"
        for name, field in Settings.model_fields.items()
    )


def settings_table() -> str:
    """Return the settings as a Markdown table."""
    rows = [
        f"| `{name.upper()}` | {_cell(_default(field))} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return "| Setting | Default | What it does |\n|---|---|---|\n" + "".join(rows)


def _comment(field: FieldInfo) -> str:
    return textwrap.fill(
        field.description or "", width=98, initial_indent="# ", subsequent_indent="# "
    )


def _default(field: FieldInfo) -> str:
    """Return the default as it is written in the environment; empty when there is none."""
    if field.default_factory is not None or field.default is None:
        return ""
    if isinstance(field.default, tuple):
        return ",".join(field.default)
    return str(field.default)


def _cell(default: str) -> str:
    return f"`{default}`" if default else ""


def main() -> None:
    """Write to standard output."""
    sys.stdout.write(settings_table() if "--table" in sys.argv[1:] else env_example())


if __name__ == "__main__":
    main()
