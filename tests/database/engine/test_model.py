"""Random histories of workers, compared with a model: each task has one holder, and one result."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.fixtures.engine import prepared
from tests.support.database.engine_projects import LEASE_SECONDS, EngineProject
from tests.support.database.samples import CANCELLED, COMPLETED, STRANGER, USER
from tests.support.suite.generated import generated
from utils.models.engine import EngineRun

LIMIT = 2
WORKERS = ("one", "two", "three")
STEPS = 30

workers = st.sampled_from(WORKERS)
choices = st.integers(0, 1_000)


class History(RuleBasedStateMachine):
    """Workers of one database, among them those that go on with what they have lost.

    `holders` are the claims that the rows name. A claim whose lease was over once is `doubtful`:
    another worker's claim may have found it so, without having been given the task yet.
    """

    def __init__(self, queue: EngineProject) -> None:
        super().__init__()
        self.queue = prepared(queue)
        self.owners: dict[int, str] = {}
        self.holders: dict[int, str] = {}
        self.claims: dict[str, tuple[str, EngineRun]] = {}
        self.doubtful: set[str] = set()
        self.stopped: set[int] = set()
        self.results: dict[int, str] = {}

    def choose(self, choice: int) -> tuple[str, EngineRun]:
        """Return a claim that was made at some time, with its worker."""
        known = sorted(self.claims)
        return self.claims[known[choice % len(known)]]

    def holds(self, run: EngineRun) -> bool:
        return self.holders.get(run.task.id) == run.id

    def release(self, run: EngineRun) -> None:
        del self.holders[run.task.id]

    @rule(user_id=st.sampled_from((USER, STRANGER)), count=st.integers(1, 3))
    def add(self, user_id: str, count: int) -> None:
        for number in self.queue.add(count, user_id):
            self.owners[number] = user_id

    @rule(worker=workers, places=st.integers(0, 3))
    def claim(self, worker: str, places: int) -> None:
        runs = self.queue.worker(worker).engine_claim(LEASE_SECONDS, places)
        assert len(runs) <= places
        for run in runs:
            number = run.task.id
            assert number not in self.results
            assert self.holders.get(number) in {None, *self.doubtful}
            assert run.id not in self.claims
            self.holders[number] = run.id
            self.claims[run.id] = (worker, run)

    @rule(worker=workers)
    def extend(self, worker: str) -> None:
        runs = [run for name, run in self.claims.values() if name == worker]
        answer = self.queue.worker(worker).engine_beat([run.id for run in runs], LEASE_SECONDS)
        for run in runs:
            if not self.holds(run):
                assert run.id in answer.lost
            elif run.id not in self.doubtful:
                assert run.id not in answer.lost
            if run.id not in answer.lost:
                assert (run.id in answer.cancelled) == (run.task.id in self.stopped)
                # It is this worker's again for a whole lease.
                self.doubtful.discard(run.id)

    @rule()
    def expire(self) -> None:
        self.queue.pass_time(LEASE_SECONDS + 1)
        self.doubtful.update(self.holders.values())

    @precondition(lambda self: self.claims)
    @rule(choice=choices)
    def start(self, choice: int) -> None:
        _, run = self.choose(choice)
        claimed = self.queue.worker(run.id).claim_task(run.task.id, again=True)
        assert (claimed is not None) == self.holds(run)

    @precondition(lambda self: self.claims)
    @rule(choice=choices)
    def stop(self, choice: int) -> None:
        _, run = self.choose(choice)
        if self.queue.database.request_stop(self.owners[run.task.id], run.task.id):
            assert run.task.id not in self.results
            self.stopped.add(run.task.id)

    @precondition(lambda self: self.claims)
    @rule(choice=choices)
    def finish(self, choice: int) -> None:
        _, run = self.choose(choice)
        number = run.task.id
        fenced = self.queue.worker(run.id)
        fenced.claim_task(number, again=True)
        to = CANCELLED if number in self.stopped else COMPLETED
        result = fenced.finish_task(number, to, {"commit_hash": run.id}, None)
        assert (result is not None) == self.holds(run)
        if result is not None:
            self.results[number] = run.id
            self.release(run)

    @precondition(lambda self: self.claims)
    @rule(choice=choices, seconds=st.sampled_from((0, LEASE_SECONDS)))
    def put_off(self, choice: int, seconds: int) -> None:
        worker, run = self.choose(choice)
        put_off = self.queue.worker(worker).engine_later(run.id, seconds)
        if run.id not in self.doubtful:
            assert put_off == self.holds(run)
        if put_off:
            assert self.holds(run)
            self.release(run)

    @precondition(lambda self: self.claims)
    @rule(choice=choices)
    def end_without_result(self, choice: int) -> None:
        worker, run = self.choose(choice)
        ended = self.queue.worker(worker).engine_done(run.id)
        assert ended == self.holds(run)
        if ended:
            self.release(run)

    @rule(worker=workers)
    def kill_and_start_again(self, worker: str) -> None:
        released = self.queue.worker(worker).engine_release()
        held = [run for name, run in self.claims.values() if name == worker and self.holds(run)]
        certain = [run for run in held if run.id not in self.doubtful]
        assert len(certain) <= released <= len(held)
        for run in certain:
            self.release(run)
        for run in held:
            if run.id in self.doubtful and self._server(run.task.id) != run.id:
                self.release(run)

    @invariant()
    def limits_hold(self) -> None:
        admitted = {user_id: self.queue.admitted(user_id) for user_id in (USER, STRANGER)}
        assert max(map(len, admitted.values())) <= LIMIT
        assert {*admitted[USER], *admitted[STRANGER]}.isdisjoint(self.results)

    def teardown(self) -> None:
        """Let a worker end what is left, and look at all results."""
        while len(self.results) < len(self.owners):
            self.expire()
            before = len(self.claims)
            self.claim("one", 3)
            for worker, run in list(self.claims.values())[before:]:
                assert worker == "one"
                self.finish(sorted(self.claims).index(run.id))
        for number, claim in self.results.items():
            task = self.queue.database.get_task(self.owners[number], number)
            assert task.commit_hash == claim
            assert task.status == (CANCELLED if number in self.stopped else COMPLETED)
            assert {*self.queue.states(number)} <= {"completed", "cancelled"}

    def _server(self, number: int) -> str | None:
        row = self.queue.rows.execute("SELECT server FROM tasks WHERE id = %s", (number,))
        found = row.fetchone()
        return found[0] if found else None


def test_each_task_has_one_holder_and_one_result(postgresql_engine: EngineProject) -> None:
    class OnThisDatabase(History):
        def __init__(self) -> None:
            super().__init__(postgresql_engine)

    steps = settings(generated(8), stateful_step_count=STEPS)
    run_state_machine_as_test(OnThisDatabase, settings=steps)
