"""Cuts what was read for a list into a page and the cursor of the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


Item = TypeVar("Item", bound=_Numbered)


def cut_page(found: Sequence[Item], limit: int) -> tuple[Sequence[Item], int | None]:
    """Return at most `limit` items, and the cursor of the next page or None if there is none.

    `found` has one item more than the limit when there is a next page.
    """
    page = found[:limit]
    return page, page[-1].id if len(found) > limit else None
