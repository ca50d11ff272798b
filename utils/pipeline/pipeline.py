"""Runs one task in a sandbox: clone, agent, capture. Writes no database row.

Uses the `Sandbox` protocol only, no concrete sandbox. A failure is part of the returned value, so
that the changes made before it are not lost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import anyio

from utils.agents.logins import MAX_RENEWED_LOGIN_BYTES
from utils.agents.spec import AgentAccess, AgentRequest, AgentSpec, StreamReader
from utils.errors import SandboxError, SandboxLost, TaskError, TaskStopped
from utils.models.runs import CheckResult, Job, Outcome, StageTiming
from utils.models.tasks import Json, Mode, Stage
from utils.pipeline.agent_output import OutputReporter
from utils.pipeline.agent_run import MINIMUM_SECONDS, AgentLimits, follow_agent
from utils.pipeline.capture.capture import CaptureLimits
from utils.pipeline.capture.secret_search import HasSecret
from utils.pipeline.captures import Captures, naming
from utils.pipeline.check import INTERRUPTED, run_check
from utils.pipeline.clone import Clone, CloneLimits
from utils.pipeline.concurrency import running_beside
from utils.pipeline.run_files import LOGIN_DIGEST, agent_files, capture_files
from utils.pipeline.setup import Setup
from utils.pipeline.stop_request import StopRequest
from utils.pipeline.workspace import (
    Start,
    prepare_workspace,
)
from utils.sandboxes.protocol import AgentCommand, Sandbox

LOGIN_SECONDS = 10.0
"""Time to read the login files, which an agent may have replaced by anything."""


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """Limits of one run: times in seconds, sizes in bytes."""

    total_seconds: float
    clone: CloneLimits
    agent: AgentLimits
    capture: CaptureLimits
    check_seconds: float


@dataclass(frozen=True, slots=True)
class Resumption:
    """The state of a run to resume: its agent was started `agent_age_seconds` ago."""

    start: Start
    agent_age_seconds: float
    timings: Sequence[StageTiming]
    position: Json


class Observer(Protocol):
    """Receives the progress of a run. `report` is a `utils.pipeline.agent_output.AgentReport`."""

    def begin_stage(self, stage: Stage) -> None:
        """Note that a stage begins."""

    def note_branch(self, name: str) -> None:
        """Note the branch that was cloned."""

    def note_start(self, start: Start) -> None:
        """Note the files that the turn begins with."""

    def report(self, kind: str, data: Json, position: Json | None = None) -> None:
        """Receive an event of the agent, or of the run."""

    def note_usage(self, details: Json, unreported: Json, *, has_ended: bool) -> None:
        """Note what the agent has used up to now; see `utils.agents.spec.StreamReader`."""


@dataclass(frozen=True, slots=True)
class Work:
    """The input of one run. `redact` removes secrets from a text, `has_secret` finds them in one.

    `before_agent` is called with the base commit and the timings when the files are there. The
    agent starts when it returns.
    """

    job: Job
    agent: AgentSpec
    access: AgentAccess
    limits: PipelineLimits
    observer: Observer
    redact: Callable[[str], str]
    has_secret: HasSecret
    before_agent: Callable[[str, Sequence[StageTiming]], Awaitable[None]]


async def run_pipeline(
    sandbox: Sandbox, work: Work, request: StopRequest, resumption: Resumption | None = None
) -> Outcome:
    """Run a job to its end. Never raises `TaskError`: the outcome holds the failure."""
    if sandbox.survives:
        request.shorten_capture(len(work.job.repositories))
    run = _Run(sandbox, work, resumption)
    failure = await run.work(request)
    if not (request.abandoned and sandbox.survives):
        await run.read_login_files()
    if not request.abandoned:
        run.close_output()
    if run.start and not request.abandoned and run.has_sandbox:
        try:
            with request.capture_scope():
                await run.capture(run.start)
        except TaskError as error:
            error.stage = Stage.CAPTURING
            failure = failure or error
    check = None
    has_result = run.has_changes and not (failure or request.reason)
    if work.job.check_command and has_result:
        check = await run.check(work.job.check_command, request)
    if request.reason:
        # A stop during the capture still counts, because its caller was told that it will.
        stage = Stage.CHECKING if check else Stage.CAPTURING
        request.reason.stage = request.reason.stage or stage
    return run.outcome(failure or request.reason, check)


class _Run:
    """The state of one run."""

    def __init__(self, sandbox: Sandbox, work: Work, resumption: Resumption | None) -> None:
        self.start = resumption.start if resumption else None
        self.has_sandbox = True
        self._sandbox = sandbox
        self._work = work
        self._job = work.job
        self._limits = work.limits
        self._resumption = resumption
        self._age_seconds = resumption.agent_age_seconds if resumption else 0.0
        self._reader = work.agent.reader()
        self._is_in_setup = False
        self._exit_code: int | None = None
        self._notes: tuple[str, ...] = ()
        self._output: OutputReporter | None = None
        self._login_files: Mapping[str, bytes] = {}
        self._timings = list(resumption.timings) if resumption else []
        self._captures = Captures(
            sandbox, work.job, work.limits.capture, work.observer.report, work.has_secret
        )

    async def work(self, request: StopRequest) -> TaskError | None:
        """Clone and run the agent; return the failure that ended them early, if any."""
        total_seconds = self._limits.total_seconds + self._job.preparation.longest_seconds
        spent_seconds = self._age_seconds + sum(timing.seconds for timing in self._timings)
        # More than the least time of a resumed agent, so that the limit of the agent is reported.
        minimum_seconds = 2 * MINIMUM_SECONDS if self._resumption else 0.0
        try:
            with request.work_scope(max(total_seconds - spent_seconds, minimum_seconds)):
                if not self._resumption:
                    self.start = await self._prepare()
                    await self._work.before_agent(self.start.base_commit, self._timings)
                return await self._run_agent()
        except TaskError as error:
            error.stage = error.stage or self._current_stage
            self.has_sandbox = not isinstance(error, SandboxLost)
            return error
        reason = request.reason or TaskStopped(
            "The task reached SANDBOX_TIMEOUT_SECONDS. Raise it, or ask for less in one task.",
            "sandbox_timeout",
        )
        reason.stage = self._current_stage
        return reason

    @property
    def _current_stage(self) -> Stage:
        if self._is_in_setup:
            return Stage.SETUP
        return Stage.AGENT if self.start else Stage.CLONING

    def close_output(self) -> None:
        """Report the incomplete last line of an agent that was ended."""
        if self._output:
            self._output.close()

    async def read_login_files(self) -> None:
        """Read the login files, which the agent's program may have renewed; never raises.

        A resumed run may have got another login than the one that is stored now. Then nothing is
        returned.
        """
        access, paths = self._work.access, self._sandbox.paths
        if not (access.login_files and self.start and self.has_sandbox):
            return
        names = {f"{paths.home}/{name}": name for name in access.login_files}
        digest = f"{paths.work}/{LOGIN_DIGEST}"
        found: dict[str, bytes | None] = {}
        with anyio.move_on_after(LOGIN_SECONDS), suppress(SandboxError):
            found = await self._sandbox.read_files(
                [*names, digest], max_bytes=MAX_RENEWED_LOGIN_BYTES
            )
        if self._resumption and found.get(digest) != access.login_digest:
            return
        self._login_files = {
            name: content for path, name in names.items() if (content := found.get(path))
        }

    @property
    def has_changes(self) -> bool:
        """True when the changes of a repository could be read."""
        return self._captures.has_changes

    async def capture(self, start: Start) -> None:
        """Capture the changes of each repository, whether the agent succeeded or not."""
        with self._stage(Stage.CAPTURING):
            await self._captures.run(start)

    async def check(self, command: str, request: StopRequest) -> CheckResult:
        """Run the user's check command, until it ends or the task is stopped; never raises."""
        seconds, work = self._limits.check_seconds, self._work
        result = INTERRUPTED
        with self._stage(Stage.CHECKING), request.work_scope(math.inf):
            result = await run_check(
                self._sandbox, command, work.access.environment, seconds, work.redact
            )
        reported = {"output": result.output, "seconds": result.seconds}
        ended = {} if result.exit_code is None else {"exit_code": result.exit_code}
        work.observer.report("check", {**reported, **ended})
        return result

    def outcome(self, failure: TaskError | None, check: CheckResult | None) -> Outcome:
        """Return the outcome of the run."""
        captures, first = self._captures, self._captures.first
        return Outcome(
            changes=first.changes,
            summary=self._reader.summary,
            agent_exit_code=self._exit_code,
            timings=tuple(self._timings),
            failure=failure,
            agent_details={
                # An agent that is ended early may not have told it again.
                **({"agent_session_id": self._job.session_id} if self._job.session_id else {}),
                **self._reader.details,
            },
            notes=(*self._notes, *captures.notes),
            login_files=self._login_files,
            own=first.own,
            tree_before=self.start.tree if self.start else None,
            check=check,
            folder=self._job.folder,
            further=captures.further(self.start),
        )

    async def _prepare(self) -> Start:
        """Make the files that the turn begins with: a clone, or those of the turn before."""
        observer = self._work.observer
        has_setup = self._job.preparation.longest_seconds > 0
        with self._stage(Stage.CLONING):
            own = capture_files(self._job, self._sandbox.paths)
            own |= {} if has_setup else self._agent_files()
            setup = self._new_setup()
            start = await self._write_and_prepare(own, setup)
            observer.note_start(start)
            # The keys of the agent come when the setup is over.
            await self._sandbox.restrict_egress(() if has_setup else self._work.access.egress)
        if has_setup:
            await self._set_up(start, setup)
        return start

    async def _write_and_prepare(self, own: Mapping[str, bytes], setup: Setup) -> Start:
        """Write files beside the clone where it needs none of them: to the cloud both are far.

        The clones of several repositories need the folders of these files.
        """
        written = anyio.Event()

        async def write() -> None:
            await self._sandbox.write_files(own)
            written.set()

        prepare = partial(
            prepare_workspace,
            *(self._sandbox, self._job, self._limits.clone, self._limits.capture),
            partial(self._report_clone, written),
        )
        is_kept = self._job.earlier and self._job.earlier.is_kept
        if is_kept or self._job.folder:
            await write()
            return await prepare()
        async with running_beside(write):
            await setup.look()
            return await prepare()

    def _new_setup(self) -> Setup:
        work, seconds = self._work, self._limits.capture.timeout_seconds
        report = work.observer.report
        preparation, folder = self._job.preparation, self._job.folder
        return Setup(self._sandbox, preparation, report, work.redact, seconds, folder=folder)

    async def _set_up(self, start: Start, setup: Setup) -> None:
        """Run the setup, then give the sandbox what the agent needs."""
        work = self._work
        if setup.preparation.is_needed(is_kept=start.is_kept):
            self._is_in_setup = True
            with self._stage(Stage.SETUP):
                await setup.prepare(start)
        await self._sandbox.write_files(self._agent_files())
        await self._sandbox.restrict_egress(work.access.egress)
        self._is_in_setup = False

    async def _report_clone(self, written: anyio.Event, job: Job, clone: Clone) -> None:
        # Nobody has to hear of a clone in a sandbox that then cannot be used.
        await written.wait()
        observer = self._work.observer
        if job is self._job:
            observer.note_branch(clone.branch)
        cloned = {"operation": "clone", "branch": clone.branch, "commit": clone.base_commit}
        observer.report("git", {**cloned, **naming(job)})

    async def _run_agent(self) -> TaskError | None:
        work, paths = self._work, self._sandbox.paths
        command = AgentCommand(
            work.agent.command(paths, _agent_request(self._job)),
            paths.repository,
            f"{paths.work}/prompt" if work.agent.prompt_on_stdin else None,
            work.access.environment,
        )
        self._output = OutputReporter(
            self._reader,
            work.observer.report,
            self._limits.agent.output_bytes,
            work.redact,
            self._resumption.position if self._resumption else None,
            partial(_note_usage, self._reader, work.observer),
        )
        with self._stage(Stage.AGENT, self._age_seconds):
            end = await follow_agent(
                self._sandbox,
                command,
                self._reader,
                self._output,
                self._limits.agent,
                self._age_seconds,
            )
        self._exit_code, self._notes = end.exit_code, end.notes
        if end.failure:
            end.failure.stage = Stage.AGENT
        return end.failure

    def _agent_files(self) -> dict[str, bytes]:
        work = self._work
        return agent_files(self._job, work.agent, work.access, self._sandbox.paths)

    @contextmanager
    def _stage(self, stage: Stage, age_seconds: float = 0.0) -> Iterator[None]:
        self._work.observer.begin_stage(stage)
        started = time.monotonic() - age_seconds
        try:
            yield
        finally:
            self._timings.append(StageTiming(stage, round(time.monotonic() - started, 4)))


# Not a method: the reporter and the run would hold each other, and with them the changes, until a
# collection of garbage.
def _note_usage(reader: StreamReader, observer: Observer) -> None:
    has_ended = reader.finished or reader.summary is not None
    observer.note_usage(reader.details, reader.unreported, has_ended=has_ended)


def _agent_request(job: Job) -> AgentRequest:
    return AgentRequest(
        job.agent,
        job.agent_model,
        job.session_id,
        only_plans=job.mode is Mode.PLAN,
        has_servers=bool(job.mcp_servers),
    )
