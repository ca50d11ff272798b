"""Tests that few threads run at a time and that no request waits for blocked threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.waiting import until
from utils.server.request_threads import BLOCKED_SECONDS, QUICK_THREADS, AdaptiveThreadPool

MOST = 5

pytestmark = pytest.mark.anyio


@pytest.fixture
def threads() -> Iterator[AdaptiveThreadPool]:
    threads = AdaptiveThreadPool(MOST)
    yield threads
    threads.shutdown(wait=False)


class _Held:
    """A function that blocks until it is released."""

    def __init__(self) -> None:
        self.begun = self.ended = self.most = 0
        self.let_go = threading.Semaphore(0)
        self.workers: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.begun += 1
            self.most = max(self.most, self.begun - self.ended)
            self.workers.add(threading.current_thread())
        self.let_go.acquire()
        with self._lock:
            self.ended += 1

    def has_ended(self, count: int) -> bool:
        return self.ended == count


async def test_quick_work_is_done_in_order_by_few_threads(threads: AdaptiveThreadPool) -> None:
    order: list[int] = []
    workers: set[threading.Thread] = set()

    def note() -> None:
        order.append(len(order))
        workers.add(threading.current_thread())

    for count in range(1, 51):
        threads.submit(note)
        await until(partial(_has, order, count))
    assert order == list(range(50))
    assert len(workers) <= QUICK_THREADS


async def test_work_that_is_held_up_gets_more_threads_until_all_are_busy(
    threads: AdaptiveThreadPool,
) -> None:
    held = _Held()
    for _ in range(MOST + 3):
        threads.submit(held)
    await until(lambda: _relieved(threads) and held.begun == MOST)
    for ended in range(1, MOST + 4):
        held.let_go.release()
        await until(partial(held.has_ended, ended))
    assert held.most == MOST


async def test_quick_work_passes_work_that_is_held_up(threads: AdaptiveThreadPool) -> None:
    held, passed = _Held(), threading.Event()
    for _ in range(QUICK_THREADS):
        threads.submit(held)
    threads.submit(passed.set)
    assert threads.wait_limit(1) == BLOCKED_SECONDS
    await until(lambda: _relieved(threads) and passed.is_set())
    assert threads.wait_limit(1) == 1
    held.let_go.release(QUICK_THREADS)


async def test_who_hands_work_in_waits_until_it_is_begun_and_not_for_work_that_is_held_up(
    threads: AdaptiveThreadPool,
) -> None:
    held, done = _Held(), threading.Event()
    threads.wait_until_started()
    for _ in range(50):
        # Whether the work starts or the wait ends first, the next wait works.
        for _ in range(QUICK_THREADS):
            threads.submit(held)
        threads.submit(held.let_go.release)
        threads.wait_until_started()
        held.let_go.release(QUICK_THREADS - 1)
        threads.start_more_threads()
    threads.submit(done.set)
    while not done.is_set():
        threads.wait_until_started()
        threads.start_more_threads()
    await until(lambda: held.ended == held.begun == 50 * QUICK_THREADS)


async def test_an_end_lets_what_was_handed_in_be_done_and_leaves_no_thread() -> None:
    threads = AdaptiveThreadPool(1)
    held = _Held()
    for _ in range(3):
        threads.submit(held)
    threads.shutdown(wait=False)
    held.let_go.release(3)
    await until(lambda: held.ended == 3)
    assert len(held.workers) == 1
    await until(lambda: not any(worker.is_alive() for worker in held.workers))


def _relieved(threads: AdaptiveThreadPool) -> bool:
    threads.start_more_threads()
    return True


def _has(items: list[int], count: int) -> bool:
    return len(items) == count
