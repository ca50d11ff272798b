"""Works with the repositories in the sandboxes of users: git runs there, and without tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from utils.errors import CaptureError, Conflict, NotFound
from utils.git.environment import git_environment
from utils.git.output import last_line
from utils.models.runs import Changes, CommandResult
from utils.models.sandboxes import SandboxStatus, StoredSandbox
from utils.models.tasks import Json
from utils.pipeline.capture.capture import capture_changes
from utils.sandbox_service.context import ServiceContext, gone
from utils.sandbox_service.open_sandboxes import OpenSandboxes
from utils.sandbox_service.repositories import (
    RepositorySource,
    clone_into,
    repository_folder,
    require_room,
)
from utils.sandbox_service.work import Work
from utils.sandboxes.protocol import Sandbox
from utils.sandboxes.view import SandboxView

MAX_FILES = 1_000
"""Files of a status that are listed."""

NOTHING_TO_COMMIT = 66
"""Exit code of the script that commits when nothing has changed."""

_COMMIT = (
    'git -C "$1" add --all && { git -C "$1" diff --cached --quiet && '
    f"exit {NOTHING_TO_COMMIT}; "
    'git -C "$1" commit --quiet --no-verify --no-gpg-sign --file=- && '
    'git -C "$1" rev-parse HEAD; }'
)
_BRANCH = (
    'if git -C "$1" show-ref --verify --quiet "refs/heads/$2"; then '
    'git -C "$1" checkout --quiet "$2" --; else git -C "$1" checkout --quiet -b "$2"; fi && '
    'git -C "$1" rev-parse HEAD'
)
Call = Callable[[str], list[str]]
"""Returns the arguments of a command, for the folder of a repository."""

Change = Callable[[Sequence[Json]], list[Json]]
"""Returns what is to be stored of the repositories of a sandbox."""

_LOG_FORMAT = "--format=%H%x00%an%x00%aI%x00%s%x00"


@dataclass(frozen=True, slots=True)
class Logged:
    """A commit in a log."""

    commit: str
    author: str
    at: str
    subject: str


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """A file that differs from the last commit; `state` has git's two letters."""

    path: str
    state: str


@dataclass(frozen=True, slots=True)
class GitStatus:
    """The branch of a repository, None when none is checked out, and the files that differ."""

    branch: str | None
    commit: str
    files: list[StatusEntry]


def find_repository(stored: StoredSandbox, name: str) -> Json:
    """Return what is stored of a repository. Raises `NotFound`."""
    for entry in stored.repositories:
        if entry["name"] == name:
            return entry
    raise NotFound("The sandbox has no repository of this name. GET /v1/sandboxes/<id> lists them.")


