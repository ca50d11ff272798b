"""Decides which of a user's values are secrets, and so are redacted in everything that is shown.

A word such as `production` in NODE_ENV is no secret, and redacting it would damage the output and
the result. When in doubt a value is a secret: only what is plain by its form, or by its name and
its form, is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from utils.models.tasks import Json

NAME_CHARACTERS = 200

_SECRET_WORD = re.compile(
    r"auth|authorization|bearer|certificate|connection|cookies?|credentials?|dsn|jwt|keys?|pat"
    r"|private|signature|token|webhook"
)
"""Words of names whose values are secrets, whatever they look like, except numbers and dates."""

_PASSWORD_WORD = re.compile(
    r"pass|passphrase|pin|pwd|secrets|[a-z]{0,20}(?:password|passwd|secret)"
)
"""Words of names whose values are secrets in any case."""

_PLAIN_WORD = re.compile(
    r"architecture|branch|dir|directory|domain|editor|encoding|env|environment|file|format|host"
    r"|language|level|locale|location|log|mode|models?|name|organization|path|platform|port"
    r"|profile|project|provider|region|scopes?|shell|size|stage|term|theme|tier|timezone|type|tz"
    r"|user|username|version|workspace|zone"
)
"""Last words of names whose values are no secrets when they consist of words and numbers."""

_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NUMBER = re.compile(
    r"[+-]?[0-9]{1,20}(?:[.,:][0-9]{1,12}){0,3}%?|true|false|yes|no|on|off", re.IGNORECASE
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.]{4,18}(?:Z|[+-][0-9:]{2,5})?)?")
_WORD = re.compile(r"[A-Z]?[a-z]{1,15}|[A-Z]{1,15}")
_REGION = re.compile(
    r"[a-z]{2,10}(?:-[a-z]{2,12}){0,3}-?[0-9]{1,2}(?:-[a-z])?|[a-z]{2}(?:-[a-z]{3,12}){1,3}"
)
_LOCALE = re.compile(r"[a-z]{2,3}(?:[_-][A-Za-z]{2,8}){0,2}(?:\.[A-Za-z0-9-]{3,12})?")
_PATH = re.compile(r"(?:~|\.{1,2})?/[A-Za-z0-9_./-]{0,200}")
_ADDRESS = re.compile(
    r"[a-z]{2,10}://[A-Za-z0-9.-]{1,250}(?::[0-9]{1,5})?(?:/[a-z0-9_.-]{0,24}){0,4}"
)
_SEPARATORS = re.compile(r"[\s._/:,;@=+\-\[\]{}\"'()|]+")
_PART = re.compile(r"[A-Z]?[a-z]{1,20}|[A-Z]{1,20}|[0-9]{1,12}|[A-Za-z0-9]{1,4}")


def is_secret(name: str, value: str) -> bool:
    """Tell whether the value of a variable, or of a field of a login file, has to be redacted."""
    words = [word.lower() for word in _NAME_WORD.findall(name[:NAME_CHARACTERS])]
    if any(map(_PASSWORD_WORD.fullmatch, words)):
        return True
    if _is_any_of(value, _NUMBER, _DATE, _ADDRESS):
        return False
    if words and _PLAIN_WORD.fullmatch(words[-1]) and _consists_of_words(value):
        return False
    if any(map(_SECRET_WORD.fullmatch, words)):
        return True
    return not _is_any_of(value, _WORD, _REGION, _LOCALE, _PATH)


def has_secret_name(name: str) -> bool:
    """Tell whether a variable is a secret by its name alone."""
    words = [word.lower() for word in _NAME_WORD.findall(name[:NAME_CHARACTERS])]
    return any(_PASSWORD_WORD.fullmatch(word) or _SECRET_WORD.fullmatch(word) for word in words)


def secret_values(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield the values of variables that are secrets."""
    for name, value in variables.items():
        if is_secret(name, value):
            yield value


def secret_texts(document: Json) -> Iterator[str]:
    """Yield the strings of a JSON object at any depth that are secrets.

    An item of a list has the name of the list.
    """
    waiting: list[tuple[str, object]] = [("", document)]
    while waiting:
        name, item = waiting.pop()
        if isinstance(item, str):
            if is_secret(name, item):
                yield item
        elif isinstance(item, dict):
            waiting.extend((str(key), value) for key, value in item.items())
        elif isinstance(item, list):
            waiting.extend((name, value) for value in item)


def _is_any_of(value: str, *forms: re.Pattern[str]) -> bool:
    text = value.strip()
    return any(form.fullmatch(text) for form in forms)


def _consists_of_words(value: str) -> bool:
    return all(_PART.fullmatch(part) for part in _SEPARATORS.split(value) if part)
