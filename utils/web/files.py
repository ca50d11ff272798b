"""Reads the files of the page once, and names them by one hash of them all.

A browser keeps a file forever, because a changed file has another address.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PAGE_FOLDER = Path(__file__).with_name("page")
VENDOR_FOLDER = PAGE_FOLDER / "vendor"

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The files that are served; the others are sources, licences and the like."""

# A module that an early one imports is not found by the browser before that one has arrived.
_EARLY_FOLDERS = ("lib", "views")
_EARLY_VENDORED = ("dompurify", "hooks", "htm", "marked", "preact")
_DIGEST_CHARACTERS = 16


@dataclass(frozen=True)
class PageFile:
    """A file of the page."""

    name: str
    content: bytes
    content_type: str

    @cached_property
    def compressed(self) -> bytes:
        """The content for clients that accept gzip."""
        return gzip.compress(self.content, mtime=0)


class PageFiles:
    """Holds the files of the page by their names relative to its folder."""

    def __init__(self, folder: Path = PAGE_FOLDER) -> None:
        self._files = {one.name: one for one in _read(folder)}
        digest = hashlib.sha256()
        for name, one in self._files.items():
            digest.update(f"{name}\0{len(one.content)}\0".encode() + one.content)
        self.digest = digest.hexdigest()[:_DIGEST_CHARACTERS]
        self._template = (folder / "index.html").read_text(encoding="utf-8")

    def find(self, name: str) -> PageFile | None:
        """Return the file of this name, None if there is none."""
        return self._files.get(name)

    def index(self, config: str) -> bytes:
        """Return the page itself; `config` is the text that its scripts read, escaped."""
        # What comes last counts: the styles of libraries come before those of the page.
        styles = sorted((n for n in self._files if n.endswith(".css")), key=_is_own)
        values = {
            "assets": f"/assets/{self.digest}",
            "config": config,
            "styles": "\n".join(self._link("stylesheet", name) for name in styles),
            "modules": "\n".join(
                self._link("modulepreload", name) for name in self._files if _is_early(name)
            ),
        }
        text = self._template
        for name, value in values.items():
            text = text.replace(f"{{{{{name}}}}}", value)
        return text.encode()

    def _link(self, relation: str, name: str) -> str:
        return f'<link rel="{relation}" href="/assets/{self.digest}/{name}">'


def _read(folder: Path) -> Iterator[PageFile]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in CONTENT_TYPES and path.is_file():
            name = path.relative_to(folder).as_posix()
            yield PageFile(name, path.read_bytes(), CONTENT_TYPES[path.suffix])


def _is_own(name: str) -> bool:
    return not name.startswith("vendor/")


def _is_early(name: str) -> bool:
    folder, _, file = name.partition("/")
    return folder in _EARLY_FOLDERS or (
        folder == "vendor" and file.removesuffix(".js") in _EARLY_VENDORED
    )
