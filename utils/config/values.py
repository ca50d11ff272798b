"""Brings values of settings to the form that they mean, as people and dashboards write them.

Error messages never repeat a value, which may be a secret.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

KEPT_AS_GIVEN = frozenset({"jwt_secret", "secret_key", "secret_key_previous"})
"""Any text is a valid key. A different form of it would make stored secrets unreadable."""

LONGEST_SECONDS = 10 * 366 * 86_400
LARGEST_NUMBER = 10**15

_OUTSIDE = " \t\r\n\v\f\ufeff\u00a0\u200b\u200c\u200d\u2060"
_QUOTES = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019"}
_PLACEHOLDER = re.compile(
    r"<[^<>]*>|\[[A-Za-z][^\[\]]*\]|\{\{?[^{}]*\}?\}|your[-_ ].*"
    r"|my[-_ ](?:secret|key|token|password)"
    r"|(?:sk|e2b|ghp|sb_secret)?[-_]?(?:x{3,}|\.{2,}|\u2026|\*{3,}|\u2022{3,})"
    r"|change[-_ ]?me|replace[-_ ]?me|placeholder|todo|none|null|undefined|<.*",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", re.IGNORECASE)
_BYTES = {
    unit + suffix: factor
    for power, unit in enumerate("kmgt", start=1)
    for suffix, factor in (("", 1000**power), ("b", 1000**power), ("ib", 1024**power))
} | {"b": 1, "bytes": 1}
_SECONDS = {
    name: seconds
    for names, seconds in (
        ("s sec secs second seconds", 1),
        ("m min mins minute minutes", 60),
        ("h hour hours", 3600),
        ("d day days", 86_400),
    )
    for name in names.split()
}
_CHOICES = {
    "environment": {"prod": "production", "dev": "development"},
    "sandbox": {},
    "secrets_mode": {},
    "log_format": {"text": "console", "pretty": "console"},
    "log_level": {"warn": "warning", "critical": "error", "fatal": "error", "trace": "debug"},
}


def clean(name: str, value: Any) -> Any:
    """Return the value of a setting in its plain form; an empty text stands for "not set"."""
    if not isinstance(value, str) or name in KEPT_AS_GIVEN:
        return value
    text = unquoted(value)
    assignment = f"{name.upper()}="
    if text.upper().startswith(assignment):
        text = unquoted(text[len(assignment) :])
    if name in _CHOICES:
        choice = _CHOICES[name].get(text.lower(), text.lower())
        return choice.upper() if name == "log_level" else choice
    if name == "port":
        return text.removeprefix(":")
    for ending, units in (("_bytes", _BYTES), ("_seconds", _SECONDS)):
        if name.endswith(ending):
            return _amount(text, units)
    return text


def unquoted(text: str) -> str:
    """Return a text without the blanks and quotes around it."""
    text = text.strip(_OUTSIDE)
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip(_OUTSIDE)
    return text


def _amount(text: str, units: dict[str, int]) -> str:
    match = _AMOUNT.fullmatch(text)
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        return text
    amount = float(match[1]) * factor
    return str(int(amount)) if amount.is_integer() else str(amount)


def split_names(value: object) -> object:
    """Return the names in a text: separated by commas or blanks, or a JSON list."""
    if not isinstance(value, str):
        return value
    if value.startswith("[") and value.endswith("]"):
        try:
            names = json.loads(value)
        except ValueError:
            names = value[1:-1].split(",")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(filter(None, map(unquoted, names)))
    return tuple(filter(None, map(unquoted, re.split(r"[,;\s]+", value))))


def is_placeholder(text: str) -> bool:
    """Tell whether a text stands for a value that somebody has yet to put in."""
    return _PLACEHOLDER.fullmatch(text) is not None


def plain_key(text: str) -> str:
    """Check an API key, which is sent in a header. Raises `ValueError`."""
    key = unquoted(text.removeprefix("Bearer "))
    if is_placeholder(key):
        raise ValueError("is a placeholder; put the real key in its place, or remove the line")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("must not contain spaces, line ends or other characters; copy it again")
    return key


def check_number(name: str, value: Any) -> Any:
    """Return a number that every timer and counter can hold. Raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if not math.isfinite(value):
        raise ValueError("must be a number")
    largest = LONGEST_SECONDS if name.endswith("_seconds") else LARGEST_NUMBER
    if value > largest:
        raise ValueError(f"must be at most {largest}")
    return value
