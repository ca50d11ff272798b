"""Declares the operations on pushes to repositories; a part of `database.Database`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class PushVerbs(Protocol):
    """The operations on pushes that a webhook reports."""

    def record_push(self, repo_urls: Collection[str], commit: str) -> int:
        """Store the pushed commit with the projects of all users that have one of the addresses.

        The addresses are in lower case; letter case and slashes at the end of those of projects do
        not matter. Returns how many projects there are.
        """
