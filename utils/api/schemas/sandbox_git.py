"""Schemas of git in the sandboxes of users."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from utils.api.requests import (
    EXAMPLE_REPOSITORY,
    Body,
    NotBlank,
    Number,
    Query,
    RepositoryAddress,
    Token,
    example,
)

Branch = Annotated[str, Field(max_length=255)]
Message = Annotated[NotBlank, Field(max_length=20_000)]


class CloneBody(Body):
    """A repository to clone."""

    model_config = example(repo_url=EXAMPLE_REPOSITORY, name="copy")

    repo_url: RepositoryAddress
    branch: Branch | None = Field(
        None, description="Branch to clone; the repository's default branch by default."
    )
    name: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Folder of the repository in the home folder; its name by default."
    )
    github_token: Token | None = Field(
        None, description="Token for the clone. It is used once and not kept."
    )


class BranchBody(Body):
    """A branch to check out."""

    model_config = example(branch="feature/login")

    branch: Branch = Field(
        description="Name of the branch; it is created if the clone has none of it."
    )


class CommitBody(Body):
    """A commit to make."""

    model_config = example(message="fix(login): keep the session", conventional=True)

    message: Message = Field(description="Message of the commit: a title, an empty line, a text.")
    conventional: bool = Field(
        default=False,
        description="True refuses a title that does not follow Conventional Commits.",
    )


class PushBody(Body):
    """A branch to push to."""

    model_config = example(branch="feature/login", message="fix(login): keep the session")

    branch: Branch = Field(
        description="Branch on the host. It must not exist yet, or be as it was pushed from here."
    )
    message: Message = Field(description="Message of the commit that is pushed.")
    conventional: bool = Field(
        default=False,
        description="True refuses a title that does not follow Conventional Commits.",
    )
    github_token: Token | None = Field(None, description="Token that may push.")
    allow_workflow_changes: bool = Field(
        default=False, description="True also pushes changes below .github/workflows."
    )


class PullBody(PushBody):
    """A pull request to open."""

    model_config = example(
        branch="feature/login", message="fix(login): keep the session", title="Keep the session"
    )

    title: Annotated[NotBlank, Field(max_length=256)] | None = Field(
        None, description="Title of the pull request; the first line of the message by default."
    )
    body: Annotated[str, Field(max_length=60_000)] = Field(
        "", description="Text of the pull request."
    )
    base: Branch | None = Field(
        None, description="Branch to merge into; the branch of the clone by default."
    )
    draft: bool = Field(default=False, description="True opens a draft.")


class LogQuery(Query):
    """Selects the newest commits."""

    limit: Annotated[int, Field(ge=1, le=200), Number] = Field(
        50, description="Maximum number of commits to return."
    )


class StatusFileRow(TypedDict):
    """A file that differs from the last commit."""

    path: Annotated[str, Field(description="The path of the file.")]
    state: Annotated[str, Field(description="The two letters of git, `??` for a new file.")]


class CommitRow(TypedDict):
    """A commit."""

    commit: Annotated[str, Field(description="The name of the commit.")]
    author: Annotated[str, Field(description="The name of its author.")]
    at: Annotated[str, Field(description="When it was made.")]
    subject: Annotated[str, Field(description="The first line of its message.")]
