"""Captures the changes in each repository of a task, one after the other."""

from __future__ import annotations

from collections.abc import Callable

from utils.errors import CaptureError
from utils.models.runs import Job, RepositoryOutcome
from utils.models.tasks import Json, Mode
from utils.pipeline.capture.capture import CaptureLimits
from utils.pipeline.capture.secret_search import HasSecret
from utils.pipeline.workspace import (
    CHANGED_WHILE_PLANNING,
    NOTHING_CAPTURED,
    Captured,
    Start,
    capture_turn,
    naming_repository,
)
from utils.sandboxes.protocol import Sandbox


class Captures:
    """The changes of one run, as far as they were captured. `notes` are about what was dropped."""

    def __init__(
        self,
        sandbox: Sandbox,
        job: Job,
        limits: CaptureLimits,
        report: Callable[[str, Json], None],
        has_secret: HasSecret,
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self._sandbox = sandbox
        self._job = job
        self._limits = limits
        self._report = report
        self._has_secret = has_secret
        self._captured: list[Captured] = []

    @property
    def has_changes(self) -> bool:
        """True when the changes of a repository could be read."""
        return any(captured.changes for captured in self._captured)

    @property
    def first(self) -> Captured:
        """The changes in the first repository."""
        return self._captured[0] if self._captured else NOTHING_CAPTURED

    def further(self, start: Start | None) -> tuple[RepositoryOutcome, ...]:
        """Return the results in the other repositories, also where nothing was captured."""
        jobs = self._job.further
        branches = [one.branch for one in (start or self._job).further]
        captured = self._captured[1:] + [NOTHING_CAPTURED] * len(jobs)
        return tuple(
            RepositoryOutcome(job.folder, branch, one.changes, one.own)
            for job, branch, one in zip(jobs, branches, captured[: len(jobs)], strict=True)
        )

    async def run(self, start: Start) -> None:
        """Capture the changes in each repository; a stop keeps those that are captured.

        Raises the first `CaptureError` when all were tried, and any other error at once.
        """
        failures = []
        for job, begun in zip(self._job.repositories, start.repositories, strict=True):
            try:
                with naming_repository(job):
                    self._captured.append(await self._capture(job, begun))
            except CaptureError as error:
                self._captured.append(NOTHING_CAPTURED)
                failures.append(error)
        if failures:
            raise failures[0]

    async def _capture(self, job: Job, start: Start) -> Captured:
        captured = await capture_turn(
            self._sandbox, start, self._limits, self._has_secret, job.folder
        )
        if job.mode is Mode.PLAN and captured.has_changes:
            self.notes = (CHANGED_WHILE_PLANNING,)
            return NOTHING_CAPTURED
        self._report_commit(job, captured)
        return captured

    def _report_commit(self, job: Job, captured: Captured) -> None:
        changes = captured.own or captured.changes
        if changes is None or not captured.has_changes:
            return
        commit = {
            "operation": "commit",
            "commit": captured.changes.commit_hash if captured.changes else changes.commit_hash,
            "files": len(changes.changed_files),
            "additions": changes.additions,
            "deletions": changes.deletions,
            **naming(job),
        }
        self._report("git", commit)


def naming(job: Job) -> Json:
    """Return the field of an event that names the repository, when the task has several."""
    return {"repository": job.folder} if job.folder else {}
