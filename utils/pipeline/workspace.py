"""The files of a turn: those it begins with, and the changes that are read when it ends.

A first turn begins with a clone. A later one begins with the kept files of the turn before; when
its sandbox is gone they are made again from the base commit and the stored patch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from utils.agents.spec import AgentSpec
from utils.errors import CaptureError, SandboxError, SandboxLost, TaskError
from utils.models.runs import Changes, EarlierTurns, Job
from utils.models.tasks import Json
from utils.pipeline.capture.capture import CaptureLimits, capture_changes
from utils.pipeline.capture.secret_search import HasSecret
from utils.pipeline.clone import Clone, CloneLimits, clone_repository
from utils.sandboxes.protocol import Sandbox

CONVERSATION_CHARACTERS = 20_000
"""The longest earlier conversation that an agent without its session is told."""

CHANGED_WHILE_PLANNING = (
    "The agent changed files although it was asked for a plan. These changes are not kept."
)


@dataclass(frozen=True, slots=True)
class Start:
    """Tells where a turn begins: the base of the task, and the commit and tree of its files.

    `is_kept` tells that the files, and the session of the agent, are those of the turn before.
    `further` tells it of the other repositories of the task.
    """

    base_commit: str
    commit: str
    tree: str
    is_kept: bool = False
    branch: str = ""
    further: tuple[Start, ...] = ()

    @property
    def repositories(self) -> tuple[Start, ...]:
        """The beginnings of the turn in all repositories, this one first."""
        return (self, *self.further)


@dataclass(frozen=True, slots=True)
class Captured:
    """All changes of a task, and those of its last turn; None where they could not be read."""

    changes: Changes | None
    own: Changes | None

    @property
    def has_changes(self) -> bool:
        """True when the last turn has changed something."""
        return bool(self.own and self.own.changed_files)


NOTHING_CAPTURED = Captured(None, None)


async def prepare_workspace(
    sandbox: Sandbox,
    job: Job,
    clone_limits: CloneLimits,
    capture_limits: CaptureLimits,
    on_clone: Callable[[Job, Clone], Awaitable[None]],
) -> Start:
    """Make the files that the turn begins with in each repository; return where it begins.

    Calls `on_clone` after each clone. Raises `CloneError`, `CaptureError`, and `SandboxLost` when
    the kept files are others.
    """
    # Unless all were kept, none is: an agent has worked in the sandbox, so nothing is cloned there.
    are_kept = [bool(one.earlier and one.earlier.is_kept) for one in job.repositories]
    if any(are_kept) and not all(are_kept):
        raise SandboxLost("A repository is missing in the sandbox that was kept.")
    starts = []
    for one in job.repositories:
        with naming_repository(one):
            starts.append(await _prepare_one(sandbox, one, clone_limits, capture_limits, on_clone))
    return replace(starts[0], further=tuple(starts[1:]))


@contextmanager
def naming_repository(job: Job) -> Iterator[None]:
    """Name the repository in an error of the block, when the task has several."""
    try:
        yield
    except TaskError as error:
        if job.folder and not isinstance(error, SandboxError):
            error.message = f"{job.folder}: {error.message}"
            error.args = (error.message,)
        raise


async def _prepare_one(
    sandbox: Sandbox,
    job: Job,
    clone_limits: CloneLimits,
    capture_limits: CaptureLimits,
    on_clone: Callable[[Job, Clone], Awaitable[None]],
) -> Start:
    earlier = job.earlier
    if earlier is None or not earlier.is_kept:
        clone = await clone_repository(sandbox, job, clone_limits)
        await on_clone(job, clone)
        return Start(clone.base_commit, clone.commit, clone.tree, branch=clone.branch)
    kept = await capture_changes(sandbox, earlier.base_commit, capture_limits, folder=job.folder)
    if kept.tree_hash == earlier.tree or earlier.patch is None:
        return Start(
            earlier.base_commit, kept.commit_hash, kept.tree_hash, is_kept=True, branch=job.branch
        )
    # A pause in the cloud may have lost changes. They are made again in another sandbox: an agent
    # has worked in this one, which therefore never gets the git token.
    raise SandboxLost("The files of the turn before are no longer in the sandbox that was kept.")


async def capture_turn(
    sandbox: Sandbox, start: Start, limits: CaptureLimits, has_secret: HasSecret, folder: str
) -> Captured:
    """Read all changes of the task, and those of this turn. Raises `CaptureError` for the former.

    The latter can get lost: an agent may remove the commit that the turn began with.
    """
    changes = await capture_changes(sandbox, start.base_commit, limits, has_secret, folder)
    if start.commit == start.base_commit:
        return Captured(changes, changes)
    try:
        own = await capture_changes(sandbox, start.commit, limits, has_secret, folder)
    except CaptureError:
        return Captured(changes, None)
    return Captured(changes, own)


def agent_prompt(job: Job, agent: AgentSpec) -> str:
    """Return the prompt of a turn, after the conversation until then if the agent forgot it.

    An agent that begins in several repositories is told where they are.
    """
    if agent.simulated or job.session_id:
        return job.prompt
    return f"{_place_of(job)}{_conversation_and_prompt(job)}"


def _place_of(job: Job) -> str:
    if not job.further:
        return ""
    names = ", ".join(one.folder for one in job.repositories)
    return (
        "You work in several git repositories. Each is a folder of the current folder: "
        f"{names}.\n\n"
    )


def _conversation_and_prompt(job: Job) -> str:
    if job.earlier is None or not job.earlier.conversation:
        return job.prompt
    return (
        "The repository holds the changes that you made in the conversation so far, which was:\n\n"
        f"{_conversation_text(job.earlier)}\n\nNow the next message of the user:\n\n{job.prompt}"
    )


def _conversation_text(earlier: EarlierTurns) -> str:
    """Return the last messages of a conversation, as many as fit."""
    parts: list[str] = []
    for text in _messages(reversed(earlier.conversation)):
        if parts and sum(map(len, parts)) + len(text) > CONVERSATION_CHARACTERS:
            break
        parts.append(text[:CONVERSATION_CHARACTERS])
    return "\n\n".join(reversed(parts))


def _messages(messages: Iterator[Json]) -> Iterator[str]:
    for message in messages:
        speaker = "User" if message.get("role") == "user" else "You"
        yield f"{speaker}: {message.get('content')}"
