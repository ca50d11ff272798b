"""Request schemas: strict pydantic models that forbid unknown fields."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
)
from pydantic_core import to_json

from utils.environments.schema import checked_settings
from utils.models.tasks import Json, TaskStatus
from utils.models.users import canonical_user_id
from utils.usage.budgets import budget_of

ID_DIGITS = 18
MAX_ID = 10**ID_DIGITS - 1
MAX_TEXT_CHARACTERS = 200_000
MAX_DOCUMENT_BYTES = 64_000
EXAMPLE_REPOSITORY = "https://github.com/octocat/Hello-World"
EXAMPLE_USER_ID = "123e4567-e89b-12d3-a456-426614174000"
EXAMPLE_TEST_USER_ID = "123e4567-e89b-12d3-a456-426614174001"
MAX_ACCESS_TOKEN_CHARACTERS = 32_768
"""Access tokens hold what an identity provider knows of a user, groups for example."""

_MAX_INTEGER = 2**63 - 1
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def without_nul(text: str) -> str:
    """Return the text. Raises `ValueError` when it holds a NUL character."""
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


def not_blank(text: str) -> str:
    """Return the text. Raises `ValueError` when it is blank."""
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _check_storable(value: Any) -> Any:
    """Return the value. Raises `ValueError` if the JSON column of some database cannot hold it."""
    if isinstance(value, str):
        without_nul(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must not contain a number that is too large")
    elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ValueError("must not contain an integer of more than 64 bits")
    elif isinstance(value, dict):
        for key, item in value.items():
            without_nul(key)
            _check_storable(item)
    elif isinstance(value, list):
        for item in value:
            _check_storable(item)
    return value


def _small(value: Json) -> Json:
    # Lists hold the settings of all projects.
    if len(to_json(value)) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"must not have more than {MAX_DOCUMENT_BYTES // 1_000} kB")
    return value


def _project_settings(value: Json) -> Json:
    if value.get("budget_usd") is not None and budget_of(value) is None:
        raise ValueError("budget_usd must be an amount in US dollars, or null")
    return checked_settings(value)


def _user_id(text: str) -> str:
    canonical = canonical_user_id(text)
    if canonical is None:
        raise ValueError("must be a UUID such as 123e4567-e89b-12d3-a456-426614174000")
    return canonical


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("must be an e-mail address")
    return without_nul(text)


def _token(secret: SecretStr) -> SecretStr | None:
    text = secret.get_secret_value().strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must consist of printable ASCII characters without spaces")
    return SecretStr(text) if text else None


def _digits(text: object) -> int:
    # int() would also accept " 1", "1_0" and digits of other scripts.
    if not isinstance(text, str) or not re.fullmatch(f"[0-9]{{1,{ID_DIGITS}}}", text):
        raise ValueError("must be a whole number")
    return int(text)


UserId = Annotated[str, AfterValidator(_user_id), Field(json_schema_extra={"format": "uuid"})]
NotBlank = Annotated[
    str, Field(min_length=1), AfterValidator(without_nul), AfterValidator(not_blank)
]
Text = Annotated[NotBlank, Field(max_length=MAX_TEXT_CHARACTERS)]
Name = Annotated[NotBlank, Field(max_length=200)]
Label = Annotated[NotBlank, Field(max_length=50)]
Description = Annotated[str, Field(max_length=10_000), AfterValidator(without_nul)]
RepositoryAddress = Annotated[
    str,
    Field(
        max_length=2_000,
        description="Address of the repository, such as https://github.com/owner/name. SSH "
        "addresses are converted to https.",
    ),
]
JsonObject = Annotated[Json, AfterValidator(_check_storable), AfterValidator(_small)]
ProjectSettings = Annotated[JsonObject, AfterValidator(_project_settings)]
Token = Annotated[SecretStr, Field(max_length=4_096), AfterValidator(_token)]
OpaqueToken = Annotated[str, Field(min_length=1, max_length=MAX_ACCESS_TOKEN_CHARACTERS)]
RowId = Annotated[int, Field(ge=1, le=MAX_ID)]
Number = BeforeValidator(_digits)
TurnMode = Literal["run", "plan"]
MODE_DESCRIPTION = (
    "`plan` has the agent only read and answer with a plan, which a later `run` carries out."
)
Limit = Annotated[
    int, Field(ge=1, le=500, description="Maximum number of tasks to return."), Number
]
Cursor = Annotated[
    int | None,
    Field(ge=1, le=MAX_ID, description="Where the page starts: `next_cursor` of the page before."),
    Number,
]


class Body(BaseModel):
    """Base of request bodies: a JSON object without unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


