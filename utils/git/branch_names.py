"""Checks branch names by git's rules."""

from __future__ import annotations

import re

MAX_BRANCH_BYTES = 255
MAX_PART_BYTES = 250
"""git writes a part as a file name of at most 255 bytes, with `.lock` at its end."""

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")


def broken_branch_rule(name: str) -> str | None:
    """Return the rule of `git check-ref-format --branch` that a name breaks, None when it is valid.

    The text completes the sentence "The branch name ...".
    """
    components = name.split("/")
    rules = (
        (not name or name in {"@", "HEAD"}, "is empty, @ or HEAD"),
        (name.startswith("-"), "starts with a dash"),
        (name.startswith("/") or name.endswith("/"), "starts or ends with a slash"),
        (name.endswith("."), "ends with a dot"),
        (
            _FORBIDDEN.search(name) is not None,
            "holds a space, a control character, '..', '//', '@{' or one of ~ ^ : ? * [ \\",
        ),
        (any(part.startswith(".") for part in components), "has a part that starts with a dot"),
        (any(part.endswith(".lock") for part in components), "has a part that ends in .lock"),
        (any("\ud800" <= character <= "\udfff" for character in name), "is not valid Unicode"),
        (_bytes(name) > MAX_BRANCH_BYTES, f"is longer than {MAX_BRANCH_BYTES} bytes"),
        (
            any(_bytes(part) > MAX_PART_BYTES for part in components),
            f"has a part of more than {MAX_PART_BYTES} bytes",
        ),
    )
    return next((text for broken, text in rules if broken), None)


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
