"""The files of a turn: those it begins with, and the changes that are read when it ends.

A first turn begins with a clone. A later one begins with the kept files of the turn before; when
its sandbox is gone they are made again from the base commit and the stored patch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from utils.agents.spec import AgentSpec
from utils.errors import CaptureError, SandboxLost
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
    """

    base_commit: str
    commit: str
    tree: str
    is_kept: bool = False


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
    sandbox: Sandbox, job: Job, clone_limits: CloneLimits, capture_limits: CaptureLimits
) -> tuple[Start, Clone | None]:
    """Make the files that the turn begins with; return where it begins, and the clone if any.

    Raises `CloneError`, `CaptureError`, and `SandboxLost` when the kept files are others.
    """
    earlier = job.earlier
    if earlier is None or not earlier.is_kept:
        clone = await clone_repository(sandbox, job, clone_limits)
        return Start(clone.base_commit, clone.commit, clone.tree), clone
    kept = await capture_changes(sandbox, earlier.base_commit, capture_limits)
    if kept.tree_hash == earlier.tree or earlier.patch is None:
        return Start(earlier.base_commit, kept.commit_hash, kept.tree_hash, is_kept=True), None
    # A pause in the cloud may have lost changes. They are made again in another sandbox: an agent
    # has worked in this one, which therefore never gets the git token.
    raise SandboxLost("The files of the turn before are no longer in the sandbox that was kept.")


async def capture_turn(
    sandbox: Sandbox, start: Start, limits: CaptureLimits, has_secret: HasSecret
) -> Captured:
    """Read all changes of the task, and those of this turn. Raises `CaptureError` for the former.

    The latter can get lost: an agent may remove the commit that the turn began with.
    """
    changes = await capture_changes(sandbox, start.base_commit, limits, has_secret)
    if start.commit == start.base_commit:
        return Captured(changes, changes)
    try:
        own = await capture_changes(sandbox, start.commit, limits, has_secret)
    except CaptureError:
        return Captured(changes, None)
    return Captured(changes, own)


def agent_prompt(job: Job, agent: AgentSpec) -> str:
    """Return the prompt of a turn, after the conversation until then if the agent forgot it."""
    if job.earlier is None or job.session_id or agent.simulated or not job.earlier.conversation:
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
