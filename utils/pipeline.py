"""Runs one task in a sandbox: clone, agent, capture. Writes no database row.

Knows the `Sandbox` protocol and nothing concrete. What went wrong is part of the value it returns,
so that whatever the agent had done until then is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from utils import git
from utils.agents.base import Agent, Report
from utils.capture import CaptureLimits, capture_changes
from utils.errors import AgentError, CloneError, TaskError, TaskStopped
from utils.models import Changes, CommandResult, Job, Outcome, Stage, StageTiming
from utils.output import OutputReporter
from utils.sandbox import Mirror, Sandbox

SCRIPTS = {
    path.name: path.read_bytes() for path in (Path(__file__).parent / "scripts").glob("*.sh")
}
MIRROR_OUTDATED = "mirror outdated"


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """Times in seconds, sizes in bytes."""

    total_seconds: float
    clone_seconds: float
    agent_seconds: float
    clone_depth: int
    clone_environment: Mapping[str, str]
    output_bytes: int
    capture: CaptureLimits


class StopRequest:
    """Ends clone and agent from outside; the capture of what is there still happens."""

    def __init__(self) -> None:
        self.reason: TaskStopped | None = None
        self.abandoned = False
        self.scope = anyio.CancelScope()

    def stop(self, reason: TaskStopped, *, abandon: bool = False) -> None:
        """Ask the pipeline to stop; the first reason counts. `abandon` gives the changes up."""
        if self.reason is None:
            self.reason = reason
            self.abandoned = abandon
            self.scope.cancel()


async def run_pipeline(
    sandbox: Sandbox,
    job: Job,
    agent: Agent,
    limits: PipelineLimits,
    report: Report,
    request: StopRequest,
    redact: Callable[[str], str],
) -> Outcome:
    """Run a job to its end. Never raises `TaskError`: a failure is in the outcome."""
    run = _Run(sandbox, job, agent, limits, report, redact)
    failure = await run.work(request)
    changes = None
    if run.base_commit and not request.abandoned:
        try:
            changes = await run.capture(run.base_commit)
        except TaskError as error:
            failure = failure or error
    # A stop that comes while the changes are read still counts: the caller was told so.
    return run.outcome(changes, failure or request.reason)


class _Run:
    """The state of one run."""

    def __init__(
        self,
        sandbox: Sandbox,
        job: Job,
        agent: Agent,
        limits: PipelineLimits,
        report: Report,
        redact: Callable[[str], str],
    ) -> None:
        self.base_commit = ""
        self._sandbox = sandbox
        self._job = job
        self._agent = agent
        self._limits = limits
        self._report = report
        self._redact = redact
        self._reader = agent.reader()
        self._agent_result: CommandResult | None = None
        self._timings: list[StageTiming] = []

    async def work(self, request: StopRequest) -> TaskError | None:
        """Clone and run the agent; return what stopped them early, if anything did."""
        request.scope.deadline = anyio.current_time() + self._limits.total_seconds
        try:
            with request.scope:
                self.base_commit = await self._clone()
                await self._run_agent()
                return None
        except TaskError as error:
            error.stage = error.stage or (Stage.AGENT if self.base_commit else Stage.CLONING)
            return error
        reason = request.reason or TaskStopped(
            "The task reached SANDBOX_TIMEOUT_SECONDS. Raise it, or ask for less in one task.",
            "sandbox_timeout",
        )
        reason.stage = Stage.AGENT if self.base_commit else Stage.CLONING
        return reason

    async def capture(self, base_commit: str) -> Changes:
        """Read the changes, whatever state the agent left them in."""
        with self._stage(Stage.CAPTURING):
            try:
                return await capture_changes(self._sandbox, base_commit, self._limits.capture)
            except TaskError as error:
                error.stage = Stage.CAPTURING
                raise

    def outcome(self, changes: Changes | None, failure: TaskError | None) -> Outcome:
        """Return everything there is to store."""
        result = self._agent_result
        return Outcome(
            changes=changes,
            summary=self._reader.summary,
            agent_exit_code=result.exit_code if result else None,
            timings=tuple(self._timings),
            failure=failure,
        )

    async def _clone(self) -> str:
        with self._stage(Stage.CLONING):
            await self._sandbox.write_files(self._files())
            async with self._sandbox.mirror(self._job.repo_url, self._job.branch) as mirror:
                result = await self._run_clone(mirror)
                *remarks, base_commit = result.stdout.decode().split("\n")[:-1]
                await mirror.settle(
                    repository=self._sandbox.paths.repository,
                    base_commit=base_commit,
                    outdated=MIRROR_OUTDATED in remarks,
                )
            return base_commit

    async def _run_clone(self, mirror: Mirror) -> CommandResult:
        work, url = self._sandbox.paths.work, self._job.repo_url
        result = await self._sandbox.run(
            [
                "sh",
                f"{work}/clone.sh",
                _clone_source(url, self._limits.clone_depth),
                self._job.branch,
                self._sandbox.paths.repository,
                f"{work}/git_config",
                str(self._limits.clone_depth),
                mirror.path,
                git.credential_url(url),
            ],
            timeout_seconds=self._limits.clone_seconds,
            environment={
                **self._limits.clone_environment,
                **git.environment(urlsplit(url).scheme),
            },
            stdin=git.credential_answer(url, self._job.git_token),
        )
        if result.timed_out:
            raise CloneError(
                "The clone took longer than CLONE_TIMEOUT_SECONDS. Raise it, or set CLONE_DEPTH=1 "
                "to leave out the history.",
                "clone_timeout",
            )
        if not result.ok:
            raise git.clone_error(result, self._job.branch)
        return result

    async def _run_agent(self) -> None:
        with self._stage(Stage.AGENT):
            output = OutputReporter(
                self._reader, self._report, self._limits.output_bytes, self._redact
            )
            try:
                self._agent_result = await self._sandbox.run(
                    self._agent.command(self._sandbox.paths, self._job.agent),
                    timeout_seconds=self._limits.agent_seconds,
                    directory=self._sandbox.paths.repository,
                    on_output=output.feed,
                )
            finally:
                output.close()
        _check_agent(self._agent_result, output.last_error_line)

    def _files(self) -> dict[str, bytes]:
        job, paths = self._job, self._sandbox.paths
        ours = {
            "prompt": job.prompt.encode(),
            "commit_message": git.commit_message(job.agent, job.prompt, job.task_id),
            **SCRIPTS,
            **self._agent.files,
        }
        return {
            f"{paths.home}/.gitconfig": git.agent_configuration(),
            **{f"{paths.work}/{name}": content for name, content in ours.items()},
        }

    @contextmanager
    def _stage(self, stage: Stage) -> Iterator[None]:
        self._report("status", {"stage": str(stage)})
        started = time.monotonic()
        try:
            yield
        finally:
            self._timings.append(StageTiming(stage, round(time.monotonic() - started, 4)))


def _clone_source(url: str, clone_depth: int) -> str:
    # As a plain path git copies a local repository's files, several times faster than as file://.
    # With a depth it must not: git would ignore the depth and hard-link the files.
    return url if clone_depth else url.removeprefix("file://")


def _check_agent(result: CommandResult, last_error_line: str) -> None:
    if result.timed_out:
        raise AgentError(
            "The agent was still running after AGENT_TIMEOUT_SECONDS and was ended. What it had "
            "changed until then is kept. Raise the limit, or ask for less in one task.",
            "agent_timeout",
        )
    if not result.ok:
        detail = f": {last_error_line}" if last_error_line else ""
        raise AgentError(f"The agent ended with exit code {result.exit_code}{detail}")
