"""Schedules tasks: concurrency, cancellation, recovery and shutdown are decided here only."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskGroup
from pydantic import SecretStr

from utils.agents.spec import AgentStatus
from utils.database.verbs.turns import AddedTurn
from utils.dispatcher.assignment import storable
from utils.dispatcher.cancellation import Canceller, cancel_runs
from utils.dispatcher.recovery import run_sweeper, run_workspace_sweeper
from utils.dispatcher.run_context import RunContext, max_running
from utils.dispatcher.sources.source import HostState, Ready
from utils.dispatcher.task_run import TaskRun
from utils.errors import Conflict
from utils.maintenance.cleanup import Cleanup
from utils.models.engine import Worker
from utils.models.tasks import FOLLOW_UP_RANK, NewTask, Task, TaskStatus
from utils.models.turns import NewTurn

LOOP_THREADS = 8
"""Threads for the blocking calls of the event loop, such as reads of files and rows."""

log = structlog.get_logger(__name__)


class Dispatcher:
    """Starts, queues, cancels and recovers tasks.

    Its methods may be called from any thread, except those of `RunHost`, which run on the event
    loop. `admission.reason` explains why tasks wait although fewer run than allowed. `on_added` is
    called when a task waits that another process may run.
    """

    def __init__(self, context: RunContext) -> None:
        self.agents = context.agents
        self.admission = context.admission
        self.sandbox_kind = context.provider.kind.name
        self.on_added: Callable[[], object] = lambda: None
        self._context = context
        self._settings = context.settings
        self._max_running = max_running(context.settings, context.provider.kind)
        self._database = context.database
        self._bridge = context.bridge
        self._provider = context.provider
        self._source = context.source
        self._canceller = Canceller(
            context.database,
            remove_queued=self._source.remove,
            cancel_local=lambda task_ids: self._bridge.run(cancel_runs, self._runs, task_ids),
            end_sandbox=lambda sandbox_id: self._bridge.run(self._provider.end, sandbox_id),
        )
        self._runs: dict[int, TaskRun] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._running_by_user: Counter[str] = Counter()
        self._paused = False
        self._tasks: TaskGroup | None = None
        self._stopping: anyio.Event | None = None
        self._supervisor: Future[None] | None = None
        context.metrics.set_sources(
            queued=lambda: self.queued,
            running=lambda: self.running,
            oldest_waiting_seconds=self._source.oldest_seconds,
            sandboxes_available=lambda: not context.admission.is_tripped,
            workers=lambda: len(self.workers()),
        )

    @property
    def queued(self) -> int:
        """The number of waiting tasks."""
        return len(self._source)

    @property
    def running(self) -> int:
        """The number of running tasks."""
        return len(self._runs)

    @property
    def is_working(self) -> bool:
        """False once the supervisor has ended, after `stop` or because of a defect."""
        return self._supervisor is None or not self._supervisor.done()

    def agent_statuses(self) -> list[AgentStatus]:
        """Return the agents that a task may request, with their availability."""
        return self.agents.statuses()

    def recover(self) -> None:
        """Store the results of an earlier process, resume its tasks, start the supervisor."""
        if not self._provider.kind.survives:
            kept = [one.sandbox_id for one in self._database.list_workspaces()]
            self._bridge.run(self._provider.sweep, kept)
        self._source.join()
        for sandbox_id in self._context.outbox.deliver(self._database):
            self._bridge.run(self._provider.end, sandbox_id)
        self._source.recover()
        ready: Future[None] = Future()
        self._supervisor = self._bridge.start_soon(self._supervise, ready)
        ready.result()

    def start_task(self, user_id: str, new: NewTask, git_token: SecretStr | None) -> Task:
        """Store a task with its token and queue it.

        Raises `BudgetExceeded`, `QueueFull`, `InvalidInput` for a model that the agent does not
        allow, and the errors of `Database.create_task`.
        """
        create = self._database.create_task
        [task] = self._store(user_id, [new], git_token, lambda one: [create(user_id, *one)])
        return task

    def start_task_group(
        self, user_id: str, new: Sequence[NewTask], git_token: SecretStr | None
    ) -> list[Task]:
        """Store the tasks of a group and queue all of them, or none.

        Raises what `start_task` raises.
        """
        create = self._database.create_task_group
        return self._store(user_id, new, git_token, lambda group: create(user_id, group))

    def _store(
        self,
        user_id: str,
        new: Sequence[NewTask],
        git_token: SecretStr | None,
        create: Callable[[Sequence[NewTask]], list[Task]],
    ) -> list[Task]:
        vault = self._context.vault
        checked = [storable(task, git_token, vault, self.agents) for task in new]
        self._context.usage.budgets.check_start(user_id, new[0].project_id)
        with self._source.places(user_id, len(checked)):
            tasks = create(checked)
            for task, new_task in zip(tasks, checked, strict=True):
                self._source.add(user_id, task.id, new_task.queue_rank)
        self.on_added()
        # Otherwise the next run that ends starts a queued task.
        if len(self._runs) < self._max_running:
            self._bridge.call_soon(self.fill)
        return tasks

    def look_for_tasks(self) -> None:
        """Look for tasks now: another process has stored one."""
        self._bridge.call_soon(self.fill)

    def add_turn(self, user_id: str, task_id: int, new: NewTurn) -> AddedTurn:
        """Store a message as the next turn of a task, and queue the task if it had ended.

        Raises `BudgetExceeded`, `QueueFull` and the errors of `Database.add_turn`.
        """
        self._context.usage.budgets.check_turn(user_id, task_id)
        with self._source.places(user_id, 1):
            added = self._database.add_turn(user_id, task_id, new)
            if added.begins:
                self._source.add(user_id, task_id, FOLLOW_UP_RANK)
        if added.begins:
            self.on_added()
            self._bridge.call_soon(self.fill)
        elif (number := added.turn.interrupts) is not None:
            # Another server reads in its next heartbeat that its turn is interrupted.
            self._bridge.call_soon(self.interrupt_soon, task_id, number)
        return added

    def take_back_turn(self, user_id: str, task_id: int, number: int) -> Task:
        """Delete a turn that waits; see `Database.take_back_turn`."""
        task = self._database.take_back_turn(user_id, task_id, number)
        if task.status is not TaskStatus.PENDING:
            self._source.remove(task_id)
        return task

    def cancel_task(self, user_id: str, task_id: int) -> Task:
        """Cancel a task; return when its processes have exited, at the latest after a time limit.

        A task that needs longer is returned as running and ends later. Raises `NotFound`, and
        `Conflict` when the task has already ended or cannot be cancelled by this server.
        """
        return self._canceller.cancel(user_id, task_id)

    def drop_tasks(self, user_id: str, tasks: Sequence[Task]) -> None:
        """Cancel tasks unless they have ended, and end their sandboxes that were kept.

        The tasks are cancelled at the same time, each as `cancel_task` does.
        """
        self._canceller.drop(user_id, tasks)

    def delete_task(self, user_id: str, task_id: int) -> None:
        """Cancel a task unless it has ended, then delete it.

        Raises `NotFound`, and `Conflict` when the task could not be cancelled at once.
        """
        with contextlib.suppress(Conflict):
            self._canceller.cancel(user_id, task_id)
        kept = [one for one in self._database.list_workspaces() if one.task_id == task_id]
        self._database.delete_task(user_id, task_id)
        for workspace in kept:
            self._bridge.run(self._provider.end, workspace.sandbox_id)

    def cancel_active_tasks(self, user_id: str, project_id: int | None = None) -> None:
        """Cancel all active tasks of a user, or of one project, before their rows are deleted."""
        self._canceller.cancel_all(user_id, project_id)

    def queue_position(self, task_id: int) -> int | None:
        """Return a task's place in the queue, 1 for the next one; None when it is not queued."""
        return self._source.position(task_id)

    def queue_positions(self, user_id: str) -> dict[int, int]:
        """Return the places of all queued tasks of a user."""
        return self._source.positions(user_id)

    @property
    def waiting_reason(self) -> str | None:
        """The reason why tasks wait although fewer run than allowed, None without one. Blocks."""
        return self._source.waiting_reason(self.admission.reason)

    def workers(self) -> list[Worker]:
        """Return the workers of the database; none where servers run their own tasks."""
        return self._source.workers()

    def drain_worker(self, name: str, *, is_draining: bool) -> bool:
        """Ask a worker to take no more tasks, or to take them again; tell whether it is known."""
        return self._source.drain_worker(name, is_draining=is_draining)

    def stage(self, task_id: int) -> str | None:
        """Return the current stage of a task, None when it does not run here or may have ended."""
        run = self._runs.get(task_id)
        return run.shown_stage if run else None

    def pause(self) -> None:
        """Stop starting tasks. May be called in a signal handler."""
        self._paused = True

    def begin_stop(self) -> None:
        """Do what `stop` does without waiting for its end. May be called in a signal handler."""
        self.pause()
        if self._tasks and self.is_working:
            self._bridge.call_soon(self._tasks.start_soon, self._stop)

    def stop(self) -> None:
        """Stop starting tasks, wait for the grace time, then queue again what is still running."""
        self._bridge.run(self._stop)
        if self._supervisor:
            self._supervisor.result()

    def has_run(self, task_id: int) -> bool:
        """See `RunHost`."""
        return task_id in self._runs

    def state(self) -> HostState:
        """See `RunHost`."""
        return HostState(self._max_running, self.running, self.admission.reason)

    def free_places(self) -> int:
        """See `RunHost`."""
        if self._paused or not self._tasks:
            return 0
        return min(self._max_running - self.running, self.admission.most_starts())

    def start(self, ready: Ready) -> None:
        """See `RunHost`."""
        run = TaskRun(self._context, ready)
        self._runs[run.task_id] = run
        self._running_by_user[ready.user_id] += 1
        self.admission.record_start(run.task_id)
        if self._tasks:
            self._tasks.start_soon(self._execute, run, name=f"task {run.task_id}")

    def run_again(self, task_id: int, *, at_once: bool = False) -> None:
        """See `RunHost`."""
        if run := self._runs.get(task_id):
            run.needs_requeue = True
            if at_once:
                run.abandon()

    def cancel_soon(self, task_id: int) -> None:
        """See `RunHost`."""
        if run := self._runs.get(task_id):
            run.cancel_soon()

    def interrupt_soon(self, task_id: int, number: int) -> None:
        """See `RunHost`."""
        if run := self._runs.get(task_id):
            run.interrupt_soon(number)

    def leave_task(self, task_id: int) -> bool:
        """See `RunHost`."""
        run = self._runs.get(task_id)
        if run is None or run.end.has_ended:
            return False
        run.leave()
        return True

    def leave_tasks(self) -> None:
        """See `RunHost`."""
        if self._provider.kind.survives:
            for run in self._runs.values():
                run.leave()

    def fill(self) -> None:
        """See `RunHost`."""
        # In the thread of the loop only: moving a task from the source to `_runs` must be atomic.
        max_running = 0 if self._paused else self._max_running
        while self._tasks and len(self._runs) < max_running and self.admission.may_start():
            ready = self._source.pop(self._may_run)
            if ready is None:
                return
            self.start(ready)
        self._schedule_fill()

    async def _supervise(self, ready: Future[None]) -> None:
        to_thread.current_default_thread_limiter().total_tokens = LOOP_THREADS
        self._stopping = anyio.Event()
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                self._source.begin(self)
                tasks.start_soon(self._source.run)
                if self._provider.kind.survives:
                    grace_seconds = self._settings.sweep_grace_seconds
                    tasks.start_soon(
                        run_sweeper,
                        self._provider,
                        self._database,
                        grace_seconds,
                        self.admission.record_reachable,
                    )
                tasks.start_soon(
                    run_workspace_sweeper,
                    self._provider,
                    self._database,
                    self._settings.workspace_ttl_seconds,
                    self._settings.max_workspaces,
                )
                tasks.start_soon(Cleanup(self._provider, self._database, self._settings).run)
                ready.set_result(None)
                await self._stopping.wait()
                tasks.cancel_scope.cancel()
        except Exception as error:
            # A defect in our code. The running tasks were cancelled; the next start resumes them.
            log.exception("dispatcher crashed", action="dispatcher.crashed")
            if not ready.done():
                ready.set_exception(error)
        await self._provider.close()

    def _schedule_fill(self) -> None:
        seconds = self.admission.wait_seconds()
        if seconds is not None and self._source.has_ready and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._fill_on_timer)

    def _fill_on_timer(self) -> None:
        self._timer = None
        self.fill()

    def _may_run(self, user_id: str) -> bool:
        return self._running_by_user[user_id] < self._settings.max_tasks_per_user

    async def _execute(self, run: TaskRun) -> None:
        try:
            await run.execute()
        finally:
            self.admission.record_end(run.task_id)
            del self._runs[run.task_id]
            self._source.end(run.ready, run.end)
            self._running_by_user -= Counter([run.ready.user_id])
            self.fill()

    async def _stop(self) -> None:
        if self._stopping is None:
            return
        self.pause()
        with anyio.move_on_after(self._settings.shutdown_grace_seconds):
            await self._wait_for_runs()
        for run in self._runs.values():
            run.abandon()
        await self._wait_for_runs()
        self._stopping.set()

    async def _wait_for_runs(self) -> None:
        for run in tuple(self._runs.values()):
            await run.ended.wait()
