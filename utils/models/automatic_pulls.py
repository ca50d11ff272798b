"""Frozen values of pull requests that the server opens by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AutomaticPull:
    """A pull request that is due because its task has completed; this server has it.

    `ciphertext` is the token that the task had, encrypted. `due_at` is when another server may take
    it, `tries` counts the tries with this one.
    """

    task_id: int
    user_id: str
    ciphertext: bytes | None = field(repr=False)
    due_at: datetime
    tries: int
