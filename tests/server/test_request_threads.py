"""Tests that few threads run at a time and that no request waits for blocked threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from tests.support.waiting import until
from utils.server.answers import Answer
from utils.server.request_threads import QUICK_THREADS, AdaptiveThreadPool

MOST = 5
DONE = Answer("200 OK", (), b"")

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Return the only event loop that the server runs on."""
    return "asyncio"


@pytest.fixture
async def threads() -> AsyncIterator[AdaptiveThreadPool]:
    threads = AdaptiveThreadPool(MOST)
    yield threads
    threads.close()


class _Held:
    """A function that blocks until it is released."""

    def __init__(self) -> None:
        self.begun = self.ended = self.most = 0
        self.let_go = threading.Semaphore(0)
        self.workers: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def __call__(self) -> Answer:
        with self._lock:
            self.begun += 1
            self.most = max(self.most, self.begun - self.ended)
            self.workers.add(threading.current_thread())
        self.let_go.acquire()
        with self._lock:
            self.ended += 1
        return DONE

    def has_ended(self, count: int) -> bool:
        return self.ended == count


async def test_quick_work_is_done_in_order_by_few_threads(threads: AdaptiveThreadPool) -> None:
    begun: list[int] = []
    answers: list[Answer] = []
    workers: set[threading.Thread] = set()

    def note() -> Answer:
        begun.append(len(begun))
        workers.add(threading.current_thread())
        return DONE

    for count in range(1, 51):
        threads.submit(note, answers.append)
        await until(lambda count=count: len(answers) == count)  # type: ignore[misc]
    assert begun == list(range(50))
    assert answers == [DONE] * 50
    assert len(workers) <= QUICK_THREADS


async def test_an_error_with_one_answer_holds_up_no_other(threads: AdaptiveThreadPool) -> None:
    errors: list[BaseException] = []
    answers: list[Answer] = []

    def fail(_answer: Answer) -> None:
        raise ValueError("not to be sent")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    for number in range(40):
        threads.submit(lambda: DONE, fail if number % 2 else answers.append)
    # The loop is held until the threads are done, so that it gets many answers at once.
    time.sleep(0.05)  # noqa: ASYNC251
    await until(lambda: len(errors) == 20)
    assert len(answers) == 20


async def test_work_that_is_held_up_gets_more_threads_until_all_are_busy(
    threads: AdaptiveThreadPool,
) -> None:
    held, answers = _Held(), list[Answer]()
    for _ in range(MOST + 3):
        threads.submit(held, answers.append)
    await until(lambda: held.begun == MOST)
    for ended in range(1, MOST + 4):
        held.let_go.release()
        await until(lambda ended=ended: len(answers) == ended)  # type: ignore[misc]
    assert held.most == MOST


async def test_quick_work_passes_work_that_is_held_up(threads: AdaptiveThreadPool) -> None:
    held, answers = _Held(), list[Answer]()
    for _ in range(QUICK_THREADS):
        threads.submit(held, answers.append)
    threads.submit(lambda: DONE, answers.append)
    await until(lambda: len(answers) == 1)
    assert held.ended == 0
    held.let_go.release(QUICK_THREADS)
    await until(lambda: len(answers) == QUICK_THREADS + 1)


async def test_an_end_lets_what_is_at_work_be_done_and_leaves_no_thread() -> None:
    threads = AdaptiveThreadPool(1)
    held, answers = _Held(), list[Answer]()
    threads.submit(held, answers.append)
    threads.close()
    held.let_go.release()
    await until(lambda: len(answers) == 1)
    await until(lambda: not any(worker.is_alive() for worker in held.workers))
