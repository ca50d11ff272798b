"""Defines the record of an agent: its program, its command, and the reader of its output."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from utils.agents.logins import LoginFormat
from utils.errors import AgentError
from utils.models.environments import McpServer
from utils.models.tasks import Json
from utils.sandboxes.protocol import EgressHeader, SandboxPaths

WAITING: Json = {"waiting": True}
"""Marks a `status` event as no sign of life: the agent repeats a request that has just failed."""

MAX_MODEL_CHARACTERS = 2_048
"""The longest identifier of a cloud provider: an ARN of Amazon Bedrock."""

UNREADABLE = "unreadable"
"""Marks an `output` event as broken JSON, with its length. Only its beginning is stored."""

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")

# Never a leading dash, which would make it an option. Brackets and colons occur in real names.
_MODEL = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{{0,{MAX_MODEL_CHARACTERS - 1}}}")


class StreamReader(Protocol):
    """Turns the lines an agent prints into events; one reader per run.

    Reading the same lines again with a fresh reader gives the same events and the same state.
    """

    summary: str | None
    """The agent's own summary of its work; None until it has sent one."""

    finished: bool
    """True once the agent has reported its end; its process may take a moment longer."""

    details: Json
    """Stored with the task: `agent_session_id`, `usage`, `cost_usd`, ... as far as known."""

    @property
    def unreported(self) -> Json:
        """The tokens that the program has told of single calls only: they are not in `details`."""

    def read_line(self, stream: str, line: str) -> Iterable[tuple[str, Json]]:
        """Return kind and data of each event that a line of `stdout` or `stderr` stands for."""

    def read_long_line(
        self, stream: str, characters: int, condensed: str
    ) -> Iterable[tuple[str, Json]]:
        """Return the events for a line that was too long to be kept.

        `condensed` is the line with its long texts cut, or empty if that was not enough.
        """

    def end(self) -> Iterable[tuple[str, Json]]:
        """Return the events of what was kept back, because more lines could have completed it."""

    def judge(self, exit_code: int | None, last_error_line: str) -> AgentError | None:
        """Return the error of a failed run, None for a successful one.

        A run that reported its success is successful, unless a signal ended it. The exit code is
        None when the agent was ended after its result. Raises nothing; the error's message says
        what to do.
        """


class LineReader:
    """Base of stream readers that keep nothing back, of programs that tell the sum of tokens."""

    @property
    def unreported(self) -> Json:
        """See `StreamReader`."""
        return {}

    def read_long_line(
        self,
        stream: str,
        characters: int,
        condensed: str,  # noqa: ARG002 - no result is so long
    ) -> Iterable[tuple[str, Json]]:
        """See `StreamReader`."""
        note = f"[a line of {characters} characters is not stored, because it is too long]\n"
        return [("output", {"stream": stream, "text": note})]

    def end(self) -> Iterable[tuple[str, Json]]:
        """See `StreamReader`."""
        return ()


@dataclass(frozen=True, slots=True)
class KeyVariable:
    """An environment variable that holds a key, and the header the program sends the key in."""

    name: str
    header: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """Describes the command line program of an agent and how it reaches its model."""

    title: str
    """The name that people know it by."""
    command: str
    provider: str
    """The company behind the model, as error messages name it."""

    package: str
    """Its npm package."""
    version: str
    """The version that this release was tested with."""
    build_argument: str
    """The argument of e2b.Dockerfile that holds the version."""

    key_setting: str
    """The field of `Settings` with the server's key."""
    models_setting: str
    """The field of `Settings` with the models that tasks may ask for."""

    keys: Sequence[KeyVariable]
    """All variables that may hold a key, the one that the program prefers first."""
    server_key: str
    """The one of them for the server's key."""
    key_defaults: Mapping[str, str]
    """By variable, the other one whose key it takes when it has none of its own."""
    other_access: Sequence[str]
    """Variables that turn on access without any of the keys."""
    host: str
    """The host that requests with the key go to."""
    login_hosts: Sequence[str]
    """More hosts that requests of a user who has signed in go to."""
    endpoint_variable: str
    """The variable that sends requests to another address."""

    own_prefixes: Sequence[str]
    """Beginnings of the names of the program's own variables: they may divert a key."""
    harmless: frozenset[str]
    """Those of its own variables that cannot."""
    environment: Mapping[str, str]
    """Variables of every run; a user's own ones win."""

    sections: Sequence[str]
    """Its sections of `users.preferences`: the one in use, then older names of it."""
    login_file: str
    """The file with a user's sign-in, relative to the home folder."""
    login_command: str = ""
    """The command that signs in and writes that file."""
    login_format: LoginFormat | None = None
    """The fields of that file; None when the program does not renew it."""

    @property
    def preferred_key(self) -> str:
        """The path in a user's preferences that holds their own key."""
        return f"preferences.{self.sections[0]}.env.{self.key_setting.upper()}"


