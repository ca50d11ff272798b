"""Writes the settings for people: `.env.example` and `docs/settings.md`."""

from __future__ import annotations

import textwrap
from pathlib import Path

from pydantic.fields import FieldInfo

from utils.config.cloud import CloudSettings
from utils.config.github import GitHubSettings
from utils.config.limits import LimitSettings
from utils.config.settings import Settings
from utils.config.supabase import SupabaseSettings

ROOT = Path(__file__).resolve().parents[2]
ENV_FILE = ROOT / ".env.example"
SETTINGS_FILE = ROOT / "docs" / "settings.md"

_HEADING = """\
# Every setting, with what it does and its default. Copy this file to .env and take the # off the
# lines to change. Written by: python -m utils.commands.env_example
"""
_PAGE_HEADING = """\
# Settings

<!-- Written by: python -m utils.commands.env_example -->

Set these in the environment, or in the file `.env` in the folder where you start the server:
`cp .env.example .env`. The environment takes precedence. An empty value counts as not set.

The server checks all settings when it starts. If one is wrong it prints which, and exits with
code 2. `./run.sh doctor` checks more: that keys, addresses and permissions work.
"""
_TABLE_HEADING = "| Setting | Default | What it does |\n|---|---|---|\n"
_TITLES: dict[type, str] = {
    CloudSettings: "Cloud sandboxes and agents",
    SupabaseSettings: "Supabase",
    GitHubSettings: "GitHub",
    LimitSettings: "Size limits",
}
_OTHER_TITLE = "Server, sign-in, queue and time limits"


def env_example() -> str:
    """Return the text of `.env.example`."""
    return _HEADING + "".join(
        f"\n{_comment(field)}\n# {name.upper()}={_default(field)}\n"
        for name, field in Settings.model_fields.items()
    )


def settings_page() -> str:
    """Return the text of `docs/settings.md`."""
    sections: dict[str, list[str]] = {_OTHER_TITLE: []}
    for name, field in Settings.model_fields.items():
        row = f"| `{name.upper()}` | {_cell(_default(field))} | {field.description} |\n"
        sections.setdefault(_title(name), []).append(row)
    tables = (
        f"\n## {title}\n\n{_TABLE_HEADING}{''.join(rows)}" for title, rows in sections.items()
    )
    return _PAGE_HEADING + "".join(tables)


def _title(name: str) -> str:
    titles = (title for group, title in _TITLES.items() if name in vars(group)["__annotations__"])
    return next(titles, _OTHER_TITLE)


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
    """Write both files."""
    ENV_FILE.write_text(env_example(), encoding="utf-8")
    SETTINGS_FILE.write_text(settings_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
