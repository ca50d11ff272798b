"""Defines the events of a task: one schema for all agents, sandboxes and databases.

`docs/events.md` explains them to readers, `docs/events.schema.json` is written from this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from utils.models.tasks import Json

EventKind = Literal[
    "status",
    "message",
    "tool",
    "output",
    "usage",
    "git",
    "setup",
    "check",
    "sandbox",
    "pull_request",
    "result",
    "error",
]

EndStatus = Literal["completed", "failed", "cancelled"]
Count = Annotated[int, Field(ge=0)]

_NAMED = "The name of the repository, when the task has several."

_CLOSED = ConfigDict(extra="forbid")


@with_config(_CLOSED)
class StatusData(TypedDict, total=False):
    """Tells where the task is: a stage that begins, a note, or the end of the task."""

    stage: Annotated[
        Literal["cloning", "setup", "agent", "capturing", "checking"],
        Field(description="The stage that begins."),
    ]
    text: Annotated[str, Field(description="A note of the agent's program or of the server.")]
    waiting: Annotated[
        bool, Field(description="True when the agent only waits, for example to try again.")
    ]
    status: Annotated[
        EndStatus, Field(description="How the task has ended. The last event of a run.")
    ]
    turn: Annotated[int, Field(ge=2, description="The number of a later turn, which begins.")]
    error_code: Annotated[
        str, Field(description="Beside `status`: why the task failed; see docs/errors.md.")
    ]
    parent_id: Annotated[str, Field(description="The tool call that started the subagent.")]


@with_config(_CLOSED)
class MessageData(TypedDict):
    """Words of the agent to the user, in Markdown."""

    text: str
    parent_id: NotRequired[
        Annotated[str, Field(description="The tool call that started the subagent that says it.")]
    ]


@with_config(_CLOSED)
class ToolData(TypedDict):
    """A call of a tool: one event when it begins, with `input`, and one when it ends, with `ok`."""

    name: str
    id: Annotated[str, Field(description="The same in both events of a call.")]
    input: NotRequired[Annotated[str, Field(description="The command, or the arguments as text.")]]
    output: NotRequired[Annotated[str, Field(description="What the tool answered.")]]
    ok: NotRequired[Annotated[bool, Field(description="False when the call failed.")]]
    characters: NotRequired[Annotated[Count, Field(description="The length of the whole output.")]]
    exit_code: NotRequired[Annotated[int, Field(description="The exit code of a command.")]]
    failed: NotRequired[
        Annotated[bool, Field(description="True when `ok` is false. For older clients.")]
    ]
    parent_id: NotRequired[
        Annotated[str, Field(description="The tool call that started the subagent that calls.")]
    ]


@with_config(_CLOSED)
class OutputData(TypedDict):
    """Lines that the agent's program printed and that are none of the other kinds."""

    stream: Literal["stdout", "stderr"]
    text: str


@with_config(_CLOSED)
class UsageData(TypedDict, total=False):
    """The tokens of the run so far, and its price where the program tells it."""

    input_tokens: Count
    cached_input_tokens: Annotated[Count, Field(description="A part of `input_tokens`.")]
    output_tokens: Count
    cost_usd: Annotated[float, Field(ge=0, description="The price in US dollars.")]


@with_config(_CLOSED)
class GitData(TypedDict):
    """A git operation that has succeeded."""

    operation: Literal["clone", "commit", "push"]
    commit: Annotated[str, Field(description="The commit that was cloned, made or pushed.")]
    branch: NotRequired[Annotated[str, Field(description="Of a clone and of a push.")]]
    files: NotRequired[Annotated[Count, Field(description="Changed files of a commit.")]]
    additions: NotRequired[Annotated[Count, Field(description="Added lines of a commit.")]]
    deletions: NotRequired[Annotated[Count, Field(description="Removed lines of a commit.")]]
    was_there: NotRequired[
        Annotated[bool, Field(description="True when an earlier push had put the commit there.")]
    ]
    repository: NotRequired[Annotated[str, Field(description=_NAMED)]]


@with_config(_CLOSED)
class SetupData(TypedDict):
    """The end of a script that prepares the sandbox, before the agent starts.

    `setup` and `maintenance` are those of the project, `repository` is the file of the repository.
    """

    script: Literal["setup", "repository", "maintenance"]
    output: Annotated[str, Field(description="Its last lines.")]
    seconds: Annotated[float, Field(ge=0)]
    exit_code: NotRequired[Annotated[int, Field(description="Missing when its time was over.")]]


@with_config(_CLOSED)
class CheckData(TypedDict):
    """The end of the user's check command, which runs after the capture."""

    output: Annotated[
        str, Field(description="Its last lines, or the reason why it did not end by itself.")
    ]
    seconds: Annotated[float, Field(ge=0)]
    exit_code: NotRequired[
        Annotated[int, Field(description="Missing when it did not end by itself.")]
    ]


@with_config(_CLOSED)
class SandboxData(TypedDict):
    """A change of the sandbox that the task runs in.

    `created`; `resumed` by a new server process, or for the next turn; `paused` until a next turn;
    `lost` when it is gone before its time; `ended` when the task needs it no longer.
    """

    state: Literal["created", "resumed", "paused", "lost", "ended"]
    id: str
    provider: Annotated[str, Field(description="The kind of sandbox: local or e2b.")]


@with_config(_CLOSED)
class PullRequestData(TypedDict):
    """The pull request of the task was opened or updated by this server."""

    number: int
    url: str
    state: Annotated[str, Field(description="open, closed or merged.")]
    is_new: bool
    repository: NotRequired[Annotated[str, Field(description=_NAMED)]]


@with_config(_CLOSED)
class ResultData(TypedDict):
    """The agent's last words: the summary of what it did."""

    text: str


@with_config(_CLOSED)
class ErrorData(TypedDict):
    """An error. The task goes on unless an event with `status` follows.

    After the end of the task it tells why its pull request (`auto_pr`) was not opened.
    """

    code: Annotated[str, Field(description="A name of docs/errors.md, or agent_error.")]
    message: str


EVENT_DATA: dict[EventKind, type] = {
    "status": StatusData,
    "message": MessageData,
    "tool": ToolData,
    "output": OutputData,
    "usage": UsageData,
    "git": GitData,
    "setup": SetupData,
    "check": CheckData,
    "sandbox": SandboxData,
    "pull_request": PullRequestData,
    "result": ResultData,
    "error": ErrorData,
}
"""The data of each kind of event."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a task. The database numbers the events of a task in `sequence`, from 1.

    `kind` and the form of `data` are those of `EVENT_DATA`.
    """

    kind: str
    data: Json
    at: datetime
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events to append; the database numbers them.

    `after` is the number of the last event that the only writer of the task knows to be stored.
    Stored events with higher numbers are then the beginning of this batch and are skipped. This
    makes it safe to send a batch again, even with more events at its end, when the answer was
    lost. With None every event is appended.
    """

    events: tuple[Event, ...] = ()
    after: int | None = None


NO_EVENTS = EventBatch()
