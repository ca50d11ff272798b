"""Tells the listeners of this process which tasks have changed.

A write announces the task that it has changed. A listener is woken and reads what is new, so an
announcement that is lost or repeated does no harm; a listener reads from time to time anyway.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol, TypeVar

Key = TypeVar("Key", int, str)

MAX_OWNERS = 10_000
"""Tasks whose users are remembered."""


@dataclass(frozen=True, slots=True)
class Change:
    """A changed task. With `only_events` it has new events, and its row is the same."""

    task_id: int
    user_id: str | None = None
    only_events: bool = False


class ChangeSource(Protocol):
    """Brings changes that other servers made, and tells them of this server's changes."""

    def listen(self) -> None:
        """Begin to bring changes, unless that has begun. Called with the first listener."""

    def send(self, change: Change) -> None:
        """Tell other servers of a change, without waiting."""

    def close(self) -> None:
        """End all threads and connections."""


class Subscription:
    """Collects the changed tasks that one listener waits for; use it as a context manager.

    Belongs to the event loop on which it was made.
    """

    def __init__(self, leave: Callable[[Subscription], None]) -> None:
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._has_changes = asyncio.Event()
        self._changed: set[int] = set()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_error: object) -> None:
        self._leave(self)

    async def wait(self, timeout_seconds: float) -> set[int]:
        """Return the tasks that changed since the last call; wait for the first one.

        Returns an empty set after the timeout.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._has_changes.wait()
        self._has_changes.clear()
        changed, self._changed = self._changed, set()
        return changed

    def wake(self, task_ids: Iterable[int]) -> None:
        """Add changed tasks. May be called from any thread."""
        # The loop is closed when the server has just stopped.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._add, tuple(task_ids))

    def _add(self, task_ids: tuple[int, ...]) -> None:
        self._changed.update(task_ids)
        self._has_changes.set()


class Changes:
    """Passes announcements to subscriptions. Safe to use from any thread."""

    def __init__(self) -> None:
        self._source: ChangeSource | None = None
        self._lock = Lock()
        self._of_tasks: dict[int, set[Subscription]] = {}
        self._of_users: dict[str, set[Subscription]] = {}
        self._owners: OrderedDict[int, str] = OrderedDict()

    def use(self, source: ChangeSource) -> None:
        """Set the source of changes that other servers make."""
        self._source = source

    def subscribe(self, *, task_id: int | None = None, user_id: str | None = None) -> Subscription:
        """Return a subscription to one task, or to all tasks of a user."""

        def leave(subscription: Subscription) -> None:
            with self._lock:
                _remove(self._of_tasks, task_id, subscription)
                _remove(self._of_users, user_id, subscription)

        subscription = Subscription(leave)
        with self._lock:
            if task_id is not None:
                self._of_tasks.setdefault(task_id, set()).add(subscription)
            if user_id is not None:
                self._of_users.setdefault(user_id, set()).add(subscription)
        if self._source is not None:
            self._source.listen()
        return subscription

    def announce(self, change: Change) -> None:
        """Wake who listens to a task or to its user, here and on other servers."""
        known = self.announce_here(change)
        if self._source is not None:
            self._source.send(known)

    def announce_here(self, change: Change) -> Change:
        """Wake who listens on this server; return the change with its user, if that is known."""
        with self._lock:
            change = replace(change, user_id=self._owner(change))
            listeners = list(self._of_tasks.get(change.task_id, ()))
            if change.user_id and not change.only_events:
                listeners += self._of_users.get(change.user_id, ())
        for subscription in listeners:
            subscription.wake((change.task_id,))
        return change

    def wake_all(self) -> None:
        """Wake all listeners, because announcements may have been lost."""
        with self._lock:
            listeners = [
                (one, task_id) for task_id, those in self._of_tasks.items() for one in those
            ]
        for subscription, task_id in listeners:
            subscription.wake((task_id,))

    def watched(self) -> tuple[list[int], list[str]]:
        """Return the tasks and the users that somebody listens to."""
        with self._lock:
            return list(self._of_tasks), list(self._of_users)

    def close(self) -> None:
        """End the source."""
        if self._source is not None:
            self._source.close()

    def _owner(self, change: Change) -> str | None:
        if change.user_id is None:
            return self._owners.get(change.task_id)
        self._owners[change.task_id] = change.user_id
        if len(self._owners) > MAX_OWNERS:
            self._owners.popitem(last=False)
        return change.user_id


def _remove(by_key: dict[Key, set[Subscription]], key: Key | None, one: Subscription) -> None:
    if key is not None and key in by_key:
        by_key[key].discard(one)
        if not by_key[key]:
            del by_key[key]
