"""Decides which commands users may run (`SANDBOX_COMMAND_POLICY`), and which paths they may use."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from utils.config.groups.sandboxes import ALLOW, DENY
from utils.errors import Forbidden, InvalidInput

MAX_PATH_CHARACTERS = 4_000


class CommandPolicy:
    """The rules of the operator; without rules every command may run."""

    def __init__(self, rules: Sequence[str]) -> None:
        self._allowed = {rule.removeprefix(ALLOW).strip() for rule in rules if rule[:6] == ALLOW}
        self._denied = [rule.removeprefix(DENY).strip() for rule in rules if rule[:5] == DENY]

    def check(self, arguments: Sequence[str]) -> None:
        """Raise `Forbidden` (`command_refused`) for a command that may not run."""
        # A path could name another program of the same name.
        if self._allowed and arguments[0] not in self._allowed:
            raise Forbidden(
                "The operator of this server allows only some programs (SANDBOX_COMMAND_POLICY): "
                f"{', '.join(sorted(self._allowed))}. Call one by its name alone.",
                "command_refused",
            )
        line = " ".join(arguments)
        if any(fnmatchcase(line, pattern) for pattern in self._denied):
            raise Forbidden(
                "The operator of this server does not allow this command (SANDBOX_COMMAND_POLICY).",
                "command_refused",
            )


def absolute_path(home: str, path: str) -> str:
    """Return the absolute path of a relative one. Raises `InvalidInput`."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    is_text = path.isprintable() or not any(ord(character) < 0x20 for character in path)  # noqa: PLR2004
    if path.startswith("/") or ".." in parts or not is_text or len(path) > MAX_PATH_CHARACTERS:
        raise InvalidInput(
            "path: must be relative to the home folder of the sandbox, without '..' and control "
            f"characters, and of at most {MAX_PATH_CHARACTERS} characters."
        )
    return "/".join([home, *parts])
