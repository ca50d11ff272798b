"""Writes the settings out for people: `.env.example` and the table in README."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from pydantic.fields import FieldInfo

from utils.config.settings import Settings

_ROOT = Path(__file__).resolve().parents[2]
_TABLE_HEADING = "| Setting | Default | What it does |\n|---|---|---|\n"
_TABLE = re.compile(re.escape(_TABLE_HEADING) + r"(?:\|.*\n)*")
_HEADING = """\
# Every setting, with what it does and its default. Copy this file to .env and take the # off the
# lines to change. Written by: python -m utils.commands.env_example
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
    return _TABLE_HEADING + "".join(rows)


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


def with_table(readme: str) -> str:
    """Return README with its table of settings brought up to date."""
    return _TABLE.sub(lambda _: settings_table(), readme)


def main() -> None:
    """Write both files again."""
    (_ROOT / ".env.example").write_text(env_example(), encoding="utf-8")
    readme = _ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
