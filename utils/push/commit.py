"""Builds commit objects, so that the name of a commit is known before anything is fetched."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from utils.git.environment import AUTHOR_NAME

SHA1_DIGITS = 40

# Characters that git strips from both ends of a name, and those that would end a name early.
_CRUD = "".join(map(chr, range(33))) + ".,:;<>\"\\'"
_FORBIDDEN = str.maketrans(dict.fromkeys("<>\0", ""))


@dataclass(frozen=True, slots=True)
class Identity:
    """The name and address of a commit's author or committer."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class CommitText:
    """The message, the people and the time of a commit. `at` has a time zone.

    `message` is the title, an empty line and the body. Equal values give the same commit.
    """

    message: str
    author: Identity
    committer: Identity
    at: datetime


def object_format(commit: str) -> str:
    """Return git's name of the hash algorithm of a commit name."""
    return "sha1" if len(commit) == SHA1_DIGITS else "sha256"


def commit_object(tree: str, parent: str, text: CommitText) -> bytes:
    """Return the content of a commit object, in UTF-8."""
    when = f"{int(text.at.timestamp())} +0000"
    lines = [
        f"tree {tree}",
        f"parent {parent}",
        f"author {_identity(text.author)} {when}",
        f"committer {_identity(text.committer)} {when}",
        "",
        _message(text.message),
    ]
    return "\n".join(lines).encode("utf-8", "replace")


def object_name(content: bytes, algorithm: str) -> str:
    """Return the object name of a commit."""
    return hashlib.new(algorithm, b"commit %d\0%b" % (len(content), content)).hexdigest()


def _identity(identity: Identity) -> str:
    return f"{_name(identity.name) or AUTHOR_NAME} <{_name(identity.email)}>"


def _name(text: str) -> str:
    return " ".join(text.translate(_FORBIDDEN).split()).strip(_CRUD)


def _message(text: str) -> str:
    lines = [line.rstrip() for line in text.replace("\0", "").splitlines()]
    return "\n".join(lines).strip("\n") + "\n"