def example(**fields: Any) -> ConfigDict:
    """Return the configuration of a model with an example for the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Query(BaseModel):
    """Base of query parameters: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ChatMessage(Body):
    """A message to add to the conversation of a task."""

    model_config = example(role="user", content="Thank you. Now also add a test.", run=True)

    role: Literal["user", "assistant"]
    content: Text
    run: bool = Field(
        default=False, description="True has the agent go on with this message of the user."
    )
    interrupt: bool = Field(
        default=False, description="With `run`: true ends the running turn first."
    )
    mode: TurnMode | None = Field(None, description=f"With `run`: {MODE_DESCRIPTION}")
    github_token: Token | None = Field(
        None, description="With `run`: token for the repository, as in POST /start-task."
    )


class NewProject(Body):
    """A project to create. A project gives a repository a name and groups its tasks."""

    model_config = example(name="Hello World", repo_url=EXAMPLE_REPOSITORY)

    name: Name
    repo_url: RepositoryAddress
    description: Description | None = None
    settings: ProjectSettings | None = None


class ProjectChange(Body):
    """Fields of a project to change. Fields that only the server sets are ignored."""

    model_config = example(description="My first project.", settings={"conventional_commits": True})

    name: Name = Field(default_factory=str)
    repo_url: RepositoryAddress = Field(default_factory=str)
    description: Description | None = None
    settings: ProjectSettings = Field(default_factory=dict)
    is_active: bool = Field(default_factory=bool)
    id: Any = None
    user_id: Any = None
    repo_owner: Any = None
    repo_name: Any = None
    created_at: Any = None
    updated_at: Any = None
    task_count: Any = None
    completed_tasks: Any = None
    active_tasks: Any = None

    @property
    def columns(self) -> Json:
        """The columns to change."""
        writable = {"name", "repo_url", "description", "settings", "is_active"}
        return self.model_dump(include=writable, exclude_unset=True)


class TokenRequest(Body):
    """Credentials to sign in with. The body may be empty if the Bearer token is Supabase's."""

    model_config = example(user_id=EXAMPLE_USER_ID)

    user_id: UserId | None = Field(None, description="Your user id. Accepted in trust mode only.")
    supabase_access_token: OpaqueToken | None = Field(
        None, description="Access token from Supabase. You can send it as Bearer token instead."
    )


class RefreshRequest(Body):
    """A refresh token from an earlier sign-in or refresh."""

    model_config = example(refresh_token="<refresh_token>")  # noqa: S106

    refresh_token: OpaqueToken


class NewTestUser(Body):
    """A test user to create. Every field is optional."""

    model_config = example(user_id=EXAMPLE_TEST_USER_ID, email="tester@example.com")

    email: Annotated[str, Field(max_length=320), AfterValidator(_email)] | None = None
    user_id: UserId = Field(default_factory=lambda: str(uuid4()))
    metadata: JsonObject | None = None
    expires_in_hours: Annotated[int, Field(ge=1, le=720)] = Field(
        24, description="Hours until the user expires."
    )


class TaskListQuery(Query):
    """Selects a page of tasks."""

    project_id: Annotated[int | None, Field(ge=1, le=MAX_ID), Number] = Field(
        None, description="List the tasks of this project only."
    )
    status: TaskStatus | None = Field(None, description="List tasks with this status only.")
    agent: Annotated[str | None, Field(max_length=50)] = Field(
        None, description="List the tasks of this agent only."
    )
    repo_url: RepositoryAddress | None = Field(
        None, description="List the tasks of this repository only."
    )
    q: Annotated[str | None, Field(max_length=200), AfterValidator(without_nul)] = Field(
        None, description="List tasks whose prompt contains this text near its beginning."
    )
    limit: Limit = 100
    cursor: Cursor = None


class RepositoryQuery(Query):
    """Names a repository of a task over several."""

    repository: Annotated[str | None, Field(max_length=200)] = Field(
        None, description="Name of the repository in `repositories`; the first one by default."
    )


class BranchesQuery(Query):
    """Names the repository whose branches are listed."""

    repo_url: Annotated[RepositoryAddress, Field(json_schema_extra={"example": EXAMPLE_REPOSITORY})]


class ProjectTasksQuery(Query):
    """Selects a page of a project's tasks."""

    limit: Limit = 100
    cursor: Cursor = None


class EventsQuery(Query):
    """Selects the events with a sequence number above `after`."""

    after: Annotated[int, Field(ge=0, le=MAX_ID), Number] = Field(
        0, description="Sequence number of the last event you have; `next_after` of the response."
    )
    limit: Annotated[int, Field(ge=1, le=1_000), Number] = Field(
        500, description="Maximum number of events to return; a stream has no maximum."
    )
