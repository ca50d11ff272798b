"""Prepares a sandbox before the agent starts: runs the setup, or the maintenance, of its project.

The scripts reach the sandbox as files and run there as the user's own code, without the token of
git and without the keys of the agent. What they leave in the repository is no part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from utils.errors import SetupError
from utils.git.environment import git_environment
from utils.models.environments import Preparation
from utils.models.runs import CommandResult
from utils.models.tasks import Json
from utils.pipeline.check import OUTPUT_KILOBYTES, SHOWN_CHARACTERS, STARTED, last_lines
from utils.pipeline.script_text import script, script_command
from utils.pipeline.workspace import Start
from utils.sandboxes.protocol import Sandbox, SandboxPaths
from utils.sandboxes.snapshots import SnapshotKey

REPOSITORY_SCRIPT = ".async-code/setup.sh"
"""The file of a repository that runs when its project says so."""

_RUN = ("bash", "-c", script("setup.sh"), "setup.sh")
_BEFORE_CLONE = script_command("before_clone.sh")
_RESTORE = script_command("restore.sh")
_BEFORE = script_command("before_setup.sh")
_AFTER = script_command("after_setup.sh")

Report = Callable[[str, Json], None]


@dataclass(slots=True)
class Setup:
    """The preparation of one sandbox. `redact` removes secrets from a text.

    With `has_earlier` the sandbox comes from a snapshot, whose repository was put aside. Of a task
    over several repositories, `folder` is that of the first one, where the scripts run.
    """

    sandbox: Sandbox
    preparation: Preparation
    report: Report
    redact: Callable[[str], str]
    command_seconds: float
    has_earlier: bool = False
    folder: str = ""

    @property
    def paths(self) -> SandboxPaths:
        """The paths of the repository in which the scripts run."""
        return self.sandbox.paths.within(self.folder)

    async def look(self) -> None:
        """Look before the clone whether the sandbox comes from a snapshot that fits."""
        paths, digest = self.paths, self.preparation.digest
        if digest:
            arguments = [*_BEFORE_CLONE, paths.repository, paths.work, digest]
            self.has_earlier = "found" in await self._run_own(arguments)

    async def prepare(self, start: Start) -> None:
        """Run the scripts that the sandbox needs. Raises `SetupError` and `SandboxError`."""
        paths, preparation = self.paths, self.preparation
        if self.has_earlier and await self._restore():
            await self._finish(start)
            return
        over_at = time.monotonic() + preparation.timeout_seconds
        if start.is_kept:
            await self._run_own([*_BEFORE, paths.repository, paths.work])
        for name, file, text in self._scripts(is_kept=start.is_kept):
            if text:
                await self.sandbox.write_files({file: text.encode()})
            await self._run(name, file, over_at - time.monotonic())
        is_whole = await self._finish(start)
        if is_whole and preparation.digest and not start.is_kept:
            key = SnapshotKey(preparation.project_id, preparation.digest)
            await self.sandbox.save_snapshot(key)

    async def _restore(self) -> bool:
        """Take over what an earlier setup has made; tell if the setup need not run again."""
        started, paths = time.monotonic(), self.paths
        script_file = self._repository_script
        printed = await self._run_own([*_RESTORE, paths.repository, paths.work, script_file])
        is_same = "same" in printed
        seconds = time.monotonic() - started
        text = (
            f"the files of an earlier setup were used ({seconds:.1f} s)"
            if is_same
            else f"the setup runs again: {REPOSITORY_SCRIPT} has changed"
        )
        self.report("status", {"text": text})
        return is_same

    async def _finish(self, start: Start) -> bool:
        """Leave what the setup has made out of the result; tell if a snapshot can hold it."""
        paths, preparation = self.paths, self.preparation
        commit, digest = ("", "") if start.is_kept else (start.commit, preparation.digest)
        arguments = [*_AFTER, paths.repository, paths.work, commit, digest]
        return "whole" in await self._run_own([*arguments, self._repository_script])

    @property
    def _repository_script(self) -> str:
        """The path of the script in the repository, empty when the project does not want it."""
        return REPOSITORY_SCRIPT if self.preparation.from_repository else ""

    def _scripts(self, *, is_kept: bool) -> Iterator[tuple[str, str, str]]:
        """Yield name, file and text of each script; no text for the file of the repository."""
        preparation, paths = self.preparation, self.paths
        if is_kept:
            yield "maintenance", f"{paths.work}/maintenance.sh", preparation.maintenance
            return
        if preparation.setup:
            yield "setup", f"{paths.work}/setup.sh", preparation.setup
        if preparation.from_repository:
            yield "repository", f"{paths.repository}/{REPOSITORY_SCRIPT}", ""

    async def _run(self, name: str, file: str, seconds: float) -> None:
        started = time.monotonic()
        output_file = f"{self.paths.work}/setup_output"
        result = await self.sandbox.run_repeatable(
            [*_RUN, self.paths.repository, output_file, str(OUTPUT_KILOBYTES), file],
            timeout_seconds=max(seconds, 0.0),
            environment=self.preparation.environment,
            untrusted=True,
        )
        if result.ok and STARTED not in result.stdout:
            self.report("status", {"text": f"the repository has no {REPOSITORY_SCRIPT}"})
            return
        output = self.redact(await last_lines(self.sandbox, output_file))[-SHOWN_CHARACTERS:]
        spent = {"seconds": round(time.monotonic() - started, 4)}
        ended = {} if result.timed_out else {"exit_code": result.exit_code}
        self.report("setup", {"script": name, "output": output, **spent, **ended})
        if not result.ok:
            raise self._failure(name, result, output)

    def _failure(self, name: str, result: CommandResult, output: str) -> SetupError:
        title = {"repository": REPOSITORY_SCRIPT}.get(name, f"The {name} script of the project")
        if result.timed_out:
            return SetupError(
                f"{title} took longer than the {self.preparation.timeout_seconds:g} seconds of "
                "setup_timeout_seconds and was ended. Raise the limit, or do less in the script.",
                "setup_timeout",
            )
        last = output.rstrip().rpartition("\n")[2]
        return SetupError(
            f"{title} ended with exit code {result.exit_code}{f': {last}' if last else '.'}"
        )

    async def _run_own(self, arguments: list[str]) -> str:
        result = await self.sandbox.run_repeatable(
            arguments,
            timeout_seconds=self.command_seconds,
            environment=git_environment(),
        )
        if not result.ok:
            last = result.stderr.decode(errors="replace").rstrip().rpartition("\n")[2]
            raise SetupError(
                "The repository cannot be read after the setup script. It must not damage the "
                f"folder .git. {self.redact(last)}".rstrip()
            )
        return result.stdout.decode(errors="replace")
