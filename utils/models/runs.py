"""Frozen values of one run of a task: job, commands, agent, changes and outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from utils.errors import TaskError
from utils.models.environments import NOTHING_TO_PREPARE, McpServer, Preparation
from utils.models.repositories import TaskRepository
from utils.models.tasks import Json, Mode, Stage, Task
from utils.models.turns import Turn, first_turn


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """A claimed task with all stored data that a run needs.

    `ciphertext` is the task's own encrypted token. `user_token` is the encrypted token from the
    user's profile, in the format of `Profile`. `last_sequence` is the number of the newest event,
    0 without events. `pushed_commit` is that of the newest push to the default branch that was
    reported for the project. `turn` is the turn to run, None for a task that has only its first
    one; it `is_interrupted` when a message has asked for its end. `further` are the repositories
    of the task beside its first one, which the database returns on their own.
    """

    task: Task
    ciphertext: bytes | None = field(repr=False)
    user_token: str | None = field(repr=False)
    last_sequence: int
    preferences: Json = field(repr=False)
    project_settings: Json
    pushed_commit: str | None = None
    turn: Turn | None = None
    is_interrupted: bool = False
    further: tuple[TaskRepository, ...] = ()

    @property
    def running_turn(self) -> Turn:
        """The turn to run, also for a task that has only its first one."""
        return self.turn or first_turn(self.task).turn


@dataclass(frozen=True, slots=True)
class AgentRun:
    """A started agent, with all data that another process needs to resume the run.

    `stage_seconds` holds the stages before the agent. `position` marks the stored part of the
    agent's output, see `utils.pipeline.agent_output`. `resumes` counts how often a process has
    resumed the run since `position` last changed.
    """

    task_id: int
    sandbox_id: str
    base_commit: str
    agent_started_at: datetime
    stage_seconds: dict[str, float]
    position: Json
    resumes: int = 0


KILLED = 137
"""Exit code of a command that was ended by SIGKILL; see `CommandResult`."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command. `exit_code` is 128 + N when signal N ended it, as in a shell.

    `file` is the content of the file that was asked for, None where it did not come along.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    file: bytes | None = None

    @property
    def ok(self) -> bool:
        """True when the command ended by itself with exit code 0."""
        return self.exit_code == 0 and not self.timed_out


@dataclass(frozen=True, slots=True)
class EarlierTurns:
    """The result of the turns before a later one: the changes from the base commit to the tree.

    `patch` is None when it is too large or nothing has changed. `conversation` holds the messages
    until then. With `is_kept` their files are still in the sandbox, and so is the session of the
    agent.
    """

    base_commit: str
    tree: str
    patch: str | None = field(repr=False)
    session_id: str | None
    conversation: tuple[Json, ...] = field(default=(), repr=False)
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """The input of the pipeline for one turn of a task. `git_token` is used for the clone only.

    `title` is the prompt of the task, `prompt` that of the turn. New folders named in
    `generated_folders` are not part of the result. `check_command` is run when the changes are
    captured. A task over several repositories has a job for each, with the `folder` that it is
    cloned to; the first one has the jobs of the others as `further`.
    """

    task_id: int
    prompt: str
    repo_url: str
    branch: str
    agent: str
    agent_model: str | None = None
    git_token: str | None = field(default=None, repr=False)
    generated_folders: tuple[str, ...] = ()
    check_command: str | None = None
    title: str = ""
    mode: Mode = Mode.RUN
    earlier: EarlierTurns | None = None
    preparation: Preparation = NOTHING_TO_PREPARE
    mcp_servers: tuple[McpServer, ...] = ()
    folder: str = ""
    further: tuple[Job, ...] = ()

    @property
    def repositories(self) -> tuple[Job, ...]:
        """The jobs of all repositories, this one first."""
        return (self, *self.further)

    def with_kept_files(self) -> Job:
        """Return a copy whose earlier turns have left their files in the sandbox."""
        return replace(
            self,
            earlier=self.earlier and replace(self.earlier, is_kept=True),
            further=tuple(job.with_kept_files() for job in self.further),
        )

    @property
    def session_id(self) -> str | None:
        """The session of the agent to go on with, None to begin one."""
        return self.earlier.session_id if self.earlier and self.earlier.is_kept else None


