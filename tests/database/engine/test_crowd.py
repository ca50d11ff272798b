"""Workers that claim, lose, beat and end tasks at the same time, while leases end all the time."""

from __future__ import annotations

import random
import threading
from collections import Counter

from tests.fixtures.engine import prepared
from tests.support.database.engine_projects import LEASE_SECONDS, EngineProject
from tests.support.database.samples import COMPLETED, STRANGER, USER
from tests.support.waiting import eventually
from utils.errors import AppError
from utils.models.engine import EngineRun

TASKS = 60
WORKERS = 5


class Crowd:
    """Threads, each of which is a worker, and one that ends all leases."""

    def __init__(self, queue: EngineProject) -> None:
        self.queue = queue
        self.results: Counter[int] = Counter()
        self.errors: list[str] = []
        self._is_over = threading.Event()
        works = [threading.Thread(target=self._work, args=(number,)) for number in range(WORKERS)]
        self._threads = [*works, threading.Thread(target=self._end_leases)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        chance = random.Random(number)
        held: dict[str, EngineRun] = {}
        worker = self.queue.worker(f"worker {number}")
        while not self._is_over.is_set():
            try:
                held |= {run.id: run for run in worker.engine_claim(LEASE_SECONDS, 4)}
                for run in list(held.values()):
                    if self._ends(run, chance.random()):
                        del held[run.id]
                for lost in worker.engine_beat(list(held), LEASE_SECONDS).lost:
                    # Half of them are noticed late.
                    if chance.random() < 0.5:
                        del held[lost]
            except AppError as error:
                self.errors.append(error.message)

    def _ends(self, run: EngineRun, chance: float) -> bool:
        fenced = self.queue.worker(run.id)
        fenced.claim_task(run.task.id, again=True)
        if chance < 0.5:
            if fenced.finish_task(run.task.id, COMPLETED, {}, None) is not None:
                self.results[run.task.id] += 1
        elif chance < 0.6:
            self.queue.database.engine_later(run.id, 0)
        elif chance < 0.65:
            self.queue.database.engine_done(run.id)
        else:
            return False
        return True

    def _end_leases(self) -> None:
        while not self._is_over.wait(0.02):
            with self.queue.lock:
                self.queue.pass_time(LEASE_SECONDS + 1)
            self.queue.database.engine_admit()


def test_each_task_has_one_result_and_nobody_blocks_another(
    postgresql_engine: EngineProject,
) -> None:
    queue = prepared(postgresql_engine)
    queue.database.use_engine(6)
    added = {*queue.add(TASKS), *queue.add(TASKS, STRANGER)}
    crowd = Crowd(queue)
    crowd.start()
    try:
        eventually(lambda: set(crowd.results) == added or crowd.errors)
    finally:
        crowd.stop()
    # Two that waited for each other would be told so by the database.
    assert crowd.errors == []
    assert crowd.results == Counter(dict.fromkeys(added, 1))
    assert queue.admitted(USER) == queue.admitted(STRANGER) == []
    lost = queue.rows.execute("SELECT FROM absurd.r_tasks WHERE state = 'failed'").fetchall()
    assert len(lost) > WORKERS
