"""Decides which task runs when. Alone owns concurrency, cancellation, recovery and shutdown."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskGroup
from pydantic import SecretStr

from database import Database
from utils.agents.registry import Agents
from utils.agents.spec import AgentStatus
from utils.config.settings import Settings
from utils.credentials.vault import Vault
from utils.dispatcher.admission import AdmissionController
from utils.dispatcher.async_bridge import AsyncBridge
from utils.dispatcher.cancellation import CANCEL_SECONDS, Canceller
from utils.dispatcher.fair_queue import FairQueue
from utils.dispatcher.heartbeats import HeartbeatMonitor
from utils.dispatcher.limits import pipeline_limits
from utils.dispatcher.recovery import UnfinishedTasks, classify_unfinished, run_sweeper
from utils.dispatcher.result_outbox import ResultOutbox
from utils.dispatcher.run_context import RunContext
from utils.dispatcher.task_run import TaskRun
from utils.errors import DatabaseUnavailable
from utils.models.tasks import NewTask, QueuedTask, Task
from utils.redaction import Redactor
from utils.sandboxes.protocol import SandboxProvider
from utils.telemetry import Metrics

LOOP_THREADS = 8
"""Threads in which the event loop has files and rows read and written."""

log = structlog.get_logger(__name__)


class Dispatcher:
    """Starts, queues, cancels and recovers tasks. Its public verbs are for any thread.

    `gate` tells why tasks wait although there are places for them.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        bridge: AsyncBridge,
        vault: Vault,
        redactor: Redactor,
        metrics: Metrics,
        provider: SandboxProvider,
        agents: Agents,
    ) -> None:
        self.agents = agents
        self.sandbox_kind = provider.kind.name
        self._places = settings.max_concurrent_tasks or provider.kind.default_concurrency
        self._settings = settings
        self._database = database
        self._bridge = bridge
        self._vault = vault
        self._provider = provider
        self.gate = AdmissionController(paced=provider.kind.is_paced)
        self._neighbours = HeartbeatMonitor(database, settings.server_silence_seconds)
        kept, limits = ResultOutbox(settings.data_dir), pipeline_limits(settings, provider.kind)
        shared = (settings, database, provider, agents, vault, redactor, metrics, limits)
        self._parts = RunContext(*shared, self.gate, kept, self._neighbours)
        self._queue = FairQueue(settings.max_queued_tasks)
        self._canceller = Canceller(
            database,
            forget=self._queue.remove,
            end_here=lambda task_id: bridge.run(self._cancel_run, task_id),
        )
        self._runs: dict[int, TaskRun] = {}
        self._refusals: Counter[int] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._running_by_user: Counter[str] = Counter()
        self._paused = False
        self._tasks: TaskGroup | None = None
        self._stopping: anyio.Event | None = None
        self._supervisor: Future[None] | None = None
        metrics.watch(queued=lambda: self.queued, running=lambda: self.running)

    @property
    def queued(self) -> int:
        """Tasks that wait."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Tasks that run."""
        return len(self._runs)

    @property
    def is_working(self) -> bool:
        """Whether tasks are started and looked after; False once that has ended, also by itself."""
        return self._supervisor is None or not self._supervisor.done()

    def agent_statuses(self) -> list[AgentStatus]:
        """Tell which agents a task may ask for."""
        return self.agents.statuses()

    def recover(self) -> None:
        """Clear up after an earlier process, queue what it left, and start to work."""
        if not self._provider.kind.survives:
            self._bridge.run(self._provider.sweep, ())
        self._neighbours.look()
        for sandbox_id in self._parts.kept.deliver(self._database):
            self._bridge.run(self._provider.end, sandbox_id)
        unfinished = self._sorted(self._database.adopt_tasks(own=True))
        ready: Future[None] = Future()
        self._supervisor = self._bridge.start_soon(self._supervise, unfinished, ready)
        ready.result()

    def start_task(self, user_id: str, new: NewTask, git_token: SecretStr | None) -> Task:
        """Store a task, with this token, and queue it.

        Raises what `create_task` does, `QueueFull`, and `InvalidInput` for a model that the agent
        may not be asked for.
        """
        model = self.agents.check_model(new.agent, new.agent_model)
        self._queue.reserve(user_id)
        try:
            encrypted = self._vault.encrypt(git_token) if git_token else None
            checked = replace(new, encrypted_token=encrypted, agent_model=model)
            task = self._database.create_task(user_id, checked)
            self._queue.add(user_id, task.id)
        except DatabaseUnavailable:
            # The task may be there all the same.
            self._neighbours.doubt()
            raise
        finally:
            self._queue.give_back(user_id)
        # With all places taken, the run that ends next fills its own: the task is in the queue.
        if len(self._runs) < self._places:
            self._bridge.call_soon(self._fill)
        return task

    def cancel_task(self, user_id: str, task_id: int) -> Task:
        """Cancel a task; returns when none of its processes is left, as far as one can wait.

        A task that takes longer to end is still running then, and ends all the same. Raises
        `NotFound`, and `Conflict` when the task has ended already or is not for us to end.
        """
        return self._canceller.cancel(user_id, task_id)

    def cancel_active_tasks(self, user_id: str, project_id: int | None = None) -> None:
        """Cancel what waits and runs of a user, or of one project, before the rows go."""
        self._canceller.cancel_all(user_id, project_id)

    def queue_position(self, task_id: int) -> int | None:
        """Return 1 for the task that runs next, None for one that does not wait."""
        return self._queue.position(task_id)

    def stage(self, task_id: int) -> str | None:
        """Return what a task is doing right now, None when it does not run here."""
        run = self._runs.get(task_id)
        return run.stage if run else None

    def pause(self) -> None:
        """Start no more tasks from now on. May be called in a signal handler."""
        self._paused = True

    def stop(self) -> None:
        """Start no more tasks, give running ones their grace time, put the rest back."""
        self._bridge.run(self._stop)
        if self._supervisor:
            self._supervisor.result()

    def _sorted(self, adopted: Sequence[QueuedTask]) -> UnfinishedTasks:
        survives, max_attempts = self._provider.kind.survives, self._settings.max_attempts
        return classify_unfinished(self._database, adopted, max_attempts, survives=survives)

    def knows(self, task_id: int) -> bool:
        """See `utils.dispatcher.heartbeats.Host`."""
        return task_id in self._runs or task_id in self._queue

    def stop_soon(self, task_id: int) -> None:
        """See `utils.dispatcher.heartbeats.Host`."""
        if run := self._runs.get(task_id):
            run.stop_for_user()

    async def resume_tasks(self, tasks: Sequence[QueuedTask], *, taken_over: bool = False) -> None:
        """See `utils.dispatcher.heartbeats.Host`."""
        self._go_on_with(await to_thread.run_sync(self._sorted, tasks), taken_over=taken_over)

    def _go_on_with(self, unfinished: UnfinishedTasks, *, taken_over: bool = False) -> None:
        for task in unfinished.waiting:
            if not self.knows(task.id):
                self._queue.add(task.user_id, task.id)
            elif taken_over and (forgotten := self._runs.get(task.id)):
                # It ran here before a server took it over that has ended since.
                forgotten.abandon()
                forgotten.must_wait = True
        for task, run in unfinished.left:
            if not self.knows(task.id):
                self._start(TaskRun(self._parts, task.user_id, task.id, run))
        self._fill()

    async def _supervise(self, unfinished: UnfinishedTasks, ready: Future[None]) -> None:
        to_thread.current_default_thread_limiter().total_tokens = LOOP_THREADS
        self._stopping = anyio.Event()
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                self._go_on_with(unfinished)
                if self._database.kind != "sqlite":
                    tasks.start_soon(self._neighbours.watch, self)
                if self._provider.kind.survives:
                    grace_seconds = self._settings.sweep_grace_seconds
                    sweeping = (self._provider, self._database, grace_seconds, self.gate.reachable)
                    tasks.start_soon(run_sweeper, *sweeping)
                ready.set_result(None)
                await self._stopping.wait()
                tasks.cancel_scope.cancel()
        except Exception as error:
            # A defect of ours. What ran was cancelled; the next start goes on with it.
            log.exception("dispatcher crashed", action="dispatcher.crashed")
            if not ready.done():
                ready.set_exception(error)
        await self._provider.close()

    def _fill(self) -> None:
        # On the loop's thread only: a task leaves the queue and enters `_runs` in one step.
        places = 0 if self._paused else self._places
        while self._tasks and len(self._runs) < places and self.gate.may_start():
            entry = self._queue.take(self._may_run)
            if entry is None:
                return
            user_id, task_id = entry
            if task_id in self._runs:
                continue
            refusals = self._refusals.pop(task_id, 0)
            self._start(TaskRun(self._parts, user_id, task_id, refusals=refusals))
        self._fill_later()

    def _fill_later(self) -> None:
        seconds = self.gate.wait_seconds()
        if seconds is not None and len(self._queue) and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._fill_again)

    def _fill_again(self) -> None:
        self._timer = None
        self._fill()

    def _start(self, run: TaskRun) -> None:
        self._runs[run.task_id] = run
        self._running_by_user[run.user_id] += 1
        self.gate.starting(run.task_id)
        if self._tasks:
            self._tasks.start_soon(self._execute, run, name=f"task {run.task_id}")

    def _may_run(self, user_id: str) -> bool:
        return self._running_by_user[user_id] < self._settings.max_tasks_per_user

    async def _execute(self, run: TaskRun) -> None:
        try:
            await run.execute()
        finally:
            self.gate.closed(run.task_id)
            del self._runs[run.task_id]
            if run.must_wait:
                self._refusals[run.task_id] = run.refusals
                self._queue.put_back(run.user_id, run.task_id)
            self._running_by_user -= Counter([run.user_id])
            self._fill()

    async def _cancel_run(self, task_id: int) -> bool:
        run = self._runs.get(task_id)
        return await run.cancel(CANCEL_SECONDS) if run else False

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
