"""Reads the project's Markdown pages: links, anchors, blocks of code, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.source_files import ROOT

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A block of code and the name of its language, empty when it has none."""

    language: str
    text: str


def markdown_files() -> list[Path]:
    """Return the project's pages, relative to its root."""
    pages = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    return sorted(path.relative_to(ROOT) for path in pages)


def read_page(path: Path | str) -> str:
    """Return the text of a page."""
    return (ROOT / path).read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[Block]:
    """Return a page's blocks of code, only those in the given languages if any are given."""
    found = [Block(match[2], match[3]) for match in _BLOCK.finditer(text)]
    return [block for block in found if not languages or block.language in languages]


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return _BLOCK.sub("", text)


def links(text: str) -> list[str]:
    """Return the targets of a page's links, without those to other sites."""
    return [target for target in _LINK.findall(prose(text)) if "://" not in target]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (numbered := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(numbered)
    return found


def first_cells(text: str) -> Iterator[str]:
    """Yield the first cell of each row of a page's tables."""
    for row in re.finditer(r"^\| (.*?) \|", text, re.MULTILINE):
        yield row[1]
