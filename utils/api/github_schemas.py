"""What requests about GitHub hold; answers hold the values of `utils.github.models`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from utils.api.requests import Body, Label, Name, NotBlank, Number, Query, Text
from utils.github.client import MAX_LISTED, STATUS_DESCRIPTION_CHARACTERS
from utils.github.comment_command import COMMAND, is_command
from utils.pull_requests.text import MAX_BODY_CHARACTERS, MAX_TITLE_CHARACTERS


def _no_command(text: str) -> str:
    if is_command(text):
        raise ValueError(f"must not begin with {COMMAND}; tasks are started with /start-task")
    return text


OWN_STATUS = "async-code"
"""The name of commit statuses that are the server's, and what those of several begin with."""

Title = Annotated[NotBlank, Field(max_length=MAX_TITLE_CHARACTERS)]
LongText = Annotated[str, Field(max_length=MAX_BODY_CHARACTERS)]


class PullsQuery(Query):
    """Which pull requests, newest first."""

    state: Literal["open", "closed", "all"] = "open"
    limit: Annotated[int, Field(ge=1, le=MAX_LISTED), Number] = 100


class PullChange(Body):
    """What to change of a pull request."""

    title: Title | None = None
    body: LongText | None = None
    base: Name | None = Field(None, description="The branch that it is to be merged into.")
    state: Literal["open", "closed"] | None = None
    draft: bool | None = Field(None, description="False makes a draft ready for review.")


class PullMerge(Body):
    """How to merge a pull request."""

    method: Literal["merge", "squash", "rebase"] = "merge"
    sha: str | None = Field(
        None, pattern="^[0-9a-f]{40}$", description="Merge only while its branch is at this commit."
    )


class NewIssue(Body):
    """An issue to open."""

    title: Title
    body: LongText = ""
    labels: list[Label] = Field(default_factory=list, max_length=100)


class NewComment(Body):
    """A comment to add."""

    body: Annotated[Text, Field(max_length=MAX_BODY_CHARACTERS), AfterValidator(_no_command)]


class TaskStatusReport(Body):
    """What to say on the commit that a task pushed."""

    state: Literal["pending", "success", "failure"]
    description: Annotated[str, Field(max_length=STATUS_DESCRIPTION_CHARACTERS)] = ""
    context: Name = Field(OWN_STATUS, description="Tells it apart from what others say there.")
