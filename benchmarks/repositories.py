"""Creates the repositories of the benchmarks, with the same content every time."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

BRANCH = "main"
_EPOCH = 1_700_000_000
_TEXT = """
    account address amount archive balance batch buffer cache channel client column command commit
    config context counter cursor database default delay detail device digest document domain
    driver element encoding endpoint engine entry error event factory field filter folder format
    handler header history index input instance interval item journal label layout ledger
"""
_WORDS = _TEXT.split()


def make_repository(path: Path, *, files: int, commits: int) -> Path:
    """Create a packed bare repository; each commit adds some files and changes a few others."""
    _git("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", path)
    stream = b"".join(_commits(random.Random(files), files, commits))
    _git("-C", path, "fast-import", "--quiet", stream=stream)
    _git("-C", path, "gc", "--quiet")
    return path


def _git(*arguments: str | Path, stream: bytes = b"") -> None:
    subprocess.run(["git", *arguments], input=stream, check=True)


def _commits(chance: random.Random, files: int, commits: int) -> Iterator[bytes]:
    names: list[str] = []
    for number in range(commits):
        due = files * (number + 1) // commits
        changed = chance.sample(names, min(3, len(names)))
        added = [_name(index) for index in range(len(names), due)]
        names += added
        who = f"Example <example@example.invalid> {_EPOCH + number * 3600} +0000"
        message = f"Change {number + 1}"
        yield f"commit refs/heads/{BRANCH}\ncommitter {who}\n".encode()
        yield f"data {len(message)}\n{message}\n".encode()
        for name in (*added, *changed):
            content = _source(chance)
            yield f"M 100644 inline {name}\ndata {len(content)}\n{content}\n".encode()


def _name(index: int) -> str:
    return f"package_{index // 100}/part_{index // 10 % 10}/module_{index}.py"


def _source(chance: random.Random) -> str:
    lines = (
        f"{'    ' * chance.randint(0, 3)}{' '.join(chance.choices(_WORDS, k=chance.randint(2, 8)))}"
        for _ in range(chance.randint(20, 80))
    )
    return "\n".join(lines) + "\n"
