"""Compares answers of the API with those that the documentation shows."""

from __future__ import annotations

import json
import re
from typing import Any

_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)"), "<time>"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "<commit>"),
    (re.compile(r"\btask-\d+-[0-9a-f]{8}\b"), "<sandbox>"),
)


def parse_answers(text: str) -> list[Any]:
    """Return the JSON values in a text, which stand one after the other."""
    decoder, values, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        values.append(value)
        rest = rest[end:].strip()
    return values


def differences(real: Any, shown: Any, path: str = "") -> list[str]:
    """Return where an answer is not as shown.

    The shown one may lack keys of an object. A text that ends with `...` stands for any that begins
    as it does; times, commits and sandboxes may differ.
    """
    if isinstance(shown, dict) and isinstance(real, dict):
        missing = [f"{path}/{key}: is missing" for key in shown.keys() - real.keys()]
        both = shown.keys() & real.keys()
        return missing + [
            line for key in both for line in differences(real[key], shown[key], f"{path}/{key}")
        ]
    if isinstance(shown, list) and isinstance(real, list) and len(shown) == len(real):
        pairs = enumerate(zip(real, shown, strict=True))
        return [line for at, pair in pairs for line in differences(*pair, f"{path}/{at}")]
    return [] if _is_same(real, shown) else [f"{path}: {real!r} is shown as {shown!r}"]


def _is_same(real: Any, shown: Any) -> bool:
    if isinstance(shown, str) and isinstance(real, str):
        if shown.endswith("..."):
            return real.startswith(shown.removesuffix("..."))
        return _without_varying(real) == _without_varying(shown)
    return type(real) is type(shown) and bool(real == shown)


def _without_varying(text: str) -> str:
    for pattern, name in _VARYING:
        text = pattern.sub(name, text)
    return text
