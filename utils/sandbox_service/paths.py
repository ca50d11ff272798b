"""Confines the paths of users to the home folder of their sandbox."""

from __future__ import annotations

from utils.errors import InvalidInput

MAX_PATH_CHARACTERS = 4_000


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