@dataclass(frozen=True, slots=True)
class AgentAccess:
    """The keys, variables and files that one run of an agent gets to reach its model.

    `environment` is for the agent's process alone. `login_files` go below the sandbox's home, by
    relative path. `egress` holds the headers that the network adds instead of the agent
    (`SECRETS_MODE=egress`). `secrets` are all values that must not leave the backend as text.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    login_files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    egress: tuple[EgressHeader, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def login_digest(self) -> bytes:
        """Identifies the login that a sandbox got, so that a later process can tell."""
        content = b"\n".join(self.login_files[name] for name in sorted(self.login_files))
        return hashlib.sha256(content).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class AccessSources:
    """The sources of access: the server's keys, and `users.preferences` of the user.

    `server_keys` is by name of the setting, without the settings that are not set. `variables` are
    those of the project; they win over the user's own.
    """

    server_keys: Mapping[str, str] = field(repr=False)
    preferences: Json = field(repr=False)
    egress: bool
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """The agent, and the model that a task asks for; the model may be None.

    `session_id` is the session of an earlier turn to go on with. With `only_plans` the agent must
    change nothing. With `has_servers` it uses the servers of its file; see `AgentSpec.mcp_files`.
    """

    name: str
    model: str | None = None
    session_id: str | None = None
    only_plans: bool = False
    has_servers: bool = False

    @property
    def session(self) -> str | None:
        """The session, None without one. Raises `AgentError` for what cannot be its id.

        The sandbox has told it, so it could be an option of the program as well.
        """
        if self.session_id is None or _SESSION.fullmatch(self.session_id):
            return self.session_id
        raise AgentError("The session of the earlier turn has no usable id. Start a new task.")

    def model_arguments(self, option: str) -> Sequence[str]:
        """Return the arguments that choose the model. Raises `AgentError` for an unsafe name.

        The server's list of models was checked before; this is the second line of defence.
        """
        if self.model is None:
            return ()
        if not _MODEL.fullmatch(self.model):
            raise AgentError(
                "agent_model cannot be the name of a model. Names consist of letters, digits and "
                ". _ : / @ [ ] - and do not start with a dash."
            )
        return option, self.model


def no_files(_paths: SandboxPaths) -> Mapping[str, bytes]:
    """Return the files of an agent that needs none in the sandbox's home."""
    return {}


def no_servers(_paths: SandboxPaths, _servers: Sequence[McpServer]) -> Mapping[str, bytes]:
    """Return the files of an agent that uses no MCP servers."""
    return {}


def same_text(prompt: str) -> str:
    """Return the prompt of an agent that takes any text as it is."""
    return prompt


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """Describes one agent: everything the backend knows of it.

    `name` is the `model` of a task. `command` returns the arguments, without anything that a user
    typed except a checked model name; the prompt is in `work/prompt`, and on standard input with
    `prompt_on_stdin`. `files` are uploaded to `work`, by name; `home_files` go below the sandbox's
    home, by relative path. `mcp_files` name its MCP servers, by absolute path; they hold names of
    variables, and no values. An agent without a `program` calls no model and needs no key.
    """

    name: str
    command: Callable[[SandboxPaths, AgentRequest], list[str]]
    reader: Callable[[], StreamReader]
    program: Program | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    home_files: Callable[[SandboxPaths], Mapping[str, bytes]] = no_files
    mcp_files: Callable[[SandboxPaths, Sequence[McpServer]], Mapping[str, bytes]] = no_servers
    prompt_text: Callable[[str], str] = same_text
    prompt_on_stdin: bool = False
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The status of an agent: `usable` by tasks or not, and `simulated` by a script or not."""

    name: str
    usable: bool
    simulated: bool
    reason: str | None = None
