"""Writes the table of agents in docs/agents.md from the registry."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.agents.registry import AGENTS, DEFAULT_AGENT
from utils.agents.spec import AgentSpec
from utils.commands.command_line import CommandParser, ends_with_message

PAGE = Path(__file__).resolve().parents[2] / "docs" / "agents.md"

_HEADING = "| `model` | Program | Settings | Section of `users.preferences` |\n|---|---|---|---|\n"
_TABLE = re.compile(re.escape(_HEADING) + r"(?:\|.*\n)*")


def agents_table() -> str:
    """Return the agents as a Markdown table."""
    return _HEADING + "".join(map(_row, AGENTS))


def _row(agent: AgentSpec) -> str:
    name = f"`{agent.name}`{' (default)' if agent.name == DEFAULT_AGENT else ''}"
    program = agent.program
    if program is None:
        return f"| {name} | a script of this project, no AI |  |  |\n"
    settings = f"`{program.key_setting.upper()}`, `{program.models_setting.upper()}`"
    installed = f"{program.title}, `{program.package}` {program.version}"
    return f"| {name} | {installed} | {settings} | `{program.sections[0]}` |\n"


def with_table(page: str) -> str:
    """Return the page with its table brought up to date."""
    return _TABLE.sub(lambda _: agents_table(), page)


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Write the page again."""
    CommandParser(
        "utils.commands.agents_table", "Write the table of agents in docs/agents.md."
    ).parse_args(arguments)
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