@dataclass(frozen=True, slots=True)
class FileChange:
    """One changed file with its contents before and after; a marker replaces missing contents."""

    filename: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ChangeTexts:
    """A diff and a patch, of which `of` keeps common text once.

    The patch of a single commit ends with its diff. Results may be large, and hundreds of them may
    wait to be stored.
    """

    patch: str | None
    separate_diff: str | None
    shared_characters: int

    @classmethod
    def of(cls, diff: str | None, patch: str | None) -> ChangeTexts:
        """Keep a diff and a patch."""
        if diff and patch and patch.endswith(diff):
            return cls(patch, None, len(diff))
        return cls(patch, diff, 0)

    @property
    def diff(self) -> str | None:
        """Return the diff, which may be a new text each time."""
        if self.patch and self.shared_characters:
            return self.patch[-self.shared_characters :]
        return self.separate_diff


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of a task, captured against `base_commit`.

    `patch` is in mailbox format (for `git am`), `diff` is the output of `git diff --binary`. Each
    is None when nothing has changed or when it exceeds the size limit; `notes` then says so.
    `secret_files` are the files to which the agent wrote a live secret.
    """

    base_commit: str
    commit_hash: str
    tree_hash: str
    texts: ChangeTexts
    changed_files: tuple[str, ...]
    file_changes: tuple[FileChange, ...]
    additions: int
    deletions: int
    notes: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()

    @property
    def diff(self) -> str | None:
        """Return the diff, which may be a new text each time."""
        return self.texts.diff

    @property
    def patch(self) -> str | None:
        """Return the patch."""
        return self.texts.patch


@dataclass(frozen=True, slots=True)
class RepositoryOutcome:
    """The result in one of the further repositories of a task; see `Outcome`."""

    folder: str
    branch: str
    changes: Changes | None
    own: Changes | None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of the user's check command. `exit_code` is None when it did not end by itself.

    `output` holds the last lines of what it printed, or the reason why it did not end.
    """

    exit_code: int | None
    output: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StageTiming:
    """The time spent in one stage."""

    stage: Stage
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a pipeline run. A partial result has both `failure` and `changes`.

    `changes` are all changes of the task, `own` those of this turn alone, from `tree_before` on.
    `notes` are about the agent; those about the changes are in `changes`. `login_files` are the
    login files as the agent left them, by the relative path. Of a task over several repositories,
    `changes`, `own` and `tree_before` are those of the first one, whose folder is `folder`.
    """

    changes: Changes | None
    summary: str | None
    agent_exit_code: int | None
    timings: tuple[StageTiming, ...]
    failure: TaskError | None = None
    agent_details: Json = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    login_files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    own: Changes | None = None
    tree_before: str | None = None
    check: CheckResult | None = None
    folder: str = ""
    further: tuple[RepositoryOutcome, ...] = ()

    @property
    def has_all_changes(self) -> bool:
        """True when the changes of every repository could be read."""
        return self.changes is not None and all(one.changes for one in self.further)

    @property
    def own_of_all(self) -> dict[str, Changes]:
        """The changes of this turn alone by folder, where they could be read."""
        found = {self.folder: self.own, **{one.folder: one.own for one in self.further}}
        return {folder: own for folder, own in found.items() if own}

    @classmethod
    def failed(cls, failure: TaskError) -> Outcome:
        """Return an outcome that holds nothing but a failure."""
        return cls(None, None, None, (), failure)

    def without_failure(self) -> Outcome:
        """Return a copy without the failure."""
        return replace(self, failure=None)
