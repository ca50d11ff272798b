"""Reads the agents' sections of `users.preferences`, in the present and the older format.

    {"claudeCode": {"env": {NAME: VALUE}, "credentials": {...} or null}}
    {"claudeCode": {NAME: VALUE}}                   older: the variables without `env`

Users can write their row without this server, so its content is not trusted: wrong entries are
left out, and nothing raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from utils.agents.json_lines import child
from utils.models.tasks import Json

MAX_VARIABLES = 50

MAX_VALUE_CHARACTERS = 8192

MAX_VALUES_CHARACTERS = 16_384
"""Limit for all values together. The redactor searches all output for each of them."""

MAX_LOGIN_FILE_BYTES = 16_384

MAX_LINES = 100
"""Limit for all values together, and for a login file: each line may be a secret of its own."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# These would change our shells, loaders and git commands that start the agent.
_REFUSED = re.compile(
    r"PATH|HOME|SHELL|USER|LOGNAME|TMPDIR|PWD|OLDPWD|XDG_CONFIG_HOME|_"
    r"|IFS|ENV|BASH_ENV|BASHOPTS|SHELLOPTS|CDPATH|GLOBIGNORE|OPTIND|PS4|PROMPT_COMMAND"
    r"|POSIXLY_CORRECT|UID|EUID|PPID|GCONV_PATH|GLIBC_TUNABLES|LOCPATH|NLSPATH"
    r"|(?:ASYNC_CODE|BASH_FUNC|DYLD|GIT|LD)_.*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class UserAccess:
    """A user's own access for their runs: variables, and the content of the login file."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: Json = field(default_factory=dict, repr=False)
    login_file: bytes = field(default=b"", repr=False)


def read_preferences(preferences: object, sections: Sequence[str]) -> UserAccess:
    """Return a user's access from the sections of an agent; the first section wins."""
    found = [child(preferences, name) for name in sections]
    environment: dict[str, str] = {}
    for section in reversed(found):
        environment |= _variables(child(section, "env") or section)
    stored = next(
        (credentials for section in found if (credentials := child(section, "credentials"))), {}
    )
    login_file = _login_file(stored)
    return UserAccess(
        environment=environment,
        credentials=stored if login_file else {},
        login_file=login_file,
    )


def texts_in(value: object) -> Iterator[str]:
    """Yield every string in a JSON value at any depth, without the keys of objects."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def is_variable_name(name: object) -> bool:
    """Return True when users may set a variable of this name for their agents."""
    return (
        isinstance(name, str)
        and _NAME.fullmatch(name) is not None
        and _REFUSED.fullmatch(name) is None
    )


def _variables(entries: Json) -> dict[str, str]:
    texts = ((name, _text(value)) for name, value in entries.items() if is_variable_name(name))
    usable: dict[str, str] = {}
    characters = lines = 0
    for name, text in texts:
        if len(usable) == MAX_VARIABLES:
            break
        if text is None:
            continue
        more = _lines(text)
        if characters + len(text) <= MAX_VALUES_CHARACTERS and lines + more <= MAX_LINES:
            usable[name] = text
            characters += len(text)
            lines += more
    return usable


def _lines(text: str) -> int:
    return len(text.splitlines()) or 1


def _text(value: object) -> str | None:
    """Return the text of a variable, or None for a value that no variable can hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        text = str(value) if isinstance(value, str | int | float) else None
        if text is None or "\0" in text or len(text) > MAX_VALUE_CHARACTERS:
            return None
        text.encode()
    except ValueError:  # half a surrogate pair, or more digits than Python converts
        return None
    return text


def _login_file(credentials: Json) -> bytes:
    try:
        content = json.dumps(credentials).encode() if credentials else b""
    except (TypeError, ValueError, RecursionError):
        return b""
    if len(content) > MAX_LOGIN_FILE_BYTES:
        return b""
    return content if sum(map(_lines, texts_in(credentials))) <= MAX_LINES else b""
