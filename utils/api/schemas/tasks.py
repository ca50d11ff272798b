"""Schemas of the tasks that a request or a schedule starts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from utils.agents.registry import AGENT_NAMES, DEFAULT_AGENT
from utils.agents.spec import MAX_MODEL_CHARACTERS
from utils.api.requests import (
    EXAMPLE_REPOSITORY,
    MODE_DESCRIPTION,
    Body,
    NotBlank,
    RepositoryAddress,
    RowId,
    Text,
    Token,
    TurnMode,
    example,
)
from utils.models.repositories import MAX_REPOSITORIES


class WantedRepository(Body):
    """A repository of a task over several."""

    repo_url: RepositoryAddress
    branch: str | None = Field(
        None,
        max_length=255,
        description="Branch to start from; the repository's default branch by default.",
    )


class WantedTask(Body):
    """Describes what a task is to do, without the caller's token."""

    prompt: Text = Field(description="Instructions for the agent. They are stored unchanged.")
    repositories: list[WantedRepository] = Field(
        default_factory=list,
        max_length=MAX_REPOSITORIES,
        description="Repositories to work in beside `repo_url`, each in a folder of its own. "
        f"Without `repo_url` the first one takes its place. At most {MAX_REPOSITORIES} in all.",
    )
    repo_url: Annotated[RepositoryAddress | None, Field(validate_default=True)] = None
    branch: str | None = Field(
        None,
        max_length=255,
        description="Branch to start from; the repository's default branch by default.",
    )
    model: str | None = Field(
        None,
        max_length=50,
        description=f"Agent to run: {', '.join(AGENT_NAMES[:-1])} or {AGENT_NAMES[-1]}. "
        f"Default: {DEFAULT_AGENT}.",
    )
    agent_model: str | None = Field(
        None,
        max_length=MAX_MODEL_CHARACTERS,
        description="Model that the agent uses; by default the first one that the server allows.",
    )
    project_id: RowId | None = Field(None, description="Project that the task belongs to.")
    mode: TurnMode = Field("run", description=MODE_DESCRIPTION)
    agents: Annotated[list[Annotated[str, Field(max_length=50)]], Field(min_length=1)] | None = (
        Field(
            None,
            description="Agents to compare, instead of `model`. Each works on a task of its own, "
            "and the tasks make a group.",
        )
    )
    attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        1,
        description="Tasks that each agent gets, at most `MAX_GROUP_SIZE` in all. More than one "
        "make a group.",
    )
    check_command: Annotated[NotBlank, Field(max_length=4_000)] | None = Field(
        None,
        description="Command that checks the result, such as `npm test`. It runs with `bash -lc` "
        "in a copy of the repository in the sandbox, when the changes are captured. Its exit code "
        "and last lines are stored.",
    )

    priority: Literal["low", "normal", "high"] | Annotated[int, Field(ge=-10, le=10)] = Field(
        "normal",
        description="Which of your waiting tasks start first: low (-5), normal (0), high (5), or a "
        "number. Tasks that go on with a message start before new ones.",
    )
    auto_pr: bool | None = Field(
        None,
        description="True opens the pull request when the task completes with changes, as "
        "`POST /create-pr` does, with the token of the task. The default is `auto_pr` of the "
        "project's settings. Not for groups.",
    )

    @field_validator("repo_url")
    @classmethod
    def _require_repository(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and not info.data.get("repositories"):
            raise PydanticCustomError("missing", "Field required")
        return value


class StartTask(WantedTask):
    """A task to start."""

    model_config = example(
        prompt="Add a file CONTRIBUTING.md that explains how to send a pull request.",
        repo_url=EXAMPLE_REPOSITORY,
    )

    github_token: Token | None = Field(
        None,
        description="Token for the repository. Not needed if anyone can read it. Of "
        "`repositories` it is sent to those on the same host.",
    )