class GitWork:
    """Git in the sandboxes of users; for use on the event loop."""

    def __init__(self, context: ServiceContext, opened: OpenSandboxes, work: Work) -> None:
        self._context = context
        self._opened = opened
        self._work = work

    async def clone(self, stored: StoredSandbox, wanted: RepositorySource) -> Json:
        """Clone a repository; return what is stored of it. Raises `Conflict`."""
        async with self._work.logged(stored, "git_clone", wanted.repo_url):
            self._work.require_isolation()
            async with self._opened.use(stored) as opened, opened.alone() as sandbox:
                # Another request may have cloned one meanwhile.
                get = self._context.database.get_sandbox
                fresh = await self._context.ask(get, stored.user_id, stored.id)
                require_room(fresh.repositories, wanted.name)
                clone = await clone_into(self._context, sandbox, wanted)
                entry = {**wanted.row, "branch": clone.branch, "base_commit": clone.base_commit}
                await self._store(stored, partial(_with_clone, entry=entry))
        return entry

    async def record_push(self, stored: StoredSandbox, name: str, branch: str, commit: str) -> None:
        """Store the commit that was pushed to a branch from a repository."""
        await self._store(stored, partial(_with_push, name=name, branch=branch, commit=commit))

    async def _store(self, stored: StoredSandbox, change: Change) -> None:
        """Change what is stored of the repositories of a sandbox that runs."""
        database = self._context.database
        while True:
            fresh = await self._context.ask(database.get_sandbox, stored.user_id, stored.id)
            if fresh.status is not SandboxStatus.RUNNING:
                raise gone()
            changed = change(fresh.repositories)
            replace_seen = database.replace_sandbox_repositories
            if await self._context.ask(replace_seen, stored.id, fresh.repositories, changed):
                return
            # Another server has stored another clone or push meanwhile; the change adds to it.

    async def status(self, stored: StoredSandbox, name: str) -> GitStatus:
        """Return the status of a repository."""
        arguments = ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all"]
        result = await self._git(stored, name, "git_status", arguments)
        return _status(result.stdout.decode("utf-8", "replace").split("\0"))

    async def log(self, stored: StoredSandbox, name: str, limit: int) -> list[Logged]:
        """Return the newest commits of a repository."""
        arguments = ["log", f"--max-count={limit}", "-z", _LOG_FORMAT]
        result = await self._git(stored, name, "git_log", arguments)
        fields = result.stdout.decode("utf-8", "replace").split("\0")
        # Each commit ends with an empty field.
        return [Logged(*fields[at : at + 4]) for at in range(0, len(fields) - 4, 5)]

    async def branch(self, stored: StoredSandbox, name: str, branch: str) -> str:
        """Check out a branch, or create it from the present commit; return its commit."""
        return await self._script(stored, name, "git_branch", _BRANCH, [branch])

    async def commit(self, stored: StoredSandbox, name: str, message: str) -> str:
        """Commit all changes; return the commit. Raises `Conflict` (`no_changes`)."""
        return await self._script(stored, name, "git_commit", _COMMIT, [], message)

    async def changes(self, stored: StoredSandbox, name: str, kind: str) -> Changes:
        """Return all changes since the clone, committed or not."""
        entry = find_repository(stored, name)
        async with self._work.logged(stored, kind, name):
            self._work.require_isolation()
            async with self._opened.use(stored) as opened, opened.alone() as sandbox:
                view = _view(sandbox, name)
                try:
                    return await capture_changes(
                        view, str(entry.get("base_commit")), self._context.capture
                    )
                except CaptureError as error:
                    raise Conflict(
                        self._context.redactor.redact(error.message), "git_failed"
                    ) from error

    async def _script(
        self,
        stored: StoredSandbox,
        name: str,
        kind: str,
        script: str,
        arguments: Sequence[str],
        stdin: str = "",
    ) -> str:
        def call(folder: str) -> list[str]:
            return ["sh", "-c", script, "sh", folder, *arguments]

        result = await self._run(stored, name, kind, call, stdin)
        return result.stdout.decode("ascii", "replace").strip()

    async def _git(
        self, stored: StoredSandbox, name: str, kind: str, arguments: Sequence[str]
    ) -> CommandResult:
        return await self._run(
            stored, name, kind, lambda folder: ["git", "-C", folder, *arguments], ""
        )

    async def _run(
        self, stored: StoredSandbox, name: str, kind: str, call: Call, stdin: str
    ) -> CommandResult:
        find_repository(stored, name)
        async with self._work.logged(stored, kind, name) as operation:
            self._work.require_isolation()
            async with self._opened.use(stored) as opened, opened.alone() as sandbox:
                # The settings of the repository are the user's own, and so is what they start.
                result = await sandbox.run(
                    call(repository_folder(sandbox, name)),
                    timeout_seconds=self._context.settings.command_timeout_seconds,
                    environment=git_environment(),
                    stdin=stdin,
                    untrusted=True,
                )
            operation.exit_code = result.exit_code
            if result.exit_code == NOTHING_TO_COMMIT:
                raise Conflict("Nothing has changed since the last commit.", "no_changes")
            if not result.ok:
                reason = self._context.redactor.redact(last_line(result.stderr))
                raise Conflict(f"git failed: {reason}", "git_failed")
            return result


def _with_clone(repositories: Sequence[Json], *, entry: Json) -> list[Json]:
    require_room(repositories, entry["name"])
    return [*repositories, entry]


def _with_push(repositories: Sequence[Json], *, name: str, branch: str, commit: str) -> list[Json]:
    return [
        {**one, "pushed": {**one.get("pushed", {}), branch: commit}} if one["name"] == name else one
        for one in repositories
    ]


def _view(sandbox: Sandbox, name: str) -> SandboxView:
    paths = replace(sandbox.paths, repository=repository_folder(sandbox, name))
    return SandboxView(sandbox, paths)


def _status(fields: list[str]) -> GitStatus:
    branch, commit, files = None, "", list[StatusEntry]()
    entries = iter(fields)
    for entry in entries:
        if entry.startswith("# branch.oid "):
            commit = entry.removeprefix("# branch.oid ")
        elif entry.startswith("# branch.head "):
            head = entry.removeprefix("# branch.head ")
            branch = None if head == "(detached)" else head
        elif entry[:2] in _PATH_FIELD and len(files) < MAX_FILES:
            files.append(StatusEntry(entry.split(" ", _PATH_FIELD[entry[:2]])[-1], _state(entry)))
            if entry.startswith("2 "):
                next(entries, None)  # the path before a renaming
    return GitStatus(branch, commit, files)


def _state(entry: str) -> str:
    return "??" if entry.startswith("? ") else entry[2:4]


_PATH_FIELD = {"1 ": 8, "2 ": 9, "u ": 10, "? ": 1}
"""The number of fields before the path, by the kind of an entry."""
