"""Reads and checks `settings.environment` of a project.

Front ends can write the row without this server, so a task checks it again before it runs.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from utils.agents.preferences import MAX_VALUE_CHARACTERS, MAX_VARIABLES, is_variable_name
from utils.errors import TaskError
from utils.models.environments import McpServer, NetworkPolicy
from utils.models.tasks import Json

SETTING: Final = "environment"
"""The key of a project's settings."""

MAX_SCRIPT_CHARACTERS = 32_000
MAX_SETUP_SECONDS = 3_600
MAX_PORT = 65_536

_HOST = re.compile(r"(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?(?::[0-9]{1,5})?")
_TEMPLATE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    value.encode()
    return value


def _template(value: str) -> str:
    if not _TEMPLATE.fullmatch(value):
        raise ValueError("must be the name or the id of a template")
    return value


def _variables(values: dict[str, str]) -> dict[str, str]:
    if not all(map(is_variable_name, values)):
        raise ValueError(
            "must have names of letters, digits and underscores, and none that changes shells or "
            "git, such as PATH and GIT_DIR"
        )
    return values


def _plain_text(value: str) -> str:
    # Claude Code would put the value of a variable there, such as the key of the server.
    if "${" in value:
        raise ValueError("must not contain ${; name variables in variables")
    return _text(value)


def _variable_name(value: str) -> str:
    if not is_variable_name(value):
        raise ValueError("must be the name of a variable")
    return value


def _url(value: str) -> str:
    parts = urlsplit(_plain_text(value))
    _ = parts.port  # raises ValueError for one that is none
    if parts.scheme not in {"https", "http"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an address that begins with https:// or http://")
    return value


def _host(value: str) -> str:
    port = value.rpartition(":")[2] if ":" in value else "443"
    if not _HOST.fullmatch(value) or not 0 < int(port) < MAX_PORT:
        raise ValueError("must be a host such as packages.example.com or *.example.com")
    return value.lower()


PlainText = Annotated[str, Field(min_length=1, max_length=4_000), AfterValidator(_plain_text)]
VariableName = Annotated[str, Field(max_length=200), AfterValidator(_variable_name)]
HostName = Annotated[str, Field(max_length=253), AfterValidator(_host)]
Script = Annotated[str, Field(max_length=MAX_SCRIPT_CHARACTERS), AfterValidator(_text)]
Value = Annotated[str, Field(max_length=MAX_VALUE_CHARACTERS), AfterValidator(_text)]


class _Part(BaseModel):
    """Base of the environment and its parts."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class McpServerSettings(_Part):
    """A server of tools: a program (`command`), or an address (`url`)."""

    command: PlainText | None = None
    args: Annotated[list[PlainText], Field(max_length=50)] = Field(default_factory=list)
    variables: Annotated[list[VariableName], Field(max_length=MAX_VARIABLES)] = Field(
        default_factory=list
    )
    url: Annotated[str, Field(max_length=2_000), AfterValidator(_url)] | None = None
    token_variable: VariableName | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either a command or a url")
        if self.url is not None and (self.args or self.variables):
            raise ValueError("with a url takes token_variable, and neither args nor variables")
        if self.command is not None and self.token_variable is not None:
            raise ValueError("with a command takes variables, and no token_variable")
        return self

    def named(self, name: str) -> McpServer:
        """Return the server under its name."""
        arguments, variables = tuple(self.args), tuple(self.variables)
        command, url = self.command or "", self.url or ""
        return McpServer(name, command, arguments, variables, url, self.token_variable)


class NetworkSettings(_Part):
    """The hosts that the sandboxes may reach."""

    policy: Literal["none", "allow-list", "open"]
    hosts: Annotated[list[HostName], Field(max_length=50)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _hosts_of_list(self) -> Self:
        if self.hosts and self.policy != "allow-list":
            raise ValueError("takes hosts with the policy allow-list only")
        return self


class Environment(_Part):
    """The environment of a project. Texts that are empty stand for nothing."""

    template: Annotated[str, AfterValidator(_template)] | None = None
    setup: Script = ""
    setup_timeout_seconds: Annotated[float, Field(ge=1, le=MAX_SETUP_SECONDS)] = 600
    setup_from_repository: bool = False
    maintenance: Script = ""
    variables: Annotated[
        dict[str, Value], Field(max_length=MAX_VARIABLES), AfterValidator(_variables)
    ] = Field(default_factory=dict, repr=False)
    check_command: Annotated[str, Field(max_length=4_000), AfterValidator(_text)] = ""

    mcp_servers: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")], McpServerSettings],
        Field(max_length=20),
    ] = Field(default_factory=dict)
    network: NetworkSettings | None = None
    memory_megabytes: Annotated[int, Field(ge=100, le=1_000_000)] | None = None
    cpus: Annotated[int, Field(ge=1, le=1_000)] | None = None

    @property
    def servers(self) -> tuple[McpServer, ...]:
        """The MCP servers of the agent."""
        return tuple(server.named(name) for name, server in self.mcp_servers.items())

    @property
    def network_policy(self) -> NetworkPolicy | None:
        """The hosts that the sandboxes may reach; None leaves that to the operator."""
        network = self.network
        return NetworkPolicy(network.policy, tuple(network.hosts)) if network else None

    @property
    def has_setup(self) -> bool:
        """True when something runs after a clone."""
        return bool(self.setup) or self.setup_from_repository


_MODELS: dict[str, type[BaseModel]] = {
    "mcp_servers": McpServerSettings,
    "network": NetworkSettings,
}


def checked_settings(settings: Json) -> Json:
    """Return the settings of a project. Raises `ValueError` when their environment is not valid.

    Every other key is the client's own.
    """
    if settings.get(SETTING) is not None:
        try:
            Environment.model_validate(settings[SETTING])
        except ValidationError as error:
            raise ValueError(_explain(error)) from None
    return settings


def read_environment(settings: Json) -> Environment:
    """Return the environment of a project. Raises `TaskError` when it is not valid."""
    given = settings.get(SETTING)
    try:
        return Environment() if given is None else Environment.model_validate(given)
    except ValidationError as error:
        raise TaskError(
            f"The settings of the project are not valid: {_explain(error)}. Send them again with "
            "PUT /projects/{project_id}.",
            "environment_invalid",
        ) from None


def _explain(error: ValidationError) -> str:
    details = error.errors(include_url=False, include_input=False)
    unknown = (one for one in details if one["type"] == "extra_forbidden")
    first: Any = next(unknown, details[0])
    # The names below variables are the user's own words.
    name = ".".join(str(part) for part in first["loc"][:1])
    if first["type"] == "extra_forbidden":
        model = _MODELS.get(name, Environment) if len(first["loc"]) > 1 else Environment
        place = SETTING if model is Environment else f"{SETTING}.{name}"
        return f"{place} has an unknown key. Known keys: {', '.join(model.model_fields)}"
    place = f"{SETTING}.{name}" if name else SETTING
    if first["type"] == "value_error":
        return f"{place} {first['ctx']['error']}"
    if first["type"] == "model_type":
        return f"{SETTING} must be an object"
    return f"{place} is not valid: {first['msg']}"
